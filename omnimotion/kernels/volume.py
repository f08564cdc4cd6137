"""Trilinear reads of the canonical volume, and the way back.

Conventions. Places (3, M) float32 as x, y, z in [-1, 1]; beyond, the border goes on. ``grid``
(nz, ny, nx, C) holds the C features of a grid point side by side; features are (M, C).
"""

from typing import Any

import numpy as np
from numba import int32, uint32, uint64

from omnimotion.kernels.cells import ONE, ZERO, cell, inline, kernel, slope
from omnimotion.kernels.lanes import NARROW, SINGLE, load, store, total


@kernel
def _locate(places: np.ndarray, shape: tuple, low: np.ndarray, within: np.ndarray) -> None:
    """Numbers before the lowest corner of each place's cell, and where in the cell it is (3, M).

    A loop of its own: without reads at computed places the compiler makes it work on many points
    at once.
    """
    nz, ny, nx, n = shape
    x, y, z = places[0], places[1], places[2]
    fx, fy, fz = within[0], within[1], within[2]
    for m in range(len(low)):
        i, fx[m] = cell(x[m], nx)
        j, fy[m] = cell(y[m], ny)
        k, fz[m] = cell(z[m], nz)
        low[m] = uint32(((k * int32(ny) + j) * int32(nx) + i) * int32(n))


@inline
def _between(a: Any, b: Any, share: Any) -> Any:
    """A share of the way from ``a`` to ``b``."""
    return a + share * (b - a)


@inline
def _edge(grid: Any, at: Any, n: Any, width: Any) -> Any:
    """Lanes at a grid point, and what the next one along x is off."""
    here = load(grid, at, width)
    return here, load(grid, at + n, width) - here


@inline
def _add_to_edge(grid: Any, at: Any, n: Any, g: Any, share: Any, width: Any) -> None:
    """Add a gradient to a grid point and a ``share`` of it to the next one along x instead."""
    store(grid, at, load(grid, at, width) + g * (ONE - share))
    store(grid, at + n, load(grid, at + n, width) + g * share)


@inline
def _strides(grid: Any) -> Any:
    """Steps to the neighbours along x, y and z, in numbers."""
    _, ny, nx, n = grid.shape  # without a sign no index can count from the end
    return uint64(n), uint64(nx * n), uint64(ny * nx * n)


@inline
def _read(cells: Any, grid: Any, width: Any, features: Any) -> None:
    (lowest, within), (n, up, back) = cells, _strides(grid)
    for m in range(len(lowest)):
        low, fx, fy, fz = uint64(lowest[m]), within[0, m], within[1, m], within[2, m]
        for c in range(uint64(0), n, uint64(width)):
            near, far = low + c, low + c + back
            a, ab = _edge(grid, near, n, width)
            d, de = _edge(grid, near + up, n, width)
            p, pq = _edge(grid, far, n, width)
            r, rs = _edge(grid, far + up, n, width)
            front = _between(a + fx * ab, d + fx * de, fy)
            behind = _between(p + fx * pq, r + fx * rs, fy)
            store(features, uint64(m) * n + c, _between(front, behind, fz))


@inline
def _read_back(features_g: Any, cells: Any, grid: Any, width: Any, results: Any) -> None:
    (lowest, within), (places_g, grid_g), (n, up, back) = cells, results, _strides(grid)
    for m in range(len(lowest)):
        low, fx, fy, fz = uint64(lowest[m]), within[0, m], within[1, m], within[2, m]
        ey, ez = ONE - fy, ONE - fz
        dx, dy, dz = ZERO, ZERO, ZERO
        for c in range(uint64(0), n, uint64(width)):
            near, far = low + c, low + c + back
            g = load(features_g, uint64(m) * n + c, width)
            a, ab = _edge(grid, near, n, width)
            d, de = _edge(grid, near + up, n, width)
            p, pq = _edge(grid, far, n, width)
            r, rs = _edge(grid, far + up, n, width)
            dx += total(g * _between(_between(ab, de, fy), _between(pq, rs, fy), fz))
            a, d, p, r = a + fx * ab, d + fx * de, p + fx * pq, r + fx * rs
            dy += total(g * _between(d - a, r - p, fz))
            dz += total(g * (_between(p, r, fy) - _between(a, d, fy)))
            _add_to_edge(grid_g, near, n, g * (ez * ey), fx, width)
            _add_to_edge(grid_g, near + up, n, g * (ez * fy), fx, width)
            _add_to_edge(grid_g, far, n, g * (fz * ey), fx, width)
            _add_to_edge(grid_g, far + up, n, g * (fz * fy), fx, width)
        places_g[0, m], places_g[1, m], places_g[2, m] = dx, dy, dz


@kernel
def read(places: np.ndarray, grid: np.ndarray, features: np.ndarray) -> None:
    """Features (M, C) at places (3, M)."""
    n_points = places.shape[1]
    cells = np.empty(n_points, np.uint32), np.empty((3, n_points), np.float32)
    _locate(places, grid.shape, cells[0], cells[1])
    if grid.shape[3] == NARROW:
        _read(cells, grid, NARROW, features)
    else:
        _read(cells, grid, SINGLE, features)


@kernel
def read_back(g: np.ndarray, places: np.ndarray, grid: np.ndarray, places_g: np.ndarray,
              grid_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `read`; ``g`` (M, C) is the gradient of its result.

    Writes the gradient of the places (3, M) and adds to that of the grid.
    """
    n_points = places.shape[1]
    cells = np.empty(n_points, np.uint32), np.empty((3, n_points), np.float32)
    _locate(places, grid.shape, cells[0], cells[1])
    if grid.shape[3] == NARROW:
        _read_back(g, cells, grid, NARROW, (places_g, grid_g))
    else:
        _read_back(g, cells, grid, SINGLE, (places_g, grid_g))
    for d in range(3):
        place, place_g, n = places[d], places_g[d], grid.shape[2 - d]
        for m in range(n_points):
            place_g[m] *= slope(place[m], n)
