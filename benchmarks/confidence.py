"""The weights of `omnimotion.confidence`, and how well its probabilities are calibrated with them.

    python benchmarks/confidence.py --work DIR [--validate CLIP SCENE RUN]... [--out RESULT]

renders the clips of `FITS`, each as it is and worn, as a camera and a codec would leave it;
preprocesses and fits them, good fits and bad ones, skipping what DIR has already; finds the
weights on them and prints them as the constants of the module. What the module holds is then held
against clips that the weights have never seen: CLIP a folder with ground truth, SCENE and RUN a
fit of it. RESULT.md and RESULT.png say how well it does.

Refined tracks depend on the confidence of the scene alone: where the weights of SCENE change, put
them into the module and run again for the others.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from calibration import calibration_error, reliability, reliability_picture
from PIL import Image

from omnimotion import metrics
from omnimotion.confidence import (
    ON_IT_PX,
    REFINED,
    SCENE,
    SEEN,
    WITHIN_PX,
    Evidence,
    Logistic,
)
from omnimotion.files import atomic_write
from omnimotion.geometry import inside_frame
from omnimotion.ground_truth import read_ground_truth
from omnimotion.runs import open_tracker
from omnimotion.synthetic import SyntheticClip, render_clip, write_clip

ROOT = Path(__file__).resolve().parent.parent
DECAY = 1e-3  # of the weights of standardised evidence: fits are few, and what they see is alike
BINS = 10
WORN = "-worn"  # what the names of worn clips end in


class Plan(NamedTuple):
    """A clip to render, and the steps of its fits; 0 is as many as cpu.txt takes."""

    seed: int
    size: tuple[int, int]
    n_frames: int
    steps: tuple[int, ...]


FITS = (
    Plan(101, (160, 120), 36, (300, 0)), Plan(102, (128, 128), 32, (300, 0)),
    Plan(103, (192, 144), 36, (800,)), Plan(104, (128, 128), 28, (300, 0)),
    Plan(105, (160, 120), 32, (800,)), Plan(106, (128, 96), 36, (0,)),
    Plan(107, (256, 192), 40, (0,)), Plan(108, (128, 128), 32, (0,)),
    Plan(109, (160, 120), 48, (0,)), Plan(110, (192, 108), 40, (600, 0)),
    Plan(111, (128, 96), 24, (0,)), Plan(112, (320, 180), 40, (1000,)),
)  # fmt: skip


class Question(NamedTuple):
    """One of the module's probabilities."""

    name: str
    model: Logistic
    refined: bool  # whose tracks
    fields: tuple[str, ...]  # of the evidence


QUESTIONS = (
    Question("SCENE", SCENE, False, ("hidden", "cycle", "spread", "path")),
    Question("REFINED", REFINED, True, Evidence._fields),
    Question("SEEN", SEEN, True, tuple(name for name in Evidence._fields if name != "path")),
)  # fmt: skip


class Answers(NamedTuple):
    """The cells of one fit whose truth is known, but those of the queries' own frames: C of them.

    For `SEEN` those that the track puts into the frame, right where seen and within `ON_IT_PX`.
    """

    name: str
    evidence: np.ndarray  # (C, F)
    said: np.ndarray  # (C,) the probability
    right: np.ndarray  # (C,) bool: within `WITHIN_PX` of the truth, or for `SEEN` seen there


def main() -> None:
    """Fit, find the weights, validate."""
    args = parse_arguments()
    torch.set_num_threads(1)
    fits = made(args.work) if args.work is not None else []
    unseen = [tuple(Path(part) for part in each) for each in args.validate]
    sections, tables = [], {}
    for question in QUESTIONS:
        if fits:
            print(learned(question, [answers(question, clip, clip / "scene", run)
                                     for clip, run in fits]))  # fmt: skip
        if unseen:
            found = [answers(question, *each) for each in unseen]
            sections.append(section(question, found))
            tables[question.name.lower()] = pooled(found)
    if args.out is not None and unseen:
        text = "\n".join([HEADER, *sections])
        print(text)
        atomic_write(args.out.with_suffix(".md"), text.encode())
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
        for is_worn in (False, True):
            clip = work / f"{plan.seed}{WORN if is_worn else ''}"
            if not (clip / "gt.npz").is_file():
                write_clip(rendered(plan, is_worn), clip)
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


