"""Sums of grids of several levels on the finest one, and the way back.

Conventions. A grid is (R, nz, ny, nx, C): R of them, each with C numbers side by side at a point;
levels span the same box, their outermost points on its border. Between points a grid is linear
along each axis. Levels are known by their addresses, the coarsest first.
"""

from typing import Any

import numpy as np
from numba import float32, uint64

from omnimotion.kernels.addresses import array_at
from omnimotion.kernels.cells import ONE, inline, kernel
from omnimotion.kernels.copies import clear, copy, turn
from omnimotion.kernels.elementary import sigmoid

TWO = float32(2)


@inline
def _between(k: Any, n: Any, n_coarse: Any) -> Any:
    """The two of ``n_coarse`` points around point ``k`` of ``n``, and where between them it is."""
    where = float32(k) * (float32(n_coarse - 1) / float32(max(n - 1, 1)))
    low = min(int(where), max(n_coarse - 2, 0))
    return low, min(low + 1, n_coarse - 1), where - float32(low)


@kernel
def _stretch(values: np.ndarray, base: np.ndarray, result: np.ndarray) -> None:
    """Make (R, n, M) of values (R, n_coarse, M), and add ``base`` where that is not empty."""
    n, n_coarse = result.shape[1], values.shape[1]
    for k in range(n):
        low, high, share = _between(k, n, n_coarse)
        rest = ONE - share
        for r in range(len(values)):
            first, second, target = values[r, low], values[r, high], result[r, k]
            if base.size:
                start = base[r, k]
                for m in range(len(target)):
                    target[m] = start[m] + rest * first[m] + share * second[m]
            else:
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
def _add_level(level: np.ndarray, base: np.ndarray, total: np.ndarray) -> None:
    """The sum of a coarser level and a grid; ``total`` may be the grid itself."""
    r, z, y, x, c = level.shape
    _, nz, ny, nx, _ = total.shape
    nothing = np.empty((0, 0, 0), np.float32)
    along_x = np.empty((r * z * y, nx, c), np.float32)
    _stretch(level.reshape(r * z * y, x, c), nothing, along_x)
    along_y = np.empty((r * z, ny, nx * c), np.float32)
    _stretch(along_x.reshape(r * z, y, nx * c), nothing, along_y)
    whole = (r, nz, ny * nx * c)
    _stretch(along_y.reshape(r, z, ny * nx * c), base.reshape(whole), total.reshape(whole))


@kernel
def _add_level_back(total_g: np.ndarray, level_g: np.ndarray) -> None:
    """The way back through `_add_level`: writes the gradient of the level."""
    r, z, y, x, c = level_g.shape
    _, nz, ny, nx, _ = total_g.shape
    along_y = np.empty((r, z, ny * nx * c), np.float32)
    _stretch_back(total_g.reshape(r, nz, ny * nx * c), along_y)
    along_x = np.empty((r * z, y, nx * c), np.float32)
    _stretch_back(along_y.reshape(r * z, ny, nx * c), along_x)
    _stretch_back(along_x.reshape(r * z * y, nx, c), level_g.reshape(r * z * y, x, c))


@inline
def _level(address: Any, shape: Any) -> Any:
    """The grid at an address; its shape is a row of an array."""
    return array_at(address, (shape[0], shape[1], shape[2], shape[3], shape[4]))


@kernel
def add_levels(places: np.ndarray, shapes: np.ndarray, total: np.ndarray) -> None:
    """The sum of levels at ``places`` (N,), of ``shapes`` (N, 5); ``total`` is as the last one."""
    base = _level(places[-1], shapes[-1])
    if len(places) == 1:
        copy(base.reshape(1, base.size), total.reshape(1, base.size))
    for k in range(len(places) - 1):
        _add_level(_level(places[k], shapes[k]), base, total)
        base = total


@kernel
def add_levels_back(total_g: np.ndarray, places: np.ndarray, shapes: np.ndarray) -> None:
    """The way back through `add_levels`: writes the gradients of all but the last level, whose
    gradient is that of the sum.
    """
    for k in range(len(places)):
        _add_level_back(total_g, _level(places[k], shapes[k]))


