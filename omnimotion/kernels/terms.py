"""The terms of a step's loss, of one pair each, and their gradients.

`omnimotion.losses` says what each term means. A term's sum over all it concerns is added to
`Terms.sums`, its gradient, times the term's factor, to those of what it is made of.

Conventions. N points of a pair lie side by side: (2, N), (3, N). Samples as in `bundle`.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.bundle import Rays
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


class Terms(NamedTuple):
    """How terms count."""

    factors: np.ndarray  # of each term's sum in the loss
    sums: np.ndarray  # float64, added to
    per_sample: np.float32
    robust_px: np.float32  # infinite: never
    extent: tuple[np.float32, ...]  # half width and half height of a frame
    subset: int  # K: smoothness looks at so many pairs


class Matched(NamedTuple):
    """The rays of a pair's matches, their samples in frame j, and expected values."""

    rays: Rays
    there: Rays  # through the matches in frame j
    x: np.ndarray  # (3, M) in frame j
    x_g: np.ndarray
    kept: np.ndarray  # (L, M)
    rgb: np.ndarray  # (3, M)
    mapped: np.ndarray  # (3, N) in frame j
    mapped_g: np.ndarray
    colour: np.ndarray  # (3, N)
    colour_g: np.ndarray
    surface: np.ndarray  # (3, N) canonical
    surface_g: np.ndarray


class Moved(NamedTuple):
    """Points of some frame."""

    x: np.ndarray  # (3, N)
    x_g: np.ndarray
    kept: np.ndarray  # (layers, N)


@inline
def sign(x: Any) -> Any:
    """-1, 0 or 1, as float32."""
    return float32(x > ZERO) - float32(x < ZERO)


@kernel
def flow(seen: Matched, xy: np.ndarray, terms: Terms) -> float:
    """Distances of a pair's samples and of their expected places from the matches (2, N).

    Returns the mean of the latter.
    """
    weights, weights_g = seen.rays.weights, seen.rays.weights_g
    bound, factor = terms.robust_px, terms.factors[FLOW] * terms.per_sample
    n_points, total = len(xy[0]), ZERO
    for s in range(len(weights)):
        part = slice(s * n_points, (s + 1) * n_points)
        x, y, x_g, y_g = seen.x[0, part], seen.x[1, part], seen.x_g[0, part], seen.x_g[1, part]
        weight, weight_g = weights[s], weights_g[s]
        for n in range(n_points):
            dx, dy = x[n] - xy[0, n], y[n] - xy[1, n]
            off = PX * (abs(dx) + abs(dy))
            is_near = off < bound
            cost = off if is_near else bound * (ONE + log(off / bound))
            pull = factor * PX * weight[n] * (ONE if is_near else bound / off)
            total += weight[n] * cost
            weight_g[n] += factor * cost
            x_g[n] += pull * sign(dx)
            y_g[n] += pull * sign(dy)
    pull, composited = PX * terms.factors[FLOW] * (ONE - terms.per_sample), ZERO
    for n in range(n_points):
        dx, dy = seen.mapped[0, n] - xy[0, n], seen.mapped[1, n] - xy[1, n]
        composited += PX * (abs(dx) + abs(dy))
        seen.mapped_g[0, n] += pull * sign(dx)
        seen.mapped_g[1, n] += pull * sign(dy)
    terms.sums[FLOW] += terms.per_sample * total + (ONE - terms.per_sample) * composited
    terms.sums[FLOW_PX] += composited
    return composited / float32(n_points)


@kernel
def range_of_depth(seen: Matched, terms: Terms) -> None:
    """How far mapped samples lie beyond the range of depth."""
    depth, depth_g = seen.x[2], seen.x_g[2]
    factor, total = PX * terms.factors[RANGE], ZERO
    for m in range(len(depth)):
        excess = abs(depth[m]) - ONE
        excess = ZERO if excess <= ZERO else excess
        total += excess * excess
        depth_g[m] += float32(2) * factor * excess * sign(depth[m])
    terms.sums[RANGE] += PX * total


