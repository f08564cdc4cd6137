"""The frames of a scene's store as tracks are compared with them.

Conventions. T frames of (W, H), the store's; images of them are smaller, (w, h), where they are
large. Places are in pixels of the store's frames but where a docstring says otherwise.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from omnimotion.flow import SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT, resize_xy

LEAST_SIDE = 256  # frames are halved as long as the longer side stays above
AROUND_PX = 4.0  # of an image: standard deviation of the window of what is around a pixel


class Views:
    """Read once, when first asked for. SceneError for a damaged frame."""

    def __init__(self, store: SceneStore) -> None:
        self.size = store.index.size
        longer = max(self.size)
        level = max(0, int(np.log2(longer / LEAST_SIDE)))
        width, height = self.size
        self.image_size = max(1, width >> level), max(1, height >> level)
        self.px = 2 * PIXELS_PER_UNIT / max(self.image_size)  # of 256, in one of an image's
        self._store = store

    def frame(self, t: int) -> np.ndarray:
        """A frame of the store, uint8 (H, W, 3)."""
        return self._store.frame(t)

    @property
    def grey(self) -> Tensor:
        """Images, uint8 (T, h, w)."""
        return self._all[0]

    @property
    def colours(self) -> Tensor:
        """Frames, uint8 (T, H, W, 3)."""
        return self._all[1]

    @property
    def around(self) -> Tensor:
        """Images blurred to what is around a pixel, uint8 (T, h, w, 3)."""
        return self._all[2]

    def to_image(self, xy: np.ndarray) -> Tensor:
        """Places in pixels of the images."""
        return torch.from_numpy(resize_xy(xy.astype(np.float32), self.size, self.image_size))

    def from_image(self, xy: Tensor) -> np.ndarray:
        """Inverse of `to_image`."""
        return resize_xy(xy.numpy(), self.image_size, self.size)

    @cached_property
    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        kinds = zip(*(self._kinds(t) for t in range(self._store.index.n_frames)))
        grey, colours, around = (torch.from_numpy(np.stack(some)) for some in kinds)
        return grey, colours, around

    def _kinds(self, t: int) -> tuple[np.ndarray, ...]:
        import cv2

        frame = self.frame(t)
        grey, image = (
            cv2.resize(each, self.image_size, interpolation=cv2.INTER_AREA)
            for each in (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), frame)
        )
        return grey, frame, cv2.GaussianBlur(image, (0, 0), AROUND_PX)
