"""Which matches a step draws of its pairs, by random numbers.

Conventions. P pairs of a pool's K, N matches and L points without a match of each; as in
`omnimotion.correspondences`.
"""

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Draws(NamedTuple):
    """Random numbers in [0, 1)."""

    share: Tensor  # (P, N) float64: where in its pair a match is
    by_motion: Tensor  # (P, N): drawn by motion where below the share of these, if any are
    lost: Tensor  # (P, L): where among its pair's a point without a match is

    @classmethod
    def drawn(
        cls, shape: tuple[int, int], n_lost: int, is_moving: bool, random: torch.Generator
    ) -> "Draws":
        """``shape`` (P, N); without motion there is nothing to draw by."""
        rand = partial(torch.rand, generator=random, device=random.device)
        share = rand(shape, dtype=torch.float64)
        return cls(share, rand(shape if is_moving else (0, 0)), rand((shape[0], n_lost)))


class Found(NamedTuple):
    """What is drawn."""

    match: Tensor  # (P, N) int64, index into the pool's matches
    xy_i: Tensor  # (P, N, 2)
    xy_j: Tensor  # (P, N, 2)
    rgb_i: Tensor  # (P, N, 3) in [0, 1]
    covisible: Tensor  # (P, N) bool
    lost_i: Tensor  # (P, L, 2)


def found(pool: Any, pair: Tensor, draws: Draws, motion_share: float) -> Found:
    """What is drawn of the pairs (P,) of a `CorrespondencePool`.

    ``motion_share``: of the matches, drawn by the motion at their place.
    """
    start, count = pool.start[pair, None], pool.count[pair, None]
    match = start + (draws.share * count).long()
    if motion_share > 0:
        low, high = pool.motion_sum[start], pool.motion_sum[start + count]
        moving = torch.searchsorted(pool.motion_sum, low + draws.share * (high - low), right=True)
        match = torch.where(draws.by_motion < motion_share, moving - 1, match)
    match = torch.minimum(torch.maximum(match, start), start + count - 1)
    lost = pool.lost_start[pair, None] + (draws.lost * pool.lost_count[pair, None]).long()
    lost = lost.clamp(max=len(pool.lost_i) - 1)
    return Found(match, pool.xy_i[match], pool.xy_j[match], pool.rgb_i[match].float() / 255,
                 pool.covisible[match], pool.lost_i[lost])  # fmt: skip
