"""How fast: steps, time to equal accuracy and queries, side by side on what this machine has.

    python benchmarks/speed.py --out benchmarks/results/speed

renders the example clip (or takes ``--scene`` and ``--clip``), times a step of each bijection and
backend at equal batch and samples, lets the grid and the paper's networks (``configs/paper.txt``)
fit for ``--seconds`` each while scoring them now and then, on a CPU the networks only at the end
(scoring does not count), and times a dense query. Cases are timed in turns, so that a machine that
slows down slows all of them. Ends within 8 minutes by default and prints its table last.
"""

import argparse
import json
import logging
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from omnimotion.config import Config, load_config
from omnimotion.errors import ConfigError
from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.fitting import Fit
from omnimotion.flow import SceneStore
from omnimotion.ground_truth import GroundTruth, read_ground_truth
from omnimotion.networks import choose_backend
from omnimotion.runs import choose_device, set_threads, start_fit
from omnimotion.synthetic import render_clip, write_clip
from omnimotion.tracker import Tracker
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions

ROOT = Path(__file__).resolve().parent.parent
CONFIGS = ROOT / "configs"
PAPER_BATCH = {"pairs": 8, "points": 256, "samples": 32}
TURNS, WARM_STEPS = 3, 1  # of the paper's network a CPU takes many seconds a step
SCORES_A_RUN = 8  # how often a fit is scored, at times that double from run's length / 2^7


class Case(NamedTuple):
    """A way to fit."""

    name: str
    device: str
    backend: str
    config: Config


def main() -> None:
    """Run everything and write the table."""
    args = parse_arguments()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="omnimotion-speed-") as work:
        store, truth, preprocess_s = prepared(args, Path(work))
        set_threads(args.threads)
        chosen = cases(args.device)
        steps = step_times(store, chosen, Path(work), args.step_seconds)
        fitted = accuracy_over_time(store, truth, chosen, Path(work), args.seconds)
    about = {
        "hardware": args.hardware or platform.processor() or platform.machine(),
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
        "clip": f"{store.index.n_frames} frames of {store.index.size[0]}x{store.index.size[1]}",
        "threads": torch.get_num_threads(), "preprocess_s": round(preprocess_s, 1),
    }  # fmt: skip
    results = {"about": about, "steps": steps, "fits": fitted}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(args.out.with_suffix(".json"), json.dumps(results, indent=1).encode())
    text = table(results)
    atomic_write(args.out.with_suffix(".md"), text.encode())
    print(text)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    parser.add_argument("--scene", type=Path, help="a preprocessed scene; default: the example")
    parser.add_argument("--clip", type=Path, help="its folder with gt.npz")
    parser.add_argument("--size", default="256x192", help="of the example clip")
    parser.add_argument("--frames", type=int, default=36, help="of the example clip")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--threads", type=int, default=1, help="0 is one for each core")
    parser.add_argument("--seconds", type=float, default=90, help="of each fit that is scored")
    parser.add_argument("--step-seconds", type=float, default=8, help="of timing each case's step")
    parser.add_argument("--hardware", help="words for the table")
    return parser.parse_args()


def prepared(args: argparse.Namespace, work: Path) -> tuple[SceneStore, GroundTruth, float]:
    """The scene to fit, its ground truth, and the seconds its preprocessing took (0: given)."""
    if args.scene:
        return SceneStore.open(args.scene), read_ground_truth(args.clip), 0.0
    clip, scene = work / "clip", work / "scene"
    width, height = (int(side) for side in args.size.split("x"))
    write_clip(render_clip(5, args.frames, (width, height)), clip)
    began = time.perf_counter()
    preprocess(PreprocessOptions(clip / "frames", scene, flow="dis"))
    return SceneStore.open(scene), read_ground_truth(clip), time.perf_counter() - began


def cases(asked: str) -> list[Case]:
    """The grid with each backend that works here, and the paper's networks."""
    device = choose_device(asked)
    grid, paper = load_config(CONFIGS / "default.txt"), load_config(CONFIGS / "paper.txt")
    found = []
    for backend in ("numba", "tcnn", "torch"):
        try:
            choose_backend(backend, device)
        except ConfigError:
            continue
        found.append(Case(f"grid {backend}", device.type, backend, grid))
    return [*found, Case("paper torch", device.type, "torch", paper)]


def new_fit(store: SceneStore, case: Case, run: Path, **changes: Any) -> Fit:
    """A fit of a case, at its first step."""
    settings = {"device": case.device, "backend": case.backend, "preview_every": 0} | changes
    return start_fit(store, run, case.config.replace(**settings))


def step_times(
    store: SceneStore, chosen: list[Case], work: Path, seconds: float
) -> list[dict[str, Any]]:
    """Median milliseconds of a step, each case with its own batch and with the paper's.

    Of steps as most of a fit are, see `Fit.darken`.
    """
    timed: list[tuple[Case, str, Fit, list[float]]] = []
    for case in chosen:
        is_paper = case.config.fit.pairs == PAPER_BATCH["pairs"]
        for label, batch in (("own", {}), ("paper's", PAPER_BATCH)):
            if label == "paper's" or not is_paper:
                run = work / "steps" / f"{case.name} {label}"
                timed.append((case, label, new_fit(store, case, run, **batch), []))
                timed[-1][2].darken()
    for _ in range(TURNS):
        for case, _, fit, times in timed:
            times.extend(steps_of(fit, seconds / TURNS, case.device))
    return [
        {"case": case.name, "device": case.device, "batch": label, "ms": 1e3 * median(times),
         "rays": fit.config.fit.pairs * fit.config.fit.points, "samples": fit.config.fit.samples,
         "steps_timed": len(times)}
        for case, label, fit, times in timed
    ]  # fmt: skip


