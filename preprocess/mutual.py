"""The last check: a match i -> j counts when the match j -> i leads back.

Conventions. It acts on merged matches, so it sees what the checks of single steps cannot: chains
that drifted or slipped onto an occluder, which do so differently in the two directions. On the
rendered clips it removes half of the wrong matches and a fortieth of the right ones.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from omnimotion.flow import HIDDEN, NONE, FrameFlow, flow_path, write_flow
from preprocess.filter import length
from preprocess.pair_store import PairStore
from preprocess.threads import in_threads

Merged = Callable[[int], FrameFlow]
MUTUAL_RATIO = 4 / 3  # of the cycle limit of one step
CACHE_BYTES = 512 << 20
CACHE_MARGIN = 16  # frames that threads may run ahead


def cached_matches(store: PairStore, gaps: list[int]) -> Merged:
    """Access to merged matches that keeps the recent ones, no more than are asked for again."""
    return lru_cache(maxsize=cached_sources(store, gaps))(store.merged)


def matches_bytes(store: PairStore, gaps: list[int]) -> int:
    """Of the merged matches of a frame, in memory."""
    return 9 * store.lattice.shape[0] * store.lattice.shape[1] * 2 * len(gaps)


def cached_sources(store: PairStore, gaps: list[int]) -> int:
    """Of how many frames merged matches are kept."""
    within_reach = 2 * (max(gaps) + CACHE_MARGIN)
    return max(8, min(within_reach, CACHE_BYTES // matches_bytes(store, gaps)))


def confirm_all(
    folder: Path, store: PairStore, merged: Merged, frames: Iterable[int], workers: int
) -> None:
    """Write the confirmed matches of frames."""

    def confirm(i: int) -> None:
        source = merged(i)
        states = [
            _confirmed(source, m, merged(int(j)), store.limit * MUTUAL_RATIO)
            for m, j in enumerate(source.targets)
        ]
        frame = replace(source, state=np.stack(states))
        write_flow(flow_path(folder, i), frame, max(store.lattice.size))

    for _ in in_threads(confirm, frames, workers):
        pass


def _confirmed(
    source: FrameFlow, m: int, target: FrameFlow, limit: float
) -> np.ndarray:  # (h, w) uint8
    """State of the matches with target m that the target's own matches confirm."""
    back = int(np.searchsorted(target.targets, source.i))
    flow, (height, width) = source.flow[m], source.state[m].shape
    offset = (source.origin[m] - target.origin[back]).astype(np.float32)
    # the nearest lattice point stands for the match: they share its motion up to its gradient
    column = _nearest(np.arange(width), flow[..., 0] + offset[0], source.stride)
    row = _nearest(np.arange(height)[:, None], flow[..., 1] + offset[1], source.stride)
    at = row * width + column
    state = target.state[back].take(at)
    error = length(flow + _take(target.flow[back], at))
    is_hidden = source.state[m] == HIDDEN  # cannot be seen from j
    confirmed = is_hidden | ((state != NONE) & (state != HIDDEN) & (error < limit))
    return np.where(confirmed, source.state[m], NONE).astype(np.uint8)


def _take(flow: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Vectors (..., 2) float32 at flat indices, as complex numbers: ten times faster."""
    return np.ascontiguousarray(flow).view(np.complex64).take(at)[..., None].view(np.float32)


def _nearest(indices: np.ndarray, moved: np.ndarray, stride: int) -> np.ndarray:
    """Rows or columns ``moved`` px away, (h, w) int32, the nearest ones that exist."""
    there = np.rint((np.float32(stride) * indices.astype(np.float32) + moved) / np.float32(stride))
    return there.clip(0, indices.size - 1).astype(np.int32)
