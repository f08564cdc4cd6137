"""Of two candidates for the flow of a pair, the better one of each pixel.

That which leads back and looks the same: the difference of colours around a pixel counts, in grey
levels, and so many more for flow that fails the cycle check.

Conventions. Flow is (H, W, 2) float32 pixels; a pair of it is i -> j and j -> i.
"""

import cv2
import numpy as np

from preprocess.filter import cycle_error, cycle_limit, sample, targets

BothWays = tuple[np.ndarray, np.ndarray]  # i -> j and j -> i, or images of i and j

AROUND = 5  # px: places whose difference counts for a pixel
UNLIKE = np.float32(60)  # grey levels: more does not count
NO_WAY_BACK = np.float32(20)  # grey levels


def better(one: BothWays, other: BothWays, image_i: np.ndarray, image_j: np.ndarray) -> BothWays:
    """``one`` or ``other``, of each pixel, between images uint8 (H, W, 3)."""
    images = image_i, image_j
    chosen = []
    for way in (0, 1):
        costs = [_cost(both, way, images) for both in (one, other)]
        chosen.append(np.where((costs[1] < costs[0])[..., None], other[way], one[way]))
    return chosen[0], chosen[1]


def _cost(both: BothWays, way: int, images: BothWays) -> np.ndarray:
    """Of flow that way (0 is i -> j), (H, W) grey levels."""
    there, back = both[way], both[1 - way]
    limit = cycle_limit((there.shape[1], there.shape[0]))
    moved = sample(images[1 - way], *targets(there))
    difference = cv2.absdiff(images[way], moved).astype(np.float32).mean(axis=-1)
    around = cv2.blur(np.minimum(difference, UNLIKE), (AROUND, AROUND))
    return around + NO_WAY_BACK * (cycle_error(there, back) >= limit)
