"""How much the matches of a pool matter: by what moves where they start, and by texture there.

Conventions. M matches, in normalised coordinates but for lengths, which are in pixels of a frame
whose longer side is 256.
"""

import torch
from torch import Tensor

from omnimotion.geometry import PIXELS_PER_UNIT, Frame, apply_similarity

MOTION_CAP_PX = 16.0  # faster points are drawn no more often
MOTION_CELLS = 64  # of a frame, each way, for the map of motion
MIN_MOTION_PX = 1e-3  # so that every match can be drawn
FAST_PX = 5.0  # what moves so fast counts half as all do, half by its texture


def motion_there(
    frame: Frame, cameras: Tensor, i: Tensor, j: Tensor, xy_i: Tensor, xy_j: Tensor
) -> Tensor:
    """How fast things move against the camera where each match starts, float64 (M,) px.

    A mean over all matches of a cell of frame i, near targets counting more; of the root, so that
    a few wrong matches do not make a still place a fast one.
    """
    source, target = apply_similarity(cameras[i], xy_i), apply_similarity(cameras[j], xy_j)
    moved = ((target - source).norm(dim=-1) * PIXELS_PER_UNIT).clamp(max=MOTION_CAP_PX)
    columns_rows = ((xy_i / xy_i.new_tensor(frame.extent) + 1) / 2 * MOTION_CELLS).long()
    column, row = columns_rows.clamp(0, MOTION_CELLS - 1).unbind(-1)
    cell = (i * MOTION_CELLS + row) * MOTION_CELLS + column
    weight = 1 / (i - j).abs().double()
    total = torch.bincount(cell, weight)
    root = torch.bincount(cell, weight * moved.double().sqrt())
    return (root / total.clamp(min=1e-9)).square()[cell] + MIN_MOTION_PX


def counted(certainty: Tensor, motion: Tensor) -> Tensor:
    """What matches (M,) count, 1 on average, float16, by their certainty and the ``motion`` there.

    What moves by itself has little but its own matches, so there all count the same.
    """
    mean = certainty.float().mean()
    moves = motion.half().square()  # at most the square of `MOTION_CAP_PX`
    moves /= moves + FAST_PX**2
    counts = torch.lerp(certainty / mean, torch.ones((), dtype=torch.float16), moves)
    return counts / counts.float().mean()
