"""Pictures of a clip's pseudo-depth, in colours that mean the same in every frame of a window.

Depth has no scale that windows share: at a border, colours may jump.
"""

import cv2
import numpy as np

from omnimotion.overlay import depth_picture
from omnimotion.tracker import Tracker, Windowed, shown_by


class DepthPictures:
    """Draws the depth of what frames show, near is bright."""

    def __init__(self, tracker: Windowed, side: int) -> None:
        """``side``: at most so many rays are cast along the longer side of a frame."""
        self._tracker = tracker
        self._step = -(-max(tracker.index.size) // side)
        self._limits: dict[int, tuple[float, float]] = {}  # of windows, by first frame

    def small(self, t: int) -> np.ndarray:
        """Frame t, uint8 (h, w, 3), a pixel for each ray: as the window shows it in which it is
        farthest from the ends.
        """
        tracker, own = shown_by(self._tracker, t)
        start = t - own
        if start not in self._limits:
            self._limits[start] = self._limits_of(tracker)
        return depth_picture(tracker.surface(own, self._step)[0], limits=self._limits[start])

    def full(self, t: int) -> np.ndarray:
        """Frame t at the size of the original video, uint8 (H, W, 3)."""
        stored, own = self._tracker.index.size, self._tracker.index.original_size
        small = self.small(t)
        # a ray is that of the upper left pixel of its step, so the picture may reach farther
        large = small.repeat(self._step, axis=0).repeat(self._step, axis=1)
        return cv2.resize(large[: stored[1], : stored[0]], own, interpolation=cv2.INTER_AREA)

    def _limits_of(self, tracker: Tracker) -> tuple[float, float]:
        """What is drawn brightest and darkest: of three frames, but for a hundredth at an end."""
        last = tracker.index.n_frames - 1
        depths = [tracker.surface(t, 2 * self._step)[0] for t in {0, last // 2, last}]
        near, far = np.percentile(np.concatenate([each.ravel() for each in depths]), (1, 99))
        return float(near), float(far)
