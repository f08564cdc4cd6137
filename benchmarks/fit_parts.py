"""What each part of the fit adds: all of it, and with one part left out at a time.

    python benchmarks/fit_parts.py --work DIR --out benchmarks/results/fit_parts

fits the preprocessed scenes that `benchmarks/run.py --work DIR` left there again and again, each
time with another setting, and writes ``fit_parts.md``: accuracy and CPU seconds of the fit.
"""

import argparse
import os
import sys
from pathlib import Path

import torch
from accuracy import SCORES, Asked
from spent import spent

from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.ground_truth import read_ground_truth
from omnimotion.runs import open_tracker

ROOT = Path(__file__).resolve().parent.parent
PARTS = {
    "all": (),
    "no camera motion": ("--camera=false",),
    "flow loss of composites, not samples": ("--per_sample=0",),
    "no robust flow loss": ("--robust_px=0",),
    "no depth consistency": ("--depth_consistency=0",),
    "no occlusion loss": ("--occlusion=0",),
    "no photometric loss": ("--photometric=0",),
    "no smoothness": ("--smoothness=0",),
    "one grid level": ("--levels=1",),
    "all gaps from the start": ("--gap_ramp=0",),
    "pairs drawn evenly": ("--gap_bias=0",),
}


def main() -> None:
    """Fit and score all variants, writing the table as it grows."""
    args = parse_arguments()
    torch.set_num_threads(1)
    lines = [
        f"{args.steps} steps, seed 0, `{args.config.name}`; queries refined, and the scene alone.",
        "", "| clip | variant | " + " | ".join(SCORES) + " | scene alone: " + " | ".join(SCORES)
        + " | CPU s |", "|" + " --- |" * (3 + 2 * len(SCORES)),
    ]  # fmt: skip
    for name in args.clips:
        for part, flags in PARTS.items():
            lines.append(row(args, name, part, flags))
            print(lines[-1], flush=True)
            atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "cpu.txt")
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--clips", nargs="+", default=["layers_0", "layers_1", "solids_0"])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    return parser.parse_args()


def row(args: argparse.Namespace, name: str, part: str, flags: tuple[str, ...]) -> str:
    """Fit one clip with one setting, and score it."""
    scene = args.work / name
    run = scene / "parts" / part.replace(" ", "_").replace(",", "")
    seconds = fit(args, scene, run, flags)
    tracker, truth = open_tracker(scene, run, "cpu"), read_ground_truth(args.data / name)
    cells = []
    for refine in (True, False):
        found = evaluate_scene(Asked(tracker, refine), truth).scores
        cells += [f"{found[key]:.1f}" if found[key] is not None else "-" for key in SCORES]
    return f"| {name} | {part} | " + " | ".join(cells) + f" | {seconds:.0f} |"


def fit(args: argparse.Namespace, scene: Path, run: Path, flags: tuple[str, ...]) -> float:
    """Train unless it is done; CPU seconds, 0 where it was. Ends the program when it fails."""
    if (run / "report.json").is_file():
        return 0.0
    command = [sys.executable, str(ROOT / "train.py"), f"--config={args.config}",
               f"--scene={scene}", f"--run={run}", f"--num_iters={args.steps}",
               "--preview_every=0", *flags]  # fmt: skip
    return spent(command, os.environ | {"PYTHONPATH": str(ROOT)}).cpu_s


if __name__ == "__main__":
    main()
