"""The benchmark: every test clip through preprocess, train and query, as a user would run them.

    python benchmarks/run.py --data DIR --config configs/cpu.txt --out benchmarks/results/cpu

writes ``cpu.json`` and ``cpu.md``: accuracy (the project's own evaluation), seconds and peak
memory of each stage, for each clip and seed. Stages run one after the other in processes of their
own, so that each one's memory is its own. ``--again`` queries and scores the runs of an earlier
call again, whose preprocessing and training it keeps with their figures.
"""

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path

import torch
from spent import spent

from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.ground_truth import read_ground_truth
from omnimotion.runs import open_tracker

ROOT = Path(__file__).resolve().parent.parent
CLIPS = (
    "layers_0", "layers_1", "layers_2", "solids_0", "solids_1", "pot_V25_2", "badja_camel",
)  # fmt: skip
SCORES = ("AJ", "delta_avg", "OA", "hidden_px", "hidden_inside_px", "TC")
STAGES = ("preprocess", "train", "query")
GROUPS = {"layers": "mean of layers_*", "solids": "mean of solids_*"}


def main() -> None:
    """Run the benchmark and write its table."""
    args = parse_arguments()
    results = []
    if args.again:
        told = json.loads(args.out.with_suffix(".json").read_text())
        for before in told["results"]:
            results.append(scored(args, before["clip"], before["seed"], before["stages"]))
            print(json.dumps(results[-1]), flush=True)
        write(args, results, told["about"]["command"] + " [then --again]")
        return
    for name in args.clips:
        flow = args.work / name
        prepared = stage([*script("preprocess"), str(args.data / name / "frames"), "--scene",
                          str(flow), "--flow", args.flow, "--overwrite"])  # fmt: skip
        for seed in args.seeds:
            trained = fitted(args, flow, seed)
            stages = {"preprocess": prepared, "train": trained}
            results.append(scored(args, name, seed, stages))
            print(json.dumps(results[-1]), flush=True)
            write(args, results)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "cpu.txt")
    parser.add_argument("--flow", default="dis")
    parser.add_argument("--clips", nargs="+", default=CLIPS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    parser.add_argument("--again", action="store_true", help="only query and score again")
    parser.add_argument("--set", nargs="*", default=[], help="more train flags: key=value")
    return parser.parse_args()


def fitted(args: argparse.Namespace, scene: Path, seed: int) -> dict[str, float]:
    """Train one clip with one seed; seconds and memory."""
    run = scene / "runs" / f"seed{seed}"
    shutil.rmtree(run, ignore_errors=True)
    extra = [f"--{pair}" for pair in args.set]
    return stage([*script("train"), "--config", str(args.config), "--scene", str(scene),
                  "--run", str(run), f"--seed={seed}", *extra])  # fmt: skip


def scored(args: argparse.Namespace, name: str, seed: int, stages: dict) -> dict:
    """Query and score a run; ``stages``: what the earlier ones took."""
    scene = args.work / name
    run = scene / "runs" / f"seed{seed}"
    queried = stage([*script("query"), "--scene", str(scene), "--run", str(run), "--grid", "16",
                     "--out", str(run / "tracks.npz"), "--overwrite"])  # fmt: skip
    truth = read_ground_truth(args.data / name)
    scores = evaluate_scene(open_tracker(scene, run), truth).scores
    return {"clip": name, "seed": seed, "scores": scores, "stages": stages | {"query": queried}}


def script(name: str) -> list[str]:
    """The command of a stage."""
    return [sys.executable, str(ROOT / f"{name}.py")]


def stage(command: list[str]) -> dict[str, float]:
    """Run a command; its wall seconds and peak memory in MB, as `spent` does."""
    cost = spent(command, os.environ | {"PYTHONPATH": str(ROOT)})
    return {"s": round(cost.seconds, 1), "mb": cost.peak_mb}


def write(args: argparse.Namespace, results: list[dict], command: str | None = None) -> None:
    """Write the JSON and the Markdown table of what is done so far."""
    args.out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "command": command or f"python benchmarks/run.py {' '.join(sys.argv[1:])}",
        "config": args.config.read_text(),
        "hardware": f"{cpu_name()}, {len(os.sched_getaffinity(0))} cores",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
    }
    text = json.dumps({"about": about, "results": results}, indent=1)
    atomic_write(args.out.with_suffix(".json"), text.encode())
    atomic_write(args.out.with_suffix(".md"), table(about, results).encode())


def table(about: dict[str, str], results: list[dict]) -> str:
    """The results as Markdown."""
    lines = [f"`{about['command']}`", "", f"{about['hardware']}; {about['software']}", ""]
    lines += ["| clip | seed | " + " | ".join(SCORES) + " | preprocess s | train s | query s | "
              "all s | peak MB |",
              "|" + " --- |" * (len(SCORES) + 7)]  # fmt: skip
    for result in results:
        lines.append(row(result["clip"], str(result["seed"]), [result]))
    for prefix, title in GROUPS.items():
        chosen = [result for result in results if result["clip"].startswith(prefix)]
        if chosen:
            lines.append(row(f"**{title}**", "all", chosen))
    return "\n".join(lines) + "\n"


def row(name: str, seed: str, results: list[dict]) -> str:
    """One line of the table: means over the given results, and the largest memory."""
    cells = [name, seed]
    for key in SCORES:
        cells.append(mean([result["scores"].get(key) for result in results], 2))
    for key in STAGES:
        cells.append(mean([result["stages"][key]["s"] for result in results], 1))
    whole = [sum(result["stages"][key]["s"] for key in STAGES) for result in results]
    cells.append(mean(whole, 1))
    cells.append(str(max(result["stages"][key]["mb"] for result in results for key in STAGES)))
    return "| " + " | ".join(cells) + " |"


def mean(values: list[float | None], digits: int) -> str:
    """The mean of what is there, as text."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.{digits}f}" if known else "-"


def cpu_name() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
