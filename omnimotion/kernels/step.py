"""What a step of the fit computes: the terms of the loss of P pairs, and their gradients.

A pair is taken through all terms at once, so that what lies between its samples and the gradients
stays in the cache.

Conventions. P pairs, N points each, S samples on a ray; of the first K pairs, L points without a
match. Points lie side by side: (2, N), (3, N). The room of a bundle is as in `bundle`, the means
of a pair as in `terms`. Some points of a frame are (6 + layers, N): they, their gradient, and
what couplings keep.
"""

from typing import NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.addresses import borrowed, keep
from omnimotion.kernels.batch import Batch
from omnimotion.kernels.bundle import (
    DENSITY_ONLY,
    DEPTHS,
    POINTS,
    POINTS_G,
    RAW,
    RAW_G,
    RGB,
    WEIGHTS,
    WEIGHTS_G,
    WITH_COLOUR,
    X_G,
    Bundle,
    Gradients,
    Lit,
    Model,
    X,
    cast,
    cast_back,
    kept,
    new_bundle,
    place,
)
from omnimotion.kernels.cells import ONE, ZERO, kernel
from omnimotion.kernels.compositing import composite, composite_back
from omnimotion.kernels.copies import add, clear, copy
from omnimotion.kernels.couplings import INVERSE, frame_back, map_frame
from omnimotion.kernels.elementary import sigmoid
from omnimotion.kernels.terms import (
    COLOUR,
    COLOUR_G,
    CONSISTENCY,
    DISTORTION,
    FLOW_GRADIENT,
    MAPPED,
    MAPPED_G,
    MEANS,
    OCCLUSION,
    PHOTOMETRIC_GRADIENT,
    PX,
    SMOOTHNESS,
    SURFACE,
    SURFACE_G,
    Terms,
    depth_weighed,
    differences,
    flow,
    front,
    ordered,
    photometric,
    range_of_depth,
    sign,
    spread,
)


class Rooms(NamedTuple):
    """What a pair needs room for."""

    matches: Bundle
    there: Bundle  # the same in frame j
    lost: Bundle  # points without a match
    front: Bundle  # the same in frame j
    means: np.ndarray  # (18, N)
    lost_means: np.ndarray  # (18, L)
    moved: np.ndarray  # (3, 6 + layers, N)
    point: np.ndarray  # (6 + layers, L)


@kernel
def _move(points: np.ndarray, u: np.ndarray, t: int, model: Model) -> None:
    """Carry canonical points ``u`` (3, N) to frame ``t``."""
    copy(u, points[:3])
    map_frame(points[:3], model.cameras[t], model.grids[t], model.layout, INVERSE, points[6:])


@kernel
def _move_back(points: np.ndarray, u_g: np.ndarray, t: int, model: Model,
               gradients: Gradients) -> None:  # fmt: skip
    """The way back through `_move`: adds to the gradient of ``u``."""
    camera, grid = (model.cameras[t], gradients.cameras[t]), (model.grids[t], gradients.grids[t])
    frame_back((points[:3], points[3:6]), camera, grid, model.layout, INVERSE, points[6:])
    add(points[3:6], u_g)


@kernel
def _see(p: int, bundle: Bundle, means: np.ndarray, batch: Batch, model: Model) -> Lit:
    """Render the points of pair ``p`` and carry their samples to frame j."""
    i, j = batch.i[p], batch.j[p]
    place(batch.xy_i[p], batch.z[p], bundle.room)
    lit = cast(bundle, WITH_COLOUR, i, model)
    room, ray = lit.room, lit.ray
    copy(room[POINTS:POINTS_G], room[X:X_G])
    map_frame(room[X:X_G], model.cameras[j], model.grids[j], model.layout, INVERSE,
              kept(room, model, 1))  # fmt: skip
    for c in range(3):
        colour, raw = room[RGB + c], room[RAW + 1 + c]
        for m in range(len(colour)):
            colour[m] = sigmoid(raw[m])
        composite(room[WEIGHTS], colour, ray, means[COLOUR + c])
        composite(room[WEIGHTS], room[X + c], ray, means[MAPPED + c])
        composite(room[WEIGHTS], room[POINTS + c], ray, means[SURFACE + c])
    clear(room[X_G:RGB])
    for row in (MAPPED_G, COLOUR_G, SURFACE_G):
        clear(means[row : row + 3])
    return lit


