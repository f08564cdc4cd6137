"""Which matches a step draws, by random numbers: `omnimotion.draws` says what it means.

Conventions. P pairs of the pool's K, N matches and L points without a match of each; the pool has
M matches and U such points. What is found lies side by side, as `batch.Batch` has it.
"""

from typing import NamedTuple

import numpy as np
from numba import float32, uint64

from omnimotion.kernels.cells import ZERO, kernel


class Pool(NamedTuple):
    """What is drawn from."""

    start: np.ndarray  # (K,) int64, first match of each pair
    size: np.ndarray  # (K,) int64, matches of each pair
    xy_i: np.ndarray  # (M, 2)
    xy_j: np.ndarray  # (M, 2)
    rgb_i: np.ndarray  # (M, 3) uint8
    covisible: np.ndarray  # (M,) bool
    motion_sum: np.ndarray  # (M + 1,) float64
    lost_start: np.ndarray  # (K,) int64
    lost_count: np.ndarray  # (K,) int64
    lost_i: np.ndarray  # (U, 2)


class Draws(NamedTuple):
    """Random numbers in [0, 1)."""

    share: np.ndarray  # (P, N) float64: where in its pair a match is
    by_motion: np.ndarray  # (P, N) float32: by motion where below the share of these, if any are
    lost: np.ndarray  # (P, L) float32


class Found(NamedTuple):
    """What is drawn, written."""

    match: np.ndarray  # (P, N) int64, index into the pool's matches
    xy_i: np.ndarray  # (P, 2, N)
    xy_j: np.ndarray  # (P, 2, N)
    rgb_i: np.ndarray  # (P, 3, N) in [0, 1]
    covisible: np.ndarray  # (P, N) bool
    lost_i: np.ndarray  # (P, 2, L)


@kernel
def _first_above(sums: np.ndarray, start: int, end: int, value: float) -> int:
    """The first of the places from ``start`` up to ``end`` where the sum exceeds a value."""
    while start < end:
        middle = (start + end) // 2
        if sums[middle] > value:
            end = middle
        else:
            start = middle + 1
    return start


@kernel
def matches(pool: Pool, pair: np.ndarray, draws: Draws, motion_share: float,
            found: Found) -> None:  # fmt: skip
    """Draw matches of the pairs (P,), ``motion_share`` of them by the motion at their places."""
    sums = pool.motion_sum
    for p in range(len(pair)):
        start, count = pool.start[pair[p]], pool.size[pair[p]]
        for n in range(found.match.shape[1]):
            share = draws.share[p, n]
            m = start + np.int64(share * count)
            if motion_share > ZERO and draws.by_motion[p, n] < motion_share:
                low, high = sums[start], sums[start + count]
                m = _first_above(sums, start, start + count, low + share * (high - low)) - 1
            m = min(max(m, start), start + count - 1)
            found.match[p, n], at = m, uint64(m)
            for d in range(2):
                found.xy_i[p, d, n] = pool.xy_i[at, d]
                found.xy_j[p, d, n] = pool.xy_j[at, d]
            for c in range(3):
                found.rgb_i[p, c, n] = float32(pool.rgb_i[at, c]) / float32(255)
            found.covisible[p, n] = pool.covisible[at]
        first, count = pool.lost_start[pair[p]], pool.lost_count[pair[p]]
        for n in range(found.lost_i.shape[2]):
            m = first + np.int64(draws.lost[p, n] * float32(count))
            at = uint64(min(m, len(pool.lost_i) - 1))
            for d in range(2):
                found.lost_i[p, d, n] = pool.lost_i[at, d]
