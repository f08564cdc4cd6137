"""What each part of a query adds to accuracy: all of it, and with one part left out at a time.

    python benchmarks/accuracy.py --work DIR --out benchmarks/results/accuracy

takes the scenes and runs that `benchmarks/run.py --work DIR` left there, so nothing is fitted, and
writes ``accuracy.md``: the mean over each clip's runs.
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from omnimotion import refine as refining
from omnimotion import tracker as tracking
from omnimotion.confidence import Logistic
from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.ground_truth import read_ground_truth
from omnimotion.patches import Around
from omnimotion.pose_graph import Refined, refine
from omnimotion.refine import Asked as Asking
from omnimotion.refine import Found, Refiner
from omnimotion.runs import open_tracker
from omnimotion.tracker import Tracker
from omnimotion.tracks import Tracks

ROOT = Path(__file__).resolve().parent.parent
SCORES = ("AJ", "delta_avg", "OA", "hidden_px")
HIDDEN_ALONE = Logistic(7.0, (14.0, 0.0, 0.0, 0.0, 0.0, 0.0))  # 1/2: half a ray is in front


def main() -> None:
    """Score all variants and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| clip | runs | variant | " + " | ".join(SCORES) + " |", "|" + " --- |" * 7]
    for scene in sorted(path.parent for path in args.work.glob("*/scene.json")):
        runs = sorted(path.parent for path in scene.glob("runs/*/report.json"))
        truth = read_ground_truth(args.data / scene.name)
        for name, variant in VARIANTS.items():
            found = []
            for run in runs:
                with variant():
                    tracker = Asked(open_tracker(scene, run, "cpu"), name != ALONE)
                    found.append(evaluate_scene(tracker, truth).scores)
            cells = [mean([scores.get(key) for scores in found]) for key in SCORES]
            lines.append(f"| {scene.name} | {len(runs)} | {name} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


class Asked:
    """A tracker that refines or does not."""

    def __init__(self, tracker: Tracker, refine: bool) -> None:
        self.tracker, self.refine = tracker, refine

    def track(self, queries: np.ndarray) -> Tracks:
        """As `Tracker.track`."""
        return self.tracker.track(queries, self.refine)


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """A module or class with another value of a name."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def no_choice(refiner: Refiner, frames: np.ndarray, *_: np.ndarray) -> np.ndarray:
    """The surface that the scene shows, always."""
    return np.zeros(len(frames), np.int64)


def no_following(refiner: Refiner, asked: Asking, found: Found, _: np.ndarray) -> Found:
    """The scene's own tracks, always."""
    return found._replace(evidence=found.evidence.copy())


def no_offsets(*arguments: Any, **more: Any) -> Refined:
    """What matches say, without moving the track."""
    found = refine(*arguments, **more)
    return found._replace(offset=np.zeros_like(found.offset))


def no_patches(around: Around, xy: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """No patch is found."""
    return np.full_like(xy, np.nan)


ALONE = "the scene alone"
VARIANTS: dict[str, Callable] = {
    "all": nullcontext,
    "surface not chosen by matches": lambda: replaced(Refiner, "choose", no_choice),
    "matches never followed": lambda: replaced(Refiner, "_followed", no_following),
    "not drawn to matches and patches": lambda: replaced(refining, "refine", no_offsets),
    "not drawn to patches": lambda: replaced(Around, "find", no_patches),
    "visibility by the ray only": lambda: replaced(tracking, "SEEN", HIDDEN_ALONE),
    ALONE: nullcontext,
}


def mean(values: list[float | None]) -> str:
    """The mean of what is there, as text."""
    known = [value for value in values if value is not None]
    return f"{np.mean(known):.1f}" if known else "-"


if __name__ == "__main__":
    main()
