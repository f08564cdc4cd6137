"""What the number of frames costs: preprocessing, a step of the fit, and the fit's memory.

    python benchmarks/frames.py --work DIR --out benchmarks/results/frames

renders one scene in several lengths, computes its flow (``--pairs log``: N log N pairs), and fits
each as one window. CPU seconds and peaks of memory are those of the commands, each a process of
its own. Steps are timed in one process, in turns, in CPU time, over a whole schedule: what else
the machine does then changes all lengths alike. Commands that are done are not run again.
"""

import argparse
import math
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from long import CONFIG, measured
from matplotlib.figure import Figure
from spent import Spent

from omnimotion.config import load_config
from omnimotion.files import atomic_write
from omnimotion.fitting import Fit
from omnimotion.flow import SceneStore
from omnimotion.runs import set_threads, start_fit
from preprocess.pairs import chain_stops, count_pairs, pair_gaps

ONE_WINDOW = 1000  # frames: more than any clip has, so that none is cut
TURN = 10  # steps of one length before it is the next one's turn


class Cost(NamedTuple):
    """What a clip of so many frames takes."""

    frames: int
    pairs: int  # ordered, that flow is computed for
    preprocess_s: float  # of CPU time
    parameters: int
    step_ms: float  # of CPU time, median
    fit_mb: float  # peak of `train`


def main() -> None:
    """Take each length through all of it; the table and the picture."""
    args = parse_arguments()
    lengths = [int(length) for length in args.lengths.split(",")]
    for length in lengths:
        run(args, f"{length}_render", "demo", clip(args, length), "--length", length,
            "--size", args.size)  # fmt: skip
    rounds = [[preprocess_s(args, length, k) for length in lengths] for k in range(args.rounds)]
    spent = [(min(times), fit_mb(args, length)) for *times, length in zip(*rounds, lengths)]
    fits = [new_fit(args, length) for length in lengths]
    times = step_ms(fits, args.steps)
    costs = [
        Cost(length, count_pairs(length, pair_gaps(length, "log")), cpu_s,
             sum(p.numel() for p in fit.scene.parameters()), ms, peak_mb)
        for length, (cpu_s, peak_mb), fit, ms in zip(lengths, spent, fits, times)
    ]  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = table(costs)
    atomic_write(args.out.with_suffix(".md"), text.encode())
    draw(costs, args.out.with_suffix(".png"))
    print(text)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="for clips and scenes")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    parser.add_argument("--lengths", default="24,48,96,192", help="frames of the clips")
    parser.add_argument("--size", default="128x128", help="of the frames")
    parser.add_argument("--steps", type=int, default=300, help="of each fit")
    parser.add_argument("--rounds", type=int, default=2, help="of preprocessing: the least counts")
    return parser.parse_args()


def clip(args: argparse.Namespace, length: int) -> Path:
    """The folder of a rendered clip."""
    return args.work / f"clip_{length}"


def scene(args: argparse.Namespace, length: int, k: int = 0) -> Path:
    """The folder of a clip's scene, of the k-th round."""
    return args.work / f"scene_{length}_{k}"


def run(args: argparse.Namespace, name: str, *words: object) -> Spent:
    """What a command took, run unless it is done."""
    return measured(args.work / f"{name}.json", words)


def preprocess_s(args: argparse.Namespace, length: int, k: int) -> float:
    """CPU seconds of preprocessing a clip, in the k-th round."""
    # without the bound of gaps that long clips have: all lengths are treated alike
    return run(
        args, f"{length}_preprocess_{k}", "preprocess", clip(args, length) / "frames", "--scene",
        scene(args, length, k), "--flow", "dis", "--pairs", "log", "--max-gap", length - 1,
    ).cpu_s  # fmt: skip


def fit_mb(args: argparse.Namespace, length: int) -> float:
    """The peak of memory of a fit."""
    return run(
        args, f"{length}_train", "train", "--config", CONFIG, "--scene", scene(args, length),
        "--preview_every", 0, "--num_iters", args.steps, "--window", ONE_WINDOW,
    ).peak_mb  # fmt: skip


def new_fit(args: argparse.Namespace, length: int) -> Fit:
    """The fit of a clip, whatever was fitted before, as far as its steps' cost goes."""
    store = SceneStore.open(scene(args, length))
    config = load_config(Path(CONFIG)).replace(num_iters=args.steps, preview_every=0)
    set_threads(config.fit.threads)
    fit = start_fit(store, args.work / f"timed_{length}", config)
    fit.darken()
    return fit