@kernel
def motion(places: np.ndarray, shapes: np.ndarray, coefficients: np.ndarray) -> None:
    """What the grids of a table are made of (K, G): the sums of all layers' levels.

    ``places`` (L, N): of levels (K, 2, b, a) of L layers, whose ``shapes`` (L, N, 5) are
    (2 K, 1, b, a, 1). In a row of the table both channels of a point lie side by side.
    """
    start = 0
    for layer in range(len(places)):
        total = np.empty(_level(places[layer, -1], shapes[layer, -1]).shape, np.float32)
        add_levels(places[layer], shapes[layer], total)
        points = total[0].size
        grids = total.reshape(len(coefficients), 2, points)
        for k in range(len(grids)):
            row = coefficients[k, start : start + 2 * points]
            turn(grids[k], row.reshape(points, 2))
        start += 2 * points


@kernel
def motion_back(coefficients_g: np.ndarray, places: np.ndarray, shapes: np.ndarray) -> None:
    """The way back through `motion`: writes the gradients of all levels."""
    start = 0
    for layer in range(len(places)):
        last = _level(places[layer, -1], shapes[layer, -1])
        points = last[0].size
        grids = last.reshape(len(coefficients_g), 2, points)
        for k in range(len(grids)):
            row = coefficients_g[k, start : start + 2 * points]
            turn(row.reshape(points, 2), grids[k])
        add_levels_back(last, places[layer, :-1], shapes[layer, :-1])
        start += 2 * points


@kernel
def mirrored(even: np.ndarray, odd: np.ndarray, most: float, table: np.ndarray) -> None:
    """The table (T, G) of its parts that are even and odd in time, each (ceil(T / 2), G).

    They add up in a frame, and their difference is as far from the other end. Log-scales, the even
    numbers of a row, become ``most tanh(s / most)``.
    """
    bounded = np.empty(table.shape[1] // 2, np.float32)
    last = len(table) - 1
    for t in range(len(even)):
        first, second, there, back = even[t], odd[t], table[t], table[last - t]
        for m in range(len(there)):
            there[m] = first[m] + second[m]
        _bound(there, most, bounded)
        if t < last - t:
            for m in range(len(back)):
                back[m] = first[m] - second[m]
            _bound(back, most, bounded)


@inline
def _bound(row: Any, most: Any, bounded: Any) -> None:
    """Bound the log-scales of a row; ``bounded`` has them side by side, for the compiler."""
    for m in range(len(bounded)):
        bounded[m] = row[2 * m]
    for m in range(len(bounded)):
        bounded[m] = most * (TWO * sigmoid(TWO * bounded[m] / most) - ONE)
    for m in range(len(bounded)):
        row[2 * m] = bounded[m]


@kernel
def mirrored_back(most: float, table: np.ndarray, halves: np.ndarray, even_g: np.ndarray,
                  odd_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `mirrored`, which made ``table``: writes the gradients of both parts.

    That of the table is the sum of two ``halves`` side by side (T, 2 G).
    """
    there, back = np.empty_like(table[0]), np.empty_like(table[0])
    last = len(table) - 1
    for t in range(len(even_g)):
        _bound_back(most, table[t], halves[t], there)
        if t < last - t:
            _bound_back(most, table[last - t], halves[last - t], back)
        else:
            clear(back.reshape(1, len(back)))
        even, odd = even_g[t], odd_g[t]
        for m in range(len(there)):
            even[m] = there[m] + back[m]
            odd[m] = there[m] - back[m]


@inline
def _bound_back(most: Any, row: Any, halves: Any, row_g: Any) -> None:
    """The gradient of a row before its log-scales were bound."""
    n = uint64(len(row))
    first, second = halves[:n], halves[n:]
    for m in range(n):
        row_g[m] = first[m] + second[m]
    for m in range(uint64(0), n, uint64(2)):
        share = row[m] / most
        row_g[m] *= ONE - share * share
