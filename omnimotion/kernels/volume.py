"""Trilinear reads of the canonical volume, and the way back.

Conventions. Places (3, M) float32 as x, y, z in [-1, 1]; beyond, the border goes on. ``grid``
(nz, ny, nx, C) holds the C features of a grid point side by side; features are (M, C).
"""

from typing import Any

import numpy as np
from numba import int64, uint64

from omnimotion.kernels.cells import ONE, ZERO, cell, inline, kernel, slope

U1 = uint64(1)
CHANNELS = 8  # the default; the compiler unrolls what goes over a number that it knows


@inline
def _locate(places: Any, m: Any, shape: Any) -> Any:
    """The lowest corner of the cell of place ``m``, the steps to its neighbours along y and z, and
    where in the cell it is.
    """  # without a sign no index can count from the end
    nz, ny, nx, _ = shape
    i, fx = cell(places[0, m], nx)
    j, fy = cell(places[1, m], ny)
    k, fz = cell(places[2, m], nz)
    return uint64((int64(k) * ny + j) * nx + i), uint64(nx), uint64(ny * nx), fx, fy, fz


@inline
def _read(places: Any, grid: Any, n_features: Any, features: Any) -> None:
    table = grid.reshape(grid.size // grid.shape[3], grid.shape[3])
    for m in range(places.shape[1]):
        low, up, back, fx, fy, fz = _locate(places, m, grid.shape)
        far = low + back
        for c in range(n_features):
            a, b = table[low, c], table[low + up, c]
            d, e = table[far, c], table[far + up, c]
            a += fx * (table[low + U1, c] - a)
            b += fx * (table[low + up + U1, c] - b)
            d += fx * (table[far + U1, c] - d)
            e += fx * (table[far + up + U1, c] - e)
            a += fy * (b - a)
            d += fy * (e - d)
            features[m, c] = a + fz * (d - a)


@inline
def _read_back(g: Any, places: Any, grid: Any, n_features: Any, results: Any) -> None:
    places_g, grid_g = results
    nz, ny, nx, _ = grid.shape
    table = grid.reshape(grid.size // grid.shape[3], grid.shape[3])
    table_g = grid_g.reshape(table.shape)
    for m in range(places.shape[1]):
        low, up, back, fx, fy, fz = _locate(places, m, grid.shape)
        far = low + back
        ex, ey, ez = ONE - fx, ONE - fy, ONE - fz
        dx, dy, dz = ZERO, ZERO, ZERO
        for c in range(n_features):
            a, b = table[low, c], table[low + U1, c]
            d, e = table[low + up, c], table[low + up + U1, c]
            p, q = table[far, c], table[far + U1, c]
            r, s = table[far + up, c], table[far + up + U1, c]
            near, behind = g[m, c] * ez, g[m, c] * fz
            dx += near * (ey * (b - a) + fy * (e - d)) + behind * (ey * (q - p) + fy * (s - r))
            dy += near * (ex * (d - a) + fx * (e - b)) + behind * (ex * (r - p) + fx * (s - q))
            deep = ey * (ex * (p - a) + fx * (q - b)) + fy * (ex * (r - d) + fx * (s - e))
            dz += g[m, c] * deep
        for c in range(n_features):
            near, behind = g[m, c] * ez, g[m, c] * fz
            table_g[low, c] += near * ey * ex
            table_g[low + U1, c] += near * ey * fx
            table_g[low + up, c] += near * fy * ex
            table_g[low + up + U1, c] += near * fy * fx
            table_g[far, c] += behind * ey * ex
            table_g[far + U1, c] += behind * ey * fx
            table_g[far + up, c] += behind * fy * ex
            table_g[far + up + U1, c] += behind * fy * fx
        places_g[0, m] = dx * slope(places[0, m], nx)
        places_g[1, m] = dy * slope(places[1, m], ny)
        places_g[2, m] = dz * slope(places[2, m], nz)


@kernel
def read(places: np.ndarray, grid: np.ndarray, features: np.ndarray) -> None:
    """Features (M, C) at places (3, M)."""
    if grid.shape[3] == CHANNELS:
        _read(places, grid, CHANNELS, features)
    else:
        _read(places, grid, grid.shape[3], features)


@kernel
def read_back(g: np.ndarray, places: np.ndarray, grid: np.ndarray, places_g: np.ndarray,
              grid_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `read`; ``g`` (M, C) is the gradient of its result.

    Writes the gradient of the places (3, M) and adds to that of the grid.
    """
    if grid.shape[3] == CHANNELS:
        _read_back(g, places, grid, CHANNELS, (places_g, grid_g))
    else:
        _read_back(g, places, grid, grid.shape[3], (places_g, grid_g))
