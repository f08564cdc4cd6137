"""Copies of two-dimensional arrays as plain loops, which compile in a fraction of the time that
numba's assignments to slices take.
"""

import numpy as np
from numba import uint64

from omnimotion.kernels.cells import ZERO, kernel
from omnimotion.kernels.lanes import NARROW, load, store
from omnimotion.kernels.several import load_rows, store_rows, turned


@kernel
def clear(target: np.ndarray) -> None:
    """Set (A, B) to zero."""
    for a in range(target.shape[0]):
        row = target[a]
        for b in range(len(row)):
            row[b] = ZERO


@kernel
def copy(source: np.ndarray, target: np.ndarray) -> None:
    """(A, B) to (A, B)."""
    for a in range(target.shape[0]):
        row, values = target[a], source[a]
        for b in range(len(row)):
            row[b] = values[b]


@kernel
def add(source: np.ndarray, target: np.ndarray) -> None:
    """Add (A, B) to (A, B)."""
    for a in range(target.shape[0]):
        row, values = target[a], source[a]
        for b in range(len(row)):
            row[b] += values[b]


@kernel
def turn(source: np.ndarray, target: np.ndarray) -> None:
    """(A, B) to (B, A)."""
    n_rows, n_columns = source.shape
    first, width = uint64(0), uint64(NARROW)
    if n_columns == NARROW:
        first = uint64(n_rows - n_rows % NARROW)
        for m in range(uint64(0), first, width):
            some = load_rows(source, m * width, width, NARROW, NARROW)
            store_rows(target, m, uint64(n_rows), turned(some))
        _turn(source[first:], target[:, first:])
    elif n_rows == NARROW:
        first = uint64(n_columns - n_columns % NARROW)
        for m in range(uint64(0), first, width):
            some = load_rows(source, m, uint64(n_columns), NARROW, NARROW)
            store_rows(target, m * width, width, turned(some))
        _turn(source[:, first:], target[first:])
    else:
        _turn(source, target)


@kernel
def _turn(source: np.ndarray, target: np.ndarray) -> None:
    for b in range(target.shape[0]):
        row = target[b]
        for a in range(len(row)):
            row[a] = source[a, b]


@kernel
def pick_columns(source: np.ndarray, index: np.ndarray, target: np.ndarray) -> None:
    """Columns (A, M) of (A, B)."""
    for a in range(len(target)):
        row, values = target[a], source[a]
        for k in range(len(row)):
            row[k] = values[uint64(index[k])]


@kernel
def pick_rows(source: np.ndarray, index: np.ndarray, target: np.ndarray) -> None:
    """Rows (M, B) of (A, B)."""
    n = uint64(source.shape[1])
    for k in range(len(index)):
        m = uint64(index[k])
        if n == uint64(NARROW):
            store(target, uint64(k) * n, load(source, m * n, NARROW))
        else:
            for c in range(n):
                target[k, c] = source[m, c]
