"""Whether a fit can be told from a better one with another seed, early and without ground truth.

    python benchmarks/seeds.py --data DIR --work DIR --clips layers_0 solids_1 --seeds 6 \\
        --set steps_per_frame=30 --out benchmarks/results/seeds

fits each clip, preprocessed in ``--work`` as `benchmarks/run.py` leaves it, with several seeds,
measures each fit where restarts would be compared and at its end, and scores it. ``seeds.md`` has
all scores, how each measure ranks the seeds, and what the best of several begun seeds would score.
Runs are kept: the same command goes on.
"""

import argparse
import json
import math
from collections.abc import Sequence
from itertools import combinations
from operator import itemgetter
from pathlib import Path
from statistics import mean, median

import numpy as np

from omnimotion.config import load_config
from omnimotion.evaluation import evaluate_scene
from omnimotion.files import atomic_write
from omnimotion.fitting import Fit, run_fit
from omnimotion.flow import SceneStore
from omnimotion.ground_truth import read_ground_truth
from omnimotion.health import measure
from omnimotion.history import METRICS_NAME, History
from omnimotion.runs import open_tracker, set_threads, start_fit
from omnimotion.schedule import START_SHARE
from omnimotion.signals import StopSignal

ROOT = Path(__file__).resolve().parent.parent
SCORES = ("AJ", "delta_avg", "OA", "hidden_px")
MEASURES = {  # by name: 1 where more is better, -1 where less is
    "moving_mean_px": -1, "moving_under_1_px": 1, "moving_under_2_px": 1, "moving_under_4_px": 1,
    "held_out_mean_px": -1, "held_out_median_px": -1, "held_out_under_2_px": 1,
    "order_conflicts": -1, "cycle_under_2_px": 1, "settled": 1, "photometric_rms": -1,
    "drawn_flow": -1, "drawn_loss": -1,
}  # fmt: skip


def main() -> None:
    """Fit, measure and score all seeds, and write the table."""
    args = parse_arguments()
    config = load_config(args.config).replace(preview_every=0, **dict(map(setting, args.set)))
    set_threads(config.fit.threads)
    results: dict[str, list[dict]] = {}
    for clip in args.clips:
        store, truth = SceneStore.open(args.work / clip), read_ground_truth(args.data / clip)
        for seed in range(args.seeds):
            run = (args.runs or args.work / clip / "runs") / f"{clip}-seed{seed}"
            path = run / "result.json"
            if not path.is_file():
                result = fitted(start_fit(store, run, config.replace(seed=seed)), store)
                tracker = open_tracker(args.work / clip, run)
                result["scores"] = evaluate_scene(tracker, truth).scores
                atomic_write(path, json.dumps(result).encode())
            results.setdefault(clip, []).append(json.loads(path.read_bytes()))
            print(clip, seed, results[clip][-1]["scores"]["AJ"], flush=True)
            atomic_write(args.out.with_suffix(".md"), table(args, results).encode())


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "cpu.txt")
    parser.add_argument("--work", type=Path, default=Path("scenes") / "benchmark")
    parser.add_argument("--runs", type=Path, help="where runs are kept; default inside the scenes")
    parser.add_argument("--clips", nargs="+", default=["layers_0", "solids_1"])
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0")
    parser.add_argument("--set", nargs="*", default=[], help="settings: key=number")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    return parser.parse_args()


def setting(text: str) -> tuple[str, float]:
    """A name and a number of ``key=number``."""
    name, _, value = text.partition("=")
    return name, json.loads(value)


def fitted(fit: Fit, store: SceneStore) -> dict:
    """Fit to the end; what was measured where starts are compared, and then."""
    early = run_fit(fit, StopSignal(), until=round(START_SHARE * fit.config.fit.num_iters))
    result = {"early": measured(fit, store)}
    run_fit(fit, StopSignal())
    return result | {"end": measured(fit, store), "steps": [early.step, fit.step]}


def measured(fit: Fit, store: SceneStore) -> dict[str, float | None]:
    """All `MEASURES` of a fit."""
    health = measure(fit.scene, fit.pool, store, fit.config.fit.seed)
    lines = History(fit.run / METRICS_NAME, fit.step)
    found = health.figures | {"held_out_mean_px": health.held_out.mean_px}
    found |= {f"moving_{name}": value for name, value in vars(health.moving).items()}
    found |= {f"drawn_{name}": lines.recent(name) for name in ("flow", "loss")}
    return {name: found[name] for name in MEASURES}


def table(args: argparse.Namespace, results: dict[str, list[dict]]) -> str:
    """Everything as Markdown."""
    words = f"--clips {' '.join(args.clips)} --seeds {args.seeds} --set {' '.join(args.set)}"
    lines = [f"`python benchmarks/seeds.py {words} --out {args.out}`", ""]
    for clip, runs in results.items():
        lines += clip_lines(clip, runs)
    return "\n".join(lines) + "\n"


def clip_lines(clip: str, runs: list[dict]) -> list[str]:
    """The scores of one clip's seeds, and what each measure says of them."""
    early, steps = runs[0]["steps"]
    scores = [run["scores"]["AJ"] for run in runs]
    lines = [f"## {clip}, {steps} steps", "", "| seed | " + " | ".join(SCORES) + " |",
             "|" + " --- |" * (1 + len(SCORES))]  # fmt: skip
    for seed, run in enumerate(runs):
        lines.append(row([str(seed)], [run["scores"][name] for name in SCORES]))
    lines += ["", f"AJ: median {median(scores):.1f}, worst {min(scores):.1f}, "
              f"best {max(scores):.1f}.", ""]  # fmt: skip
    if len(runs) < 3:
        return lines
    lines += ["Rank correlation of a measure with AJ (1: the better, the higher), and the mean AJ "
              "of the best by it of 2 and of 3 begun seeds (any: "
              f"{mean(scores):.2f}; best by AJ itself: {best_of(2, scores, scores):.2f}, "
              f"{best_of(3, scores, scores):.2f}).", "",
              f"| measure | step {early}: rank | of 2 | of 3 | step {steps}: rank | of 2 | of 3 |",
              "|" + " --- |" * 7]  # fmt: skip
    for name, sign in MEASURES.items():
        cells = []
        for when in ("early", "end"):
            values = [goodness(run[when][name], sign) for run in runs]
            cells.append(ranks(values, scores))
            cells += [best_of(count, values, scores) for count in (2, 3)]
        lines.append(row([name], cells, 2))
    return [*lines, ""]


def best_of(count: int, values: list[float], scores: list[float]) -> float:
    """The mean score of the one with the largest value, over all choices of ``count``."""
    groups = combinations(zip(values, scores), count)
    return mean(max(group, key=itemgetter(0))[1] for group in groups)


def ranks(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation of two lists without ties."""
    orders = np.array([np.argsort(np.argsort(values)) for values in (a, b)], float)
    return float(np.corrcoef(orders)[0, 1])


def goodness(value: float | None, sign: int) -> float:
    """The value, more for better; what could not be measured is worse than anything."""
    return -math.inf if value is None else sign * value


def row(names: list[str], values: Sequence[float | None], digits: int = 1) -> str:
    """One line of a table."""
    cells = ["-" if value is None else f"{value:.{digits}f}" for value in values]
    return "| " + " | ".join(names + cells) + " |"


if __name__ == "__main__":
    main()
