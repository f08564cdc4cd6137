"""Pairs that no step draws, and how well a training does on them."""

from dataclasses import dataclass

import torch

from omnimotion.seeds import Purpose, generator
from omnimotion.synthetic.pairs import Pairs
from preprocess.train_raft.settings import RaftSettings
from preprocess.train_raft.training import Training, error_px, rendered


@dataclass(frozen=True)
class Score:
    """Mean end-point errors, px."""

    all_px: float
    visible_px: float
    still_px: float  # of flow that is 0 everywhere: what a network must beat

    def line(self) -> dict[str, float]:
        """For metrics.jsonl."""
        return {"held_out_px": self.all_px, "held_out_visible_px": self.visible_px}


def held_out_pairs(settings: RaftSettings, device: torch.device) -> list[Pairs]:
    """Batches of the held-out pairs, whose gaps go evenly, by factors, from 1 to the largest."""
    count = settings.held_out
    share = torch.linspace(0, 1, count) if count > 1 else torch.ones(1)
    batches = (settings.max_gap**share).split(settings.batch)
    return [
        rendered(settings, gap, generator(settings.seed, k, Purpose.HELD_OUT, device))
        for k, gap in enumerate(batches)
    ]


@torch.no_grad()
def score(training: Training, batches: list[Pairs]) -> Score:
    """How far off the flow of the held-out pairs is; every pixel counts alike."""
    errors, visible, still = [], [], []
    for pairs in batches:
        errors.append(error_px(training.flows(pairs)[-1], pairs).flatten())
        visible.append(pairs.visible.flatten().to(errors[-1].device))
        still.append(pairs.flow.norm(dim=1).flatten())
    error, shown = torch.cat(errors), torch.cat(visible)
    return Score(float(error.mean()), float(error[shown].mean()), float(torch.cat(still).mean()))
