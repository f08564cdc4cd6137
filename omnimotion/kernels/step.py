"""What a step of the fit computes: the terms of the loss of P pairs, and their gradients.

A pair is taken through all terms at once, so that what lies between its samples and the gradients
stays in the cache.

Conventions. P pairs, N points each, S samples on a ray; of the first K pairs, L points without a
match. Points lie side by side: (2, N), (3, N). Samples as in `bundle`.
"""

from typing import NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.bundle import Gradients, Model, cast, cast_back, new_rays, place
from omnimotion.kernels.cells import ONE, ZERO, kernel
from omnimotion.kernels.compositing import composite, composite_back
from omnimotion.kernels.couplings import frame_back, map_frame
from omnimotion.kernels.elementary import sigmoid
from omnimotion.kernels.terms import (
    CONSISTENCY,
    DISTORTION,
    FLOW_GRADIENT,
    OCCLUSION,
    PHOTOMETRIC_GRADIENT,
    PX,
    SMOOTHNESS,
    Matched,
    Moved,
    Terms,
    differences,
    flow,
    front,
    ordered,
    photometric,
    range_of_depth,
    sign,
    spread,
)


class Batch(NamedTuple):
    """A step's matches and where their rays are sampled."""

    i: np.ndarray  # (P,) int64
    j: np.ndarray  # (P,) int64
    xy_i: np.ndarray  # (P, 2, N)
    xy_j: np.ndarray  # (P, 2, N)
    rgb_i: np.ndarray  # (P, 3, N)
    covisible: np.ndarray  # (P, N) 0 or 1
    z: np.ndarray  # (P, N, S)
    z_j: np.ndarray  # (K, N, S); none without depth consistency
    lost_i: np.ndarray  # (P, 2, L)
    lost_weight: np.ndarray  # (P,)
    lost_z: np.ndarray  # (K, L, S); none without occlusion
    lost_z_j: np.ndarray  # (K, L, S)
    depth_i: np.ndarray  # (P, N); none without depth maps


@kernel
def _new_matched(n_samples: int, n_points: int, model: Model) -> Matched:
    m, three = n_samples * n_points, (3, n_points)
    return Matched(
        new_rays(n_samples, n_points, 4, model), new_rays(n_samples, n_points, 1, model),
        np.empty((3, m), np.float32), np.empty((3, m), np.float32),
        np.empty((len(model.layout.axis), m), np.float32), np.empty((3, m), np.float32),
        np.empty(three, np.float32), np.empty(three, np.float32),
        np.empty(three, np.float32), np.empty(three, np.float32), np.empty(three, np.float32),
        np.empty(three, np.float32),
    )  # fmt: skip


@kernel
def _new_moved(n_points: int, model: Model) -> Moved:
    return Moved(
        np.empty((3, n_points), np.float32), np.empty((3, n_points), np.float32),
        np.empty((len(model.layout.axis), n_points), np.float32),
    )  # fmt: skip


@kernel
def _move(moved: Moved, u: np.ndarray, t: int, model: Model) -> None:
    """Carry canonical points ``u`` (3, N) to frame ``t``."""
    moved.x[:] = u
    map_frame(moved.x, model.cameras[t], model.grids[t], model.layout, True, moved.kept)


@kernel
def _move_back(moved: Moved, u_g: np.ndarray, t: int, model: Model, gradients: Gradients) -> None:
    """The way back through `_move`: adds to the gradient of ``u``."""
    frame_back((moved.x, moved.x_g), (model.cameras[t], gradients.cameras[t]),
               (model.grids[t], gradients.grids[t]), model.layout, True, moved.kept)  # fmt: skip
    u_g += moved.x_g


@kernel
def _see(seen: Matched, p: int, batch: Batch, model: Model) -> None:
    """Render the points of pair ``p`` and carry their samples to frame j."""
    rays, shape = seen.rays, seen.rays.weights.shape
    place(batch.xy_i[p], batch.z[p], rays)
    cast(rays, batch.i[p], model)
    j = batch.j[p]
    seen.x[:] = rays.points
    map_frame(seen.x, model.cameras[j], model.grids[j], model.layout, True, seen.kept)
    for c in range(3):
        colour, raw = seen.rgb[c], rays.raw[1 + c]
        for m in range(len(colour)):
            colour[m] = sigmoid(raw[m])
        composite(rays.weights, colour.reshape(shape), seen.colour[c])
        composite(rays.weights, seen.x[c].reshape(shape), seen.mapped[c])
        composite(rays.weights, rays.points[c].reshape(shape), seen.surface[c])
    seen.x_g[:] = ZERO
    seen.mapped_g[:] = ZERO
    seen.colour_g[:] = ZERO
    seen.surface_g[:] = ZERO


@kernel
def _see_back(seen: Matched, p: int, batch: Batch, model: Model, gradients: Gradients,
              is_smoothed: bool) -> None:  # fmt: skip
    """The way back through `_see`."""
    rays, shape, i, j = seen.rays, seen.rays.weights.shape, batch.i[p], batch.j[p]
    for c in range(3):
        composite_back(seen.mapped_g[c], rays.weights, seen.x[c].reshape(shape), rays.weights_g,
                       seen.x_g[c].reshape(shape))  # fmt: skip
        if is_smoothed:
            composite_back(seen.surface_g[c], rays.weights, rays.points[c].reshape(shape),
                           rays.weights_g, rays.points_g[c].reshape(shape))  # fmt: skip
        colour, colour_g = seen.rgb[c], rays.raw_g[1 + c]
        composite_back(seen.colour_g[c], rays.weights, colour.reshape(shape), rays.weights_g,
                       colour_g.reshape(shape))  # fmt: skip
        for m in range(len(colour)):
            colour_g[m] *= colour[m] * (ONE - colour[m])
    frame_back((seen.x, seen.x_g), (model.cameras[j], gradients.cameras[j]),
               (model.grids[j], gradients.grids[j]), model.layout, True, seen.kept)  # fmt: skip
    points_g = rays.points_g
    points_g += seen.x_g
    cast_back(rays, i, model, gradients)


