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
    found, known = flow.copy(), reliable.view(np.uint8)
    best = _difference(flow, images, way, CLOSE_BY)
    best[reliable] = -1  # stays
    for dx, dy in _places(part):
        moved = _shifted(flow, dx, dy)
        cost = _difference(moved, images, way, CLOSE_BY)
        use = (cost < best).view(np.uint8) & _shifted(known, dx, dy)
        cv2.copyTo(cost, use, best)
        cv2.copyTo(moved, use, found)
    return found


def _places(part: int) -> np.ndarray:
    """(P, 2) px, (dx, dy), evenly in a circle, others in each part."""
    k = np.arange(PLACES)
    radius, angle = RADIUS * np.sqrt((k + 0.5) / PLACES), k * GOLDEN_ANGLE + part
    around = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    return np.rint(around).astype(int)


def _shifted(image: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """What is (dx, dy) away; zero beyond the border."""
    height, width = image.shape[:2]
    aside = max(-dy, 0), max(dy, 0), max(-dx, 0), max(dx, 0)  # top, bottom, left, right
    wide = cv2.copyMakeBorder(image, *aside, cv2.BORDER_CONSTANT, value=0)
    top, left = max(dy, 0), max(dx, 0)
    return np.ascontiguousarray(wide[top : top + height, left : left + width])


def _difference(flow: np.ndarray, images: BothWays, way: int, measure: Measure) -> np.ndarray:
    """Of flow that way (0 is i -> j), mean around each pixel, (H, W) float32 grey levels."""
    side, unlike = measure
    moved = sample(images[1 - way], *targets(flow))
    grey = cv2.transform(cv2.absdiff(images[way], moved), GREY)
    return cv2.boxFilter(np.minimum(grey, unlike), cv2.CV_32F, (side, side))
