"""``omnimotion plan`` against what the stages then take: CPU seconds, disk and memory.

    python benchmarks/plan.py --data DIR --config configs/cpu.txt --work DIR --out plan.md

CPU seconds, since the wall's depend on what else the machine does: the plan's clock is replaced by
that of the process and of those that it ran. Waiting for the disk is then left out, in the plan
and in the stages.
"""

import argparse
import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

from spent import spent

from omnimotion.cli import main as omnimotion
from omnimotion.files import atomic_write

CLIPS = ("layers_0", "solids_0")


def main() -> None:
    """Plan, run and compare each clip."""
    args = parse_arguments()
    time.perf_counter = lambda: sum(os.times()[:4])  # user and system, ours and children's
    lines = [
        f"`python benchmarks/plan.py {' '.join(sys.argv[1:])}`", "",
        "| clip | stage | CPU s planned | measured | ratio | disk, MB planned | measured | ratio "
        "| memory, MB planned | measured | ratio |",
        "|" + " --- |" * 11,
    ]  # fmt: skip
    for name in args.clips:
        video, folder = str(args.data / name / "frames"), args.work / name
        folder.mkdir(parents=True)
        stages = planned(video, args.config, folder)["stages"]
        for stage, words in commands(video, args.config, folder).items():
            before = size_mb(folder)
            took = spent([sys.executable, "-m", "omnimotion", stage, *words])
            found, plan = size_mb(folder) - before, stages[stage]
            cells = [name, stage, *compared(plan["seconds"], took.cpu_s),
                     *compared(plan["disk_mb"], found),
                     *compared(plan["memory_mb"], took.peak_mb)]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    atomic_write(args.out, ("\n".join(lines) + "\n").encode())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--clips", nargs="+", default=CLIPS)
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def planned(video: str, config: Path, folder: Path) -> dict:
    """What the command says."""
    said = io.StringIO()
    words = ["plan", video, "--config", str(config), "--flow", "dis", "--folder", str(folder)]
    with contextlib.redirect_stdout(said):
        if omnimotion([*words, "--json"]):
            sys.exit(f"failed: {' '.join(words)}")
    return json.loads(said.getvalue())


def commands(video: str, config: Path, folder: Path) -> dict[str, list[str]]:
    """The words of each stage."""
    scene = ["--scene", str(folder / "scene")]
    return {
        "preprocess": [video, *scene, "--flow", "dis"],
        "train": [*scene, "--config", str(config)],
        "query": [*scene, "--grid", "16", "--out", str(folder / "tracks.npz")],
    }


def size_mb(folder: Path) -> float:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def compared(plan: float, found: float) -> list[str]:
    """Both, and the plan as a share of what was found."""
    return [f"{plan:.1f}", f"{found:.1f}", f"{plan / found:.2f}"]


if __name__ == "__main__":
    main()