@kernel
def _smooth(seen: Matched, j: int, moved: tuple, model: Model, gradients: Gradients,
            terms: Terms) -> None:  # fmt: skip
    """Acceleration of the surface points around frame ``j``; ``moved``: room for three frames."""
    first = min(max(j, 1), len(model.cameras) - 2) - 1
    before, at, after = moved
    for step in range(3):
        _move(moved[step], seen.surface, first + step, model)
    factor, total = PX * terms.factors[SMOOTHNESS], ZERO
    for d in range(3):
        for n in range(at.x.shape[1]):
            off = before.x[d, n] + after.x[d, n] - float32(2) * at.x[d, n]
            total += abs(off)
            pull = factor * sign(off)
            before.x_g[d, n], after.x_g[d, n] = pull, pull
            at.x_g[d, n] = -float32(2) * pull
    terms.sums[SMOOTHNESS] += PX * total
    for step in range(3):
        _move_back(moved[step], seen.surface_g, first + step, model, gradients)


@kernel
def _consistent(seen: Matched, p: int, batch: Batch, model: Model,
                gradients: Gradients, terms: Terms) -> None:  # fmt: skip
    """Depth of the matches against that of the surface seen in frame j."""
    there = seen.there
    place(batch.xy_j[p], batch.z_j[p], there)
    cast(there, batch.j[p], model)
    covisible, n_points = batch.covisible[p], batch.covisible.shape[1]
    depth = np.empty(n_points, np.float32)
    composite(there.weights, there.depths, depth)
    factor, total = PX * terms.factors[CONSISTENCY], ZERO
    for n in range(n_points):
        off = seen.mapped[2, n] - depth[n]
        total += abs(off) * covisible[n]
        depth[n] = factor * sign(off) * covisible[n]
        seen.mapped_g[2, n] += depth[n]
    terms.sums[CONSISTENCY] += PX * total
    for s in range(len(there.weights)):
        for n in range(n_points):
            there.weights_g[s, n] -= depth[n] * there.depths[s, n]
    cast_back(there, batch.j[p], model, gradients)


@kernel
def _occluded(p: int, room: tuple, batch: Batch, model: Model, gradients: Gradients,
              terms: Terms) -> None:  # fmt: skip
    """Points of i without a match lie behind what is seen where they land in j."""
    rays, there, point, surface, surface_g = room
    i, j, shape = batch.i[p], batch.j[p], rays.weights.shape
    place(batch.lost_i[p], batch.lost_z[p], rays)
    cast(rays, i, model)
    for d in range(3):
        composite(rays.weights, rays.points[d].reshape(shape), surface[d])
    _move(point, surface, j, model)
    place(point.x[:2], batch.lost_z_j[p], there)
    cast(there, j, model)
    terms.sums[OCCLUSION] += front(there, point, batch.lost_weight[p], terms)
    cast_back(there, j, model, gradients)
    surface_g[:] = ZERO
    _move_back(point, surface_g, j, model, gradients)
    for d in range(3):
        composite_back(surface_g[d], rays.weights, rays.points[d].reshape(shape), rays.weights_g,
                       rays.points_g[d].reshape(shape))  # fmt: skip
    cast_back(rays, i, model, gradients)


@kernel
def run(part: tuple, batch: Batch, model: Model, terms: Terms, gradients: Gradients,
        pair_px: np.ndarray) -> None:  # fmt: skip
    """Pairs ``first``, ``first + stride``, ..., (``part``) of a batch.

    Adds to the gradients and to the sums of the terms; writes ``pair_px`` (P,), the error of
    the composited flow of each pair.
    """
    _, n_points, n_samples = batch.z.shape
    n_lost = batch.lost_i.shape[2]
    seen = _new_matched(n_samples, n_points, model)
    moved = (_new_moved(n_points, model), _new_moved(n_points, model), _new_moved(n_points, model))
    lost = (
        new_rays(n_samples, n_lost, 1, model), new_rays(n_samples, n_lost, 1, model),
        _new_moved(n_lost, model), np.empty((3, n_lost), np.float32),
        np.empty((3, n_lost), np.float32),
    )  # fmt: skip
    for p in range(part[0], len(batch.i), part[1]):
        _see(seen, p, batch, model)
        pair_px[p] = flow(seen, batch.xy_j[p], terms)
        range_of_depth(seen, terms)
        photometric(seen, batch.rgb_i[p], terms)
        terms.sums[FLOW_GRADIENT] += PX * differences(
            seen.mapped, batch.xy_j[p], PX * terms.factors[FLOW_GRADIENT], seen.mapped_g
        )
        terms.sums[PHOTOMETRIC_GRADIENT] += differences(
            seen.colour, batch.rgb_i[p], terms.factors[PHOTOMETRIC_GRADIENT], seen.colour_g
        )
        if len(batch.depth_i):
            ordered(seen.rays, batch.depth_i[p], terms)
        if terms.factors[DISTORTION] > ZERO:
            spread(seen.rays, terms)
        is_smoothed = p < terms.subset and len(model.cameras) > 2
        if is_smoothed:
            _smooth(seen, batch.j[p], moved, model, gradients, terms)
        if p < len(batch.z_j):
            _consistent(seen, p, batch, model, gradients, terms)
        _see_back(seen, p, batch, model, gradients, is_smoothed)
        if p < len(batch.lost_z):
            _occluded(p, lost, batch, model, gradients, terms)
