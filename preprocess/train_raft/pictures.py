"""What a training can be seen by: its curves, and flow of held-out pairs beside the truth."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omnimotion.colours import flow_colours
from omnimotion.files import make_folder
from omnimotion.images import save_png
from omnimotion.synthetic.pairs import Pairs
from preprocess.train_raft.training import Training

SHOWN = 4  # pairs, spread over the gaps
FULL_SHARE = 0.99  # of the pixels are no faster than the strongest colour


@torch.no_grad()
def save_flow_picture(run: Path, training: Training, batches: list[Pairs]) -> None:
    """Write ``run/flow/STEP.png``, a pair a row.

    Both frames, true flow, found flow, hidden points.
    """
    places = [(k, i) for k, pairs in enumerate(batches) for i in range(len(pairs.flow))]
    chosen = np.linspace(0, len(places) - 1, min(SHOWN, len(places))).round().astype(int)
    rows = []
    for number in chosen:
        k, i = places[number]
        pairs = Pairs(*(each[i : i + 1] for each in vars(batches[k]).values()))
        rows.append(pair_picture(pairs, training.flows(pairs)[-1]))
    folder = run / "flow"
    make_folder(folder)
    save_png(folder / f"{training.step:08d}.png", np.concatenate(rows))


def pair_picture(pairs: Pairs, found: Tensor | None = None) -> np.ndarray:
    """The first of the pairs as one row, uint8 (H, 4 W or 5 W, 3)."""
    truth = _pixels(pairs.flow)
    full_px = max(1.0, float(np.quantile(np.linalg.norm(truth, axis=-1), FULL_SHARE)))
    flows = [truth] if found is None else [truth, _pixels(found)]
    hidden = np.repeat(~pairs.visible[0].cpu().numpy()[..., None], 3, -1)
    frames = [
        np.rint(255 * _pixels(each)).astype(np.uint8) for each in (pairs.first, pairs.second)
    ]
    colours = [flow_colours(flow, full_px) for flow in flows]
    return np.concatenate((*frames, *colours, 255 * hidden.astype(np.uint8)), axis=1)


def _pixels(image: Tensor) -> np.ndarray:
    """(B, C, H, W) to (H, W, C) of the first."""
    return image[0].float().permute(1, 2, 0).cpu().numpy()
