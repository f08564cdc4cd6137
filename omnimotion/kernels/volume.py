"""Trilinear reads of the canonical volume, and the way back.

Conventions. Places (3, M) float32 as x, y, z in [-1, 1]; beyond, the border goes on. ``grid``
(nz, ny, nx, C) holds the C features of a grid point side by side; features are (M, C).
"""

from typing import Any

import numpy as np
from numba import int64, uint64

from omnimotion.kernels.cells import ONE, ZERO, cell, inline, kernel, slope
from omnimotion.kernels.lanes import NARROW, SINGLE, load, store, total


@inline
def _locate(places: Any, m: Any, shape: Any, n: Any) -> Any:
    """The lowest corner of the cell of place ``m``, the steps to its neighbours along y and z, in
    numbers, ``n`` at each point, and where in the cell it is.
    """  # without a sign no index can count from the end
    nz, ny, nx, _ = shape
    i, fx = cell(places[0, m], nx)
    j, fy = cell(places[1, m], ny)
    k, fz = cell(places[2, m], nz)
    corner = uint64((int64(k) * ny + j) * nx + i)
    return corner * n, uint64(nx) * n, uint64(ny * nx) * n, fx, fy, fz


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
def _read(places: Any, grid: Any, n_features: Any, width: Any, features: Any) -> None:
    n = uint64(n_features)
    for m in range(places.shape[1]):
        low, up, back, fx, fy, fz = _locate(places, m, grid.shape, n)
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
def _read_back(features_g: Any, places: Any, grid: Any, sizes: Any, results: Any) -> None:
    places_g, grid_g = results
    n, width = uint64(sizes[0]), sizes[1]
    nz, ny, nx, _ = grid.shape
    for m in range(places.shape[1]):
        low, up, back, fx, fy, fz = _locate(places, m, grid.shape, n)
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
        places_g[0, m] = dx * slope(places[0, m], nx)
        places_g[1, m] = dy * slope(places[1, m], ny)
        places_g[2, m] = dz * slope(places[2, m], nz)


@kernel
def read(places: np.ndarray, grid: np.ndarray, features: np.ndarray) -> None:
    """Features (M, C) at places (3, M)."""
    if grid.shape[3] == NARROW:
        _read(places, grid, NARROW, NARROW, features)
    else:
        _read(places, grid, grid.shape[3], SINGLE, features)


@kernel
def read_back(g: np.ndarray, places: np.ndarray, grid: np.ndarray, places_g: np.ndarray,
              grid_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `read`; ``g`` (M, C) is the gradient of its result.

    Writes the gradient of the places (3, M) and adds to that of the grid.
    """
    if grid.shape[3] == NARROW:
        _read_back(g, places, grid, (NARROW, NARROW), (places_g, grid_g))
    else:
        _read_back(g, places, grid, (grid.shape[3], SINGLE), (places_g, grid_g))
