"""The frames of a scene's store as tracks are compared with them.

Conventions. T frames of the store, of size (W, H). Patches are compared in grey images of
moderate size, single pixels in colour images of twice that, so that memory is bounded; smaller
frames stay as they are. Places are in pixels of the store's frames but where a docstring says
otherwise.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from omnimotion.flow import SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT, resize_xy

GREY_SIDE, COLOUR_SIDE = 256, 512  # frames are halved as long as the longer side stays above
AROUND_PX = 4.0  # of a grey image: standard deviation of the window of what is around a pixel


class Views:
    """Read once, when first asked for. SceneError for a damaged frame."""

    def __init__(self, store: SceneStore) -> None:
        self.size = store.index.size
        self.grey_size = _halved(self.size, GREY_SIDE)
        self.colour_size = _halved(self.size, COLOUR_SIDE)
        self.px = 2 * PIXELS_PER_UNIT / max(self.grey_size)  # of 256, in one of a grey image's
        self._store = store

    def frame(self, t: int) -> np.ndarray:
        """A frame of the store, uint8 (H, W, 3)."""
        return self._store.frame(t)

    @property
    def grey(self) -> Tensor:
        """Grey images, uint8 (T, h, w)."""
        return self._all[0]

    @property
    def colours(self) -> Tensor:
        """Colour images, uint8 (T, h, w, 3)."""
        return self._all[1]

    @property
    def around(self) -> Tensor:
        """What is around a pixel of a grey image, in colour, uint8 (T, h, w, 3)."""
        return self._all[2]

    def to_grey(self, xy: np.ndarray) -> Tensor:
        """Places in pixels of the grey images."""
        return torch.from_numpy(resize_xy(xy.astype(np.float32), self.size, self.grey_size))

    def from_grey(self, xy: Tensor) -> np.ndarray:
        """Inverse of `to_grey`."""
        return resize_xy(xy.numpy(), self.grey_size, self.size)

    def to_colours(self, xy: np.ndarray) -> Tensor:
        """Places in pixels of the colour images."""
        return torch.from_numpy(resize_xy(xy.astype(np.float32), self.size, self.colour_size))

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        kinds = zip(*(self._kinds(t) for t in range(self._store.index.n_frames)))
        grey, colours, around = (torch.from_numpy(np.stack(some)) for some in kinds)
        return grey, colours, around

    def _kinds(self, t: int) -> tuple[np.ndarray, ...]:
        import cv2

        frame, grey = self.frame(t), self.grey_size
        small, colours, image = (
            cv2.resize(each, size, interpolation=cv2.INTER_AREA)
            for each, size in ((cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), grey),
                               (frame, self.colour_size), (frame, grey))
        )  # fmt: skip
        return small, colours, cv2.GaussianBlur(image, (0, 0), AROUND_PX)


def _halved(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size whose longer side is from ``side`` on up to twice that, if it was above."""
    level = max(0, int(np.log2(max(size) / side)))
    return max(1, size[0] >> level), max(1, size[1] >> level)
