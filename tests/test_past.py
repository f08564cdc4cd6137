"""Tracks in a window are drawn to what is known beside it, and to what their queries look like."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from some_tracks import wandering

from omnimotion.past import Looks, Past
from omnimotion.patches import OFFSETS, Patches, Template
from omnimotion.pose_graph import refine
from omnimotion.views import Views

BESIDE, N_FRAMES, PX = 5, 8, 0.5  # PX: pixels of a frame of 256 in one of the store's
OFF = np.array([6.0, -2.0])  # of the tracks where they come to the window, the store's pixels


class TrueMatches:
    """Matches of a span of frames that lead from ``truth`` (q, S, 2) to itself."""

    px = PX

    def __init__(self, truth, shown):
        self.truth, self.shown, self.n_frames = truth, shown, truth.shape[1]

    def follow(self, frames, xy):
        ends = self.truth + (xy - self.truth[np.arange(len(xy)), frames])[:, None]
        return ends, np.arange(ends.shape[1]) + 100 * np.arange(len(ends))[:, None]

    def ends(self, i, xy):
        truth = self.truth[self.shown[:, i]]
        found = truth + (xy - truth[:, i])[:, None]  # rigid around the point
        found[:, i] = np.nan
        return found, np.arange(truth.shape[1]) != i


@pytest.fixture
def truth():
    return wandering(BESIDE + N_FRAMES)


def nothing(xy, shown):
    return np.full(xy.shape, np.nan)


def past_of(truth, is_before, seen=True, sure=0.5):
    """What is known beside the window of tracks that are right there; and where the window is."""
    beside, window = slice(0, BESIDE), slice(BESIDE, None)
    if not is_before:
        beside, window = slice(N_FRAMES, None), slice(0, N_FRAMES)
    shown = np.ones(truth.shape[:2], bool)
    shown[:, beside] = seen
    q = len(truth)
    past = Past(TrueMatches(truth, shown), is_before, truth[:, beside], shown[:, beside],
                np.full(q, sure), Template.blank(q),
                np.tile(np.eye(2, dtype=np.float32), (q, 1, 1)))  # fmt: skip
    return past, window


@pytest.mark.parametrize("is_before", [True, False])
def test_matches_with_frames_beside_the_window_draw_a_track_back(truth, is_before):
    """Those within the window cannot: they move with a track that is off by the same all along."""
    past, window = past_of(truth, is_before)
    shown, confidence = np.ones((3, N_FRAMES), bool), np.full((3, N_FRAMES), 0.9)
    found = past.refine(truth[:, window] + OFF, shown, confidence, nothing)
    assert np.abs(found.offset + OFF).max() < 0.2 * np.abs(OFF).max()
    assert (found.unmatched < 0.1).all()
    inside = TrueMatches(truth[:, window], shown)
    alone = refine(inside, truth[:, window] + OFF, shown, confidence, np.zeros(3, np.int64))
    np.testing.assert_allclose(alone.offset, 0, atol=1e-6)


def test_where_nothing_is_seen_beside_the_window_a_track_stays(truth):
    past, window = past_of(truth, True, seen=False)
    shown, confidence = np.ones((3, N_FRAMES), bool), np.full((3, N_FRAMES), 0.9)
    found = past.refine(truth[:, window] + OFF, shown, confidence, nothing)
    np.testing.assert_allclose(found.offset, 0, atol=1e-3)


def test_a_track_that_came_over_surely_moves_less(truth):
    """And one that may be lost is drawn back from far."""
    shown, confidence = np.ones((3, N_FRAMES), bool), np.full((3, N_FRAMES), 0.9)

    def left(sure):
        past, window = past_of(truth, True, sure=sure)
        found = past.refine(truth[:, window] + 6 * OFF, shown, confidence, nothing)
        return np.abs(found.offset + 6 * OFF).max()

    assert left(0.1) < 0.1 * np.abs(6 * OFF).max() < 0.9 * np.abs(6 * OFF).max() < left(1.0)


def test_places_that_are_sure_stay(truth):
    """As those of pins do, whatever matches with frames beside the window say."""
    past, window = past_of(truth, True)
    shown, confidence = np.ones((3, N_FRAMES), bool), np.full((3, N_FRAMES), 0.9)
    sure = np.full(shown.shape, np.inf)
    sure[:, 4] = 1e-3
    found = past.refine(truth[:, window] + OFF, shown, confidence, nothing, sure)
    assert np.abs(found.offset[:, 4]).max() < 0.01 * np.abs(OFF).max()


@pytest.mark.parametrize("is_before", [True, False])
def test_patches_are_looked_for_in_the_window_only(truth, is_before):
    past, window = past_of(truth, is_before, seen=False)
    shown, confidence = np.ones((3, N_FRAMES), bool), np.full((3, N_FRAMES), 0.9)
    asked = []

    def find(xy, shown):
        asked.append((xy, shown))
        return truth[:, window]

    found = past.refine(truth[:, window] + OFF, shown, confidence, find)
    [(places, where)] = asked
    np.testing.assert_allclose(places, truth[:, window] + OFF, atol=1e-3)
    assert where.shape == shown.shape
    assert np.abs(found.offset + OFF).max() < 0.1 * np.abs(OFF).max()


@pytest.mark.parametrize("is_before", [True, False])
def test_matches_are_followed_in_the_windows_own_frames(truth, is_before):
    past, window = past_of(truth, is_before)
    t = np.array([0, 3, 7])
    own = truth[:, window][np.arange(3), t]
    ends, again = past.follow(t, own)
    np.testing.assert_allclose(ends, truth[:, window])
    every = np.arange(truth.shape[1]) + 100 * np.arange(3)[:, None]
    np.testing.assert_array_equal(again, every[:, window])


def test_parts_are_those_of_the_tracks(truth):
    past, window = past_of(truth, True)
    shown, confidence = np.ones((3, N_FRAMES), bool), np.full((3, N_FRAMES), 0.9)
    part = past.part(slice(0, 2))
    assert part.n_frames == BESIDE
    some = Past(TrueMatches(truth[:2], np.ones((2, BESIDE + N_FRAMES), bool)), *part[1:])
    xy = truth[:, window] + OFF
    whole = past.refine(xy, shown, confidence, nothing)
    found = some.refine(xy[:2], shown[:2], confidence[:2], nothing)
    np.testing.assert_allclose(found.offset, whole.offset[:2], atol=1e-9)


# what queries look like -------------------------------------------------------------------------


def turn(angle, scale=1.0):
    return scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def test_turns_add_up_from_window_to_window():
    """A point that turns by 0.1 a frame, and grows: windows know of that from where it came."""
    windows, own = (range(0, 6), range(4, 10)), np.array([1])
    looks = Looks(1, 10)
    looks.begin(np.array([0]), own, Template.blank(1))
    for window, begin in zip(windows, (own, np.array([5]))):
        warp = np.stack([turn(0.1 * (t - begin[0]), 1.02 ** (t - begin[0])) for t in window])
        looks.go_on(np.array([0]), begin, window, warp[None])
    for t in range(10):
        expected = turn(0.1 * (t - 1), 1.02 ** (t - 1))
        np.testing.assert_allclose(looks.at(np.array([0]), np.array([t]))[0], expected, atol=2e-3)


def image(t):
    """A pattern without a period in the frame that turns about its centre by 0.1 a frame."""
    random = np.random.default_rng(0)
    waves, phases = random.normal(0, 0.35, (24, 2)), random.uniform(0, 2 * np.pi, 24)
    y, x = np.mgrid[:80, :80]
    place = (np.stack((x, y), axis=-1) - 40) @ turn(0.1 * t)  # its inverse is its transpose
    grey = 128 + 20 * np.cos(place @ waves.T + phases).sum(-1)
    return np.repeat(grey.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=-1)


def test_a_window_is_searched_for_what_the_query_looks_like(truth):
    """The query is in frame 0, which the window, frames 3 to 7, does not have."""
    query = np.array([[46.0, 37.0]])

    def patches(frames):
        index = SimpleNamespace(size=(80, 80), n_frames=len(frames))
        return Patches(Views(SimpleNamespace(index=index, frame=lambda t: image(frames[t]))))

    template = patches(range(1)).template(np.array([0]), query)
    past = past_of(truth[:1], True)[0]._replace(
        template=template,
        warp=turn(0.4)[None].astype(np.float32),  # it goes over in frame 4
    )
    window = range(3, 8)
    warp = np.stack([turn(0.1 * (t - 4)) for t in window])[None].astype(np.float32)
    around = past.around(patches(window), warp)
    true = np.stack([40 + turn(0.1 * t) @ (query[0] - 40) for t in window])[None]
    found = around.find(true + 0.6, np.ones((1, 5), bool))
    assert np.abs(found - true).max() < 0.05
    assert (around.likeness(true, np.ones((1, 5), bool)) > 0.98).all()


def test_patches_are_put_in_by_rows():
    looks = Looks(3, 4)
    value = torch.arange(2.0 * len(OFFSETS)).view(2, -1)
    some = Template.blank(2)._replace(value=value, textured=torch.tensor([True, False]))
    looks.begin(np.array([2, 0]), np.array([1, 3]), some)
    torch.testing.assert_close(looks.template.value[[2, 0]], value)
    assert looks.template.textured.tolist() == [False, False, True]
    np.testing.assert_array_equal(looks.at(np.array([2, 0]), np.array([1, 3])), [np.eye(2)] * 2)
    torch.testing.assert_close(looks.template.part(np.array([2])).value, value[:1])
