"""Long clips: what each stage takes by the length of the clip, and accuracy across borders.

    python benchmarks/long.py --work DIR --out benchmarks/results/long

renders clips of some lengths, takes each through all stages as a user would, and writes for each
stage its peak of memory and its CPU seconds, and disk, for each frame. Then one clip is fitted in
one window and in several, from the same flow: delta_avg by the distance from the query, where the
point is visible. What is there already is not done again.
"""

import argparse
import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
from spent import Spent, spent

from omnimotion.files import atomic_write
from omnimotion.ground_truth import read_ground_truth
from omnimotion.long_runs import open_clip
from omnimotion.metrics import THRESHOLDS_PX

ROOT = Path(__file__).resolve().parent.parent
DISTANCES = (0, 25, 50, 100, 200, 10**6)  # frames from the query
CONFIG = str(ROOT / "configs" / "cpu.txt")
HEAD = (
    "| frames | stage | peak memory, MB | CPU s a frame | disk, kB a frame |\n"
    "| --- | --- | --- | --- | --- |"
)


def main() -> None:
    """Run what is asked and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="for clips and scenes")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    parser.add_argument("--lengths", default="300,1000", help="frames of the clips")
    parser.add_argument("--size", default="96x96", help="of the frames")
    parser.add_argument("--steps", type=int, default=3, help="a frame, of the fits by length")
    parser.add_argument("--flags", default="", help="more words of preprocess")
    parser.add_argument("--compared", type=int, default=300, help="frames of the clip compared")
    parser.add_argument("--compared-steps", type=int, default=10, help="a frame, of its fits")
    parser.add_argument("--windows", default="100:16", help="window:overlap,... to compare")
    args = parser.parse_args()
    lengths = [int(length) for length in args.lengths.split(",") if length]
    lines = [HEAD] + [line for length in lengths for line in by_length(args, length)]
    if args.compared:
        lines += ["", *compared(args)]
    atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def by_length(args: argparse.Namespace, length: int) -> list[str]:
    """A table's lines: each stage of a clip."""
    clip, scene = args.work / f"clip_{length}", args.work / f"scene_{length}"
    stages = {
        "render": ("demo", clip, "--length", length, "--size", args.size),
        "preprocess": ("preprocess", clip / "frames", "--scene", scene, "--flow", "dis",
                       *args.flags.split()),
        "train": ("train", "--config", CONFIG, "--scene", scene, "--preview_every", 0,
                  "--steps_per_frame", args.steps),
        "query": ("query", "--scene", scene, "--grid", 8, "--frame", length // 2, "--overwrite",
                  "--out", scene / "tracks.npz", "--device", "cpu", "--threads", 1),
    }  # fmt: skip
    lines = []
    for name, words in stages.items():
        cost = measured(args.work / f"{length}_{name}.json", words)
        folder = {"render": clip, "preprocess": scene / "flow", "train": scene / "runs"}.get(name)
        disk = f"{folder_bytes(folder) / length / 1e3:.0f}" if folder else "-"
        lines.append(f"| {length} | {name} | {cost.peak_mb:.0f} | {cost.cpu_s / length:.4f} | "
                     f"{disk} |")  # fmt: skip
        print(lines[-1], flush=True)
    return lines


def measured(path: Path, words: tuple) -> Spent:
    """What a command took, run now unless ``path`` has it from an earlier call."""
    if path.is_file():
        return Spent(**json.loads(path.read_text()))
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "omnimotion", *map(str, words)]
    cost = spent(command, os.environ | {"PYTHONPATH": str(ROOT)}, quiet=True)
    path.write_text(json.dumps(cost._asdict()))
    return cost


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def compared(args: argparse.Namespace) -> list[str]:
    """A table's lines: delta_avg by distance, of one window and of several."""
    length = args.compared
    clip = args.work / f"clip_{length}"
    measured(args.work / f"{length}_render.json",
             ("demo", clip, "--length", length, "--size", args.size))  # fmt: skip
    bins = [f"{low} to {high - 1}" if high < 10**6 else f"{low} and more"
            for low, high in pairwise(DISTANCES)]  # fmt: skip
    lines = ["| windows | CPU s | delta_avg at " + " | ".join(bins) + " frames | "
             "hidden, median px |", "|" + " --- |" * (len(bins) + 3)]  # fmt: skip
    scene = args.work / f"scene_{length}"
    measured(args.work / f"{length}_preprocess.json",
             ("preprocess", clip / "frames", "--scene", scene, "--flow", "dis"))  # fmt: skip
    for window in (f"{length}:16", *args.windows.split(",")):
        size, overlap = window.split(":")
        run = scene / "runs" / f"window_{size}_{overlap}"
        cost = measured(args.work / f"{length}_{run.name}.json", (
            "train", "--config", CONFIG, "--scene", scene, "--run", run, "--preview_every", 0,
            "--steps_per_frame", args.compared_steps, "--window", size, "--overlap", overlap,
        ))  # fmt: skip
        count = len(list(run.glob("window_*"))) or 1
        about = f"| {count} of {size}, overlap {overlap} | {cost.cpu_s:.0f} | "
        lines.append(about + scores(scene, run, clip))
        print(lines[-1], flush=True)
    return lines


def scores(scene: Path, run: Path, clip: Path) -> str:
    """The cells of a run: delta_avg by distance, and the error of hidden points."""
    clip_truth = read_ground_truth(clip)
    width, height = clip_truth.size
    truth = clip_truth.select("given")
    found = open_clip(scene, run, "cpu").track(truth.queries)
    error = np.linalg.norm((found.xy - truth.tracks) * (256 / width, 256 / height), axis=-1)
    away = np.abs(np.arange(error.shape[1]) - truth.queries[:, :1])
    cells = []
    for low, high in pairwise(DISTANCES):
        chosen = error[(away >= max(low, 1)) & (away < high) & truth.visible]
        shares = [np.mean(chosen < each) for each in THRESHOLDS_PX] if len(chosen) else []
        cells.append(f"{100 * np.mean(shares):.1f}" if shares else "-")
    cells.append(f"{np.median(error[~truth.visible]):.1f}")
    return " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
