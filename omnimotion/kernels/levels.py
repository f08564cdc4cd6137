"""Sums of grids of several levels on the finest one, and the way back.

Conventions. A grid is (R, nz, ny, nx): R of them side by side; levels span the same box, their
outermost points on its border. Between points a grid is linear along each axis.
"""

from typing import Any

import numpy as np
from numba import float32

from omnimotion.kernels.cells import ONE, inline, kernel
from omnimotion.kernels.copies import add, clear, turn
from omnimotion.kernels.elementary import sigmoid

TWO = float32(2)


@inline
def _between(k: Any, n: Any, n_coarse: Any) -> Any:
    """The two of ``n_coarse`` points around point ``k`` of ``n``, and where between them it is."""
    where = float32(k) * (float32(n_coarse - 1) / float32(max(n - 1, 1)))
    low = min(int(where), max(n_coarse - 2, 0))
    return low, min(low + 1, n_coarse - 1), where - float32(low)


@kernel
def _stretch(values: np.ndarray, result: np.ndarray) -> None:
    """Make (R, n, M) of values (R, n_coarse, M)."""
    n, n_coarse = result.shape[1], values.shape[1]
    for k in range(n):
        low, high, share = _between(k, n, n_coarse)
        rest = ONE - share
        for r in range(len(values)):
            first, second, target = values[r, low], values[r, high], result[r, k]
            for m in range(len(target)):
                target[m] = rest * first[m] + share * second[m]


@kernel
def _stretch_back(g: np.ndarray, values_g: np.ndarray) -> None:
    """The way back through `_stretch`: writes the gradient of the values."""
    n, n_coarse = g.shape[1], values_g.shape[1]
    for r in range(len(values_g)):
        clear(values_g[r])
    for k in range(n):
        low, high, share = _between(k, n, n_coarse)
        rest = ONE - share
        for r in range(len(g)):
            source, first, second = g[r, k], values_g[r, low], values_g[r, high]
            for m in range(len(source)):
                first[m] += rest * source[m]
                second[m] += share * source[m]


@kernel
def add_level(level: np.ndarray, total: np.ndarray) -> None:
    """Add a coarser level to a grid."""
    r, z, y, x = level.shape
    _, nz, ny, nx = total.shape
    along_x = np.empty((r * z * y, nx, 1), np.float32)
    _stretch(level.reshape(r * z * y, x, 1), along_x)
    along_y = np.empty((r * z, ny, nx), np.float32)
    _stretch(along_x.reshape(r * z, y, nx), along_y)
    along_z = np.empty((r, nz, ny * nx), np.float32)
    _stretch(along_y.reshape(r, z, ny * nx), along_z)
    add(along_z.reshape(r, nz * ny * nx), total.reshape(r, nz * ny * nx))


@kernel
def add_level_back(total_g: np.ndarray, level_g: np.ndarray) -> None:
    """The way back through `add_level`: writes the gradient of the level."""
    r, z, y, x = level_g.shape
    _, nz, ny, nx = total_g.shape
    along_y = np.empty((r, z, ny * nx), np.float32)
    _stretch_back(total_g.reshape(r, nz, ny * nx), along_y)
    along_x = np.empty((r * z, y, nx), np.float32)
    _stretch_back(along_y.reshape(r * z, ny, nx), along_x)
    _stretch_back(along_x.reshape(r * z * y, nx, 1), level_g.reshape(r * z * y, x, 1))


@kernel
def turn_each(source: np.ndarray, target: np.ndarray) -> None:
    """(K, A, B) to (K, B, A): channels beside points, or points beside channels."""
    for k in range(len(source)):
        turn(source[k], target[k])


@kernel
def bound(table: np.ndarray, most: float) -> None:
    """Log-scales, the even numbers of a table (T, G), to ``most tanh(s / most)``, in place."""
    for t in range(len(table)):
        row = table[t]
        for m in range(0, len(row), 2):
            row[m] = most * (TWO * sigmoid(TWO * row[m] / most) - ONE)


@kernel
def bound_back(table: np.ndarray, most: float, g: np.ndarray, result: np.ndarray) -> None:
    """The way back through `bound`, which made ``table``; ``g`` and ``result`` (T, G)."""
    for t in range(len(table)):
        row, source, target = table[t], g[t], result[t]
        for m in range(0, len(row), 2):
            share = row[m] / most
            target[m] = source[m] * (ONE - share * share)
            target[m + 1] = source[m + 1]