def rendered(plan: Plan, is_worn: bool) -> SyntheticClip:
    """A plan's clip, as it is rendered or worn."""
    clip = render_clip(plan.seed, plan.n_frames, plan.size)
    random = np.random.default_rng(plan.seed)
    return replace(clip, frames=worn(clip.frames, random)) if is_worn else clip


def worn(frames: Iterable[np.ndarray], random: np.random.Generator) -> Iterator[np.ndarray]:
    """Frames uint8 (H, W, 3) as a camera and a codec would leave them, each clip in its own way.

    Exposure and white balance drift, light changes from place to place, as of clouds, shadows and
    reflections, the lens blurs, more or less as it focuses, the sensor adds noise, and the codec
    leaves its blocks. Weights of rendered frames as they are take every difference of colour for
    another point's.
    """
    drift, blur = random.uniform(0, 0.015), random.uniform(0.3, 0.9)
    noise, quality = random.uniform(0.5, 4), int(random.integers(40, 95))
    shade, veil = random.uniform(0, 0.1), random.uniform(0, 16)
    gain, shades, veils = np.ones(3), drifting(random), drifting(random)
    for frame in frames:
        gain = gain * np.exp(drift * (random.normal() + 0.3 * random.normal(size=3)))
        lit = frame * gain * np.exp(shade * over(next(shades), frame))
        lit = lit + veil * over(next(veils), frame).clip(min=0)
        seen = cv2.GaussianBlur(lit, (0, 0), blur * random.uniform(0.7, 1.3))
        levels = (seen + random.normal(0, noise, frame.shape)).clip(0, 255).astype(np.uint8)
        coded = io.BytesIO()
        Image.fromarray(levels).save(coded, "JPEG", quality=quality)
        yield np.asarray(Image.open(coded))


def drifting(random: np.random.Generator) -> Iterator[np.ndarray]:
    """Normal numbers (4, 4) that change from frame to frame, over some twenty frames wholly."""
    field = random.normal(size=(4, 4))
    while True:
        yield field
        field = 0.95 * field + (1 - 0.95**2) ** 0.5 * random.normal(size=field.shape)


