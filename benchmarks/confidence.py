"""The weights of `omnimotion.confidence`, and how well confidence is calibrated with them.

    python benchmarks/confidence.py --work DIR [--validate CLIP SCENE RUN]... [--out RESULT]

renders, preprocesses and fits the clips of `FITS`, good fits and bad ones, skipping what DIR has
already; finds the weights on them and prints them as the constants of the module. What the module
holds is then held against clips that the weights have never seen: CLIP a folder with ground truth,
SCENE and RUN a fit of it. RESULT.md and RESULT.png say how well it does.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from omnimotion import metrics
from omnimotion.confidence import WITHIN_PX, Evidence
from omnimotion.files import atomic_write
from omnimotion.geometry import resize_xy
from omnimotion.ground_truth import read_ground_truth
from omnimotion.plots import reliability_picture
from omnimotion.rays import locate, surface_at
from omnimotion.runs import open_tracker
from omnimotion.synthetic import render_clip, write_clip
from omnimotion.tracker import HIDDEN_ABOVE, Tracker

ROOT = Path(__file__).resolve().parent.parent
DECAY = 1e-3  # of the weights of standardised evidence: fits are few, and what they see is alike
BINS = 10


class Plan(NamedTuple):
    """A clip to render, and the steps of its fits; 0 is as many as cpu.txt takes."""

    seed: int
    size: tuple[int, int]
    n_frames: int
    steps: tuple[int, ...]


FITS = (
    Plan(101, (160, 120), 36, (300,)), Plan(102, (128, 128), 32, (300, 0)),
    Plan(103, (192, 144), 36, (800,)), Plan(104, (128, 128), 28, (300,)),
    Plan(105, (160, 120), 32, (800,)), Plan(106, (128, 96), 36, (0,)),
)  # fmt: skip


class Answers(NamedTuple):
    """All cells of one fit whose truth is known, but those of the queries' own frames: C of them.

    ``before`` is what confidence was before it had a meaning.
    """

    name: str
    evidence: np.ndarray  # (C, F)
    confidence: np.ndarray  # (C,)
    before: np.ndarray  # (C,)
    right: np.ndarray  # (C,) bool, within `WITHIN_PX` of the truth


def main() -> None:
    """Fit, find the weights, validate."""
    args = parse_arguments()
    torch.set_num_threads(1)
    if args.work is not None:
        fits = [answers(clip, clip / "scene", run) for clip, run in made(args.work)]
        held_out = [
            confidence_of(each, *solve([other for other in fits if other.name != each.name]))
            for each in fits
        ]
        print(f"# mean over {len(fits)} fits, each judged by weights of the other clips")
        print(summary("held-out clip", held_out))
        weights, bias = solve(fits)
        print(constants(weights, bias))
    unseen = [answers(*(Path(part) for part in each)) for each in args.validate]
    if unseen and args.out is not None:
        text = report(unseen)
        print(text)
        atomic_write(args.out.with_suffix(".md"), text.encode())
        tables = {
            "before": pooled([each.before for each in unseen], unseen),
            "now": pooled([each.confidence for each in unseen], unseen),
        }
        atomic_write(args.out.with_suffix(".png"), reliability_picture(tables))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="folder of the clips and fits to learn from")
    parser.add_argument("--validate", nargs=3, action="append", default=[],
                        metavar=("CLIP", "SCENE", "RUN"))  # fmt: skip
    parser.add_argument("--out", type=Path, help="without suffix")
    return parser.parse_args()


def made(work: Path) -> list[tuple[Path, Path]]:
    """Render, preprocess and fit what is not there yet; each clip's folder with each run's."""
    fits = []
    for plan in FITS:
        clip = work / str(plan.seed)
        if not (clip / "gt.npz").is_file():
            write_clip(render_clip(plan.seed, plan.n_frames, plan.size), clip)
        if not (clip / "scene" / "scene.json").is_file():
            command("preprocess", clip / "frames", "--scene", clip / "scene", "--flow", "dis")
        for steps in plan.steps:
            run = clip / "scene" / "runs" / (str(steps) if steps else "full")
            if not (run / "report.json").is_file():
                command("train", "--config", ROOT / "configs" / "cpu.txt", "--scene",
                        clip / "scene", "--run", run, f"--num_iters={steps}",
                        "--preview_every=0")  # fmt: skip
            fits.append((clip, run))
    return fits


def command(name: str, *arguments: "str | Path") -> None:
    """Run a command of the project; ends the program when it fails."""
    line = [sys.executable, "-m", "omnimotion", name, *map(str, arguments)]
    if subprocess.run(line, cwd=ROOT).returncode:
        sys.exit(f"failed: {' '.join(line)}")


def answers(clip: Path, scene: Path, run: Path) -> Answers:
    """What a fit answers to the queries of its clip's ground truth, and whether it is right."""
    truth = read_ground_truth(clip)
    asked = truth.select("given")
    tracker = open_tracker(scene, run, "cpu")
    tracks, evidence = tracker.track_with_evidence(asked.queries)
    found, true = (metrics.to_scale(xy, truth.size) for xy in (tracks.xy, asked.tracks))
    cells = asked.evaluated
    return Answers(
        truth.name, evidence[cells], tracks.confidence[cells],
        before(tracker, asked.queries)[cells],
        metrics.squared_error(found, true)[cells] < WITHIN_PX**2,
    )  # fmt: skip


