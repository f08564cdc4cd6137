"""Copies of arrays: of every width the same as numpy's, and nothing beyond them is written."""

import gc
import weakref

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from omnimotion.kernels import copies
from omnimotion.kernels.addresses import borrowed
from omnimotion.kernels.cells import kernel
from omnimotion.kernels.lanes import NARROW, load, store
from omnimotion.kernels.several import load_rows, store_rows, turned

AROUND = 3  # numbers beyond a result, which must stay


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def result(*shape):
    """Room for a result, and all that lies around it."""
    size = int(np.prod(shape))
    whole = np.full(size + 2 * AROUND, 7, np.float32)
    return whole[AROUND : AROUND + size].reshape(shape), whole


@pytest.mark.parametrize("others", [1, NARROW, 3 * NARROW, 3 * NARROW + 5, 5])
@pytest.mark.parametrize("side", [NARROW, 5])
def test_rows_become_columns(side, others):
    for shape in ((others, side), (side, others)):
        source = numbers(*shape)
        found, whole = result(*shape[::-1])
        copies.turn(source, found)
        np.testing.assert_array_equal(found, source.T)
        assert (whole[[0, 1, 2, -3, -2, -1]] == 7).all()


@pytest.mark.parametrize("width", [1, 2, NARROW])
def test_as_many_lanes_as_numbers_are_turned(width):
    @kernel
    def act(source, target):
        store_rows(target, 0, width, turned(load_rows(source, 0, width, width, width)))

    source, target = numbers(width, width), np.empty((width, width), np.float32)
    act(source, target)
    np.testing.assert_array_equal(target, source.T)


@pytest.mark.parametrize("channels", [NARROW, 3])
def test_rows_and_columns_are_picked(channels):
    index = np.array([4, 0, 4, 2])
    rows, columns = numbers(6, channels), numbers(channels, 6)
    found, whole = result(len(index), channels)
    copies.pick_rows(rows, index, found)
    np.testing.assert_array_equal(found, rows[index])
    assert (whole[[0, 1, 2, -3, -2, -1]] == 7).all()
    found = np.empty((channels, len(index)), np.float32)
    copies.pick_columns(columns, index, found)
    np.testing.assert_array_equal(found, columns[:, index])


@kernel
def _doubled(arrays):
    (first, (second, factor)) = borrowed(arrays)
    for row in range(len(first)):
        store(second[row], 0, load(first[row], 0, NARROW) * factor)


def test_what_is_borrowed_is_the_same_and_still_its_owners():
    first, second = numbers(3, NARROW), np.zeros((3, NARROW), np.float32)
    _doubled((first, (second, np.float32(2))))
    np.testing.assert_array_equal(second, 2 * first)
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None  # it was neither kept nor freed twice
