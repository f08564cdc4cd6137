"""The optimizer's arithmetic: `omnimotion.optimizer` says what it means.

Conventions. All numbers of P parameters are known by their addresses, and lie as (A, M, B): A
blocks of M cells of B numbers side by side. Those at one place of all cells of a block are a row:
they share a scale.
"""

import math
from typing import Any

import numpy as np
from numba import uint64

from omnimotion.kernels.addresses import array_at
from omnimotion.kernels.cells import ZERO, inline, kernel

CHUNK = 1024  # about so many numbers at once, a multiple of a cell's
VALUES, GRADIENT, MEAN, SQUARE = range(4)


@kernel
def square_norms(gradients: np.ndarray, shapes: np.ndarray, norms: np.ndarray) -> None:
    """Sums of squares (P,) float64 of gradients at addresses (P,)."""
    for p in range(len(gradients)):
        row = array_at(gradients[p], shapes[p, 0] * shapes[p, 1] * shapes[p, 2])
        total = 0.0
        for start in range(0, len(row), CHUNK):
            some, part = row[start : start + CHUNK], ZERO
            for m in range(len(some)):
                part += some[m] * some[m]
            total += part
        norms[p] = total


@inline
def _moments(block: Any, chunk: Any, factor: Any, keep: Any, sums: Any) -> None:
    """Move the running mean and square of a chunk; adds the squares to ``sums``."""
    _, slope, mean, square = block
    start = uint64(chunk[0])  # without a sign no index can count from the end
    for m in range(uint64(chunk[1]) - start):
        here = factor * slope[start + m]
        mean[start + m] = here + keep[0] * (mean[start + m] - here)
        square[start + m] = here * here + keep[1] * (square[start + m] - here * here)
        sums[m] += square[start + m]


@inline
def _move(block: Any, chunk: Any, floors: Any, numbers: Any) -> None:
    """Move the values of a chunk; ``floors`` is what is added to their squares."""
    value, _, mean, square = block
    start = uint64(chunk[0])
    stays, rate, fix, least = numbers
    for m in range(uint64(chunk[1]) - start):
        denominator = math.sqrt((square[start + m] + floors[m]) * fix) + least
        value[start + m] = stays * value[start + m] - rate * mean[start + m] / denominator


@inline
def _spread_means(sums: Any, beside: Any, share: Any) -> None:
    """Of sums of a chunk's cells, ``share`` of each row's total, at all its places."""
    for b in range(beside):
        total = ZERO
        for m in range(b, len(sums), beside):
            total += sums[m]
        for m in range(b, len(sums), beside):
            sums[m] = share * total


@kernel
def descend(places: np.ndarray, shapes: np.ndarray, keep: tuple, numbers: np.ndarray) -> None:
    """One step of P parameters.

    ``places`` (P, 4): addresses of values, gradient, running mean, running square; ``shapes``
    (P, 3); ``keep``: what both moments keep of themselves. ``numbers`` (P, 6) float32: a factor of
    the gradient, the square of the floor, the share of the values that stays, the rate, what the
    second moment is multiplied with, and what is added to the denominator.
    """
    for p in range(len(places)):
        blocks, cells, beside = shapes[p]
        n, chunk = blocks * cells * beside, beside * max(1, CHUNK // beside)
        block = (array_at(places[p, VALUES], n), array_at(places[p, GRADIENT], n),
                 array_at(places[p, MEAN], n), array_at(places[p, SQUARE], n))  # fmt: skip
        factor, floor, stays, rate, fix, least = numbers[p]
        floors = np.empty(min(chunk, cells * beside), np.float32)
        for first in range(0, n, cells * beside):
            end = first + cells * beside
            for m in range(len(floors)):
                floors[m] = ZERO
            for m in range(first, end, chunk):
                _moments(block, (m, min(m + chunk, end)), factor, keep, floors)
            _spread_means(floors, beside, floor / np.float32(cells))
            for m in range(first, end, chunk):
                _move(block, (m, min(m + chunk, end)), floors, (stays, rate, fix, least))
