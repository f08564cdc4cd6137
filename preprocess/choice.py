"""Of several candidates for the flow of a pair, the better one of each pixel.

That which leads back and looks the same: the difference of grey levels around a pixel counts, and
so many more for flow that fails the cycle check. Candidates are whole other flows (`better`), or
what moves places close by (`spread`; after PatchMatch: Barnes et al., SIGGRAPH 2009).

Conventions. Flow is (H, W, 2) float32 pixels; a pair of it is i -> j and j -> i.
"""

import cv2
import numpy as np

from preprocess.edges import GOLDEN_ANGLE
from preprocess.filter import leads_back, sample, targets

BothWays = tuple[np.ndarray, np.ndarray]  # i -> j and j -> i, or images of i and j

Measure = tuple[int, np.uint8]  # px: as many each way count for a pixel; grey levels: no more
WHOLE: Measure = (5, np.uint8(60))  # of whole flows
CLOSE_BY: Measure = (3, np.uint8(40))  # of what moves places close by
NO_WAY_BACK = np.float32(20)  # grey levels
GREY = np.full((1, 3), 1 / 3, np.float32)  # of a difference of colours
RADIUS, PLACES, ROUNDS = 8, 8, 2  # px, and how many places are looked at, so many times
MARGIN = RADIUS + CLOSE_BY[0] // 2  # px
COLUMNS = 4096  # of lists: OpenCV reads images of fewer than 32767 only


def better(one: BothWays, other: BothWays, images: BothWays) -> BothWays:
    """``one`` or ``other``, of each pixel, between ``images`` uint8 (H, W, 3)."""
    chosen = []
    for way in (0, 1):
        costs = [_difference(both[way], images, way, WHOLE) for both in (one, other)]
        for cost, both in zip(costs, (one, other)):
            cost += NO_WAY_BACK * ~leads_back(both[way], both[1 - way])
        chosen.append(np.where((costs[1] < costs[0])[..., None], other[way], one[way]))
    return chosen[0], chosen[1]


def spread(flow: BothWays, images: BothWays) -> BothWays:
    """Flow, where it does not lead back that of a place close by, if that looks better.

    Only flow that leads back is taken. Whether it does so where it is taken to, no one knows here:
    of what is hidden it will not.
    """
    for part in range(ROUNDS):
        reliable = leads_back(*flow), leads_back(*flow[::-1])
        one, other = (_spread(flow[way], reliable[way], images, way, part) for way in (0, 1))
        flow = one, other
    return flow


def _spread(
    flow: np.ndarray, reliable: np.ndarray, images: BothWays, way: int, part: int
) -> np.ndarray:
    """Of the pixels alone that are not ``reliable``, and of those that they are judged by.

    Arrays have a margin, and a place in them is one number, so that a shift is one, too; motion is
    complex, since numpy is slow in two components.
    """
    found, lost = flow.copy(), (~reliable).view(np.uint8)
    y, x = np.nonzero(cv2.dilate(lost, np.ones((CLOSE_BY[0],) * 2, np.uint8)))
    if not len(y):
        return found
    columns = min(len(y), COLUMNS)
    y, x = (np.pad(each, (0, -len(each) % columns), "edge") for each in (y, x))
    width = reliable.shape[1] + 2 * MARGIN
    place = (y + MARGIN) * width + x + MARGIN
    motion, known = _widened(flow).view(np.complex64), _widened(reliable.view(np.uint8))
    number = np.zeros(reliable.shape, np.int32)
    number[y, x] = np.arange(len(place))
    is_lost = lost[y, x] > 0
    place_lost, reach = place[is_lost], np.arange(CLOSE_BY[0]) - CLOSE_BY[0] // 2
    patch = (reach[:, None] * width + reach).ravel()
    around = _widened(number, cv2.BORDER_REFLECT_101).take(place_lost + patch[:, None])
    own = images[way][y, x].reshape(-1, columns, 3)
    here = (x + 1j * y).astype(np.complex64)

    def cost(shift: int) -> np.ndarray:
        to = (here + motion.take(place + shift)).reshape(-1, columns)
        there = sample(images[1 - way], to.real, to.imag)
        return _unlike(own, there, CLOSE_BY).take(around).sum(axis=0, dtype=np.int32)

    best, chosen = cost(0), place_lost
    for dx, dy in _places(part):
        shift = int(dy * width + dx)
        there = cost(shift)
        use = (there < best) & (known.take(place_lost + shift) > 0)
        best, chosen = np.where(use, there, best), np.where(use, place_lost + shift, chosen)
    found.view(np.complex64)[y[is_lost], x[is_lost], 0] = motion.take(chosen)
    return found


def _places(part: int) -> np.ndarray:
    """(P, 2) px, (dx, dy), evenly in a circle, others in each part."""
    k = np.arange(PLACES)
    radius, angle = RADIUS * np.sqrt((k + 0.5) / PLACES), k * GOLDEN_ANGLE + part
    around = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return np.rint(around).astype(int)


def _widened(image: np.ndarray, border: int = cv2.BORDER_CONSTANT) -> np.ndarray:
    """With a margin, of zeros by default."""
    return cv2.copyMakeBorder(image, *(MARGIN,) * 4, border, value=0)


def _difference(flow: np.ndarray, images: BothWays, way: int, measure: Measure) -> np.ndarray:
    """Of flow that way (0 is i -> j), mean around each pixel, (H, W) float32 grey levels."""
    side, _ = measure
    moved = sample(images[1 - way], *targets(flow))
    return cv2.boxFilter(_unlike(images[way], moved, measure), cv2.CV_32F, (side, side))


def _unlike(one: np.ndarray, other: np.ndarray, measure: Measure) -> np.ndarray:
    """Difference of colours (h, w, 3), uint8 grey levels, bounded."""
    return np.minimum(cv2.transform(cv2.absdiff(one, other), GREY), measure[1])
