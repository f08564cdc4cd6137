"""Coordinates: pixels, normalised local points, and the camera's similarity.

Conventions. Pixel coordinates ``xy`` are (x, y) with pixel centres at integers. Normalised
coordinates put the frame's centre at 0 and its longer side at [-1, 1]; both axes have the same
scale, so a similarity of the image stays one. A local point adds pseudo-depth z in [-1, 1],
small in front. All functions act on the last axis and keep dtype and device.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)

PIXELS_PER_UNIT = 128.0
"""Losses are quoted in pixels of a frame whose longer side is 256, whatever the clip's size."""


def resize_xy(xy: Array, size_from: tuple[int, int], size_to: tuple[int, int]) -> Array:
    """Coordinates of the same place after the image is resized from one (W, H) to another.

    ``xy``: (..., 2) pixels. Pixel centres at integers: ``(xy + 0.5) * to / from - 0.5``.
    """
    scale = [size_to[0] / size_from[0], size_to[1] / size_from[1]]
    if isinstance(xy, Tensor):
        return (xy + 0.5) * xy.new_tensor(scale) - 0.5
    return ((xy + 0.5) * np.asarray(scale, dtype=xy.dtype) - 0.5).astype(xy.dtype)


def inside_frame(xy: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Which pixels (..., 2) lie on the (W, H) frame, its outer half pixel included: bool (...)."""
    inside: np.ndarray = np.all((xy >= -0.5) & (xy <= np.asarray(size) - 0.5), axis=-1)
    return inside


def nearest_pixels(
    size_from: tuple[int, int], size_to: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of an image of one (W, H) lies in the same image of another.

    Rows and columns of the nearest pixels there, int64 (H, W), which index its arrays.
    """
    centres = np.stack(np.meshgrid(np.arange(size_from[0]), np.arange(size_from[1])), axis=-1)
    nearest = np.rint(resize_xy(centres.astype(np.float64), size_from, size_to))
    x, y = np.clip(nearest, 0, np.array(size_to) - 1).astype(np.int64).transpose(2, 0, 1)
    return y, x


def to_raster(xy: Array) -> Array:
    """Pixel-centre coordinates to raster ones, where (0, 0) is the image's upper left corner."""
    return xy + 0.5


@dataclass(frozen=True)
class Frame:
    """The normalisation of frames of one size (W, H)."""

    width: int
    height: int

    @property
    def half(self) -> float:
        """Pixels in one normalised unit: half the longer side."""
        return max(self.width, self.height) / 2

    @property
    def extent(self) -> tuple[float, float]:
        """Half width and half height in normalised units; the larger is 1."""
        return self.width / 2 / self.half, self.height / 2 / self.half

    def normalise(self, xy: Tensor) -> Tensor:
        """Pixels (..., 2) to normalised coordinates (..., 2)."""
        return (xy - self._centre(xy)) / self.half

    def to_pixels(self, xy: Tensor) -> Tensor:
        """Normalised coordinates (..., 2) to pixels (..., 2)."""
        return xy * self.half + self._centre(xy)

    def _centre(self, like: Tensor) -> Tensor:
        return like.new_tensor([(self.width - 1) / 2, (self.height - 1) / 2])


def apply_similarity(camera: Tensor, xy: Tensor) -> Tensor:
    """``s R xy + t``; ``camera`` (..., 4) holds (s cos a, s sin a, tx, ty); ``xy`` is (..., 2)."""
    a, b, tx, ty = camera.unbind(-1)
    x, y = xy.unbind(-1)
    return torch.stack((a * x - b * y + tx, b * x + a * y + ty), dim=-1)


def invert_similarity(camera: Tensor) -> Tensor:
    """The similarity (..., 4) that undoes ``camera``."""
    a, b, tx, ty = camera.unbind(-1)
    norm = a * a + b * b
    ia, ib = a / norm, -b / norm
    return torch.stack((ia, ib, -(ia * tx - ib * ty), -(ib * tx + ia * ty)), dim=-1)


def compose_similarity(outer: Tensor, inner: Tensor) -> Tensor:
    """The similarity "first ``inner``, then ``outer``"; both (..., 4)."""
    a, b, _, _ = outer.unbind(-1)
    c, d, _, _ = inner.unbind(-1)
    shift = apply_similarity(outer, inner[..., 2:])
    return torch.cat((torch.stack((a * c - b * d, a * d + b * c), dim=-1), shift), dim=-1)
