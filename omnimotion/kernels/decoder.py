"""The volume's small network, and the way back: features, a layer, ReLU, a layer, no biases.

Conventions. Points lie side by side: features (C, M), hidden values (H, M), outputs (O, M), all
float32; ``first`` (H, C), ``second`` (O, H).
"""

import numpy as np

from omnimotion.kernels.cells import ZERO, kernel


@kernel
def _times(matrix: np.ndarray, columns: np.ndarray, result: np.ndarray) -> None:
    """A matrix (A, B) times columns (B, M), to (A, M); four rows at a time, each read once."""
    n_inner = len(columns)
    whole = n_inner - n_inner % 4
    for a in range(len(matrix)):
        row = result[a]
        for m in range(len(row)):
            row[m] = ZERO
        for b in range(0, whole, 4):
            p, q, r, s = columns[b], columns[b + 1], columns[b + 2], columns[b + 3]
            v, w, x, y = matrix[a, b], matrix[a, b + 1], matrix[a, b + 2], matrix[a, b + 3]
            for m in range(len(row)):
                row[m] += v * p[m] + w * q[m] + x * r[m] + y * s[m]
        for b in range(whole, n_inner):
            p, v = columns[b], matrix[a, b]
            for m in range(len(row)):
                row[m] += v * p[m]


@kernel
def _add_products(left: np.ndarray, right: np.ndarray, total: np.ndarray) -> None:
    """Add left (A, M) times right (B, M), summed over points, to (A, B)."""
    n_outer = len(right)
    whole = n_outer - n_outer % 4
    for a in range(len(left)):
        row = left[a]
        for b in range(0, whole, 4):
            p, q, r, s = right[b], right[b + 1], right[b + 2], right[b + 3]
            v, w, x, y = ZERO, ZERO, ZERO, ZERO
            for m in range(len(row)):
                v += row[m] * p[m]
                w += row[m] * q[m]
                x += row[m] * r[m]
                y += row[m] * s[m]
            total[a, b] += v
            total[a, b + 1] += w
            total[a, b + 2] += x
            total[a, b + 3] += y
        for b in range(whole, n_outer):
            p, v = right[b], ZERO
            for m in range(len(row)):
                v += row[m] * p[m]
            total[a, b] += v


@kernel
def decode(features: np.ndarray, first: np.ndarray, second: np.ndarray, hidden: np.ndarray,
           outputs: np.ndarray) -> None:  # fmt: skip
    """Outputs (O, M) of features (C, M), and the hidden values (H, M) on the way."""
    _times(first, features, hidden)
    for h in range(len(hidden)):
        row = hidden[h]
        for m in range(len(row)):
            row[m] = ZERO if row[m] <= ZERO else row[m]  # NaN stays NaN
    _times(second, hidden, outputs)


@kernel
def decode_back(g: np.ndarray, values: tuple, weights: tuple, values_g: tuple,
                weights_g: tuple) -> None:  # fmt: skip
    """The way back through `decode`; ``g`` (O, M) is the gradient of its result.

    ``values``: features and hidden values; ``weights``: first and second, each turned. Writes the
    gradients of the values and adds to those of the weights.
    """
    features, hidden = values
    features_g, hidden_g = values_g
    _times(weights[1], g, hidden_g)
    for h in range(len(hidden)):
        row, row_g = hidden[h], hidden_g[h]
        for m in range(len(row)):
            row_g[m] = ZERO if row[m] <= ZERO else row_g[m]
    _add_products(g, hidden, weights_g[1])
    _add_products(hidden_g, features, weights_g[0])
    _times(weights[0], hidden_g, features_g)
