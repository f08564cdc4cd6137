"""The volume's small network, and the way back: features, a layer, ReLU, a layer, no biases.

Conventions. Features (N, C) and outputs (N, O) float32; ``first`` (H, C), ``second`` (O, H). A
block of points is taken through the network at a time, the points side by side, so that what is
hidden stays in the cache, and is computed again on the way back. The last block is filled up with
zeros, which give no gradient.
"""

import numpy as np

from omnimotion.kernels.cells import ZERO, kernel

BLOCK = 256  # points; a number that the compiler knows


@kernel
def _columns(rows: np.ndarray, columns: np.ndarray) -> None:
    """(M, C) to (C, BLOCK), zeros behind."""
    columns[:, len(rows) :] = ZERO
    for m in range(len(rows)):
        for c in range(rows.shape[1]):
            columns[c, m] = rows[m, c]


@kernel
def _rows(columns: np.ndarray, rows: np.ndarray) -> None:
    """(C, BLOCK) to (M, C)."""
    for m in range(len(rows)):
        for c in range(rows.shape[1]):
            rows[m, c] = columns[c, m]


@kernel
def _times(matrix: np.ndarray, columns: np.ndarray, result: np.ndarray) -> None:
    """A matrix (A, B) times columns (B, BLOCK), to (A, BLOCK)."""
    for a in range(len(matrix)):
        row = result[a]
        row[:] = ZERO
        for b in range(len(columns)):
            weight, column = matrix[a, b], columns[b]
            for m in range(BLOCK):
                row[m] += weight * column[m]


@kernel
def _add_products(left: np.ndarray, right: np.ndarray, total: np.ndarray) -> None:
    """Add left (A, BLOCK) times right (B, BLOCK), summed over points, to (A, B)."""
    for a in range(len(left)):
        for b in range(len(right)):
            product, p, q = ZERO, left[a], right[b]
            for m in range(BLOCK):
                product += p[m] * q[m]
            total[a, b] += product


@kernel
def _rectify(hidden: np.ndarray) -> None:
    """ReLU (H, BLOCK), in place; NaN stays NaN."""
    for h in range(len(hidden)):
        for m in range(BLOCK):
            hidden[h, m] = ZERO if hidden[h, m] <= ZERO else hidden[h, m]


@kernel
def decode(features: np.ndarray, first: np.ndarray, second: np.ndarray,
           outputs: np.ndarray) -> None:  # fmt: skip
    """Outputs (N, O) of features (N, C)."""
    f = np.empty((features.shape[1], BLOCK), np.float32)
    hidden = np.empty((len(first), BLOCK), np.float32)
    out = np.empty((len(second), BLOCK), np.float32)
    for start in range(0, len(features), BLOCK):
        _columns(features[start : start + BLOCK], f)
        _times(first, f, hidden)
        _rectify(hidden)
        _times(second, hidden, out)
        _rows(out, outputs[start : start + BLOCK])


@kernel
def decode_back(g: np.ndarray, features: np.ndarray, weights: tuple, features_g: np.ndarray,
                weights_g: tuple) -> None:  # fmt: skip
    """The way back through `decode`; ``g`` (N, O) is the gradient of its result.

    ``weights``: first and second. Writes the gradient of the features (N, C) and adds to those of
    the weights.
    """
    first, second = weights
    first_back, second_back = first.T.copy(), second.T.copy()
    f = np.empty((features.shape[1], BLOCK), np.float32)
    f_g = np.empty_like(f)
    hidden = np.empty((len(first), BLOCK), np.float32)
    hidden_g = np.empty_like(hidden)
    out_g = np.empty((len(second), BLOCK), np.float32)
    for start in range(0, len(features), BLOCK):
        _columns(features[start : start + BLOCK], f)
        _columns(g[start : start + BLOCK], out_g)
        _times(first, f, hidden)
        _rectify(hidden)
        _times(second_back, out_g, hidden_g)
        for h in range(len(hidden)):
            for m in range(BLOCK):
                hidden_g[h, m] = ZERO if hidden[h, m] <= ZERO else hidden_g[h, m]
        _add_products(out_g, hidden, weights_g[1])
        _add_products(hidden_g, f, weights_g[0])
        _times(first_back, hidden_g, f_g)
        _rows(f_g, features_g[start : start + BLOCK])
