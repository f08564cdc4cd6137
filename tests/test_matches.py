"""Matches between lattice points: exact on smooth motion, nothing where it would be a guess."""

from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest

from omnimotion import matches as module
from omnimotion.flow import CHAINED, DIRECT, HIDDEN, NONE, FrameFlow
from omnimotion.matches import Matches, read

SHAPE = (6, 8)  # lattice rows, columns
STRIDE, ORIGIN = 3, np.array([[1, 2], [0, 1]], np.int32)


def lattice(m):
    """Pixels (h, w, 2) of the lattice of target m."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.stack((x, y), axis=-1) * STRIDE + ORIGIN[m]


def affine(xy, m):
    """The motion of all points towards target m, px."""
    x, y = xy[..., 0], xy[..., 1]
    return np.stack((0.1 * x - 0.05 * y + m, 0.02 * x + 0.03 * y - 2), axis=-1)


@pytest.fixture
def flow():
    """Two targets, affine motion, a match everywhere."""
    motion = np.stack([affine(lattice(m), m) for m in (0, 1)]).astype(np.float32)
    state = np.full((2, *SHAPE), DIRECT, np.uint8)
    state[:, ::2] = CHAINED
    return FrameFlow(0, np.array([1, 4], np.int32), ORIGIN, STRIDE, motion, state)


def test_an_affine_motion_is_read_exactly(flow):
    xy = np.random.default_rng(0).uniform((1, 2), (20, 16), (50, 2))
    found = read(flow, xy, 1.0)
    for m in (0, 1):
        np.testing.assert_allclose(found[:, m], xy + affine(xy, m), atol=1e-5)


def test_beyond_the_lattice_its_border_goes_on(flow):
    found = read(flow, np.array([[-5.0, -5.0], [99.0, 99.0]]), 1.0)
    corners = np.stack([lattice(0)[0, 0], lattice(0)[-1, -1]])
    np.testing.assert_allclose(found[:, 0] - [[-5, -5], [99, 99]], affine(corners, 0), atol=1e-5)


@pytest.mark.parametrize("state", [NONE, HIDDEN])
def test_a_place_without_a_match_around_has_none(flow, state):
    flow.state[0, 2:4, 3:5] = state
    xy = (lattice(0)[2, 3] + lattice(0)[3, 4])[None] / 2
    found = read(flow, xy, 1.0)
    assert np.isnan(found[0, 0]).all()
    assert np.isfinite(found[0, 1]).all()


def test_one_neighbour_without_a_match_is_left_out(flow):
    """At the centre of a cell the mean of the three others."""
    flow.state[0, 2, 3] = NONE
    flow.flow[0, 2, 3] = 1000
    corners = np.stack([lattice(0)[2, 4], lattice(0)[3, 3], lattice(0)[3, 4]])
    xy = (lattice(0)[2, 3] + lattice(0)[3, 4])[None] / 2
    expected = xy[0] + affine(corners, 0).mean(0)
    np.testing.assert_allclose(read(flow, xy, 1.0)[0, 0], expected, atol=1e-5)


def test_between_two_surfaces_nothing_is_read(flow):
    flow.flow[0, :, 4:] += 10
    beside = lattice(0)[2, 4][None] + np.array([[-1.0, 0.5], [0.5, 0.5], [-4.0, 0.5]])
    found = read(flow, beside, 1.0)[:, 0]
    np.testing.assert_array_equal(np.isnan(found[:, 0]), [True, False, False])
    assert np.isfinite(read(flow, beside, 100.0)).all()


def test_frames_that_are_not_paired_were_not_asked(tiny_store):
    flow, matches = tiny_store.flow(2), Matches(tiny_store)
    ends, asked = matches.ends(2, np.array([[20.0, 20.0], [30.0, 11.0]]))
    assert ends.shape == (2, tiny_store.index.n_frames, 2)
    np.testing.assert_array_equal(np.flatnonzero(asked), flow.targets)
    assert np.isnan(ends[:, ~asked]).all()
    assert np.isfinite(ends[:, asked]).any()


def test_lattice_points_give_what_is_stored(tiny_store):
    """Where all around moves alike; the stored matches themselves are read by `FrameFlow`."""
    flow = tiny_store.flow(1)
    m = int(np.flatnonzero(flow.targets == 2)[0])
    xy, end, _ = flow.matches(m)
    found = Matches(tiny_store).ends(1, xy.astype(float))[0][:, 2]
    known = np.isfinite(found[:, 0])
    assert known.mean() > 0.8
    np.testing.assert_allclose(found[known], end[known], atol=1e-4)


# from frame to frame ----------------------------------------------------------------------------


def still_store(n_frames=7, missing=(), far=0.0):
    """All moves by (1, 0.5) a frame; ``missing`` (i, j) have no match; over three ``far`` more."""

    def flow(i):
        targets = np.array([j for j in range(n_frames) if abs(i - j) in (1, 3)], np.int32)
        gaps = targets - i
        motion = gaps[:, None] * np.array([1.0, 0.5]) + far * (np.abs(gaps) == 3)[:, None]
        state = np.full((len(targets), *SHAPE), DIRECT, np.uint8)
        state[[(i, j) in missing for j in targets]] = NONE
        motion = np.broadcast_to(motion[:, None, None], (*state.shape, 2)).astype(np.float32)
        origin = np.zeros((len(targets), 2), np.int32)
        return FrameFlow(i, targets, origin, STRIDE, motion, state)

    index = SimpleNamespace(n_frames=n_frames, size=(256, 192))
    return SimpleNamespace(index=index, flow=Mock(side_effect=flow))


def test_places_are_followed_both_ways():
    frames, xy = np.array([0, 3, 6]), np.array([[5.0, 5.0], [8.0, 4.0], [12.0, 9.0]])
    found, again = Matches(still_store()).follow(frames, xy)
    way = (np.arange(7) - frames[:, None])[..., None] * np.array([1.0, 0.5])
    np.testing.assert_allclose(found, xy[:, None] + way, atol=1e-5)
    assert not again.any()


def test_one_match_counts_more_than_several():
    """Frame 3 is paired with frame 0; frame 4 goes on from there, 2 does not."""
    found, _ = Matches(still_store(far=0.25)).follow(np.array([0]), np.array([[5.0, 5.0]]))
    off = found[0] - (5, 5) - np.arange(7)[:, None] * np.array([1.0, 0.5])
    expected = np.array([0, 0, 0, 0.25, 0.25])[:, None].repeat(2, 1)
    np.testing.assert_allclose(off[:5], expected, atol=1e-5)


def test_they_are_found_again_where_a_match_leads():
    """No step from 3 to 4; but frame 4 is paired with frame 1."""
    frames, xy = np.array([1, 5]), np.array([[5.0, 5.0], [9.0, 6.0]])
    found, again = Matches(still_store(missing=[(3, 4)])).follow(frames, xy)
    way = (np.arange(7) - frames[:, None])[..., None] * np.array([1.0, 0.5])
    np.testing.assert_allclose(found, xy[:, None] + way, atol=1e-5)
    np.testing.assert_array_equal(again[0], [0, 0, 0, 0, 0, 1, 1])  # 4 by one match
    assert not again[1].any()  # 4 -> 3 has one


def test_they_end_where_no_match_leads():
    """Though frame 5 would be reached from frame 2, three frames before."""
    store = still_store(missing=[(3, 4), (1, 4)])
    found, _ = Matches(store).follow(np.array([1]), np.array([[5.0, 5.0]]))
    np.testing.assert_array_equal(np.isfinite(found[0, :, 0]), [1, 1, 1, 1, 0, 0, 0])


def test_a_frame_is_read_once_while_there_is_room(monkeypatch):
    store, xy = still_store(), np.array([[5.0, 5.0]])
    matches = Matches(store)
    first = [matches.ends(i, xy)[0] for i in (2, 3, 2, 3)]
    assert [call.args[0] for call in store.flow.call_args_list] == [2, 3]
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    store.flow.reset_mock()
    matches = Matches(store)
    again = [matches.ends(i, xy)[0] for i in (2, 3, 2, 3)]
    assert store.flow.call_count == 4
    np.testing.assert_array_equal(first, again)
