"""Silhouettes: blobs, boxes with round or sharp corners, polygons, bars; some cut into lace.

Convention. A level is positive inside and about 1 in the middle, on material coordinates in which
an outline reaches about as far as the unit circle.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws

WAVES = 5  # of a blob, from two round the circle on
SIDES = 7  # of a polygon, at most


@dataclass(frozen=True)
class Outline:
    """The silhouettes of one piece in a batch of B scenes."""

    kind: Tensor  # (B,) 0 blob, 1 box, 2 polygon
    waves: Tensor  # (B, WAVES, 2) amplitudes of cosine and sine
    sides: Tensor  # (B, 2) half lengths of the box
    roundness: Tensor  # (B,) power of the box: 2 is an ellipse
    normals: Tensor  # (B, SIDES, 2) of the polygon
    distances: Tensor  # (B, SIDES)
    cut: Tensor  # (B,) deviations of lace that are cut away; large: none

    def level(self, place: Tensor) -> Tensor:
        """Level (B, N) at material coordinates (B, N, 2)."""
        distance = place.norm(dim=-1)
        once = torch.view_as_complex(place / distance.clamp(min=1e-6)[..., None])
        turns, radius = once, torch.full_like(distance, 0.8)
        for k in range(WAVES):
            turns = turns * once  # cosine and sine of k + 2 times the angle
            cosine, sine = self.waves[:, k, :, None].unbind(1)
            radius = radius + cosine * turns.real + sine * turns.imag
        blob = radius - distance
        power = self.roundness[:, None]
        ratio = (place.abs() / self.sides[:, None]).clamp(1e-4, 50)
        box = 1 - (ratio ** power[..., None]).sum(-1) ** (1 / power)
        polygon = (self.distances[:, None] - place @ self.normals.mT).amin(-1)
        kind = self.kind[:, None]
        return torch.where(kind == 0, blob, torch.where(kind == 1, box, polygon))

    def covers(self, place: Tensor, lace: Tensor) -> Tensor:
        """Whether places (B, N, 2), whose lace is (B, N), belong to the piece: bool (B, N)."""
        return (self.level(place) > 0) & (lace < self.cut[:, None])


def draw_outline(draws: Draws, count: int) -> Outline:
    """Outlines of ``count`` scenes."""
    fall = torch.arange(2, 2 + WAVES, device=draws.device)[None, :, None]
    amount = draws.uniform(count, 1, 1, high=0.5)
    short = torch.where(
        draws.chance(count, share=0.4),
        draws.uniform(count, low=0.08, high=0.25),  # bars
        draws.uniform(count, low=0.4, high=0.9),
    )
    sides = torch.stack((draws.uniform(count, low=0.7, high=1.0), short), -1)
    spread = torch.arange(SIDES, device=draws.device) + draws.uniform(count, SIDES, high=0.9)
    turn = 2 * math.pi * spread / SIDES
    distances = draws.uniform(count, SIDES, low=0.4, high=0.8)
    is_missing = draws.chance(count, SIDES, share=0.4)  # then its neighbours meet farther out
    is_lace = draws.chance(count, share=0.15)
    return Outline(
        kind=draws.number(count, below=3),
        waves=amount * draws.normal(count, WAVES, 2) / fall,
        sides=sides,
        roundness=draws.log_uniform(count, low=1.6, high=12),
        normals=torch.stack((turn.cos(), turn.sin()), -1),
        distances=torch.where(is_missing, 1.1, distances),
        cut=torch.where(is_lace, draws.uniform(count, low=-0.3, high=0.8), 1e9),
    )
