"""Copies of two-dimensional arrays as plain loops, which compile in a fraction of the time that
numba's assignments to slices take.
"""

import numpy as np

from omnimotion.kernels.cells import ZERO, kernel


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
    for b in range(target.shape[0]):
        row = target[b]
        for a in range(len(row)):
            row[a] = source[a, b]
