"""How the grids of all coupling layers lie in one row of numbers (without numba)."""

from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Where in a row of a grid bijection's table the grid of each of L layers is."""

    axis: np.ndarray  # (L,) int64, the axis the layer changes
    start: np.ndarray  # (L,) int64, of the grid (nb, na, 2)
    na: np.ndarray  # (L,) int64, grid points along the first of the two other axes
    nb: np.ndarray  # (L,) int64, along the second
    unit: np.ndarray  # (3,) float32, half extents of the grids
