"""How well a place of an image can be found again: by the texture around it.

Where there is little, flow is made up from what is around, or is that of a reflection, of noise,
of compression. Forward and backward it is so alike, and passes every check. What is wrong by
such flow is of any size, so a match counts as much as its place is determined.
"""

import cv2
import numpy as np

SMOOTH_PX = 1.0  # before differences are taken: noise of single pixels is no texture
AROUND_PX = 3.0  # deviation of the window that is looked at, about a search's patch of 8 px
LEAST = 0.01  # of a place without texture: something must say where it goes


def certainty(image: np.ndarray, half: float) -> np.ndarray:
    """What matches of the pixels of an image uint8 (H, W, 3) count, float32 (H, W) in [0, 1].

    The smaller eigenvalue e of the structure tensor, squared grey levels per px^2, is how much the
    image changes at least when it moves (Shi and Tomasi, CVPR 1994), and its inverse is the
    variance of a match. It counts ``e / (e + half)``, and at least `LEAST`; 1 for a ``half`` of 0.
    """
    if half <= 0:
        return np.ones(image.shape[:2], np.float32)
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey = _blurred(grey, SMOOTH_PX)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 8) for axis in ((1, 0), (0, 1)))
    xx, xy, yy = (_blurred(product, AROUND_PX) for product in (dx * dx, dx * dy, dy * dy))
    least = (xx + yy) / 2 - np.sqrt(((xx - yy) / 2) ** 2 + xy * xy)
    found: np.ndarray = LEAST + (1 - LEAST) * least.clip(0) / (least.clip(0) + np.float32(half))
    return found.astype(np.float32)


def _blurred(image: np.ndarray, deviation: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), deviation)
