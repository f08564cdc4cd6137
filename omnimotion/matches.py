"""The matches of preprocessing, read at any place of a frame.

Conventions. Places are in pixels of the store's frames, (x, y), centres at integers. NaN means
that nothing is known.
"""

from dataclasses import replace

import numpy as np

from omnimotion.flow import CHAINED, DIRECT, FrameFlow, SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT

PER_TARGET = "targets", "origin", "flow", "state"  # fields of `FrameFlow`
ONE_SURFACE_PX = 1.0  # motions around a place that differ by more are of two surfaces
MIN_SHARE = 0.25  # of a bilinear reading that must rest on matches
KEPT_BYTES = 1 << 28  # of flow in memory, as much as comes first


class Matches:
    """Reads the matches of a scene's store. FlowError where a file of it is damaged."""

    def __init__(self, store: SceneStore) -> None:
        self._store = store
        self.n_frames = store.index.n_frames
        self.px = 2 * PIXELS_PER_UNIT / max(store.index.size)
        """Pixels of a frame whose longer side is 256 in one of the store's."""
        self._kept: dict[int, FrameFlow] = {}
        self._room = KEPT_BYTES

    def ends(self, i: int, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where places (N, 2) of frame i are in every frame (N, T, 2); which were asked (T,).

        Frames that i is not paired with were not asked.
        """
        targets, ends = self.paired(i, xy)
        found = np.full((len(xy), self.n_frames, 2), np.nan)
        found[:, targets] = ends
        asked = np.zeros(self.n_frames, bool)
        asked[targets] = True
        return found, asked

    def paired(self, i: int, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The M frames that i is paired with, and where its places (N, 2) are there (N, M, 2)."""
        flow = self._flow(i)
        return flow.targets, read(flow, xy, ONE_SURFACE_PX / self.px)

    def by_one(self, frames: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """Where one match takes places (N, 2) of ``frames`` (N,): (N, T, 2), NaN without one."""
        found = np.full((len(xy), self.n_frames, 2), np.nan)
        for t in np.unique(frames):
            here = frames == t
            found[here] = self.ends(int(t), xy[here])[0]
        return found

    def follow(self, frames: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where matches take places (N, 2) of ``frames`` (N,): (N, T, 2), NaN where none does.

        By one match where there is one, else by one more from where they were a frame before.
        Also (N, T): which places were found so after going from frame to frame had come to an end.
        """
        ends = self.by_one(frames, xy)
        ends[np.arange(len(xy)), frames] = xy
        by_one = np.isfinite(ends[..., 0])
        again = np.zeros_like(by_one)
        for step, order in ((1, range(self.n_frames - 1)), (-1, range(self.n_frames - 1, 0, -1))):
            unbroken = np.ones(len(xy), bool)
            for t in order:
                begun = step * (t - frames) >= 0
                known, to = begun & np.isfinite(ends[:, t, 0]), np.full((len(xy), 2), np.nan)
                if known.any():
                    to[known] = self._next(t, t + step, ends[known, t])
                unbroken &= ~begun | np.isfinite(to[:, 0])
                more = begun & ~by_one[:, t + step]
                ends[more, t + step] = to[more]
                again[:, t + step] |= more & ~unbroken
        return ends, again

    def _next(self, i: int, j: int, xy: np.ndarray) -> np.ndarray:
        flow = self._flow(i)
        m = flow.targets == j
        if not m.any():
            return np.full_like(xy, np.nan)
        one = replace(flow, **{name: getattr(flow, name)[m] for name in PER_TARGET})
        return read(one, xy, ONE_SURFACE_PX / self.px)[:, 0]

    def _flow(self, i: int) -> FrameFlow:
        """The store's, kept while there is room: a query reads each frame's several times."""
        if i in self._kept:
            return self._kept[i]
        flow = self._store.flow(i)
        size = sum(getattr(flow, name).nbytes for name in PER_TARGET)
        if size <= self._room:
            self._kept[i] = flow
            self._room -= size
        return flow


def read(flow: FrameFlow, xy: np.ndarray, one_surface: float) -> np.ndarray:
    """Where places ``xy`` (N, 2) of frame ``flow.i`` are in its M targets: (N, M, 2).

    Bilinear over the lattice points around that have a match, unless their motions differ by more
    than ``one_surface``: then two surfaces meet there, and the reading would be of neither.
    """
    rows, columns = flow.state.shape[1:]
    place = (xy[:, None] - flow.origin) / flow.stride  # (N, M, 2)
    low = np.clip(np.floor(place), 0, (columns - 2, rows - 2)).astype(np.int64)
    part = np.clip(place - low, 0, 1)
    m = np.arange(len(flow.targets))
    shares, motions = [], []
    for dy, dx in ((0, 0), (0, 1), (1, 0), (1, 1)):
        at = m, low[..., 1] + dy, low[..., 0] + dx
        share = np.abs(1 - dx - part[..., 0]) * np.abs(1 - dy - part[..., 1])
        shares.append(share * np.isin(flow.state[at], (DIRECT, CHAINED)))
        motions.append(flow.flow[at])
    share, motion = np.stack(shares, -1), np.stack(motions, -2)  # (N, M, 4), (N, M, 4, 2)
    total = share.sum(-1)
    mean = (share[..., None] * motion).sum(-2) / np.maximum(total, MIN_SHARE)[..., None]
    apart = (np.linalg.norm(motion - mean[..., None, :], axis=-1) * (share > 0)).max(-1)
    known = (total > MIN_SHARE) & (apart <= one_surface)
    return np.where(known[..., None], mean + xy[:, None], np.nan)
