"""The last check: a match i -> j counts when the match j -> i leads back.

Conventions. It acts on merged matches, so it sees what the checks of single steps cannot: chains
that drifted or slipped onto an occluder, which do so differently in the two directions. On the
rendered clips it removes half of the wrong matches and a fortieth of the right ones.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from omnimotion.flow import HIDDEN, NONE, FrameFlow, flow_path, is_flow, read_flow, write_flow
from preprocess.filter import length
from preprocess.pair_store import PairStore

MUTUAL_RATIO = 4 / 3  # of the cycle limit of one step
CACHE_BYTES = 1 << 30


def confirm_all(folder: Path, store: PairStore, n_frames: int) -> dict[tuple[int, int], float]:
    """Write the confirmed matches of all frames; returns the coverage of every pair."""
    per_frame = store.merged(0).state.size * 9
    merged = lru_cache(maxsize=max(8, CACHE_BYTES // max(per_frame, 1)))(store.merged)
    coverage: dict[tuple[int, int], float] = {}
    for i in range(n_frames):
        path = flow_path(folder, i)
        if is_flow(path):
            frame = read_flow(path)
        else:
            source = merged(i)
            states = [
                _confirmed(source, m, merged(int(j)), store.limit * MUTUAL_RATIO)
                for m, j in enumerate(source.targets)
            ]
            frame = replace(source, state=np.stack(states))
            write_flow(path, frame, max(store.lattice.size))
        for j, state in zip(frame.targets, frame.state):
            coverage[i, int(j)] = round(float(np.mean(state != NONE)), 4)
    return coverage


def _confirmed(
    source: FrameFlow, m: int, target: FrameFlow, limit: float
) -> np.ndarray:  # (h, w) uint8
    """State of the matches with target m that the target's own matches confirm."""
    back = int(np.searchsorted(target.targets, source.i))
    rows, columns = np.indices(source.state[m].shape)
    flow = source.flow[m]
    at = np.stack((columns, rows), axis=-1) * source.stride + source.origin[m] + flow
    # the nearest lattice point stands for the match: they share its motion up to its gradient
    nearest = np.rint((at - target.origin[back]) / target.stride).astype(np.int64)
    height, width = target.state[back].shape
    column, row = nearest[..., 0].clip(0, width - 1), nearest[..., 1].clip(0, height - 1)
    state = target.state[back, row, column]
    error = length(flow + target.flow[back, row, column])
    is_hidden = source.state[m] == HIDDEN  # cannot be seen from j
    confirmed = is_hidden | ((state != NONE) & (state != HIDDEN) & (error < limit))
    return np.where(confirmed, source.state[m], NONE).astype(np.uint8)
