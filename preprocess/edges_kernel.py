"""The compiled loop of `edges`: a pixel after the other, in the order of its numpy twin."""

from typing import Any

import numpy as np
from numba import float32, njit

ZERO, ONE = float32(0), float32(1)

kernel = njit(nogil=True, cache=True)  # no fast arithmetic: numpy must find the same
inline = njit(inline="always")


@kernel
def fill(images: tuple, places: tuple, rules: tuple, found: np.ndarray) -> None:
    """Fill ``found`` (H, W, 2) where the flow of ``images`` is not reliable.

    ``images`` are flow (H, W, 2), reliable (H, W) and colours (H, W, 3); ``places`` and ``rules``,
    float32, are those of `edges`: passed, since compiled code is kept until this file changes.
    """
    height, width = images[1].shape
    weights = np.empty(len(places[1]), np.float32)
    motions = np.empty((len(places[1]), 2), np.float32)
    for y in range(height):
        for x in range(width):
            if not images[1][y, x]:
                count = _look(images, (y, x), places, rules, (weights, motions))
                _settle(weights[:count], motions[:count], rules, found[y, x])


@inline
def _look(images: Any, at: Any, places: Any, rules: Any, seen: Any) -> int:
    """Weights and motions of the places that count, into ``seen``; how many."""
    flow, reliable, colours = images
    (y, x), (height, width) = at, reliable.shape
    weights, motions = seen
    alike, unlike = rules[0], rules[1]
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
        off = (red * red + green * green + blue * blue) / alike
        if off <= unlike:
            weights[count] = places[1][k] / ((ONE + off) * (ONE + off))
            motions[count] = flow[row, column]
            count += 1
    return count


@inline
def _settle(weights: Any, motions: Any, rules: Any, found: Any) -> None:
    """The motion (2,) that most of the weight agrees on, if any."""
    spreads, same, least, agree = rules[2:]
    total, u, v = ZERO, ZERO, ZERO
    for k in range(len(weights)):
        total += weights[k]
        u += weights[k] * motions[k, 0]
        v += weights[k] * motions[k, 1]
    if not total > least:
        return
    u, v = u / total, v / total
    for spread in spreads:
        share, new_u, new_v = ZERO, ZERO, ZERO
        for k in range(len(weights)):
            close = ONE + _apart(motions[k], u, v) / spread
            weight = weights[k] / (close * close)
            share += weight
            new_u += weight * motions[k, 0]
            new_v += weight * motions[k, 1]
        u, v = new_u / share, new_v / share
    share = ZERO
    for k in range(len(weights)):
        if _apart(motions[k], u, v) < same:
            share += weights[k]
    if share > agree * total:
        found[0], found[1] = u, v


@inline
def _apart(motion: Any, u: Any, v: Any) -> Any:
    return (motion[0] - u) * (motion[0] - u) + (motion[1] - v) * (motion[1] - v)
