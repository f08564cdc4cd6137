"""All coupling layers of a frame's map and its camera, forward, inverse and backward.

Conventions. Points are (P, M, 3), frames (P,) index the rows of ``tables`` (T, G) and ``cameras``
(T, 4); all are of one precision, in which everything is computed. A row of ``tables`` holds every
layer's grid, one after the other, each (nb, na, 2): log-scale and shift side by side. ``kept``
(P, L, M) is what a layer changed, before it did, so that the way back needs no second evaluation.
Gradients are added to their arrays. Those of a row of ``tables`` are two rows, one behind the
other: the second is what odd cells along a layer's first axis give, since the processor waits
where what is added to overlaps with what was added to just before.
"""

from typing import Any

import numpy as np
from numba import float32, int32, uint32, uint64

from omnimotion.kernels.cells import ONE, ZERO, cell, inline, kernel, slope
from omnimotion.kernels.lanes import NARROW, SINGLE, load, store
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.quads import add_to_corners, corners

FORWARD, INVERSE = np.bool_(False), np.bool_(True)
"""Of numpy's type: for a literal the compiler would make a version of all that it is given to."""


@inline
def _exp(s: Any) -> Any:
    """exp(s) for |s| <= 2 to 2e-7: a Taylor polynomial of s / 8, to the eighth power."""
    x = s * float32(0.125)
    y = float32(1 / 720)
    y = y * x + float32(1 / 120)
    y = y * x + float32(1 / 24)
    y = y * x + float32(1 / 6)
    y = y * x + float32(0.5)
    y = y * x + ONE
    y = y * x + ONE
    y = y * y
    y = y * y
    return y * y


@kernel
def _locate(a: np.ndarray, b: np.ndarray, size: tuple, work: tuple) -> None:
    """Where in a grid of ``size`` (na, nb) points (a, b) lie: offset of the cell, places in it.

    A loop of its own: without reads at computed places the compiler makes it work on many points
    at once.
    """
    low, u, v = work
    na, nb = size
    for m in range(len(a)):
        i, u[m] = cell(a[m], na)
        j, v[m] = cell(b[m], nb)
        low[m] = uint32((j * int32(na) + i) * 2)


@kernel
def _locate_back(a: np.ndarray, b: np.ndarray, size: tuple, apart: int, work: tuple) -> None:
    """As `_locate`, and how fast the places move with a and b, and the cell's offset in gradients,
    where odd cells lie ``apart`` from even ones.
    """
    low, low_g, u, v, slope_a, slope_b = work
    na, nb = size
    for m in range(len(a)):
        i, u[m] = cell(a[m], na)
        j, v[m] = cell(b[m], nb)
        low[m] = uint32((j * int32(na) + i) * 2)
        low_g[m] = uint32((j * int32(na) + i) * 2 + (i & int32(1)) * int32(apart))
    for m in range(len(a)):
        slope_a[m], slope_b[m] = slope(a[m], na), slope(b[m], nb)


@inline
def _couple_some(some: Any, value: Any, grid: Any, inverse: Any, work: Any, width: Any) -> None:
    """`_couple` of points from the first of ``some`` on up to the second, so many at once."""
    offset, u, v, row = work
    for m in range(uint64(some[0]), uint64(some[1]), uint64(width)):
        s, t, s_u, t_u, s_v, t_v, s_uv, t_uv = corners(grid, offset, m, row, width)
        along_u, along_v = load(u, m, width), load(v, m, width)
        s, t = s + along_v * (s_v - s), t + along_v * (t_v - t)
        s_u, t_u = s_u + along_v * (s_uv - s_u), t_u + along_v * (t_uv - t_u)
        s, t = _exp(s + along_u * (s_u - s)), t + along_u * (t_u - t)
        before = load(value, m, width)
        if inverse:
            store(value, m, (before - t) / s)  # undoes what the same _exp did
        else:
            store(value, m, before * s + t)


@kernel
def _couple(value: np.ndarray, grid: np.ndarray, inverse: bool, work: tuple) -> None:
    """One layer changes ``value`` (M,) by what its grid holds at the places in ``work``."""
    whole = len(value) - len(value) % NARROW
    _couple_some((0, whole), value, grid, inverse, work, NARROW)
    _couple_some((whole, len(value)), value, grid, inverse, work, SINGLE)


