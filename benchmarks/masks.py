"""Masks carried through clips: mean share of intersection and union with those annotated.

    python benchmarks/masks.py --clip CLIP SCENE RUN ... --out benchmarks/results/masks

``CLIP``: a folder with ``masks/``, a PNG a frame, of which only the first is given. All objects of
a mask count as one. The same with the scene alone, without matches and images.
"""

import argparse
import resource
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from omnimotion.files import atomic_write
from omnimotion.masks import load_mask
from omnimotion.propagation import CELLS, Propagation
from omnimotion.runs import open_tracker
from omnimotion.tracker import Tracker
from omnimotion.warps import Carrier

FIFTHS = 5


def main() -> None:
    """Measure each clip and write the table."""
    args = parse_arguments(__doc__)
    torch.set_num_threads(1)
    lines = [
        "| clip | carried by | mean IoU | by fifths of the clip | CPU s | peak memory, MB |",
        "|" + " --- |" * 6,
    ]
    for clip, scene, run in args.clip:
        tracker = open_tracker(scene, run, "cpu")
        masks = annotated(clip, tracker)
        for name, carry in (("scene, matches, images", voted), ("the scene alone", alone)):
            start = time.process_time()
            found = overlap(carry(tracker, masks), masks)
            seconds = time.process_time() - start
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            parts = ", ".join(f"{part.mean():.2f}" for part in np.array_split(found, FIFTHS))
            lines.append(f"| {clip.name} | {name} | {found.mean():.3f} | {parts} | {seconds:.0f} "
                         f"| {peak:.0f} |")  # fmt: skip
            print(lines[-1], flush=True)
    atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def parse_arguments(doc: str) -> argparse.Namespace:
    """The command line of a script on annotated masks."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--clip", nargs=3, type=Path, action="append", required=True,
                        metavar=("CLIP", "SCENE", "RUN"))  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    return parser.parse_args()


def annotated(clip: Path, tracker: Tracker) -> np.ndarray:
    """What is annotated, bool (T, H, W)."""
    paths = sorted((clip / "masks").glob("*.png"))[: tracker.index.n_frames]
    size = tracker.index.original_size
    return np.stack([load_mask(path, size, may_be_empty=True).labels for path in paths]) > 0


def voted(tracker: Tracker, masks: np.ndarray) -> Iterable[tuple[int, np.ndarray]]:
    """As ``query.py --propagate-mask`` carries the first mask."""
    found = Propagation(tracker, {0: masks[0].astype(np.uint8)})
    return ((j, found.at(j)) for j in range(len(masks)))


def alone(tracker: Tracker, masks: np.ndarray) -> Iterable[tuple[int, np.ndarray]]:
    """As the scene alone does, on cells of the same size."""
    carrier, step = Carrier(tracker), -(-max(tracker.index.original_size) // CELLS)
    labels = masks[0].astype(np.uint8)
    return ((j, carrier.propagate(labels, 0, j, step)) for j in range(len(masks)))


def overlap(found: Iterable[tuple[int, np.ndarray]], masks: np.ndarray) -> np.ndarray:
    """Share of intersection and union (T - 1,) in frames but the first; 1 where both are empty."""
    shares = np.ones(len(masks))
    for j, labels in found:
        union = ((labels > 0) | masks[j]).sum()
        shares[j] = ((labels > 0) & masks[j]).sum() / union if union else 1.0
    return shares[1:]


if __name__ == "__main__":
    main()
