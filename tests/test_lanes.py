"""Several numbers as one value: against the same by numpy, of each width that is used."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

from numba import float32, njit

from omnimotion.kernels import decoder, volume
from omnimotion.kernels.lanes import NARROW, WIDE, load, passed, store, total
from omnimotion.kernels.several import (
    add_products,
    add_weighed,
    load_rows,
    store_rows,
    weighed,
    zeros,
)

ROWS = 3


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(params=[1, NARROW, WIDE], name="width")
def _width(request):
    return request.param


def test_operators_are_those_of_each_lane(width):
    @njit
    def act(a, b, result):
        x, y = load(a, 1, width), load(b, 2, width)
        x += float32(0.5)
        store(result, 3, x * y - float32(2) * x + y)
        return total(x)

    a, b, result = numbers(20), numbers(20, seed=1), np.zeros(20, np.float32)
    found = act(a, b, result)
    x, y = a[1 : 1 + width] + 0.5, b[2 : 2 + width]
    np.testing.assert_allclose(result[3 : 3 + width], x * y - 2 * x + y, atol=1e-5)
    assert not result[:3].any()
    assert not result[3 + width :].any()
    assert found == pytest.approx(x.sum(), abs=1e-4)


def test_what_is_not_above_zero_is_shut_and_nan_lets_pass(width):
    @njit
    def act(a, where, result):
        store(result, 0, passed(load(a, 0, width), load(where, 0, width)))

    where, result = np.resize(np.float32([np.nan, 0, -1, 1, -0.0]), WIDE), np.zeros(WIDE)
    a, result = numbers(WIDE), result.astype(np.float32)
    for turn in range(5):
        act(a, np.roll(where, turn), result)
        expected = np.where(np.roll(where, turn) <= 0, 0, a)
        assert np.array_equal(result[:width], expected[:width])


def test_an_array_with_gaps_is_refused(width):
    """Its numbers are not where lanes are read and written."""

    @njit
    def read(a):
        return total(load(a, 0, width))

    @njit
    def write(a):
        store(a, 0, zeros(1, width)[0])

    for call in (read, write):
        call(numbers(64))
        for gaps in (numbers(64)[::2], numbers(8, 8).T):
            with pytest.raises(Exception, match="expected an array without gaps"):
                call(gaps)


def test_rows_are_weighed_and_added_to(width):
    @njit
    def act(a, weights, result):
        some = load_rows(a, 0, WIDE, ROWS, width)
        value = weighed(some, weights, 1)
        found = add_products(add_weighed(zeros(ROWS, width), value, weights, 2), value, some)
        store_rows(result, 0, WIDE, found)

    a, weights, result = numbers(ROWS, WIDE), numbers(6, seed=1), np.zeros((ROWS, WIDE))
    result = result.astype(np.float32)
    act(a, weights, result)
    some = a[:, :width]
    value = (some * weights[1:4, None]).sum(0)
    np.testing.assert_allclose(result[:, :width], weights[2:5, None] * value + value * some,
                               atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("points", [5, 64, 75])
@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("features", [5, decoder.FEATURES])
def test_the_network_and_its_gradients_are_those_of_products(features, outputs, points):
    """Four outputs' weights, of which the first ones may be all that is asked for."""
    given, first, second = numbers(features, points), numbers(7, features), numbers(4, 7)
    turned = np.ascontiguousarray(second.T)
    hidden, found = np.empty((7, points), np.float32), np.empty((outputs, points), np.float32)
    decoder.decode(given, first, turned, hidden, found)
    expected = np.maximum(first @ given, 0)
    np.testing.assert_allclose(hidden, expected, atol=1e-5)
    np.testing.assert_allclose(found, second[:outputs] @ expected, atol=1e-4)

    g, before = numbers(outputs, points, seed=2), given.copy()
    first_g, second_g = np.ones_like(first), np.ones_like(second)
    decoder.decode_back(g, (given, hidden), (first, turned), (first_g, second_g))
    hidden_g = (second[:outputs].T @ g) * (expected > 0)
    np.testing.assert_allclose(hidden, hidden_g, atol=1e-4)
    np.testing.assert_allclose(given, first.T @ hidden_g, atol=1e-4)
    np.testing.assert_allclose(first_g, 1 + hidden_g @ before.T, atol=1e-3)
    np.testing.assert_allclose(second_g[:outputs], 1 + g @ expected.T, atol=1e-3)
    assert (second_g[outputs:] == 1).all()


@pytest.mark.parametrize("channels", [NARROW, 5])
def test_a_volume_is_read_and_added_to_at_its_corners(channels):
    """At grid points, where nothing is interpolated, the last one of each axis among them."""
    shape = 3, 4, 5
    grid = numbers(*shape, channels)
    index = np.array([(0, 0, 0), (1, 2, 3), (2, 3, 4), (2, 0, 4)])
    places = np.ascontiguousarray((2 * index / (np.array(shape) - 1) - 1)[:, ::-1].T, np.float32)
    found = np.empty((len(index), channels), np.float32)
    volume.read(places, grid, found)
    np.testing.assert_allclose(found, grid[tuple(index.T)], atol=1e-5)
    g, places_g, grid_g = numbers(*found.shape, seed=1), np.empty_like(places), np.zeros_like(grid)
    volume.read_back(g, places, grid, places_g, grid_g)
    np.testing.assert_allclose(grid_g[tuple(index.T)], g, atol=1e-4)
    assert abs(grid_g.sum() - g.sum()) < 1e-3