@inline
def _couple_some_back(some: Any, values: Any, grids: Any, inverse: Any, work: Any,
                      width: Any) -> None:  # fmt: skip
    """`_couple_back` of points from the first of ``some`` on up to the second, so many at once."""
    value, value_g, kept, a_g, b_g = values
    offset, offset_g, u, v, slope_a, slope_b, row = work
    grid, grid_g = grids
    for m in range(uint64(some[0]), uint64(some[1]), uint64(width)):
        s, t, s_u, t_u, s_v, t_v, s_uv, t_uv = corners(grid, offset, m, row, width)
        along_u, along_v = load(u, m, width), load(v, m, width)
        s_v, t_v, s_uv, t_uv = s_v - s, t_v - t, s_uv - s_u, t_uv - t_u  # off along v
        s, t = s + along_v * s_v, t + along_v * t_v
        s_u, t_u = s_u + along_v * s_uv - s, t_u + along_v * t_uv - t
        s_v, t_v = s_v + along_u * (s_uv - s_v), t_v + along_u * (t_uv - t_v)
        s = s + along_u * s_u
        g, before = load(value_g, m, width), load(kept, m, width)
        if inverse:
            scale = _exp(-ONE * s)
            s_g, t_g = -ONE * g * load(value, m, width), -ONE * g * scale
        else:
            scale = _exp(s)
            s_g, t_g = g * before * scale, g
        store(value_g, m, g * scale)
        store(value, m, before)
        store(a_g, m, load(a_g, m, width) + load(slope_a, m, width) * (s_g * s_u + t_g * t_u))
        store(b_g, m, load(b_g, m, width) + load(slope_b, m, width) * (s_g * s_v + t_g * t_v))
        s, t = s_g * along_v, t_g * along_v
        s_g, t_g = s_g - s, t_g - t
        s_u, t_u, s_uv, t_uv = s_g * along_u, t_g * along_u, s * along_u, t * along_u
        terms = s_g - s_u, t_g - t_u, s_u, t_u, s - s_uv, t - t_uv, s_uv, t_uv
        add_to_corners(grid_g, offset_g, m, row, terms)


@kernel
def _couple_back(values: tuple, grids: tuple, inverse: bool, work: tuple) -> None:
    """The way back through a layer.

    ``values``: what the layer changed, its gradient, what it was before, which it becomes, and the
    gradients of the two others, added to; each (M,). ``grids``: the layer's, and its gradient.
    """
    n_points = len(values[0])
    whole = n_points - n_points % NARROW
    _couple_some_back((0, whole), values, grids, inverse, work, NARROW)
    _couple_some_back((whole, n_points), values, grids, inverse, work, SINGLE)


@inline
def _others(axis: int) -> tuple[int, int]:
    """The two axes that condition a layer which changes ``axis``."""
    return 1 if axis == 0 else 0, 1 if axis == 2 else 2


@kernel
def _turn(v: np.ndarray, camera: np.ndarray, inverse: bool) -> None:
    """Apply a camera (4,) or its inverse to points (3, M), in place."""
    a, b = camera[0], camera[1]
    norm = ONE / (a * a + b * b)
    for m in range(v.shape[1]):
        x, y = v[0, m], v[1, m]
        if inverse:
            x, y = x - camera[2], y - camera[3]
            v[0, m], v[1, m] = (a * x + b * y) * norm, (a * y - b * x) * norm
        else:
            v[0, m], v[1, m] = a * x - b * y + camera[2], b * x + a * y + camera[3]


@kernel
def _turn_back(v: np.ndarray, g: np.ndarray, camera: np.ndarray, camera_g: np.ndarray,
               inverse: bool) -> None:  # fmt: skip
    """The way back through `_turn`: its results ``v`` (3, M) and their gradient ``g``, in place.

    With x' = A x + t: dx = A^T g and dA = g x^T. With x' = A^-1 (x - t): h = A^-T g is dx and
    -dt, and dA = -h x'^T.
    """
    if not inverse:
        _turn(v, camera, INVERSE)  # now what the camera was given
    a, b = camera[0], camera[1]
    norm = ONE / (a * a + b * b)
    da, db, dx, dy = ZERO, ZERO, ZERO, ZERO
    for m in range(v.shape[1]):
        gx, gy = g[0, m], g[1, m]
        if inverse:
            gx, gy = (a * gx - b * gy) * norm, (b * gx + a * gy) * norm
            g[0, m], g[1, m] = gx, gy
        else:
            g[0, m], g[1, m] = a * gx + b * gy, a * gy - b * gx
        da += gx * v[0, m] + gy * v[1, m]
        db += gy * v[0, m] - gx * v[1, m]
        dx += gx
        dy += gy
    sign = -ONE if inverse else ONE
    camera_g[0] += sign * da
    camera_g[1] += sign * db
    camera_g[2] += sign * dx
    camera_g[3] += sign * dy


