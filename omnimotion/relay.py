"""What is drawn on one frame, carried through all windows of a clip, from one to the next.

Two windows have canonical volumes of their own: what they share are the frames of their overlap.
There what is drawn is handed over, in the frame that shows the most of it. What is hidden in that
frame is lost to the windows beyond.

A layer is what is drawn: labels (H, W), or something with alpha last (H, W, C), like RGBA; nothing
where labels or alpha are 0.
"""

from collections.abc import Callable, Sequence

import numpy as np

from omnimotion.windows import homes

Carry = Callable[[int, np.ndarray, int, int], np.ndarray]
"""The layer of frame j, of one of frame i, as window k carries it: ``carry(k, layer, i, j)``."""

TRIED = 5  # frames of an overlap


class Relay:
    """The layer of a frame ``t``, to be had in any other frame. Frames are those of the clip."""

    def __init__(self, windows: Sequence[range], carry: Carry, layer: np.ndarray, t: int) -> None:
        self.windows, self._carry, self.t = windows, carry, t
        self._home = int(homes(windows, np.array([t]))[0])
        self._known = {self._home: (t, layer)}  # of windows: the layer they begin with, its frame

    def at(self, j: int) -> np.ndarray:
        """The layer of frame j."""
        k, side = self._home, 1 if j > self.t else -1
        while self._is_beyond(k, j, side):
            k += side
        frame, layer = self._known[k]
        return self._carry(k, layer, frame, j)

    def _is_beyond(self, k: int, j: int, side: int) -> bool:
        """Whether frame j, on that side of t, is past the one where window k hands over."""
        if not 0 <= k + side < len(self.windows):
            return False
        beside = self.windows[k + side]
        if (j < beside.start) if side > 0 else (j >= beside.stop):
            return False
        return (j - self._begin(k, k + side)) * side > 0

    def _begin(self, k: int, beside: int) -> int:
        """The frame in which window ``beside`` takes the layer over from window k."""
        if beside not in self._known:
            frame, layer = self._known[k]
            both = sorted({*self.windows[k]} & {*self.windows[beside]})
            tried = {both[round(n)] for n in np.linspace(0, len(both) - 1, TRIED)}
            if frame in both:  # what was drawn itself
                tried = {frame}
            found = [(each, self._carry(k, layer, frame, each)) for each in sorted(tried)]
            self._known[beside] = max(found, key=lambda each: _shown(each[1]))
        return self._known[beside][0]


def _shown(layer: np.ndarray) -> int:
    """How many pixels show something."""
    return int(np.count_nonzero(layer if layer.ndim == 2 else layer[..., -1]))
