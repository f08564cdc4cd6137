"""Matches that respect masks: none leads from one object to another, or to the background.

Such a match is wrong: flow drags what is beside an object along, or lets a thin part stay behind.
Its pixel counts as one without a match. A match known to end where its point is hidden is kept:
there it is another object that is seen.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from omnimotion.archive import fingerprint
from omnimotion.flow import HIDDEN, NONE, FrameFlow, SceneStore, zero_outside
from omnimotion.geometry import nearest_pixels
from omnimotion.images import frame_files
from omnimotion.masks import load_mask
from omnimotion.points import Size


@dataclass(frozen=True, eq=False)
class ClipMasks:
    """Which object each pixel of each stored frame belongs to."""

    labels: np.ndarray  # uint8 (T, h, w), 0 is background

    @property
    def fingerprint(self) -> str:
        """Tells these masks from others."""
        return fingerprint(self.labels)

    def at(self, t: int, xy: np.ndarray) -> np.ndarray:
        """The labels (N,) at the pixels of frame t nearest to places (N, 2)."""
        height, width = self.labels.shape[1:]
        x, y = np.clip(np.rint(xy), 0, (width - 1, height - 1)).astype(np.int64).T
        return self.labels[t, y, x]


def read_masks(folder: Path, n_frames: int, original_size: Size, size: Size) -> ClipMasks:
    """The masks of a folder, one PNG for each frame, for frames stored at ``size`` (W, H).

    Raises `InputError` for another number of files, or for a file as `load_mask` does; a mask
    without an object is one.
    """
    paths, nearest = frame_files(folder, (".png",), n_frames), nearest_pixels(size, original_size)
    masks = (load_mask(path, original_size, may_be_empty=True) for path in paths)
    return ClipMasks(np.stack([mask.labels[nearest] for mask in masks]))


class MaskedStore(SceneStore):
    """A store without the matches that leave their object."""

    def __init__(self, store: SceneStore, masks: ClipMasks) -> None:
        super().__init__(store.folder, store.index)
        self._masks = masks
        self._counts: dict[int, tuple[int, int]] = {}  # by frame: matches dropped, and before

    @property
    def dropped(self) -> tuple[int, int]:
        """How many matches of the frames read so far are left out, and of how many."""
        dropped, before = np.array(list(self._counts.values())).reshape(-1, 2).sum(axis=0)
        return int(dropped), int(before)

    def flow(self, i: int) -> FrameFlow:
        """Matches from frame i; raises as the store does."""
        flow = super().flow(i)
        state = flow.state.copy()
        for m, j in enumerate(flow.targets.tolist()):
            xy_i, xy_j, found = flow.matches(m)
            leaves = (self._masks.at(i, xy_i) != self._masks.at(j, xy_j)) & (found != HIDDEN)
            state[m][state[m] != NONE] = np.where(leaves, NONE, found)
        before = int((flow.state != NONE).sum())
        self._counts[i] = before - int((state != NONE).sum()), before
        return replace(flow, flow=zero_outside(flow.flow, state != NONE), state=state)
