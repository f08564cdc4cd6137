"""How things move from frame 0 to frame 1: maps of the plane, the camera, and how far.

Conventions. Points (B, N, 2) have the centre of the frame as 0 and its longer side from -1 to 1, y
down. Maps are 3x3 matrices on (x, y, 1), one for each of B scenes. What is drawn for one frame is
multiplied by ``gap`` (B,), the frames between the two, and bounded.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws

FARTHEST = 0.67  # a third of the frame's longer side
MIN_DENOMINATOR = 0.1  # of a projective map: what it sends behind the camera stays finite
PARALLAX_DEPTH = 2.0  # at which the whole of the camera's shift is seen


@dataclass(frozen=True)
class Camera:
    """What the camera does between the frames.

    ``view`` (B, 3, 3) acts on all of frame 1, ``shift`` (B, 2) the more the nearer a thing is.
    """

    view: Tensor
    shift: Tensor

    def motion(self, depth: Tensor) -> Tensor:
        """Frame 0 to frame 1 of what rests at ``depth`` (B,): (B, 3, 3)."""
        return self.view @ translation(self.shift * (PARALLAX_DEPTH / depth)[:, None])


def draw_camera(draws: Draws, gap: Tensor) -> Camera:
    """A camera that pans, rolls and zooms; in a tenth of the scenes it rests."""
    count = len(gap)
    moves = (~draws.chance(count, share=0.1)).float()
    gap = gap * moves
    roll, zoom = 0.004 * draws.normal(2, count) * gap
    view = about_centre(bounded(roll, 0.3), bounded(zoom, 0.2))
    return Camera(view, steps(draws, gap, 0.0005, 0.02))


def steps(draws: Draws, gap: Tensor, slowest: float, fastest: float) -> Tensor:
    """Displacements (B, 2) after ``gap`` frames, of log-uniform speed."""
    length = draws.log_uniform(len(gap), low=slowest, high=fastest) * gap
    return draws.direction(len(gap)) * bounded(length, FARTHEST)[:, None]


def bounded(value: Tensor, limit: float) -> Tensor:
    """``value``, smoothly kept within ``limit``."""
    return limit * torch.tanh(value / limit)


def translation(shift: Tensor) -> Tensor:
    """(B, 2) as (B, 3, 3)."""
    matrix = torch.eye(3, device=shift.device).repeat(len(shift), 1, 1)
    matrix[:, :2, 2] = shift
    return matrix


def about_centre(angle: Tensor, log_scale: Tensor) -> Tensor:
    """Turns by ``angle`` (B,) radians, scales by ``exp(log_scale)``: (B, 3, 3)."""
    cosine, sine = log_scale.exp() * angle.cos(), log_scale.exp() * angle.sin()
    matrix = translation(torch.zeros(len(angle), 2, device=angle.device))
    matrix[:, 0, 0], matrix[:, 0, 1] = cosine, -sine
    matrix[:, 1, 0], matrix[:, 1, 1] = sine, cosine
    return matrix


def about(point: Tensor, matrix: Tensor) -> Tensor:
    """``matrix`` (B, 3, 3) with ``point`` (B, 2) as its centre."""
    return translation(point) @ matrix @ translation(-point)


def inverse(matrix: Tensor) -> Tensor:
    """Of maps (B, 3, 3) that have one; `torch.linalg.inv` would make a GPU wait to check that."""
    return torch.linalg.inv_ex(matrix).inverse


def transformed(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (B, N, 2) under maps (B, 3, 3)."""
    moved = points @ matrix[:, :, :2].mT + matrix[:, None, :, 2]
    return moved[..., :2] / moved[..., 2:].clamp(min=MIN_DENOMINATOR)