@kernel
def photometric(seen: Matched, rgb: np.ndarray, terms: Terms) -> None:
    """Squared error of the expected colours against ``rgb`` (3, N)."""
    factor, total = float32(2) * terms.factors[PHOTOMETRIC], ZERO
    for c in range(3):
        for n in range(rgb.shape[1]):
            off = seen.colour[c, n] - rgb[c, n]
            total += off * off
            seen.colour_g[c, n] += factor * off
    terms.sums[PHOTOMETRIC] += total


@kernel
def differences(found: np.ndarray, expected: np.ndarray, factor: float,
                 found_g: np.ndarray) -> float:  # fmt: skip
    """Error of differences of points drawn one after the other, each (C, N)."""
    total, n_points = ZERO, found.shape[1]
    for c in range(len(expected)):
        for n in range(n_points):
            before = n - 1 if n > 0 else n_points - 1
            off = (found[c, n] - found[c, before]) - (expected[c, n] - expected[c, before])
            total += abs(off)
            found_g[c, n] += factor * sign(off)
            found_g[c, before] -= factor * sign(off)
    return total


@kernel
def front(rays: Rays, point: Moved, weight: float, terms: Terms) -> float:
    """Cost of points (3, N) by what lies in front of them on ``rays``, with its gradients."""
    n_samples, n_points = rays.weights.shape
    sharp, total = float32(n_samples), ZERO
    for n in range(n_points):
        x, y, z = point.x[0, n], point.x[1, n], point.x[2, n]
        is_inside = abs(x) < terms.extent[0] and abs(y) < terms.extent[1]
        counts = weight if is_inside else ZERO
        share = ZERO
        for s in range(n_samples):
            nearer = sigmoid((z - OCCLUSION_MARGIN - rays.depths[s, n]) * sharp)
            share += rays.weights[s, n] * nearer
        least = MIN_FRONT if share < MIN_FRONT else share
        total -= counts * log(least)
        share_g = ZERO if share < MIN_FRONT else -terms.factors[OCCLUSION] * counts / least
        z_g = ZERO
        for s in range(n_samples):
            nearer = sigmoid((z - OCCLUSION_MARGIN - rays.depths[s, n]) * sharp)
            rays.weights_g[s, n] += share_g * nearer
            z_g += share_g * rays.weights[s, n] * nearer * (ONE - nearer) * sharp
        point.x_g[0, n], point.x_g[1, n], point.x_g[2, n] = ZERO, ZERO, z_g
    return total


@kernel
def ordered(rays: Rays, mapped: np.ndarray, terms: Terms) -> None:
    """Of two points, what a depth map (N,) says is clearly farther lies deeper."""
    n_points, factor, total = len(mapped), terms.factors[ORDER], ZERO
    depth, depth_g = np.empty(n_points, np.float32), np.zeros(n_points, np.float32)
    composite(rays.weights, rays.depths, depth)
    for n in range(n_points):
        for k in range(n_points):
            if mapped[n] - mapped[k] > FARTHER:
                cost, share = softplus((depth[k] - depth[n]) / ORDER_SOFTNESS)
                total += cost
                pull = factor * share / ORDER_SOFTNESS
                depth_g[k] += pull
                depth_g[n] -= pull
    terms.sums[ORDER] += total
    for s in range(len(rays.weights)):
        for n in range(n_points):
            rays.weights_g[s, n] += depth_g[n] * rays.depths[s, n]


@kernel
def spread(rays: Rays, terms: Terms) -> None:
    """Spread of the weights along each ray."""
    factor, total = terms.factors[DISTORTION], ZERO
    for s in range(len(rays.weights)):
        for k in range(len(rays.weights)):
            for n in range(rays.weights.shape[1]):
                apart = abs(rays.depths[s, n] - rays.depths[k, n])
                total += apart * rays.weights[s, n] * rays.weights[k, n]
                rays.weights_g[s, n] += float32(2) * factor * apart * rays.weights[k, n]
    terms.sums[DISTORTION] += total
