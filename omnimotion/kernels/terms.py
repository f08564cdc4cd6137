"""The terms of a step's loss, of one pair each, and their gradients.

`omnimotion.losses` says what each term means. A term's sum over all it concerns is added to
`Terms.sums`, its gradient, times the term's factor, to those of what it is made of.

Conventions. N points of a pair lie side by side: (2, N), (3, N). Their samples are in the room
of a bundle (`bundle`), what is expected of them under the weights in ``means`` (18, N), whose rows
are named here.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.bundle import DEPTHS, WEIGHTS, WEIGHTS_G, X_G, X
from omnimotion.kernels.cells import ONE, ZERO, inline, kernel
from omnimotion.kernels.compositing import composite
from omnimotion.kernels.elementary import log, sigmoid, softplus

TERMS = (
    "flow", "flow_gradient", "photometric", "photometric_gradient", "smoothness",
    "depth_consistency", "occlusion", "depth_range", "depth_order", "distortion", "flow_px",
)  # fmt: skip
"""The terms by their places in `Terms.sums` and `Terms.factors`."""
(FLOW, FLOW_GRADIENT, PHOTOMETRIC, PHOTOMETRIC_GRADIENT, SMOOTHNESS, CONSISTENCY, OCCLUSION,
 RANGE, ORDER, DISTORTION, FLOW_PX) = range(len(TERMS))  # fmt: skip
PX = float32(128)  # of a normalised unit, as `omnimotion.geometry` has it
OCCLUSION_MARGIN, MIN_FRONT = float32(1 / 8), float32(0.02)  # as `omnimotion.losses` has them
FARTHER, ORDER_SOFTNESS = float32(0.1), float32(1 / 16)


TWO = float32(2)
MAPPED, MAPPED_G = 0, 3  # three rows each: in frame j, and its gradient
COLOUR, COLOUR_G = 6, 9
SURFACE, SURFACE_G = 12, 15  # canonical
MEANS = 18


class Terms(NamedTuple):
    """How terms count."""

    factors: np.ndarray  # of each term's sum in the loss
    sums: np.ndarray  # float64, added to
    per_sample: np.float32
    robust_px: np.float32  # infinite: never
    extent: tuple[np.float32, ...]  # half width and half height of a frame
    subset: int  # K: smoothness looks at so many pairs


@inline
def sign(x: Any) -> Any:
    """-1, 0 or 1, as float32."""
    return float32(x > ZERO) - float32(x < ZERO)


@inline
def is_inside(x: Any, y: Any, extent: Any) -> Any:
    """Whether a place is in the frame."""
    return abs(x) < extent[0] and abs(y) < extent[1]


@kernel
def flow(room: np.ndarray, means: np.ndarray, match: tuple, terms: Terms) -> float:
    """Distances of a pair's samples and of their expected places from the matches (2, N).

    ``match``: these, and how much each counts, (N,). Returns the plain mean of the latter.
    """
    (xy, certainty), weights, weights_g = match, room[WEIGHTS], room[WEIGHTS_G]
    n_points = len(certainty)
    bound, factor, total = terms.robust_px, terms.factors[FLOW] * terms.per_sample, ZERO
    x, y, x_g, y_g = room[X], room[X + 1], room[X_G], room[X_G + 1]
    for start in range(0, len(weights), n_points):
        for n in range(n_points):
            m = start + n
            dx, dy = x[m] - xy[0, n], y[m] - xy[1, n]
            off = PX * (abs(dx) + abs(dy))
            is_near = off < bound
            cost = certainty[n] * (off if is_near else bound * (ONE + log(off / bound)))
            slope = certainty[n] * (ONE if is_near else bound / off)
            pull = factor * PX * weights[m] * slope
            total += weights[m] * cost
            weights_g[m] += factor * cost
            x_g[m] += pull * sign(dx)
            y_g[m] += pull * sign(dy)
    factor, composited, error = PX * terms.factors[FLOW] * (ONE - terms.per_sample), ZERO, ZERO
    for n in range(n_points):
        dx, dy = means[MAPPED, n] - xy[0, n], means[MAPPED + 1, n] - xy[1, n]
        off, pull = PX * (abs(dx) + abs(dy)), factor * certainty[n]
        error += off
        composited += certainty[n] * off
        means[MAPPED_G, n] += pull * sign(dx)
        means[MAPPED_G + 1, n] += pull * sign(dy)
    terms.sums[FLOW] += terms.per_sample * total + (ONE - terms.per_sample) * composited
    terms.sums[FLOW_PX] += error
    return error / float32(n_points)


@kernel
def range_of_depth(room: np.ndarray, terms: Terms) -> None:
    """How far mapped samples lie beyond the range of depth."""
    depth, depth_g = room[X + 2], room[X_G + 2]
    factor, total = PX * terms.factors[RANGE], ZERO
    for m in range(len(depth)):
        excess = abs(depth[m]) - ONE
        excess = ZERO if excess <= ZERO else excess
        total += excess * excess
        depth_g[m] += TWO * factor * excess * sign(depth[m])
    terms.sums[RANGE] += PX * total


@kernel
def photometric(means: np.ndarray, rgb: np.ndarray, terms: Terms) -> None:
    """Squared error of the expected colours against ``rgb`` (3, N)."""
    factor, total = TWO * terms.factors[PHOTOMETRIC], ZERO
    for c in range(3):
        for n in range(rgb.shape[1]):
            off = means[COLOUR + c, n] - rgb[c, n]
            total += off * off
            means[COLOUR_G + c, n] += factor * off
    terms.sums[PHOTOMETRIC] += total


@kernel
def differences(means: np.ndarray, row: int, expected: np.ndarray, factor: float) -> float:
    """Error of differences of points drawn one after the other, expected (C, N).

    ``row``: of what was found, the first of three whose gradient's three follow.
    """
    total, n_points = ZERO, expected.shape[1]
    for c in range(len(expected)):
        found, found_g, known = means[row + c], means[row + 3 + c], expected[c]
        for n in range(n_points):
            before = n - 1 if n > 0 else n_points - 1
            off = (found[n] - found[before]) - (known[n] - known[before])
            total += abs(off)
            found_g[n] += factor * sign(off)
            found_g[before] -= factor * sign(off)
    return total


@kernel
def front(room: np.ndarray, points: np.ndarray, weight: float, terms: Terms) -> float:
    """Cost of points by what lies in front of them on the rays of ``room``, with its gradients.

    ``points``: rows of x, y, z, and of their gradient, of N points.
    """
    n_points = points.shape[1]
    sharp, total = float32(room.shape[1] // n_points), ZERO
    weights, weights_g, depths = room[WEIGHTS], room[WEIGHTS_G], room[DEPTHS]
    for n in range(n_points):
        x, y, z = points[0, n], points[1, n], points[2, n]
        counts = weight if is_inside(x, y, terms.extent) else ZERO
        share = ZERO
        for m in range(n, len(weights), n_points):
            share += weights[m] * sigmoid((z - OCCLUSION_MARGIN - depths[m]) * sharp)
        least = MIN_FRONT if share < MIN_FRONT else share
        total -= counts * log(least)
        share_g = ZERO if share < MIN_FRONT else -terms.factors[OCCLUSION] * counts / least
        z_g = ZERO
        for m in range(n, len(weights), n_points):
            nearer = sigmoid((z - OCCLUSION_MARGIN - depths[m]) * sharp)
            weights_g[m] += share_g * nearer
            z_g += share_g * weights[m] * nearer * (ONE - nearer) * sharp
        points[3, n], points[4, n], points[5, n] = ZERO, ZERO, z_g
    return total


@kernel
def ordered(room: np.ndarray, mapped: np.ndarray, terms: Terms) -> None:
    """Of two points, what a depth map (N,) says is clearly farther lies deeper."""
    n_points, factor, total = len(mapped), terms.factors[ORDER], ZERO
    depth, depth_g = np.empty(n_points, np.float32), np.zeros(n_points, np.float32)
    composite(room[WEIGHTS], room[DEPTHS], depth)
    for n in range(n_points):
        for k in range(n_points):
            if mapped[n] - mapped[k] > FARTHER:
                cost, share = softplus((depth[k] - depth[n]) / ORDER_SOFTNESS)
                total += cost
                pull = factor * share / ORDER_SOFTNESS
                depth_g[k] += pull
                depth_g[n] -= pull
    terms.sums[ORDER] += total
    depth_weighed(room, depth_g)


@kernel
def depth_weighed(room: np.ndarray, depth_g: np.ndarray) -> None:
    """Add to the gradient of weights that of the expected depth (N,)."""
    weights_g, depths = room[WEIGHTS_G], room[DEPTHS]
    for start in range(0, len(depths), len(depth_g)):
        for n in range(len(depth_g)):
            weights_g[start + n] += depth_g[n] * depths[start + n]


@kernel
def spread(room: np.ndarray, n_points: int, terms: Terms) -> None:
    """Spread of the weights along each ray."""
    weights, weights_g, depths = room[WEIGHTS], room[WEIGHTS_G], room[DEPTHS]
    factor, total = TWO * terms.factors[DISTORTION], ZERO
    for m in range(len(weights)):
        for k in range(m % n_points, len(weights), n_points):
            apart = abs(depths[m] - depths[k]) * weights[k]
            total += apart * weights[m]
            weights_g[m] += factor * apart
    terms.sums[DISTORTION] += total