@torch.no_grad()
def before(tracker: Tracker, queries: np.ndarray) -> np.ndarray:
    """What confidence (Q, T) was before: the product of how settled and how decided all is."""
    now = tracker.scene.snapshot()
    frames = torch.from_numpy(queries[:, 0].astype(np.int64))
    xy = resize_xy(torch.from_numpy(queries[:, 1:]), tracker.index.original_size,
                   tracker.index.size)  # fmt: skip
    seen = surface_at(now, now.at(frames), tracker.frame.normalise(xy)[:, None])
    u = seen.u[:, 0].expand(now.n_frames, -1, 3).contiguous()
    there = locate(now, now.at(torch.arange(now.n_frames)), u)
    product = seen.settled[:, 0] * there.settled * (2 * (there.occlusion - HIDDEN_ABOVE)).abs()
    return product.T.clamp(0, 1).numpy()


def solve(fits: list[Answers]) -> tuple[np.ndarray, float]:
    """Weights (F,), none negative, and bias: the likeliest, each fit counting the same."""
    evidence = torch.from_numpy(np.concatenate([each.evidence for each in fits])).double()
    right = torch.from_numpy(np.concatenate([each.right for each in fits])).double()
    share = torch.cat(
        [torch.full((len(each.right),), 1 / len(each.right) / len(fits)) for each in fits]
    ).double()
    scale = evidence.std(0).clamp(min=1e-9)
    raw = torch.full((evidence.shape[1],), -1.0, dtype=torch.float64, requires_grad=True)
    bias = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([raw, bias], max_iter=300, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        weights = torch.nn.functional.softplus(raw)
        logit = bias - (evidence / scale) @ weights
        value = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, right, weight=share, reduction="sum"
        ) + DECAY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    weights = torch.nn.functional.softplus(raw) / scale
    return weights.detach().numpy(), float(bias.detach())


def confidence_of(fit: Answers, weights: np.ndarray, bias: float) -> Answers:
    """The answers with the confidence of other weights."""
    return fit._replace(confidence=1 / (1 + np.exp(fit.evidence @ weights - bias)))


def constants(weights: np.ndarray, bias: float) -> str:
    """The constants as they stand in the module."""
    lines = [f"BIAS = {bias:.2f}", "WEIGHTS = ("]
    lines += [f"    {weight:.3f},  # {name}" for name, weight in zip(Evidence._fields, weights)]
    return "\n".join([*lines, ")"])


def pooled(confidence: list[np.ndarray], fits: list[Answers]) -> np.ndarray:
    """`metrics.reliability` of all fits together."""
    right = np.concatenate([each.right for each in fits])
    return metrics.reliability(np.concatenate(confidence), right, BINS)


def summary(name: str, fits: list[Answers]) -> str:
    """A row of the table: means over fits."""
    rows = []
    for each in fits:
        row = [100 * each.right.mean()]
        for said in (each.before, each.confidence):
            row += [
                100 * said.mean(),
                100 * metrics.calibration_error(metrics.reliability(said, each.right, BINS)),
                100 * ranking(said, each.right),
            ]
        rows.append(row)
    cells = " | ".join(f"{value:.1f}" for value in np.mean(rows, axis=0))
    return f"| {name} | {cells} |"


def ranking(confidence: np.ndarray, right: np.ndarray) -> float:
    """Chance that of a right and a wrong answer the right one has more confidence (AUC)."""
    rank = np.empty(len(right))
    rank[np.argsort(confidence, kind="stable")] = np.arange(len(right))
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    below = rank[right].sum() - n_right * (n_right - 1) / 2
    return below / (n_right * n_wrong) if n_right and n_wrong else float("nan")


def report(unseen: list[Answers]) -> str:
    """The results as Markdown."""
    together = Answers("all", *(np.concatenate([each[k] for each in unseen])
                                for k in range(1, len(Answers._fields))))  # fmt: skip
    lines = [
        f"Confidence against the share of tracks within {WITHIN_PX:g} px of the truth at 256x256, "
        "of clips that the weights have never seen, in percent. Every known frame of every query "
        "but its own, seen or hidden.", "",
        "Calibration error: mean distance of confidence and share over ten bins of confidence. "
        "Ranking: how often, of a right and a wrong place, the right one has more.", "",
        "| clip | within 4 px | before: mean | calibration error | ranking "
        "| now: mean | calibration error | ranking |",
        "|" + " --- |" * 8,
        *(summary(each.name, [each]) for each in [*unseen, together]), "",
        "| confidence | count | mean confidence | within 4 px | before: count | mean | "
        "within 4 px |", "|" + " --- |" * 7,
    ]  # fmt: skip
    now, old = (pooled([getattr(each, name) for each in unseen], unseen)
                for name in ("confidence", "before"))  # fmt: skip
    for k in range(BINS):
        cells = [f"{k / BINS:.1f}-{(k + 1) / BINS:.1f}"]
        for table in (now, old):
            count, said, right = table[k]
            cells += [f"{count:.0f}", *(f"{100 * x:.1f}" if count else "-" for x in (said, right))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
