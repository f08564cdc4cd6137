"""How a scene's numbers lie in the arrays that the kernels read (without numba)."""

from typing import NamedTuple

import numpy as np


class Layout(NamedTuple):
    """Where in a row of a grid bijection's table the grid of each of L layers is."""

    axis: np.ndarray  # (L,) int64, the axis the layer changes
    start: np.ndarray  # (L,) int64, of the grid (nb, na, 2)
    na: np.ndarray  # (L,) int64, grid points along the first of the two other axes
    nb: np.ndarray  # (L,) int64, along the second
    unit: np.ndarray  # (3,) half extents of the grids, as precise as the table


class DensityTable(NamedTuple):
    """A grid volume and what of its decoder makes density, all float32."""

    grid: np.ndarray  # (nz, ny, nx, C)
    centre: np.ndarray  # (3,) of the volume, canonical
    half_size: np.ndarray  # (3,)
    first: np.ndarray  # (H, C) features to hidden values
    second: np.ndarray  # (1, H) hidden values to density, its steepness included
    bias: np.ndarray  # (1,) added before softplus