def steps_of(fit: Fit, seconds: float, device: str) -> Iterator[float]:
    """Seconds of single steps, at least one, after a few that do not count."""
    for _ in range(WARM_STEPS if fit.step == 0 else 0):
        fit.advance(then=fit.step + 1)
    end = time.perf_counter() + seconds
    while True:
        began = time.perf_counter()
        _, loss = fit.advance(then=fit.step + 1)
        if device == "cuda":
            torch.cuda.synchronize()
        float(loss)
        yield time.perf_counter() - began
        if time.perf_counter() > end:
            return


def accuracy_over_time(
    store: SceneStore, truth: GroundTruth, chosen: list[Case], work: Path, seconds: float
) -> list[dict[str, Any]]:
    """Scores over seconds of fitting, of the fastest grid and the paper's networks."""
    results = []
    for case in (chosen[0], chosen[-1]):
        # the grid's schedule ends with the time; the paper's is its own, of 100,000 steps
        schedule = {"budget": f"{seconds}s"} if case is chosen[0] else {}
        fit = new_fit(store, case, work / "fits" / case.name, **schedule)
        spent, tracker = 0.0, Tracker(fit.scene, store.index)
        curve: list[dict[str, Any]] = []
        slow = case is not chosen[0] and case.device == "cpu"  # a score alone takes minutes
        for mark in (seconds / 2**k for k in range(0 if slow else SCORES_A_RUN - 1, -1, -1)):
            if spent >= mark:
                continue
            spent += fit_until(fit, mark - spent, case.device)
            scores = evaluate_scene(tracker, truth).scores
            shown = {key: scores[key] for key in ("AJ", "delta_avg", "OA")}
            curve.append({"seconds": round(spent, 2), "steps": fit.step, **shown})
        peak = torch.cuda.max_memory_allocated() / 2**20 if case.device == "cuda" else None
        results.append({"case": case.name, "curve": curve, "gpu_mb": peak,
                        "query_point_frames_per_s": None if slow else round(rate(tracker))})
    return results


def fit_until(fit: Fit, seconds: float, device: str) -> float:
    """Step for so many seconds or to the end; the seconds it took."""
    began = time.perf_counter()
    while fit.step < fit.config.fit.num_iters and time.perf_counter() - began < seconds:
        _, loss = fit.advance(then=fit.step + 1)
        if device == "cuda" and fit.step % 50 == 0:
            torch.cuda.synchronize()
        elif device != "cuda":
            float(loss)
    return time.perf_counter() - began


def rate(tracker: Tracker) -> float:
    """Point-frames a second of the first part of a dense query of the middle frame."""
    began = time.perf_counter()
    part = next(tracker.dense(tracker.index.n_frames // 2))
    return part.visible.size / (time.perf_counter() - began)


def table(results: dict[str, Any]) -> str:
    """Everything as Markdown; the ratio that counts comes last."""
    about, steps, fits = results["about"], results["steps"], results["fits"]
    lines = ["; ".join(f"{key} {value}" for key, value in about.items()), "",
             "| case | device | batch | rays x samples | ms a step | times the fastest |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for row in sorted(steps, key=lambda row: (row["batch"], row["ms"])):
        best = min(each["ms"] for each in steps if each["batch"] == row["batch"])
        batch = f"{row['rays']} x {row['samples']}"
        lines.append(f"| {row['case']} | {row['device']} | {row['batch']} | {batch} | "
                     f"{row['ms']:.1f} | {row['ms'] / best:.1f} |")  # fmt: skip
    lines += ["", "| case | seconds | steps | AJ | delta_avg | OA | query, point-frames/s |",
              "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for fit in fits:
        for at in fit["curve"]:
            scores = " | ".join(f"{at[key]:.1f}" for key in ("AJ", "delta_avg", "OA"))
            queries = fit["query_point_frames_per_s"] or "-"
            lines.append(f"| {fit['case']} | {at['seconds']:.1f} | {at['steps']} | {scores} | "
                         f"{queries} |")  # fmt: skip
    return "\n".join([*lines, "", sooner(fits[0]["curve"], fits[-1]["curve"]), ""])


def sooner(grid: list[dict[str, Any]], paper: list[dict[str, Any]]) -> str:
    """How much sooner the grid reaches the best accuracy of the paper's networks."""
    target = max(at["AJ"] for at in paper)
    at = next((at["seconds"] for at in grid if at["AJ"] >= target), None)
    last = paper[-1]["seconds"]
    if at is None:
        return f"The grid did not reach the paper's AJ {target:.1f} of {last:.0f} s."
    return (f"The paper's networks reach AJ {target:.1f} in {last:.0f} s; the grid has it after "
            f"{at:.1f} s at the latest: {last / at:.0f} times sooner or more.")  # fmt: skip


if __name__ == "__main__":
    main()