@kernel
def _load(points: np.ndarray, v: np.ndarray) -> None:
    """(M, 3) to (3, M)."""
    for m in range(len(points)):
        v[0, m], v[1, m], v[2, m] = points[m, 0], points[m, 1], points[m, 2]


@kernel
def _store(v: np.ndarray, points: np.ndarray) -> None:
    """(3, M) to (M, 3)."""
    for m in range(len(points)):
        points[m, 0], points[m, 1], points[m, 2] = v[0, m], v[1, m], v[2, m]


@kernel
def _scale(v: np.ndarray, unit: np.ndarray, inverse: bool) -> None:
    """Points (3, M) to units of the layers, or from them (``inverse``), in place."""
    for d in range(3):
        factor = unit[d] if inverse else ONE / unit[d]
        for m in range(v.shape[1]):
            v[d, m] *= factor


@kernel
def map_frame(v: np.ndarray, camera: np.ndarray, grid: np.ndarray, layout: Layout, inverse: bool,
           kept: np.ndarray) -> None:  # fmt: skip
    """Map points (3, M) of one frame in place; ``kept`` (L, M), empty to keep nothing."""
    n_layers, n_points = len(layout.axis), v.shape[1]
    place = np.empty((2, n_points), v.dtype)
    work = (np.empty(n_points, np.uint32), place[0], place[1])
    if inverse:
        _turn(v, camera, INVERSE)
    _scale(v, layout.unit, FORWARD)
    for k in range(n_layers):
        layer = n_layers - 1 - k if inverse else k
        axis = layout.axis[layer]
        a, b = _others(axis)
        if kept.size:
            before, value = kept[k], v[axis]
            for m in range(n_points):
                before[m] = value[m]
        na, nb = layout.na[layer], layout.nb[layer]
        _locate(v[a], v[b], (na, nb), work)
        _couple(v[axis], grid[layout.start[layer] :], inverse, (*work, uint32(2 * na)))
    _scale(v, layout.unit, INVERSE)
    if not inverse:
        _turn(v, camera, FORWARD)


@kernel
def frame_back(v: tuple, camera: tuple, grid: tuple, layout: Layout, inverse: bool,
                kept: np.ndarray) -> None:  # fmt: skip
    """The way back through `map_frame`: each tuple holds values, and their gradient."""
    points, g = v
    n_layers, n_points = len(layout.axis), points.shape[1]
    offsets, place = np.empty((2, n_points), np.uint32), np.empty((4, n_points), g.dtype)
    work = (offsets[0], offsets[1], place[0], place[1], place[2], place[3])
    if not inverse:
        _turn_back(points, g, camera[0], camera[1], FORWARD)
    _scale(points, layout.unit, FORWARD)
    _scale(g, layout.unit, INVERSE)
    for k in range(n_layers - 1, -1, -1):
        layer = n_layers - 1 - k if inverse else k
        axis, start = layout.axis[layer], layout.start[layer]
        a, b = _others(axis)
        na, nb = layout.na[layer], layout.nb[layer]
        _locate_back(points[a], points[b], (na, nb), len(grid[0]), work)
        values = points[axis], g[axis], kept[k], g[a], g[b]
        _couple_back(values, (grid[0][start:], grid[1][start:]), inverse,
                     (*work, uint32(2 * na)))  # fmt: skip
    _scale(points, layout.unit, INVERSE)
    _scale(g, layout.unit, FORWARD)
    if inverse:
        _turn_back(points, g, camera[0], camera[1], INVERSE)


@kernel
def carry(x: np.ndarray, frames: np.ndarray, tables: tuple, inverse: bool,
          out: np.ndarray) -> None:  # fmt: skip
    """Map points ``x`` (P, M, 3) of ``frames`` to the canonical volume, or from it (``inverse``).

    ``tables``: the grids (T, G), their layout, and the cameras (T, 4). ``out``: the mapped points.
    """
    grids, layout, cameras = tables
    v, nothing = np.empty((3, x.shape[1]), x.dtype), np.empty((0, 0), x.dtype)
    for p in range(len(frames)):
        t = frames[p]
        _load(x[p], v)
        map_frame(v, cameras[t], grids[t], layout, inverse, nothing)
        _store(v, out[p])