def step_ms(fits: list[Fit], steps: int) -> list[float]:
    """Median milliseconds of CPU time of the steps of each fit, taken in turns."""
    times: list[list[float]] = [[] for _ in fits]
    for start in range(0, steps, TURN):
        for fit, own in zip(fits, times):
            for _ in range(min(TURN, steps - start)):
                began = time.process_time()
                fit.advance()
                own.append(1e3 * (time.process_time() - began))
    return [median(own) for own in times]


def table(costs: list[Cost]) -> str:
    """All costs as Markdown, and how they grow."""
    lines = [
        "| frames | pairs | steps of chains | preprocess, CPU s | ms a pair | us per N log2 N "
        "| parameters | step, median ms of CPU | fit, peak MB |",
        "|" + " --- |" * 9,
    ]
    for cost in costs:
        n, spent = cost.frames, cost.preprocess_s
        lines.append(
            f"| {n} | {cost.pairs} | {chained(n)} | {spent:.1f} | {1e3 * spent / cost.pairs:.1f} "
            f"| {1e6 * spent / (n * math.log2(n)):.0f} | {cost.parameters} | {cost.step_ms:.1f} "
            f"| {cost.fit_mb:.0f} |"
        )
    first, last = costs[0], costs[-1]
    slope = line([(cost.frames, cost.fit_mb) for cost in costs])[0]
    pair_s, chain_s = two_parts(costs)
    lines += ["", f"From {first.frames} frames to {last.frames}, {last.frames / first.frames:.1f} "
              f"times as many: preprocessing {last.preprocess_s / first.preprocess_s:.1f} times "
              f"(pairs {last.pairs / first.pairs:.1f}), a step "
              f"{last.step_ms / first.step_ms:.2f} times, memory "
              f"{last.fit_mb / first.fit_mb:.2f} times ({slope:.2f} MB a frame). Preprocessing is "
              f"near {1e3 * pair_s:.1f} ms a pair and {1e3 * chain_s:.2f} ms a step of a chain.",
              ""]  # fmt: skip
    return "\n".join(lines)


def chained(frames: int) -> int:
    """Steps of the chains that follow each frame's points, both ways."""
    return 2 * sum(frames - gap for gap in chain_stops(pair_gaps(frames, "log")))


def two_parts(costs: list[Cost]) -> tuple[float, float]:
    """CPU seconds of preprocessing for each pair and each step of a chain, by least squares.

    Of shares, so that short clips count as much as long ones.
    """
    spent = np.array([cost.preprocess_s for cost in costs])
    counts = np.array([(cost.pairs, chained(cost.frames)) for cost in costs])
    (pair_s, chain_s), *_ = np.linalg.lstsq(counts / spent[:, None], np.ones(len(costs)))
    return float(pair_s), float(chain_s)


def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Slope and offset of the straight line nearest to points, by least squares."""
    x, y = np.array(points, dtype=np.float64).T
    slope, offset = np.polyfit(x, y, 1)
    return float(slope), float(offset)


def draw(costs: list[Cost], path: Path) -> None:
    """Three panels over the number of frames, each with the growth it ought to have."""
    n = np.array([cost.frames for cost in costs], dtype=np.float64)
    smooth = np.linspace(n[0], n[-1], 100)
    first = costs[0].preprocess_s / (n[0] * math.log2(n[0]))
    slope, offset = line([(cost.frames, cost.fit_mb) for cost in costs])
    panels = (
        ("preprocess, CPU s", [cost.preprocess_s for cost in costs],
         first * smooth * np.log2(smooth), "N log N from the shortest"),
        ("step of the fit, median ms of CPU", [cost.step_ms for cost in costs],
         np.full_like(smooth, costs[0].step_ms), "as the shortest"),
        ("fit, peak of memory, MB", [cost.fit_mb for cost in costs],
         slope * smooth + offset, f"{slope:.2f} MB a frame"),
    )  # fmt: skip
    figure = Figure(figsize=(12, 3.6), dpi=110, layout="constrained")
    for axes, (title, found, expected, label) in zip(figure.subplots(1, 3), panels):
        axes.plot(smooth, expected, "--", color="#8a8a92", label=label)
        axes.plot(n, found, "o-", color="#3b6fd4", label="measured")
        axes.set(title=title, xlabel="frames", xticks=n, ylim=(0, 1.2 * max(found)))
        axes.legend(loc="lower right")
    figure.savefig(path, format="png", metadata={"Software": None})


if __name__ == "__main__":
    main()
