"""Pictures of a clip's pseudo-depth, in colours that mean the same in every frame."""

from functools import cached_property

import cv2
import numpy as np

from omnimotion.overlay import depth_picture
from omnimotion.tracker import Tracker


class DepthPictures:
    """Draws the depth of what frames show, near is bright."""

    def __init__(self, tracker: Tracker, side: int) -> None:
        """``side``: at most so many rays are cast along the longer side of a frame."""
        self._tracker = tracker
        self._step = -(-max(tracker.index.size) // side)

    def small(self, t: int) -> np.ndarray:
        """Frame t, uint8 (h, w, 3), a pixel for each ray."""
        depth = self._tracker.surface(t, self._step)[0]
        return depth_picture(depth, limits=self._limits)

    def full(self, t: int) -> np.ndarray:
        """Frame t at the size of the original video, uint8 (H, W, 3)."""
        stored, own = self._tracker.index.size, self._tracker.index.original_size
        small = self.small(t)
        # a ray is that of the upper left pixel of its step, so the picture may reach farther
        large = small.repeat(self._step, axis=0).repeat(self._step, axis=1)
        return cv2.resize(large[: stored[1], : stored[0]], own, interpolation=cv2.INTER_AREA)

    @cached_property
    def _limits(self) -> tuple[float, float]:
        """What is drawn brightest and darkest: of three frames, but for a hundredth at an end."""
        last = self._tracker.index.n_frames - 1
        depths = [self._tracker.surface(t, 2 * self._step)[0] for t in {0, last // 2, last}]
        near, far = np.percentile(np.concatenate([each.ravel() for each in depths]), (1, 99))
        return float(near), float(far)
