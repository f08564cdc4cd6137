"""End-point error and speed of RAFT and of DIS on rendered pairs that no training has drawn.

    python benchmarks/raft.py --weights FILE --out benchmarks/results/raft.md

Two kinds of scenes: those of the renderer that RAFT is trained on, with seeds of their own (many
pairs), and clips of the reef (`omnimotion.synthetic`), which no training has seen anything of. DIS
is that of preprocessing: medium, finest scale 0, mended at edges. Errors are means over all
pixels, and over those that are hidden in the second frame; "no flow" is the error of flow 0. Speed
is pairs a second with flow both ways, as preprocessing computes it, after a warm-up; without a GPU
a CPU second, frames are small and pairs few. The table comes last.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from omnimotion.errors import OmniMotionError
from omnimotion.files import atomic_write
from omnimotion.seeds import Purpose, generator
from omnimotion.synthetic import build_scene, exact_flow
from omnimotion.synthetic.pairs import render_pairs
from preprocess.dis import DisEstimator
from preprocess.raft import RaftEstimator, choose_device
from preprocess.raft_weights import find_weights

SEED = 20_000_000  # no seed of a training
REEF_SEEDS = (901, 902, 903, 904)
SMALL, LARGE = (192, 128), (448, 320)


class Case(NamedTuple):
    """A pair with its truth."""

    first: np.ndarray  # uint8 (H, W, 3)
    second: np.ndarray
    flow: np.ndarray  # (H, W, 2)
    visible: np.ndarray  # (H, W) bool


Method = Callable[[np.ndarray, np.ndarray], np.ndarray]


def main() -> None:
    """Measure all methods on all scenes."""
    args = parse_arguments()
    device = choose_device(args.device)
    size = args.size or (LARGE if device.type == "cuda" else SMALL)
    pairs = args.pairs or (64 if device.type == "cuda" else 4)
    methods: dict[str, Method] = {
        "no flow": lambda one, _: np.zeros((*one.shape[:2], 2)),
        "DIS": flow_of(DisEstimator(black, "asked for")),
    }
    if args.weights or args.model:
        methods["RAFT"] = flow_of(raft(args.model or "small", args.weights, device))
    unit = "pairs/s" if torch.cuda.is_available() else "pairs/CPU s"
    batch = 12 if device.type == "cuda" else 2
    speed = render_speed(size, device, batch)
    rows = [
        f"`{' '.join(['python', 'benchmarks/raft.py', *sys.argv[1:]])}`", "",
        f"{device_name(device)}; frames of {size[0]}x{size[1]}, up to {pairs} pairs a row; "
        f"rendering for training: {speed:.3g} {unit} in batches of {batch}.", "",
        f"| scenes | gap | method | error, px | hidden, px | {unit} |", "|" + " --- |" * 6,
    ]  # fmt: skip
    for name, scenes in {"rendered pairs": rendered, "reef": reef}.items():
        for gap in args.gaps:
            cases = list(scenes(gap, pairs, size, device))
            for method, function in methods.items():
                cells = [f"{value:.3g}" for value in measured(function, cases)]
                if method == "no flow":
                    cells[-1] = "-"
                rows.append(f"| {name} | {gap} | {method} | {' | '.join(cells)} |")
    text = "\n".join(rows) + "\n"
    if args.out:
        atomic_write(args.out, text.encode())
    print(text, end="")


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--weights", type=Path, help="a .npz of train_raft, or torchvision's file")
    parser.add_argument("--model", choices=("large", "small", "rendered"),
                        help="network of --weights, or published weights")  # fmt: skip
    parser.add_argument("--gaps", type=numbers, default=(1, 4, 16), help="frames, e.g. 1,4,16")
    parser.add_argument("--pairs", type=int, help="of a row; default 64 on a GPU, else 4")
    parser.add_argument("--size", type=numbers, help="W,H of the frames")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--out", type=Path, help="file for the table")
    return parser.parse_args()


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    return tuple(int(word) for word in text.split(","))


def rendered(gap: int, count: int, size: tuple[int, int], device: torch.device) -> Iterator[Case]:
    """Pairs of the renderer of training."""
    for k in range(count):
        random = generator(SEED, k, Purpose.HELD_OUT, device)
        pair = render_pairs(torch.tensor([float(gap)]), size, random)
        first, second, flow = (each[0].permute(1, 2, 0).cpu().numpy() for each in
                               (pair.first, pair.second, pair.flow))  # fmt: skip
        first, second = (np.rint(255 * each).astype(np.uint8) for each in (first, second))
        yield Case(first, second, flow, pair.visible[0].cpu().numpy())


def reef(gap: int, count: int, size: tuple[int, int], device: torch.device) -> Iterator[Case]:
    """Pairs of clips of the example's kind, at most four; the device is not asked."""
    for seed in REEF_SEEDS[:count]:
        scene = build_scene(seed, 36, size)
        i = (36 - gap) // 2
        yield Case(scene.render(i), scene.render(i + gap), *exact_flow(scene, i, i + gap))


def black(_: int) -> np.ndarray:
    """A frame until there is another."""
    return np.zeros((128, 128, 3), np.uint8)


def raft(model: str, path: Path | None, device: torch.device) -> RaftEstimator:
    """RAFT with weights of a file or published ones; ends the program where there are none."""
    try:
        return RaftEstimator(black, find_weights(model, path, is_required=True), str(device))
    except OmniMotionError as error:
        sys.exit(f"error: {error}")


def flow_of(estimator: DisEstimator | RaftEstimator) -> Method:
    """Flow from one frame to another."""

    def flow(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        estimator.frames = (one, other).__getitem__
        if isinstance(estimator, RaftEstimator):
            estimator.encoded.clear()
        return estimator.pair(0, 1, None).forward

    return flow


def clock() -> float:
    """Seconds: of a CPU, which other programs may share, unless there is a GPU to wait for."""
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def measured(method: Method, cases: list[Case]) -> tuple[float, float, float]:
    """Error of all pixels, of hidden ones, and pairs a second."""
    method(*cases[0][:2])
    began = clock()
    flows = [method(case.first, case.second) for case in cases]
    seconds = max(clock() - began, 1e-6)
    errors = [np.linalg.norm(flow - case.flow, axis=-1) for flow, case in zip(flows, cases)]
    hidden = np.concatenate([error[~case.visible] for error, case in zip(errors, cases)])
    every = float(np.mean([error.mean() for error in errors]))
    return every, float(hidden.mean()) if len(hidden) else 0.0, len(cases) / seconds


def render_speed(size: tuple[int, int], device: torch.device, batch: int) -> float:
    """Pairs a second of the renderer."""
    gap, seconds, rounds = torch.full((batch,), 4.0), 0.0, 0
    while rounds < 2 or (seconds < 5 and rounds < 20):
        random = generator(SEED, rounds, Purpose.PAIRS, device)
        began = clock()
        float(render_pairs(gap, size, random).first.sum())  # waits for the device
        seconds += (clock() - began) * (rounds > 0)  # the first warms up
        rounds += 1
    return batch * (rounds - 1) / seconds


def device_name(device: torch.device) -> str:
    """What it is measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads, OpenCV {cv2.getNumThreads()}"


if __name__ == "__main__":
    main()
