"""The optimizer's arithmetic: `omnimotion.optimizer` says what it means.

Conventions. A parameter, its gradient and its two moments are (R, M): R rows that share a scale.
"""

import math

import numpy as np

from omnimotion.kernels.cells import ZERO, kernel


@kernel
def square_norm(g: np.ndarray) -> float:
    """Sum of squares of a gradient (R, M)."""
    total = 0.0
    for r in range(len(g)):
        row, part = g[r], ZERO
        for m in range(len(row)):
            part += row[m] * row[m]
        total += part
    return total


@kernel
def descend(values: np.ndarray, g: np.ndarray, moments: tuple, keep: tuple,
            numbers: tuple) -> None:  # fmt: skip
    """One step of a parameter.

    ``moments``: running mean and square; ``keep``: what they keep of themselves. ``numbers``: a
    factor of the gradient, the share of the values that stays, the rate, the square of the floor,
    what the second moment is multiplied with, and what is added to the denominator.
    """
    means, squares = moments
    keep_mean, keep_square = keep
    factor, stays, rate, floor, fix, least = numbers
    for r in range(len(values)):
        value, slope, mean, square = values[r], g[r], means[r], squares[r]
        total = ZERO
        for m in range(len(value)):
            here = factor * slope[m]
            mean[m] = here + keep_mean * (mean[m] - here)
            square[m] = here * here + keep_square * (square[m] - here * here)
            total += square[m]
        floored = floor * total / len(value)
        for m in range(len(value)):
            denominator = math.sqrt((square[m] + floored) * fix) + least
            value[m] = stays * value[m] - rate * mean[m] / denominator
