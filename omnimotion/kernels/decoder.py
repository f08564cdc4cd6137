"""The volume's small network, and the way back: features, a layer, ReLU, a layer, no biases.

Conventions. Points lie side by side: features (C, M), hidden values (H, M), outputs (O, M), all
float32; ``first`` (H, C). ``second`` is turned, (H, O) or more: of each row the first O numbers
count. Of the usual numbers of features and outputs, which the compiler has to know, all that a
point has are in the processor at once.
"""

from typing import Any

import numpy as np
from numba import uint64

from omnimotion.kernels.cells import ZERO, inline, kernel
from omnimotion.kernels.lanes import SINGLE, WIDE, load, passed, store, total
from omnimotion.kernels.several import (
    add_products,
    add_weighed,
    load_rows,
    store_rows,
    weighed,
    zeros,
)

FEATURES = 8  # the default
DENSITY, WITH_COLOUR = 1, 4  # outputs


@inline
def _decode(some: Any, arrays: Any, weights: Any, n_outputs: Any, width: Any) -> None:
    """`decode` of points from the first of ``some`` on up to the second, in lanes of a width."""
    features, hidden, outputs = arrays
    first, second = weights
    n, row = uint64(features.shape[1]), uint64(second.shape[1])
    for m in range(uint64(some[0]), uint64(some[1]), uint64(width)):
        known, found = load_rows(features, m, n, FEATURES, width), zeros(n_outputs, width)
        for h in range(uint64(len(first))):
            value = weighed(known, first, h * uint64(FEATURES))
            value = passed(value, value)
            store(hidden, h * n + m, value)
            found = add_weighed(found, value, second, h * row)
        store_rows(outputs, m, n, found)


@inline
def _hidden_back(h: Any, some: Any, arrays: Any, second: Any, weights_g: Any, sizes: Any) -> None:
    """Put the gradient of hidden value ``h`` of ``some`` points in its place.

    ``arrays``: gradients of outputs, hidden values, features. Adds to the gradients of weights.
    """
    g, hidden, features = arrays
    n_outputs, width = sizes
    n, at = uint64(features.shape[1]), h * uint64(second.shape[1])
    first_g, second_g = zeros(FEATURES, width), zeros(n_outputs, width)
    for m in range(uint64(some[0]), uint64(some[1]), uint64(width)):
        slopes, value = load_rows(g, m, n, n_outputs, width), load(hidden, h * n + m, width)
        second_g = add_products(second_g, value, slopes)
        value = passed(weighed(slopes, second, at), value)
        store(hidden, h * n + m, value)
        first_g = add_products(first_g, value, load_rows(features, m, n, FEATURES, width))
    for c in range(FEATURES):
        weights_g[0][h, uint64(c)] += total(first_g[c])
    for o in range(n_outputs):
        weights_g[1][uint64(o), h] += total(second_g[o])


@inline
def _features_back(some: Any, hidden_g: Any, first: Any, features_g: Any, width: Any) -> None:
    """The gradients of the features of ``some`` points."""
    n = uint64(features_g.shape[1])
    for m in range(uint64(some[0]), uint64(some[1]), uint64(width)):
        found = zeros(FEATURES, width)
        for h in range(uint64(len(first))):
            found = add_weighed(found, load(hidden_g, h * n + m, width), first,
                                h * uint64(FEATURES))  # fmt: skip
        store_rows(features_g, m, n, found)


@inline
def _in_lanes(arrays: Any, weights: Any, n_outputs: Any) -> None:
    n = arrays[0].shape[1]
    whole = n - n % WIDE
    _decode((0, whole), arrays, weights, n_outputs, WIDE)
    _decode((whole, n), arrays, weights, n_outputs, SINGLE)


@inline
def _back_in_lanes(arrays: Any, weights: Any, weights_g: Any, n_outputs: Any) -> None:
    _, hidden, features = arrays
    first, second = weights
    n = features.shape[1]
    whole = n - n % WIDE
    for h in range(uint64(len(hidden))):
        _hidden_back(h, (0, whole), arrays, second, weights_g, (n_outputs, WIDE))
        _hidden_back(h, (whole, n), arrays, second, weights_g, (n_outputs, SINGLE))
    _features_back((0, whole), hidden, first, features, WIDE)
    _features_back((whole, n), hidden, first, features, SINGLE)


@kernel
def _times(matrix: np.ndarray, columns: np.ndarray, result: np.ndarray) -> None:
    """A matrix (A or more, B) times columns (B, M), to (A, M)."""
    for a in range(len(result)):
        row = result[a]
        for m in range(len(row)):
            row[m] = ZERO
        for b in range(len(columns)):
            column, weight = columns[b], matrix[a, b]
            for m in range(len(row)):
                row[m] += weight * column[m]


@kernel
def _add_products(left: np.ndarray, right: np.ndarray, total: np.ndarray) -> None:
    """Add left (A, M) times right (B, M), summed over points, to (A, B)."""
    for a in range(len(left)):
        for b in range(len(right)):
            row, column, part = left[a], right[b], ZERO
            for m in range(len(row)):
                part += row[m] * column[m]
            total[a, b] += part


@kernel
def decode(features: np.ndarray, first: np.ndarray, second: np.ndarray, hidden: np.ndarray,
           outputs: np.ndarray) -> None:  # fmt: skip
    """Outputs (O, M) of features (C, M), and the hidden values (H, M) on the way."""
    arrays, weights = (features, hidden, outputs), (first, second)
    if len(features) == FEATURES and len(outputs) == DENSITY:
        _in_lanes(arrays, weights, DENSITY)
    elif len(features) == FEATURES and len(outputs) == WITH_COLOUR:
        _in_lanes(arrays, weights, WITH_COLOUR)
    else:
        _times(first, features, hidden)
        for h in range(len(hidden)):
            row = hidden[h]
            for m in range(len(row)):
                row[m] = ZERO if row[m] <= ZERO else row[m]  # NaN stays NaN
        _times(second.T, hidden, outputs)


@kernel
def decode_back(g: np.ndarray, values: tuple, weights: tuple, weights_g: tuple) -> None:
    """The way back through `decode`; ``g`` (O, M) is the gradient of its result.

    ``values``: features and hidden values, which become their gradients; ``weights`` as there,
    ``weights_g`` (H, C) and (O, H) are added to.
    """
    features, hidden = values
    first, second = weights
    if len(features) == FEATURES and len(g) == DENSITY:
        _back_in_lanes((g, hidden, features), weights, weights_g, DENSITY)
    elif len(features) == FEATURES and len(g) == WITH_COLOUR:
        _back_in_lanes((g, hidden, features), weights, weights_g, WITH_COLOUR)
    else:
        hidden_g = np.empty(hidden.shape, np.float32)
        _times(second, g, hidden_g)
        _add_products(g, hidden, weights_g[1])
        for h in range(len(hidden)):
            row, row_g = hidden[h], hidden_g[h]
            for m in range(len(row)):
                row[m] = ZERO if row[m] <= ZERO else row_g[m]
        _add_products(hidden, features, weights_g[0])
        _times(first.T, hidden, features)
