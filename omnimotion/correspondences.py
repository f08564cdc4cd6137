"""The pool of matches a fit draws from: flat, bounded, and on the device.

Conventions. Matches are grouped by ordered pair (i, j); ``xy`` in normalised coordinates. Nothing
is read from disk once the pool is made, and drawing never waits for the device.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.errors import FlowError
from omnimotion.flow import HIDDEN, SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT, Frame, apply_similarity
from omnimotion.seeds import Purpose

MOTION_CAP_PX = 16.0  # faster points are drawn no more often


class Correspondences(NamedTuple):
    """One step's matches: P pairs, N points each."""

    pair: Tensor  # (P,) int64, index into the pool's pairs
    i: Tensor  # (P,) int64
    j: Tensor  # (P,) int64
    xy_i: Tensor  # (P, N, 2) normalised
    xy_j: Tensor  # (P, N, 2) normalised
    rgb_i: Tensor  # (P, N, 3) in [0, 1]
    covisible: Tensor  # (P, N) bool; False where the point is hidden in j


@dataclass(frozen=True)
class CorrespondencePool:
    """All matches held for a fit; M matches in K pairs."""

    i: Tensor  # (K,) int64
    j: Tensor  # (K,) int64
    start: Tensor  # (K,) int64, first match of the pair
    count: Tensor  # (K,) int64 > 0
    xy_i: Tensor  # (M, 2) float32 normalised
    xy_j: Tensor  # (M, 2) float32 normalised
    rgb_i: Tensor  # (M, 3) uint8
    covisible: Tensor  # (M,) bool
    cumulative: Tensor | None  # (M + 1,) float64 sums of chances; None where all are equal

    @property
    def gap(self) -> Tensor:
        """(K,) frames between the two of each pair."""
        return (self.i - self.j).abs()

    def draw(self, chances: Tensor, n_pairs: int, n_points: int,
             random: torch.Generator) -> Correspondences:  # fmt: skip
        """Draw pairs by ``chances`` (K,) and matches in them, with replacement."""
        pair = torch.multinomial(chances, n_pairs, replacement=True, generator=random)
        share = torch.rand(
            (n_pairs, n_points), generator=random, device=self.i.device, dtype=torch.float64
        )
        start, count = self.start[pair, None], self.count[pair, None]
        if self.cumulative is None:
            match = start + (share * count).long()
        else:
            low, high = self.cumulative[start], self.cumulative[start + count]
            match = torch.searchsorted(self.cumulative, low + share * (high - low), right=True) - 1
        match = torch.minimum(match, start + count - 1)
        rgb = self.rgb_i[match].float() / 255
        return Correspondences(pair, self.i[pair], self.j[pair], self.xy_i[match],
                               self.xy_j[match], rgb, self.covisible[match])  # fmt: skip


def build_pool(
    store: SceneStore, cameras: Tensor, size: int, motion_bias: float, seed: int,
    device: torch.device,
) -> CorrespondencePool:  # fmt: skip
    """Read a scene's matches, at most ``size`` of them, an equal quota for each pair.

    ``motion_bias``: share of a pair's draws made in proportion to a match's motion against the
    camera. FlowError when the scene has no matches.
    """
    frame = Frame(*store.index.size)
    random = np.random.default_rng((seed, int(Purpose.POOL)))
    quota = max(1, size // max(1, len(store.index.pairs)))
    pairs, columns = [], []
    for i in range(store.index.n_frames):
        flow, image = store.flow(i), store.frame(i)
        for m, j in enumerate(flow.targets):
            xy_i, xy_j, state = flow.matches(m)
            if len(xy_i) > quota:
                kept = np.sort(random.choice(len(xy_i), quota, replace=False))
                xy_i, xy_j, state = xy_i[kept], xy_j[kept], state[kept]
            if len(xy_i):
                x, y = xy_i.astype(np.int64).T
                pairs.append((i, int(j), len(xy_i)))
                columns.append((xy_i, xy_j, image[y, x], state != HIDDEN))
    if not pairs:
        raise FlowError(f"{store.folder}: no reliable matches in any pair: preprocess again")
    i, j, count = torch.tensor(pairs).T.contiguous()
    source, target, rgb, covisible = (torch.from_numpy(np.concatenate(c)) for c in zip(*columns))
    source, target = frame.normalise(source), frame.normalise(target)
    cumulative = None
    if motion_bias > 0:
        motion = _motion(cameras, i, j, count, source, target)
        chance = (1 - motion_bias) + motion_bias * motion / motion.mean().clamp(min=1e-6)
        cumulative = torch.cat((torch.zeros(1, dtype=torch.float64), chance.double().cumsum(0)))
    return CorrespondencePool(
        i=i.to(device), j=j.to(device), start=(count.cumsum(0) - count).to(device),
        count=count.to(device), xy_i=source.to(device), xy_j=target.to(device),
        rgb_i=rgb.to(device), covisible=covisible.to(device),
        cumulative=None if cumulative is None else cumulative.to(device),
    )  # fmt: skip


def _motion(
    cameras: Tensor, i: Tensor, j: Tensor, count: Tensor, xy_i: Tensor, xy_j: Tensor
) -> Tensor:
    """Motion (M,) of matches against the camera, px, capped."""
    source = apply_similarity(cameras[i.repeat_interleave(count)], xy_i)
    target = apply_similarity(cameras[j.repeat_interleave(count)], xy_j)
    return ((target - source).norm(dim=-1) * PIXELS_PER_UNIT).clamp(max=MOTION_CAP_PX)


def pair_chances(
    pool: CorrespondencePool, max_gap: float, gap_bias: float, error: Tensor, mining: float
) -> Tensor:
    """The chance (K,) of each pair, up to a factor.

    Pairs with many matches are drawn more often (square root), far ones less (``gap_bias``), those
    beyond ``max_gap`` never, and those with a large running ``error`` (K,) more (``mining``).
    """
    gap = pool.gap
    chance = pool.count.sqrt() * gap.float() ** -gap_bias
    nearest = gap.amin()
    chance = torch.where(gap <= torch.clamp(nearest, min=max_gap), chance, 0.0)
    if mining > 0:
        chance = chance * (error / error.mean()).clamp(0.25, 4.0) ** mining
    return chance
