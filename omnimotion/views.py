"""The frames of a scene's store as tracks are compared with them.

Conventions. T frames of the store, of size (W, H). Patches are compared in grey images of
moderate size, single pixels in colour images of twice that, so that memory is bounded; smaller
frames stay as they are. Places are in pixels of the store's frames but where a docstring says
otherwise.
"""

import math
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from omnimotion.flow import SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT, resize_xy

GREY_SIDE, COLOUR_SIDE = 256, 512  # px: frames are halved while the longer side is twice that
AROUND_PX = 4.0  # of a grey image: standard deviation of the window of what is around a pixel


class Images(NamedTuple):
    """What is held in memory of T frames, uint8; (w, h) is `grey_size`, (W', H') `colour_size`."""

    grey: Tensor  # (T, h, w)
    colours: Tensor  # (T, H', W', 3)
    around: Tensor  # (T, h, w, 3) what is around a pixel of a grey image, in colour


class Views:
    """A scene's frames, and their images, which are made when first asked for.

    SceneError for a damaged frame.
    """

    def __init__(self, store: SceneStore) -> None:
        self.size = store.index.size
        self.grey_size, self.colour_size = grey_size(self.size), colour_size(self.size)
        self.px = 2 * PIXELS_PER_UNIT / max(self.grey_size)  # of 256, in one of a grey image's
        self._store = store

    def frame(self, t: int) -> np.ndarray:
        """A frame of the store, uint8 (H, W, 3)."""
        return self._store.frame(t)

    @cached_property
    def images(self) -> Images:
        """Those of all frames."""
        (w, h), (width, height) = self.grey_size, self.colour_size
        count = self._store.index.n_frames
        shapes = ((count, h, w), (count, height, width, 3), (count, h, w, 3))
        images = Images(*(torch.empty(shape, dtype=torch.uint8) for shape in shapes))
        for t in range(count):
            for all_of_them, one in zip(images, self._made(t)):
                all_of_them[t] = torch.from_numpy(one)
        return images

    def to_grey(self, xy: np.ndarray) -> Tensor:
        """Places (..., 2) in pixels of the grey images, float32."""
        return torch.from_numpy(resize_xy(xy.astype(np.float32), self.size, self.grey_size))

    def from_grey(self, xy: Tensor) -> np.ndarray:
        """Inverse of `to_grey`."""
        return resize_xy(xy.numpy(), self.grey_size, self.size)

    def to_colours(self, xy: np.ndarray) -> Tensor:
        """Places (..., 2) in pixels of the colour images, float32."""
        return torch.from_numpy(resize_xy(xy.astype(np.float32), self.size, self.colour_size))

    def _made(self, t: int) -> tuple[np.ndarray, ...]:
        """The images of a frame, in the order of `Images`."""
        frame, small = self.frame(t), self.grey_size
        grey, colours, image = (
            cv2.resize(each, size, interpolation=cv2.INTER_AREA)
            for each, size in ((cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), small),
                               (frame, self.colour_size), (frame, small))
        )  # fmt: skip
        return grey, colours, cv2.GaussianBlur(image, (0, 0), AROUND_PX)


def grey_size(size: tuple[int, int]) -> tuple[int, int]:
    """(w, h) of the grey images of frames (W, H)."""
    return _halved(size, GREY_SIDE)


def colour_size(size: tuple[int, int]) -> tuple[int, int]:
    """(W', H') of the colour images of frames (W, H)."""
    return _halved(size, COLOUR_SIDE)


def frame_bytes(size: tuple[int, int]) -> int:
    """What the images of one frame of (W, H) take."""
    return 4 * math.prod(grey_size(size)) + 3 * math.prod(colour_size(size))


def _halved(size: tuple[int, int], side: int) -> tuple[int, int]:
    """A size halved until its longer side is below twice ``side``."""
    level = max(0, int(np.log2(max(size) / side)))
    return max(1, size[0] >> level), max(1, size[1] >> level)
