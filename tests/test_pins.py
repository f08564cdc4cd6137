"""Pins: tracks of pinned points go through them, others stay as they are."""

import numpy as np
import pytest

from omnimotion.errors import CheckpointError
from omnimotion.known import KnownTracks
from omnimotion.pins import PIN_PX, Pins, joined_pins, known_of, pins_of, stored_pins

N_FRAMES, PX = 9, 0.5  # PX: pixels of a frame of 256 in one of the store's


def line(x, y, speed):
    """A point that moves to the right."""
    return np.stack((x + speed * np.arange(N_FRAMES), np.full(N_FRAMES, float(y))), axis=-1)


@pytest.fixture
def pins():
    """A point that moves 5 px a frame, pinned in frames 2, 4 and 8."""
    known = np.zeros((1, N_FRAMES), bool)
    known[0, [2, 4, 8]] = True
    return Pins(np.where(known[..., None], line(10, 20, 5), 0).astype(np.float32), known, known)


def pulled(pins, track, t):
    moved, sure = pins.pull(track[None], np.array([t]), PX)
    return moved[0], sure[0]


def test_a_track_from_a_pin_goes_through_the_others(pins):
    lagging = line(14, 20, 3)  # right in frame 2 only
    moved, sure = pulled(pins, lagging, 2)
    expected = line(10, 20, 5)
    expected[:2] = lagging[:2]  # before the first pin, the query's own, nothing is known
    np.testing.assert_allclose(moved, expected, atol=1e-5)  # on a line between pins
    assert sure[[2, 4, 8]].tolist() == [PIN_PX] * 3
    assert np.isinf(sure[[0, 1, 3, 5, 6, 7]]).all()


def test_a_neighbour_keeps_its_distance_and_is_less_sure(pins):
    moved, sure = pulled(pins, line(14, 22, 3), 2)
    np.testing.assert_allclose(moved[[2, 4, 8]], line(10, 22, 5)[[2, 4, 8]], atol=1e-5)
    assert sure[4] == pytest.approx(PIN_PX + 0.5 * PX * 2)  # half of the distance, 2 px


def test_between_the_query_and_a_pin_the_offset_grows_evenly(pins):
    off = line(10, 20, 5) + np.array([0, 1]) * np.maximum(0, 1 - np.arange(N_FRAMES))[:, None]
    off[3:] += (0, 2)  # off at the pins in frames 4 and 8, right at that of frame 2
    moved, _ = pulled(pins, off, 1)
    offset = (moved - off)[:, 1]
    np.testing.assert_allclose(offset, [0, 0, 0, -1, -2, -2, -2, -2, -2], atol=1e-5)


@pytest.mark.parametrize(
    ("track", "t"),
    [
        (line(100, 20, 5), 2),  # far away
        (line(26, 20, -5), 3),  # meets the first pin, goes the other way: far from the others
        (line(10, 25, 5), 2),  # 2.5 px of a frame of 256 beside it
    ],
)
def test_other_tracks_stay(pins, track, t):
    moved, sure = pulled(pins, track, t)
    np.testing.assert_array_equal(moved, track)
    assert np.isinf(sure).all()


def test_of_two_pinned_points_the_nearer_one_counts():
    known = np.zeros((2, N_FRAMES), bool)
    known[:, [0, 8]] = True
    pins = Pins(np.stack((line(10, 20, 0), line(10, 22, 1))).astype(np.float32), known, known)
    moved, _ = pulled(pins, line(10, 21.5, 0), 0)
    np.testing.assert_allclose(moved[8], (18, 21.5))


def test_pins_are_stored_as_they_are_and_resized():
    known = KnownTracks(
        np.full((1, N_FRAMES, 2), 7, np.float32), np.eye(1, N_FRAMES, dtype=np.float32),
        np.ones((1, N_FRAMES), bool),
    )  # fmt: skip
    pins = pins_of(known, (64, 64), (32, 32))
    assert pins.xy[0, 0].tolist() == [7.5 / 2 - 0.5] * 2
    assert pins.xy[0, 1].tolist() == [0, 0]
    again = stored_pins(pins.arrays(), N_FRAMES)
    assert all((a == b).all() for a, b in zip(pins, again, strict=True))
    assert stored_pins({"scene.x": np.zeros(1)}, N_FRAMES) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"xy": np.zeros((1, N_FRAMES, 2))}, {"xy": np.zeros((2, N_FRAMES, 2), np.float32)},
        {"xy": np.full((1, N_FRAMES, 2), np.nan, np.float32)}, {"known": np.array(True)},
        {"seen": np.ones((1, N_FRAMES), bool)}, {"seen": np.zeros((2, N_FRAMES), bool)},
        {"known": np.zeros((1, N_FRAMES), bool)}, {"known": np.ones((1, N_FRAMES + 1), bool)},
    ],
)  # fmt: skip
def test_stored_pins_that_cannot_be_are_refused(pins, changes):
    arrays = pins._replace(**changes).arrays()
    with pytest.raises(CheckpointError, match="pins"):
        stored_pins(arrays, N_FRAMES)


def test_stored_pins_are_known_as_they_were_given():
    weight = np.zeros((1, N_FRAMES), np.float32)
    weight[0, [2, 5]] = 1
    seen = weight > 0
    seen[0, 5] = False
    xy = np.where(weight[..., None] > 0, line(10, 20, 5), 0).astype(np.float32)
    given = KnownTracks(xy, weight, seen)
    again = known_of(pins_of(given, (64, 64), (32, 32)), (64, 64), (32, 32))
    np.testing.assert_allclose(again.xy, xy, atol=1e-4)
    np.testing.assert_array_equal(again.weight, weight)
    np.testing.assert_array_equal(again.visible, seen)


def known_at(*points):
    """Points pinned at places ``(t, x, y)``, seen."""
    xy, weight = np.zeros((len(points), N_FRAMES, 2), np.float32), np.zeros(
        (len(points), N_FRAMES), np.float32)  # fmt: skip
    for q, places in enumerate(points):
        for t, *place in places:
            xy[q, t], weight[q, t] = place, 1
    return KnownTracks(xy, weight, weight > 0)


def test_earlier_pins_hold_on_and_later_places_win():
    earlier = known_at([(0, 5, 5), (3, 8, 5)], [(1, 40, 40), (2, 41, 40)])
    pins = known_at([(0, 5, 6), (3, 9, 9), (7, 12, 5)], [(4, 20, 20), (6, 22, 20)])
    found = joined_pins(earlier, pins, px=1.0)  # the first of each are one: 1 px apart in frame 0
    expected = known_at([(0, 5, 6), (3, 9, 9), (7, 12, 5)], [(4, 20, 20), (6, 22, 20)],
                        [(1, 40, 40), (2, 41, 40)])  # fmt: skip
    for name in ("xy", "weight", "visible"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    found = joined_pins(known_at([(0, 5, 5), (2, 7, 5)]), known_at([(0, 5, 6), (3, 8, 6)]), px=1.0)
    assert np.flatnonzero(found.weight[0]).tolist() == [0, 2, 3]
    apart = joined_pins(known_at([(0, 5, 5), (2, 7, 5)]), known_at([(0, 5, 6), (3, 8, 6)]), px=3.0)
    assert len(apart.xy) == 2