@kernel
def _see_back(p: int, bundles: tuple, means: np.ndarray, batch: Batch, model: Model,
              gradients: Gradients) -> None:  # fmt: skip
    """The way back through `_see`; ``bundles``: of all samples, and of those that are lit."""
    bundle, lit = bundles
    i, j, room, ray = batch.i[p], batch.j[p], lit.room, lit.ray
    weights, weights_g = room[WEIGHTS], room[WEIGHTS_G]
    for c in range(3):
        composite_back(means[MAPPED_G + c], (weights, room[X + c]), ray,
                       (weights_g, room[X_G + c]))  # fmt: skip
        composite_back(means[SURFACE_G + c], (weights, room[POINTS + c]), ray,
                       (weights_g, room[POINTS_G + c]))  # fmt: skip
        colour, colour_g = room[RGB + c], room[RAW_G + 1 + c]
        composite_back(means[COLOUR_G + c], (weights, colour), ray, (weights_g, colour_g))
        for m in range(len(colour)):
            colour_g[m] *= colour[m] * (ONE - colour[m])
    frame_back((room[X:X_G], room[X_G:RGB]), (model.cameras[j], gradients.cameras[j]),
               (model.grids[j], gradients.grids[j]), model.layout, INVERSE,
               kept(room, model, 1))  # fmt: skip
    add(room[X_G:RGB], room[POINTS_G : POINTS_G + 3])
    cast_back(bundle, lit, WITH_COLOUR, i, model, gradients)


@kernel
def _smooth(means: np.ndarray, j: int, moved: np.ndarray, model: Model, gradients: Gradients,
            terms: Terms) -> None:  # fmt: skip
    """Acceleration of the surface points around frame ``j``; ``moved``: room for three frames."""
    first = min(max(j, 1), len(model.cameras) - 2) - 1
    for step in range(3):
        _move(moved[step], means[SURFACE:SURFACE_G], first + step, model)
    before, at, after = moved[0], moved[1], moved[2]
    factor, total = PX * terms.factors[SMOOTHNESS], ZERO
    for d in range(3):
        for n in range(at.shape[1]):
            off = before[d, n] + after[d, n] - float32(2) * at[d, n]
            total += abs(off)
            pull = factor * sign(off)
            before[3 + d, n], after[3 + d, n] = pull, pull
            at[3 + d, n] = -float32(2) * pull
    terms.sums[SMOOTHNESS] += PX * total
    for step in range(3):
        _move_back(moved[step], means[SURFACE_G:], first + step, model, gradients)


@kernel
def _consistent(p: int, rooms: tuple, batch: Batch, model: Model, gradients: Gradients,
                terms: Terms) -> None:  # fmt: skip
    """Depth of the matches against that of the surface seen in frame j; room for it, and means."""
    there, means = rooms
    covisible, n_points = batch.covisible[p], batch.covisible.shape[1]
    place(batch.xy_j[p], batch.z_j[p], there.room)
    lit = cast(there, DENSITY_ONLY, batch.j[p], model)
    depth, mapped = np.empty(n_points, np.float32), means[MAPPED + 2]
    mapped_g = means[MAPPED_G + 2]
    composite(lit.room[WEIGHTS], lit.room[DEPTHS], lit.ray, depth)
    factor, total = PX * terms.factors[CONSISTENCY], ZERO
    for n in range(n_points):
        off = mapped[n] - depth[n]
        total += abs(off) * covisible[n]
        pull = factor * sign(off) * covisible[n]
        mapped_g[n] += pull
        depth[n] = -pull
    terms.sums[CONSISTENCY] += PX * total
    depth_weighed(lit, depth)
    cast_back(there, lit, DENSITY_ONLY, batch.j[p], model, gradients)


