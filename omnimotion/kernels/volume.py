"""Trilinear reads of the canonical volume, and the way back.

Conventions. Places (N, 3) float32 as x, y, z in [-1, 1]; beyond, the border goes on. ``grid``
(nz, ny, nx, C) holds the C features of a grid point side by side.
"""

import numpy as np

from omnimotion.kernels.cells import ONE, ZERO, cell, kernel, slope


@kernel
def read(places: np.ndarray, grid: np.ndarray, features: np.ndarray) -> None:
    """Features (N, C) at places (N, 3)."""
    nz, ny, nx, n_features = grid.shape
    for n in range(len(places)):
        i, fx = cell(places[n, 0], nx)
        j, fy = cell(places[n, 1], ny)
        k, fz = cell(places[n, 2], nz)
        for c in range(n_features):
            a, b = grid[k, j, i, c], grid[k, j + 1, i, c]
            d, e = grid[k + 1, j, i, c], grid[k + 1, j + 1, i, c]
            a += fx * (grid[k, j, i + 1, c] - a)
            b += fx * (grid[k, j + 1, i + 1, c] - b)
            d += fx * (grid[k + 1, j, i + 1, c] - d)
            e += fx * (grid[k + 1, j + 1, i + 1, c] - e)
            a += fy * (b - a)
            d += fy * (e - d)
            features[n, c] = a + fz * (d - a)


@kernel
def read_back(g: np.ndarray, places: np.ndarray, grid: np.ndarray, places_g: np.ndarray,
              grid_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `read`; ``g`` (N, C) is the gradient of its result.

    Writes the gradient of the places (N, 3) and adds to that of the grid.
    """
    nz, ny, nx, n_features = grid.shape
    for n in range(len(places)):
        i, fx = cell(places[n, 0], nx)
        j, fy = cell(places[n, 1], ny)
        k, fz = cell(places[n, 2], nz)
        ex, ey, ez = ONE - fx, ONE - fy, ONE - fz
        dx, dy, dz = ZERO, ZERO, ZERO
        for c in range(n_features):
            a, b = grid[k, j, i, c], grid[k, j, i + 1, c]
            d, e = grid[k, j + 1, i, c], grid[k, j + 1, i + 1, c]
            p, q = grid[k + 1, j, i, c], grid[k + 1, j, i + 1, c]
            r, s = grid[k + 1, j + 1, i, c], grid[k + 1, j + 1, i + 1, c]
            near, far = g[n, c] * ez, g[n, c] * fz
            dx += near * (ey * (b - a) + fy * (e - d)) + far * (ey * (q - p) + fy * (s - r))
            dy += near * (ex * (d - a) + fx * (e - b)) + far * (ex * (r - p) + fx * (s - q))
            deep = ey * (ex * (p - a) + fx * (q - b)) + fy * (ex * (r - d) + fx * (s - e))
            dz += g[n, c] * deep
        for c in range(n_features):
            near, far = g[n, c] * ez, g[n, c] * fz
            grid_g[k, j, i, c] += near * ey * ex
            grid_g[k, j, i + 1, c] += near * ey * fx
            grid_g[k, j + 1, i, c] += near * fy * ex
            grid_g[k, j + 1, i + 1, c] += near * fy * fx
            grid_g[k + 1, j, i, c] += far * ey * ex
            grid_g[k + 1, j, i + 1, c] += far * ey * fx
            grid_g[k + 1, j + 1, i, c] += far * fy * ex
            grid_g[k + 1, j + 1, i + 1, c] += far * fy * fx
        places_g[n, 0] = dx * slope(places[n, 0], nx)
        places_g[n, 1] = dy * slope(places[n, 1], ny)
        places_g[n, 2] = dz * slope(places[n, 2], nz)
