"""Which pairs get flow, on which lattice, and how much disk that takes."""

import numpy as np
import pytest

from omnimotion.errors import ConfigError
from preprocess.pairs import (
    MAX_LATTICE_POINTS,
    Lattice,
    chain_stops,
    choose_pairs,
    disk_bytes,
    flow_gaps,
    is_log_gap,
    pair_gaps,
    previous_gap,
)


def test_log_gaps_are_powers_of_two_and_one_and_a_half_times_them():
    assert pair_gaps(100, "log") == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96]


@pytest.mark.parametrize(("n_frames", "mode", "count"), [(48, "auto", 47), (49, "auto", 11)])
def test_auto_is_all_pairs_up_to_48_frames(n_frames, mode, count):
    assert len(pair_gaps(n_frames, mode)) == count


def test_what_a_log_gap_is():
    assert [gap for gap in range(1, 200) if is_log_gap(gap)] == pair_gaps(200, "log")
    assert pair_gaps(200, "log") == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192]


def test_two_frames_have_one_pair():
    for mode in ("auto", "all", "log"):
        assert choose_pairs(2, pair_gaps(2, mode)) == [(0, 1)]


def test_pairs_grow_as_n_log_n():
    pairs = [len(choose_pairs(n, pair_gaps(n, "log"))) for n in (500, 1000, 2000)]
    assert pairs[1] < 2.3 * pairs[0]
    assert pairs[2] < 2.3 * pairs[1]


def test_chains_stop_ever_more_seldom_and_at_all_gaps_asked_for():
    stops = chain_stops(pair_gaps(400, "log"))
    assert stops[:33] == [*range(1, 33), 34]
    assert [gap for gap in stops if gap > 60] == [
        *range(62, 64, 2), *range(64, 128, 4), *range(128, 385, 8)
    ]  # fmt: skip
    assert set(pair_gaps(400, "log")) <= set(stops)
    assert chain_stops([*range(1, 100)]) == [*range(1, 100)]
    assert chain_stops([1, 2, 4, 37, 77]) == sorted({*range(1, 32), *range(32, 64, 2),
                                                     *range(64, 77, 4), 37, 77})  # fmt: skip


def test_chains_twice_as_long_stop_sixteen_times_more():
    counts = [len(chain_stops([1, longest])) for longest in (16, 32, 64, 128, 256)]
    assert counts == [16, 32, 48, 64, 80]


def test_unknown_mode_is_refused():
    with pytest.raises(ConfigError, match="pairs: 'some'"):
        pair_gaps(10, "some")


def test_pairs_are_ordered_by_gap():
    gaps = [1, 2, 3]
    pairs = choose_pairs(4, gaps)
    assert pairs == [(0, 1), (1, 2), (2, 3), (0, 2), (1, 3), (0, 3)]
    assert [previous_gap(gap, gaps) for gap in gaps] == [None, 1, 2]


@pytest.mark.parametrize(
    ("size", "stride"), [((128, 128), 1), ((256, 192), 2), ((854, 480), 4), ((8192, 16), 2)]
)
def test_lattice_is_the_densest_that_is_affordable(size, stride):
    lattice = Lattice.for_size(size)
    assert lattice.stride == stride
    rows, columns = lattice.shape
    assert rows * columns <= MAX_LATTICE_POINTS


@pytest.mark.parametrize("size", [(854, 480), (257, 193), (1000, 999)])
def test_lattice_stays_inside_and_reaches_every_pixel_over_the_frames(size):
    lattice = Lattice.for_size(size)
    rows, columns = lattice.shape
    origins = set()
    for i in range(lattice.stride**2):
        for forward in (True, False):
            x0, y0 = lattice.origin(i, forward)
            assert x0 in range(size[0] - lattice.stride * (columns - 1))
            assert y0 in range(size[1] - lattice.stride * (rows - 1))
            origins.add((x0, y0))
    assert len(origins) == lattice.stride**2


def test_disk_estimate_by_hand():
    lattice = Lattice.for_size((128, 128))
    points = 128 * 128
    # 2 pairs, kept twice at 4.25 bytes and once at 5, gap 1 also dense at 5; 2 frames of 3 bytes
    assert disk_bytes(2, [1], lattice) == points * (2 * (2 * 4.25 + 5) + 2 * 5 + 2 * 3)
    # over 5 frames there are matches, but no flow of their own
    assert disk_bytes(6, [1, 5], lattice) - disk_bytes(6, [1], lattice) == points * 2 * 2 * 4.25


def test_pixels_of_a_lattice_begin_at_its_origin():
    lattice = Lattice.for_size((857, 483))
    for i in range(5):
        y, x = np.mgrid[lattice.pixels(i, forward=True)]
        assert y.shape == lattice.shape
        assert (x[0, 0], y[0, 0]) == lattice.origin(i, forward=True)
        assert (x[0, 1] - x[0, 0], y[1, 0] - y[0, 0]) == (lattice.stride, lattice.stride)


def test_flow_is_computed_over_the_gaps_of_log_only():
    assert flow_gaps(pair_gaps(20, "all")) == pair_gaps(20, "log") == [1, 2, 3, 4, 6, 8, 12, 16]
    assert flow_gaps(pair_gaps(20, "all", 7)) == [1, 2, 3, 4, 6]