def over(field: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A field's numbers (H, W, 1) over all of a frame, smooth."""
    height, width = frame.shape[:2]
    return cv2.resize(field, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]


def command(name: str, *arguments: "str | Path") -> None:
    """Run a command of the project; ends the program when it fails."""
    line = [sys.executable, "-m", "omnimotion", name, *map(str, arguments)]
    if subprocess.run(line, cwd=ROOT).returncode:
        sys.exit(f"failed: {' '.join(line)}")


def answers(question: Question, clip: Path, scene: Path, run: Path) -> Answers:
    """What a fit answers to the queries of its clip's ground truth, and whether it is right."""
    truth = read_ground_truth(clip)
    asked = truth.select("given")
    tracks, evidence = open_tracker(scene, run, "cpu").track_with_evidence(
        asked.queries, question.refined
    )
    cells, said = asked.evaluated, tracks.confidence
    found, true = (metrics.to_scale(xy, truth.size) for xy in (tracks.xy, asked.tracks))
    right = metrics.squared_error(found, true) < WITHIN_PX**2
    if question.name == "SEEN":
        cells = cells & inside_frame(tracks.xy, truth.size)
        near = metrics.squared_error(found, true) < ON_IT_PX**2
        said, right = 1 - tracks.occlusion, asked.visible & near
    return Answers(truth.name, evidence[cells], said[cells], right[cells])


def learned(question: Question, fits: list[Answers]) -> str:
    """The constants that the fits lead to, and how well those of the other clips do on each."""
    held_out = [with_model(each, solve(question, of_others(each, fits))) for each in fits]
    model = solve(question, fits)
    weights = ", ".join(f"{weight:.3f}" for weight in model.weights)
    return (
        f"# mean over {len(fits)} fits, each judged by weights of the other clips\n"
        f"{summary('held-out clip', held_out)}\n"
        f"{question.name} = Logistic({model.bias:.2f}, ({weights}))"
    )


def of_others(fit: Answers, fits: list[Answers]) -> list[Answers]:
    """Those of other clips; the same clip clean or worn is no other."""
    own = fit.name.removesuffix(WORN)
    return [each for each in fits if each.name.removesuffix(WORN) != own]


def solve(question: Question, fits: list[Answers]) -> Logistic:
    """Weights, none negative, and bias: the likeliest, each fit counting the same."""
    used = torch.tensor([field in question.fields for field in Evidence._fields])
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
        weights = torch.nn.functional.softplus(raw) * used
        logit = bias - (evidence / scale) @ weights
        value = torch.nn.functional.binary_cross_entropy_with_logits(
            logit, right, weight=share, reduction="sum"
        ) + DECAY * weights.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    weights = torch.nn.functional.softplus(raw) * used / scale
    return Logistic(float(bias.detach()), tuple(weights.detach().tolist()))


def with_model(fit: Answers, model: Logistic) -> Answers:
    """The answers with the probability of another model."""
    return fit._replace(said=model.probability(fit.evidence))


def pooled(fits: list[Answers]) -> np.ndarray:
    """The table of all fits together."""
    said, right = (np.concatenate([getattr(each, name) for each in fits])
                   for name in ("said", "right"))  # fmt: skip
    return reliability(said, right, BINS)


def summary(name: str, fits: list[Answers]) -> str:
    """A row of the table: means over fits."""
    rows = [
        (each.right.mean(), each.said.mean(),
         calibration_error(reliability(each.said, each.right, BINS)),
         ranking(each.said, each.right))
        for each in fits
    ]  # fmt: skip
    cells = " | ".join(f"{100 * value:.1f}" for value in np.mean(rows, axis=0))
    return f"| {name} | {cells} |"


def ranking(said: np.ndarray, right: np.ndarray) -> float:
    """Chance that of a right and a wrong answer the right one is given more (AUC)."""
    rank = np.empty(len(right))
    rank[np.argsort(said, kind="stable")] = np.arange(len(right))
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    below = rank[right].sum() - n_right * (n_right - 1) / 2
    return below / (n_right * n_wrong) if n_right and n_wrong else float("nan")


HEADER = f"""\
What a probability says against the share that is right, of clips that the weights have never
seen, in percent. SCENE: a track of the scene alone is within {WITHIN_PX:g} px of the truth at
256x256. REFINED: a refined track is. SEEN: its point is seen there, within {ON_IT_PX:g} px, where
the track is in the frame. Every known frame of every query but its own.

Calibration error: mean distance of what is said and the share, over ten bins of what is said.
Ranking: how often, of a right and a wrong one, the right one is given more.
"""


def section(question: Question, found: list[Answers]) -> str:
    """The results of one probability as Markdown."""
    together = Answers("all", *(np.concatenate([each[k] for each in found])
                                for k in range(1, len(Answers._fields))))  # fmt: skip
    lines = [
        f"## {question.name}", "",
        "| clip | right | said, mean | calibration error | ranking |", "|" + " --- |" * 5,
        *(summary(each.name, [each]) for each in [*found, together]), "",
        "| said | count | mean | right |", "|" + " --- |" * 4,
    ]  # fmt: skip
    for k, (count, said, right) in enumerate(pooled(found)):
        cells = [f"{100 * x:.1f}" if count else "-" for x in (said, right)]
        between = f"{k / BINS:.1f}-{(k + 1) / BINS:.1f}"
        lines.append("| " + " | ".join((between, f"{count:.0f}", *cells)) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
