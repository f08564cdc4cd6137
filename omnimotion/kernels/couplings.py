"""All coupling layers of a frame's map and its camera, forward, inverse and backward.

Conventions. Points are (P, M, 3), frames (P,) index the rows of ``tables`` (T, G) and ``cameras``
(T, 4); all are of one precision, in which everything is computed. A row of ``tables`` holds every
layer's grid, one after the other, each (nb, na, 2): log-scale and shift side by side. ``kept``
(P, L, M) is what a layer changed, before it did, so that the way back needs no second evaluation.
Gradients are added to their arrays.
"""

from typing import Any

import numpy as np
from numba import float32, uint64

from omnimotion.kernels.cells import ONE, ZERO, cell, inline, kernel, slope
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.quads import add_to_cell, read_cell, read_slopes

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

    A loop of its own, as those below: without reads at computed places the compiler makes it
    work on many points at once.
    """
    low, u, v = work
    na, nb = size
    for m in range(len(a)):
        i, u[m] = cell(a[m], na)
        j, v[m] = cell(b[m], nb)
        low[m] = uint64((j * na + i) * 2)


@kernel
def _couple(value: np.ndarray, grid: np.ndarray, na: int, inverse: bool, work: tuple) -> None:
    """One layer changes ``value`` (M,) by what its grid holds at the places in ``work``."""
    offset, u, v, s, t = work
    row = uint64(2 * na)
    for m in range(len(value)):
        s[m], t[m] = read_cell(grid, offset[m], offset[m] + row, u[m], v[m])
    if inverse:
        for m in range(len(value)):
            value[m] = (value[m] - t[m]) / _exp(s[m])  # undoes what the same _exp did
    else:
        for m in range(len(value)):
            value[m] = value[m] * _exp(s[m]) + t[m]


@kernel
def _slopes(grid: np.ndarray, na: int, work: tuple, slopes: np.ndarray) -> None:
    """At each place the log-scale, its slopes along u and v, and those of the shift: (5, M)."""
    offset, u, v = work
    row = uint64(2 * na)
    for m in range(len(offset)):
        low = offset[m]
        s, _, s_u, t_u, s_v, t_v = read_slopes(grid, low, low + row, u[m], v[m])
        slopes[0, m], slopes[1, m], slopes[2, m] = s, s_u, s_v
        slopes[3, m], slopes[4, m] = t_u, t_v


@kernel
def _scatter(grid_g: np.ndarray, na: int, work: tuple, s_g: np.ndarray, t_g: np.ndarray) -> None:
    """Add gradients of log-scale and shift (M,) to the four grid points around each place."""
    offset, u, v = work
    row = uint64(2 * na)
    for m in range(len(offset)):
        add_to_cell(grid_g, offset[m], offset[m] + row, (u[m], v[m]), (s_g[m], t_g[m]))


@kernel
def _couple_back(points: tuple, gradients: tuple, kept: np.ndarray, sizes: tuple, inverse: bool,
                 work: tuple) -> None:  # fmt: skip
    """The way back through a layer, once `_slopes` are known.

    ``points``: value, a, b, each (M,), and ``gradients`` theirs. The value becomes what it was
    before the layer; ``work``: slopes, and the gradients of log-scale and shift, written.
    """
    value, a, b = points
    value_g, a_g, b_g = gradients
    slopes, s_g, t_g = work
    for m in range(len(value)):
        g, scale = value_g[m], _exp(-slopes[0, m] if inverse else slopes[0, m])
        s_g[m] = -g * value[m] if inverse else g * kept[m] * scale
        t_g[m] = -g * scale if inverse else g
        value_g[m] = g * scale
        value[m] = kept[m]
    for m in range(len(value)):
        a_g[m] += slope(a[m], sizes[0]) * (s_g[m] * slopes[1, m] + t_g[m] * slopes[3, m])
        b_g[m] += slope(b[m], sizes[1]) * (s_g[m] * slopes[2, m] + t_g[m] * slopes[4, m])


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
    place = np.empty((4, n_points), v.dtype)
    work = (np.empty(n_points, np.uint64), place[0], place[1], place[2], place[3])
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
        _locate(v[a], v[b], (na, nb), work[:3])
        _couple(v[axis], grid[layout.start[layer] :], na, inverse, work)
    _scale(v, layout.unit, INVERSE)
    if not inverse:
        _turn(v, camera, FORWARD)


@kernel
def frame_back(v: tuple, camera: tuple, grid: tuple, layout: Layout, inverse: bool,
                kept: np.ndarray) -> None:  # fmt: skip
    """The way back through `map_frame`: each tuple holds values, and their gradient."""
    points, g = v
    n_layers, n_points = len(layout.axis), points.shape[1]
    place, slopes = np.empty((4, n_points), g.dtype), np.empty((5, n_points), g.dtype)
    work = (np.empty(n_points, np.uint64), place[0], place[1])
    if not inverse:
        _turn_back(points, g, camera[0], camera[1], FORWARD)
    _scale(points, layout.unit, FORWARD)
    _scale(g, layout.unit, INVERSE)
    for k in range(n_layers - 1, -1, -1):
        layer = n_layers - 1 - k if inverse else k
        axis, start = layout.axis[layer], layout.start[layer]
        a, b = _others(axis)
        size = (layout.na[layer], layout.nb[layer])
        _locate(points[a], points[b], size, work)
        _slopes(grid[0][start:], size[0], work, slopes)
        _couple_back((points[axis], points[a], points[b]), (g[axis], g[a], g[b]), kept[k], size,
                     inverse, (slopes, place[2], place[3]))  # fmt: skip
        _scatter(grid[1][start:], size[0], work, place[2], place[3])
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
