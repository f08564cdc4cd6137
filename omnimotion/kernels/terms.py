"""The terms of a step's loss, of one pair each, and their gradients.

`omnimotion.losses` says what each term means. A term's sum over all it concerns is added to
`Terms.sums`, its gradient, times the term's factor, to those of what it is made of.

Conventions. N points of a pair lie side by side: (2, N), (3, N). Their samples are those of a
bundle that are lit (`bundle`), what is expected of them under the weights is in ``means``
(18, N), whose rows are named here.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.bundle import DEPTHS, WEIGHTS, WEIGHTS_G, X_G, Lit, X
from omnimotion.kernels.cells import ONE, ZERO, inline, kernel
from omnimotion.kernels.compositing import composite
from omnimotion.kernels.elementary import log, sigmoid, softplus

TERMS = (
    "flow", "flow_gradient", "photometric", "photometric_gradient", "smoothness",
    "depth_consistency", "occlusion", "depth_range", "depth_order", "distortion", "flow_px",
    "lands",
)  # fmt: skip
"""The terms by their places in `Terms.sums` and `Terms.factors`."""
(FLOW, FLOW_GRADIENT, PHOTOMETRIC, PHOTOMETRIC_GRADIENT, SMOOTHNESS, CONSISTENCY, OCCLUSION,
 RANGE, ORDER, DISTORTION, FLOW_PX, LANDS) = range(len(TERMS))  # fmt: skip
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
def flow(lit: Lit, means: np.ndarray, match: tuple, terms: Terms) -> float:
    """Distances of a pair's samples and of their expected places from the matches (2, N).

    ``match``: these, and how much each counts, (N,). Returns the plain mean of the latter.
    """
    (xy, certainty), room, ray = match, lit.room, lit.ray
    weights, weights_g, n_points = room[WEIGHTS], room[WEIGHTS_G], len(certainty)
    bound, factor, total = terms.robust_px, terms.factors[FLOW] * terms.per_sample, ZERO
    x, y, x_g, y_g = room[X], room[X + 1], room[X_G], room[X_G + 1]
    for m in range(len(weights)):
        n = ray[m]
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
def range_of_depth(lit: Lit, terms: Terms) -> None:
    """How far mapped samples lie beyond the range of depth."""
    depth, depth_g = lit.room[X + 2], lit.room[X_G + 2]
    factor, total = PX * terms.factors[RANGE], ZERO
    for m in range(lit.n_lit):
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
def front(lit: Lit, points: np.ndarray, n_samples: int, weight: float,
          terms: Terms) -> float:  # fmt: skip
    """Cost of points by what lies in front of them on their rays, of so many samples, with its
    gradients.

    ``points``: rows of x, y, z, and of their gradient, of N points.
    """
    n_points, ray = points.shape[1], lit.ray
    sharp, total = float32(n_samples), ZERO
    weights, weights_g, depths = lit.room[WEIGHTS], lit.room[WEIGHTS_G], lit.room[DEPTHS]
    share, share_g = np.zeros(n_points, np.float32), np.empty(n_points, np.float32)
    nearer = np.empty(len(weights), np.float32)
    for m in range(len(weights)):
        nearer[m] = sigmoid((points[2, ray[m]] - OCCLUSION_MARGIN - depths[m]) * sharp)
    for m in range(len(weights)):
        share[ray[m]] += weights[m] * nearer[m]
    for n in range(n_points):
        lands = is_inside(points[0, n], points[1, n], terms.extent)
        counts = weight if lands else ZERO
        terms.sums[LANDS] += lands
        least = MIN_FRONT if share[n] < MIN_FRONT else share[n]
        total -= counts * log(least)
        is_least = share[n] < MIN_FRONT
        share_g[n] = ZERO if is_least else -terms.factors[OCCLUSION] * counts / least
        points[3, n], points[4, n], points[5, n] = ZERO, ZERO, ZERO
    for m in range(len(weights)):
        pull = share_g[ray[m]] * nearer[m]
        weights_g[m] += pull
        points[5, ray[m]] += pull * weights[m] * (ONE - nearer[m]) * sharp
    return total


@kernel
def ordered(lit: Lit, mapped: np.ndarray, terms: Terms) -> None:
    """Of two points, what a depth map (N,) says is clearly farther lies deeper."""
    n_points, factor, total = len(mapped), terms.factors[ORDER], ZERO
    depth, depth_g = np.empty(n_points, np.float32), np.zeros(n_points, np.float32)
    composite(lit.room[WEIGHTS], lit.room[DEPTHS], lit.ray, depth)
    for n in range(n_points):
        for k in range(n_points):
            if mapped[n] - mapped[k] > FARTHER:
                cost, share = softplus((depth[k] - depth[n]) / ORDER_SOFTNESS)
                total += cost
                pull = factor * share / ORDER_SOFTNESS
                depth_g[k] += pull
                depth_g[n] -= pull
    terms.sums[ORDER] += total
    depth_weighed(lit, depth_g)


@kernel
def depth_weighed(lit: Lit, depth_g: np.ndarray) -> None:
    """Add to the gradient of weights that of the expected depth (N,)."""
    weights_g, depths, ray = lit.room[WEIGHTS_G], lit.room[DEPTHS], lit.ray
    for m in range(len(depths)):
        weights_g[m] += depth_g[ray[m]] * depths[m]


@kernel
def spread(lit: Lit, shape: tuple, terms: Terms) -> None:
    """Spread of the weights along each ray; ``shape``: rays, and samples of each."""
    weights, weights_g, depths = lit.room[WEIGHTS], lit.room[WEIGHTS_G], lit.room[DEPTHS]
    of_ray, count = np.empty(shape, np.int64), np.zeros(shape[0], np.int64)
    for m in range(lit.n_lit):
        n = lit.ray[m]
        of_ray[n, count[n]] = m
        count[n] += 1
    factor, total = TWO * terms.factors[DISTORTION], ZERO
    for n in range(shape[0]):
        for m in of_ray[n, : count[n]]:
            for k in of_ray[n, : count[n]]:
                apart = abs(depths[m] - depths[k]) * weights[k]
                total += apart * weights[m]
                weights_g[m] += factor * apart
    terms.sums[DISTORTION] += total
