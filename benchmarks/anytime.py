"""What more or less time for a fit gains, and whether it is better spent on other steps.

    python benchmarks/anytime.py --data DIR --work DIR --clips layers_0 --shares 0.25 1 2 4 \\
        --variants pairs=32 samples=10 --out benchmarks/results/anytime

fits each clip, preprocessed in ``--work`` as `benchmarks/run.py` leaves it, for shares of its
default steps, with the default settings and with variants of them. A variant takes as many steps
as go into the same CPU time. Runs are kept: the same command goes on.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from omnimotion.config import Config, load_config
from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.fitting import run_fit
from omnimotion.flow import SceneStore
from omnimotion.ground_truth import GroundTruth, read_ground_truth
from omnimotion.runs import open_tracker, set_threads, start_fit
from omnimotion.signals import StopSignal

ROOT = Path(__file__).resolve().parent.parent
SCORES = ("AJ", "delta_avg", "OA", "hidden_px")
WARMUP, TIMED = 4, 32  # steps


def main() -> None:
    """Fit and score everything that is asked for, and write the table."""
    args = parse_arguments()
    config = load_config(args.config).replace(preview_every=0, seed=args.seed)
    set_threads(config.fit.threads)
    words = f"--clips {' '.join(args.clips)} --shares {' '.join(map(str, args.shares))}"
    words += f" --variants {' '.join(args.variants)}" if args.variants else ""
    lines = [f"`python benchmarks/anytime.py {words} --seed {args.seed} --out {args.out}`", "",
             "| clip | share of the default steps | settings | steps | CPU s | "
             + " | ".join(SCORES) + " |", "|" + " --- |" * (5 + len(SCORES))]  # fmt: skip
    for clip in args.clips:
        store, truth = SceneStore.open(args.work / clip), read_ground_truth(args.data / clip)
        for share in args.shares:
            for variant in ["", *args.variants]:
                run = (args.runs or args.work / clip / "runs") / f"{clip}-{share}-{variant}"
                found = fitted(store, run, config, variant, share, truth)
                scores = [f"{found['scores'].get(name) or 0:.1f}" for name in SCORES]
                cells = [clip, f"{share:g}", variant or "default", str(found["steps"]),
                         f"{found['seconds']:.0f}", *scores]  # fmt: skip
                lines.append("| " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
                atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "cpu.txt")
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--runs", type=Path, help="where runs are kept; default inside the scenes")
    parser.add_argument("--clips", nargs="+", default=["layers_0", "solids_1"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.25, 0.5, 1, 2, 4])
    parser.add_argument("--variants", nargs="*", default=[], help="settings: key=number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    return parser.parse_args()


def fitted(
    store: SceneStore, run: Path, config: Config, variant: str, share: float, truth: GroundTruth
) -> dict:
    """Steps, CPU seconds and scores of one fit, read again where it is done."""
    path = run / "result.json"
    if not path.is_file():
        default, step_s = timed(store, config)
        if variant:
            name, _, value = variant.partition("=")
            config = config.replace(**{name: json.loads(value)})
            default = round(default * step_s / timed(store, config)[1])
        fit = start_fit(store, run, config.replace(num_iters=round(share * default)))
        began = time.process_time()
        run_fit(fit, StopSignal())
        seconds = time.process_time() - began
        scores = evaluate_scene(open_tracker(store.folder, run), truth).scores
        result = {"steps": fit.step, "seconds": seconds, "scores": scores}
        atomic_write(path, json.dumps(result).encode())
    return json.loads(path.read_bytes())


def timed(store: SceneStore, config: Config) -> tuple[int, float]:
    """The default number of steps, and the CPU seconds that one takes in the middle of a fit."""
    with tempfile.TemporaryDirectory() as folder:
        trial = start_fit(store, Path(folder), config)
        trial.darken()
        steps = trial.config.fit.num_iters
        for count in (WARMUP, TIMED):
            trial.step, began = steps // 2, time.process_time()
            for _ in range(count):
                trial.advance()
        return steps, (time.process_time() - began) / TIMED


if __name__ == "__main__":
    main()
