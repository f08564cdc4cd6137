"""What each part adds: all of it, and with one part left out at a time.

    python benchmarks/ablation.py --work DIR --out benchmarks/results/ablation

takes the scenes that `benchmarks/run.py --work DIR` left there. With a part of a query left out
the same fit is asked again; with one of the fit, or of the flow, a clip is fitted anew, one thread
a fit, in DIR/CLIP/parts, where a later call finds it. Writes ``ablation.md`` as it goes.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from ablated_queries import ALONE, QUERIES, Asked, replaced
from run import CLIPS, SCORES, cpu_name, mean
from spent import spent

from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.ground_truth import read_ground_truth
from omnimotion.runs import open_tracker
from preprocess import dis
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions

ROOT = Path(__file__).resolve().parent.parent
ALL = "all"
FITS = {
    ALL: (),
    "no depth consistency": ("--depth_consistency=0",),
    "no occlusion loss": ("--occlusion=0",),
    "no photometric loss": ("--photometric=0",),
    "no smoothness": ("--smoothness=0",),
    "flow loss of composites, not of samples": ("--per_sample=0",),
    "far-off matches do not pull first": ("--robust_first=2",),
    "no robust flow loss": ("--robust_px=0", "--robust_first=0"),
    "no camera motion": ("--camera=false",),
    "one motion grid": ("--levels=1",),
    "finer motion grids do not fade": ("--level_fade=0",),
    "what moves is drawn no more often": ("--motion_share=0",),
    "matches of any texture count alike": ("--texture=0",),
    "pairs of any gap from the start": ("--gap_ramp=0",),
    "pairs drawn evenly": ("--gap_bias=0",),
}
FLOWS: dict[str, tuple[Callable, str]] = {  # and which pairs
    "flow of small frames as DIS finds it": (lambda: replaced(dis, "LEAST_SIDE", 0), "auto"),
    "matches of gaps like powers of two alone": (nullcontext, "log"),
}


class Job(NamedTuple):
    """One clip with one part left out."""

    clip: str
    part: str
    seed: int
    args: argparse.Namespace


def main() -> None:
    """Do all jobs and write the table as they end."""
    args = parse_arguments()
    done: dict[str, list[dict]] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        for parts in ([ALL], [*QUERIES, *FLOWS, *list(FITS)[1:]]):  # queries are of these fits
            jobs = [Job(clip, part, seed, args) for part in parts for seed in args.seeds
                    for clip in args.clips]  # fmt: skip
            for job, found in zip(jobs, pool.map(scored, jobs)):
                done.setdefault(job.part, []).append(found | {"clip": job.clip})
                atomic_write(args.out.with_suffix(".md"), table(args, done).encode())
                print(job.part, job.clip, job.seed, found, flush=True)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "cpu.txt")
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--clips", nargs="+", default=CLIPS[:5])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    return parser.parse_args()


def scored(job: Job) -> dict[str, Any]:
    """Scores of a clip with a part left out, and the CPU seconds of its fit."""
    torch.set_num_threads(1)
    scene = job.args.work / job.clip
    run = scene / "parts" / job.part.replace(" ", "_").replace(",", "") / str(job.seed)
    if job.part in FLOWS:
        scene = scene_of(job, scene)
    if job.part in QUERIES:
        run, seconds = scene / "parts" / ALL / str(job.seed), None
    else:
        seconds = fit(job, scene, run)
    truth = read_ground_truth(job.args.data / job.clip)
    with QUERIES.get(job.part, nullcontext)():
        tracker = Asked(open_tracker(scene, run, "cpu"), job.part != ALONE)
        scores = evaluate_scene(tracker, truth).scores
    return {key: scores.get(key) for key in SCORES} | {"seconds": seconds}


def scene_of(job: Job, scene: Path) -> Path:
    """The clip preprocessed with a part of the flow left out."""
    patch, pairs = FLOWS[job.part]
    folder = scene.with_name(f"{scene.name}-{list(FLOWS).index(job.part)}")
    with patch():
        return preprocess(PreprocessOptions(job.args.data / job.clip / "frames", folder,
                                            flow="dis", pairs=pairs))  # fmt: skip


def fit(job: Job, scene: Path, run: Path) -> float:
    """Train unless it is done; CPU seconds. Ends the program when it fails."""
    told = run.with_suffix(".json")
    if not told.is_file():
        shutil.rmtree(run, ignore_errors=True)  # one that was stopped: its seconds are not known
        command = [sys.executable, str(ROOT / "train.py"), f"--config={job.args.config}",
                   f"--scene={scene}", f"--run={run}", f"--seed={job.seed}", "--threads=1",
                   "--preview_every=0", *FITS.get(job.part, ())]  # fmt: skip
        cost = spent(command, os.environ | {"PYTHONPATH": str(ROOT)}, quiet=True)
        atomic_write(told, json.dumps(cost.cpu_s).encode())
    return float(json.loads(told.read_text()))


def table(args: argparse.Namespace, done: dict[str, list[dict]]) -> str:
    """What is done so far, as Markdown; of clips the AJ, of all of them the means."""
    lines = [
        f"`python benchmarks/{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`", "",
        f"{cpu_name()}; {args.config.name}; one thread a fit, {args.jobs} at a time. AJ of each "
        "clip, means of all; CPU seconds a fit.", "",
        "| left out | " + " | ".join(args.clips) + " | AJ | delta_avg | OA | hidden px | CPU s |",
        "|" + " --- |" * (len(args.clips) + 6),
    ]  # fmt: skip
    for part, found in done.items():
        cells = [mean([each["AJ"] for each in found if each["clip"] == clip], 1)
                 for clip in args.clips]  # fmt: skip
        cells += [mean([each[key] for each in found], digits)
                  for key, digits in (("AJ", 1), ("delta_avg", 1), ("OA", 1), ("hidden_px", 2),
                                      ("seconds", 0))]  # fmt: skip
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
