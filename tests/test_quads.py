"""A cell of a motion grid, read and added to as one: as bilinear interpolation by hand."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from numba import njit, uint64

from omnimotion.kernels.quads import add_to_cell, read_cell, read_slopes

NA, NB = 5, 4
PLACES = [(0.25, 0.75), (0.0, 0.0), (1.0, 1.0), (0.5, 0.0), (0.125, 1.0)]


@njit
def read(grid, low, high, u, v):
    return read_cell(grid, uint64(low), uint64(high), u, v)


@njit
def slopes(grid, low, high, u, v):
    return read_slopes(grid, uint64(low), uint64(high), u, v)


@njit
def add(grid, low, high, place, g):
    add_to_cell(grid, uint64(low), uint64(high), place, g)


@pytest.fixture(params=[np.float32, np.float64])
def grid(request):
    return np.random.default_rng(0).normal(size=(NB, NA, 2)).astype(request.param)


def bilinear(grid, i, j, u, v):
    """Of cell (i, j), both channels."""
    below = (1 - u) * grid[j, i] + u * grid[j, i + 1]
    above = (1 - u) * grid[j + 1, i] + u * grid[j + 1, i + 1]
    return (1 - v) * below + v * above


def numbers(grid, i, j, u, v):
    """Arguments of the kernels: a flat grid, both offsets, the place as precise as the grid."""
    low = 2 * (j * NA + i)
    return grid.reshape(-1), low, low + 2 * NA, grid.dtype.type(u), grid.dtype.type(v)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (3, 2), (2, 1)])  # the last cell is 3, 2
@pytest.mark.parametrize(("u", "v"), PLACES)
def test_a_cell_is_read_as_by_hand(grid, i, j, u, v):
    expected = bilinear(grid.astype(np.float64), i, j, u, v)
    exact = 1e-6 if grid.dtype == np.float32 else 1e-14
    asked = numbers(grid, i, j, u, v)
    np.testing.assert_allclose(read(*asked), expected, atol=exact)
    found = slopes(*asked)
    np.testing.assert_allclose(found[:2], expected, atol=exact)
    whole = grid.astype(np.float64)
    along = bilinear(whole, i, j, 1, v) - bilinear(whole, i, j, 0, v)
    across = bilinear(whole, i, j, u, 1) - bilinear(whole, i, j, u, 0)
    np.testing.assert_allclose(found[2:4], along, atol=exact)
    np.testing.assert_allclose(found[4:], across, atol=exact)


@pytest.mark.parametrize(("u", "v"), PLACES)
def test_what_is_added_is_the_transpose_of_what_is_read(grid, u, v):
    """Each corner gets the gradient times its weight; nothing else changes."""
    expected, s, t = grid.astype(np.float64), 0.5, -2.0
    for dj, down in enumerate((1 - v, v)):
        for di, across in enumerate((1 - u, u)):
            expected[1 + dj, 2 + di] += down * across * np.array([s, t])
    flat, low, high, u, v = numbers(grid, 2, 1, u, v)
    add(flat, low, high, (u, v), (grid.dtype.type(s), grid.dtype.type(t)))
    np.testing.assert_allclose(grid, expected, atol=1e-6 if grid.dtype == np.float32 else 1e-14)
