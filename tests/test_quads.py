"""Cells of a motion grid, read and added to some at once: as bilinear interpolation by hand."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from numba import njit, uint32, uint64

from omnimotion.kernels.lanes import NARROW, load, store
from omnimotion.kernels.quads import add_to_corners, corners

NA, NB = 5, 4
CELLS = np.array([(0, 0), (3, 2), (2, 1), (2, 1), (1, 1), (3, 0), (0, 2), (2, 1)])  # of (u, v)
WIDTHS = pytest.mark.parametrize("width", [1, NARROW])


def offsets():
    return (2 * (CELLS[:, 1] * NA + CELLS[:, 0])).astype(np.uint32)


@pytest.fixture(params=[np.float32, np.float64])
def grid(request):
    return np.random.default_rng(0).normal(size=(NB, NA, 2)).astype(request.param)


def corners_of(i, j):
    """The grid points of a cell, in the order of `corners`."""
    return [(j, i), (j, i + 1), (j + 1, i), (j + 1, i + 1)]


@WIDTHS
def test_what_the_corners_of_cells_hold(grid, width):
    @njit
    def read(grid, low, result):
        for m in range(uint64(0), uint64(len(low)), uint64(width)):
            some = corners(grid, low, m, uint32(2 * NA), width)
            for k in range(8):
                store(result[k], m, some[k])

    found = np.empty((8, len(CELLS)), grid.dtype)
    read(grid.reshape(-1), offsets(), found)
    for m, (i, j) in enumerate(CELLS):
        expected = np.concatenate([grid[point] for point in corners_of(i, j)])
        assert np.array_equal(found[:, m], expected)


@WIDTHS
def test_each_corner_gets_what_is_added_to_it_also_where_cells_are_the_same(grid, width):
    @njit
    def add(grid, low, terms):
        for m in range(uint64(0), uint64(len(low)), uint64(width)):
            a, b = load(terms[0], m, width), load(terms[1], m, width)
            c, d = load(terms[2], m, width), load(terms[3], m, width)
            some = a, b, c, d, a + b, b + c, c + d, d + a
            add_to_corners(grid, low, m, uint32(2 * NA), some)

    a, b, c, d = terms = np.random.default_rng(1).normal(size=(4, len(CELLS))).astype(grid.dtype)
    expected = grid.astype(np.float64)
    whole = np.stack([a, b, c, d, a + b, b + c, c + d, d + a], axis=-1).reshape(-1, 4, 2)
    for (i, j), each in zip(CELLS, whole):
        for point, term in zip(corners_of(i, j), each):
            expected[point] += term
    add(grid.reshape(-1), offsets(), terms)
    np.testing.assert_allclose(grid, expected, atol=1e-5 if grid.dtype == np.float32 else 1e-12)
