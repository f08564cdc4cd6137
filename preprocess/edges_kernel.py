"""The compiled loop of `edges`: a pixel after the other, in the order of its numpy twin."""

from typing import Any

import numpy as np
from numba import float32, njit

from preprocess import edges

ALIKE, UNLIKE = float32(edges.ALIKE), float32(edges.UNLIKE)
WIDE, MIDDLE, NARROW = (float32(spread) for spread in edges.SPREADS)
SAME, LEAST, AGREE = float32(edges.SAME), float32(edges.LEAST), float32(edges.AGREE)
ZERO, ONE = float32(0), float32(1)

kernel = njit(nogil=True, cache=True)  # no fast arithmetic: numpy must find the same
inline = njit(inline="always")


@kernel
def fill(
    flow: np.ndarray, reliable: np.ndarray, colours: np.ndarray, places: tuple, found: np.ndarray
) -> None:
    """Fill ``found`` (H, W, 2) where ``reliable`` (H, W) is false; ``places``: see `edges`."""
    height, width = reliable.shape
    weights = np.empty(len(places[1]), np.float32)
    motions = np.empty((len(places[1]), 2), np.float32)
    for y in range(height):
        for x in range(width):
            if not reliable[y, x]:
                count = _look(flow, reliable, colours, (y, x), places, (weights, motions))
                _settle(weights[:count], motions[:count], found[y, x])


@inline
def _look(flow: Any, reliable: Any, colours: Any, at: Any, places: Any, seen: Any) -> int:
    """Weights and motions of the places that count, into ``seen``; how many."""
    (y, x), (height, width) = at, reliable.shape
    weights, motions = seen
    count = 0
    for k in range(len(places[1])):
        row, column = y + places[0][k, 1], x + places[0][k, 0]
        if row < 0 or column < 0 or row >= height or column >= width:
            continue
        if not reliable[row, column]:
            continue
        red = colours[row, column, 0] - colours[y, x, 0]
        green = colours[row, column, 1] - colours[y, x, 1]
        blue = colours[row, column, 2] - colours[y, x, 2]
        off = (red * red + green * green + blue * blue) / ALIKE
        if off <= UNLIKE:
            weights[count] = places[1][k] / ((ONE + off) * (ONE + off))
            motions[count] = flow[row, column]
            count += 1
    return count


@inline
def _settle(weights: Any, motions: Any, found: Any) -> None:
    """The motion (2,) that most of the weight agrees on, if any."""
    total, u, v = ZERO, ZERO, ZERO
    for k in range(len(weights)):
        total += weights[k]
        u += weights[k] * motions[k, 0]
        v += weights[k] * motions[k, 1]
    if not total > LEAST:
        return
    u, v = u / total, v / total
    for spread in (WIDE, MIDDLE, NARROW):
        share, new_u, new_v = ZERO, ZERO, ZERO
        for k in range(len(weights)):
            close = ONE + _apart(motions[k], u, v) / spread
            weight = weights[k] / (close * close)
            share += weight
            new_u += weight * motions[k, 0]
            new_v += weight * motions[k, 1]
        u, v = new_u / share, new_v / share
    same = ZERO
    for k in range(len(weights)):
        if _apart(motions[k], u, v) < SAME:
            same += weights[k]
    if same > AGREE * total:
        found[0], found[1] = u, v


@inline
def _apart(motion: Any, u: Any, v: Any) -> Any:
    return (motion[0] - u) * (motion[0] - u) + (motion[1] - v) * (motion[1] - v)