@kernel
def _occluded(p: int, rooms: tuple, batch: Batch, model: Model, gradients: Gradients,
              terms: Terms) -> None:  # fmt: skip
    """Points of i without a match lie behind what is seen where they land in j."""
    lost, there, point, means = rooms
    i, j = batch.i[p], batch.j[p]
    surface, surface_g = means[SURFACE:SURFACE_G], means[SURFACE_G:]
    place(batch.lost_i[p], batch.lost_z[p], lost.room)
    lit = cast(lost, DENSITY_ONLY, i, model)
    room, ray = lit.room, lit.ray
    for d in range(3):
        composite(room[WEIGHTS], room[POINTS + d], ray, surface[d])
    _move(point, surface, j, model)
    place(point[:2], batch.lost_z_j[p], there.room)
    before = cast(there, DENSITY_ONLY, j, model)
    terms.sums[OCCLUSION] += front(before, point, batch.lost_z.shape[2], batch.lost_weight[p],
                                   terms)  # fmt: skip
    cast_back(there, before, DENSITY_ONLY, j, model, gradients)
    clear(surface_g)
    _move_back(point, surface_g, j, model, gradients)
    for d in range(3):
        composite_back(surface_g[d], (room[WEIGHTS], room[POINTS + d]), ray,
                       (room[WEIGHTS_G], room[POINTS_G + d]))  # fmt: skip
    cast_back(lost, lit, DENSITY_ONLY, i, model, gradients)


@kernel
def _compare(p: int, lit: Lit, means: np.ndarray, batch: Batch, terms: Terms) -> float:
    """The terms of what is seen at the matches; returns the error of the composited flow."""
    error = flow(lit, means, (batch.xy_j[p], batch.certainty[p]), terms)
    range_of_depth(lit, terms)
    photometric(means, batch.rgb_i[p], terms)
    factor = terms.factors[PHOTOMETRIC_GRADIENT]
    terms.sums[PHOTOMETRIC_GRADIENT] += differences(means, COLOUR, batch.rgb_i[p], factor)
    factor = PX * terms.factors[FLOW_GRADIENT]
    terms.sums[FLOW_GRADIENT] += PX * differences(means, MAPPED, batch.xy_j[p], factor)
    if len(batch.depth_i):
        ordered(lit, batch.depth_i[p], terms)
    if terms.factors[DISTORTION] > ZERO:
        spread(lit, batch.z.shape[1:], terms)
    return error


@kernel
def run(part: tuple, batch: Batch, model: Model, terms: Terms, gradients: Gradients,
        pair_px: np.ndarray) -> None:  # fmt: skip
    """Pairs ``first``, ``first + stride``, ..., (``part``) of a batch.

    Adds to the gradients and to the sums of the terms; writes ``pair_px`` (P,), the error of
    the composited flow of each pair.
    """
    _, n_points, n_samples = batch.z.shape
    n_lost, n_rows = batch.lost_i.shape[2], 6 + len(model.layout.axis)
    rooms = Rooms(
        new_bundle(n_samples, n_points, model), new_bundle(n_samples, n_points, model),
        new_bundle(n_samples, n_lost, model), new_bundle(n_samples, n_lost, model),
        np.empty((MEANS, n_points), np.float32), np.empty((MEANS, n_lost), np.float32),
        np.empty((3, n_rows, n_points), np.float32), np.empty((n_rows, n_lost), np.float32),
    )  # fmt: skip
    batch, model, terms, gradients, lent = borrowed((batch, model, terms, gradients, rooms))
    means, lost = lent.means, (lent.lost, lent.front, lent.point, lent.lost_means)
    for p in range(part[0], len(batch.i), part[1]):
        lit = _see(p, lent.matches, means, batch, model)
        pair_px[p] = _compare(p, lit, means, batch, terms)
        if p < terms.subset and len(model.cameras) > 2:
            _smooth(means, batch.j[p], lent.moved, model, gradients, terms)
        if p < len(batch.z_j):
            _consistent(p, (lent.there, means), batch, model, gradients, terms)
        _see_back(p, (lent.matches, lit), means, batch, model, gradients)
        if p < len(batch.lost_z):
            _occluded(p, lost, batch, model, gradients, terms)
    keep(rooms)
