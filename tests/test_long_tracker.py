"""Tracks over windows: handed over where they are best seen, weighed where both windows answer."""

import dataclasses

import numpy as np
import pytest
import torch

from omnimotion import long_tracker as long_tracker_module
from omnimotion import tracker as tracker_module
from omnimotion.errors import PointsError
from omnimotion.evaluation import evaluate
from omnimotion.flow import SceneIndex
from omnimotion.geometry import Frame
from omnimotion.ground_truth import read_ground_truth
from omnimotion.long_runs import open_clip
from omnimotion.long_tracker import LongTracker
from omnimotion.tracker import Tracker
from omnimotion.tracks import Tracks
from omnimotion.windows import homes, plan_windows

SIZE, N_FRAMES = (64, 48), 30
WINDOWS = plan_windows(N_FRAMES, 12, 4)  # 0..12, 8..20, 16..30
VELOCITY = np.array([0.5, 0.25])  # px a frame


class Exact:
    """A window's tracker that is right, but for a ``drift`` (px a frame); keeps what it is asked.

    ``hidden`` and ``sure`` say of the clip's frames what it answers there.
    """

    def __init__(self, index, window, drift=0.0, hidden=(), sure=1.0):
        self.index = dataclasses.replace(index, n_frames=len(window))
        self.window, self.drift, self.hidden, self.sure = window, drift, hidden, sure
        self.frame, self.device, self.asked = Frame(*SIZE), torch.device("cpu"), []

    def follow(self, queries, refine, handed=None):
        self.asked.append((queries.t + self.window.start, queries.xy, handed))
        frames = np.arange(len(self.window))
        away = (frames - queries.t[:, None])[..., None]
        xy = (queries.xy[:, None] + away * (VELOCITY + self.drift)).astype(np.float32)
        shape = xy.shape[:2]
        occlusion = np.zeros(shape, np.float32) + np.isin(frames + self.window.start, self.hidden)
        sure = np.broadcast_to(np.asarray(self.sure, np.float32), (N_FRAMES,))
        confidence = np.broadcast_to(sure[self.window.start : self.window.stop], shape).copy()
        depth = np.full(shape, WINDOWS.index(self.window), np.float32)
        return Tracks(xy, occlusion < 0.5, confidence, occlusion.astype(np.float32), depth,
                      queries.as_array(), 1.0, SIZE), None  # fmt: skip


@pytest.fixture
def index(long_store):
    return long_store.index


def long_tracker(index, **options):
    trackers = [Exact(index, window, **options) for window in WINDOWS]
    return LongTracker(index, WINDOWS, trackers.__getitem__), trackers


QUERIES = np.array([(2, 20, 12), (14, 30, 20), (29, 50, 30), (9, 20, 20)], np.float32)


def truth(queries):
    away = (np.arange(N_FRAMES) - queries[:, :1])[..., None]
    return queries[:, None, 1:] + away * VELOCITY


def test_exact_windows_give_exact_tracks_of_the_whole_clip(index):
    tracker, _ = long_tracker(index)
    tracks = tracker.track(QUERIES)
    np.testing.assert_allclose(tracks.xy, truth(QUERIES), atol=1e-4)
    assert tracks.visible.all()
    np.testing.assert_allclose(tracks.confidence, 1, atol=1e-5)
    np.testing.assert_allclose(tracks.times, index.times, atol=1e-6)


def test_a_track_goes_over_where_it_is_seen(index):
    """Hidden in the overlap 8..11 but for frame 11; in 16..19 everywhere."""
    tracker, trackers = long_tracker(index, hidden=(8, 9, 10, 16, 17, 18, 19))
    tracks = tracker.track(QUERIES[:1])
    (t, xy, handed), (t_hidden, _, hidden) = trackers[1].asked[0], trackers[2].asked[0]
    assert t.tolist() == [11]
    np.testing.assert_allclose(xy, truth(QUERIES)[:1, 11], atol=1e-4)
    assert handed.seen.tolist() == [True]
    assert 16 <= t_hidden[0] <= 19
    assert hidden.seen.tolist() == [False]
    np.testing.assert_allclose(tracks.xy, truth(QUERIES[:1]), atol=1e-4)
    assert set(np.flatnonzero(~tracks.visible[0])) == {8, 9, 10, 16, 17, 18, 19}


def test_what_is_known_in_the_overlap_is_handed_over_in_the_windows_own_terms(index):
    tracker, trackers = long_tracker(index)
    tracker.track(QUERIES[:1])
    handed = trackers[1].asked[0][2]
    assert handed.first == 0
    expected = Frame(*SIZE).normalise(torch.from_numpy(truth(QUERIES)[:1, 8:12]).float())
    torch.testing.assert_close(handed.xy, expected, atol=1e-5, rtol=0)


def test_both_windows_answers_are_weighed_by_confidence(index):
    """The next window drifts: where it is unsure the overlap stays with the first one."""

    def overlap(sure):
        trackers = [Exact(index, WINDOWS[0], sure=0.9), Exact(index, WINDOWS[1], 0.4, sure=sure),
                    Exact(index, WINDOWS[2])]  # fmt: skip
        tracker = LongTracker(index, WINDOWS, trackers.__getitem__)
        found = tracker.track(QUERIES[:1]).xy[:, 8:12]
        return np.abs(found - truth(QUERIES)[:1, 8:12]).sum()

    assert 0 < overlap(0.05) < 0.25 * overlap(0.9)


def test_confidence_falls_with_every_border_and_with_disagreement(index):
    sure = long_tracker(index, sure=0.9)[0].track(QUERIES[:1]).confidence[0]
    assert sure[4] == pytest.approx(0.9)
    assert sure[14] == pytest.approx(0.9**2, abs=1e-3)
    assert sure[25] == pytest.approx(0.9**3, abs=0.02)  # from frames that are weighed
    apart = long_tracker(index, sure=0.9, drift=1.0)[0].track(QUERIES[:1]).confidence[0]
    assert (apart[12:] <= sure[12:]).all()


def test_depth_is_of_the_window_whose_middle_is_nearer(index):
    depth = long_tracker(index)[0].track(QUERIES[:1]).depth[0]
    assert depth.tolist() == [0] * 10 + [1] * 8 + [2] * 12


def test_the_window_in_whose_middle_a_query_is_answers_it(index):
    tracker, trackers = long_tracker(index)
    tracker.track(np.array([(8, 20, 20), (11, 20, 20), (17, 20, 20)], np.float32))
    asked = [[t.tolist() for t, _, handed in each.asked if handed is None] for each in trackers]
    assert asked == [[[8]], [[11, 17]], []]


# fitted windows ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fitted(long_scene):
    return open_clip(long_scene, device="cpu", backend="torch")


@pytest.fixture(scope="module")
def points(long_clip):
    return read_ground_truth(long_clip).select("given").queries


@pytest.fixture(scope="module")
def tracks(fitted, points):
    return fitted.track(points)


def test_tracks_reach_over_all_windows(tracks, points, long_scene):
    index = SceneIndex.load(long_scene)
    assert tracks.xy.shape == (len(points), index.n_frames, 2)
    np.testing.assert_array_equal(tracks.queries, points)
    own = np.arange(len(points)), points[:, 0].astype(int)
    np.testing.assert_array_equal(tracks.xy[own], points[:, 1:])
    assert tracks.visible[own].all()
    assert tracks.meta["windows"] == 3


def test_at_its_query_a_point_is_seen_whatever_a_neighbour_takes_it_for(index):
    """Frame 9 is of two windows; one that says 1 there must not make it visible and hidden."""
    found = long_tracker(index, hidden=(9,))[0].track(QUERIES)
    own = np.arange(len(QUERIES)), QUERIES[:, 0].astype(int)
    assert found.visible[own].all()
    assert (found.occlusion[own] == 0).all()
    assert (found.occlusion[[0, 1, 2], 9] > 0.5).all()


def test_inside_its_window_a_query_has_the_windows_own_answer(fitted, tracks, points):
    own_frames = (range(8), range(12, 16), range(20, 30))  # of no other window
    home = homes(fitted.windows, points[:, 0].astype(int))
    for k, (window, frames) in enumerate(zip(fitted.windows, own_frames)):
        rows = np.flatnonzero(home == k)
        assert len(rows)
        alone = fitted.window(k).track(points[rows] - [window.start, 0, 0])
        there = np.array(frames) - window.start
        for name in ("xy", "visible", "confidence", "occlusion", "depth"):
            found = getattr(tracks, name)[rows][:, list(frames)]
            np.testing.assert_allclose(found, getattr(alone, name)[:, there], atol=1e-5)


def test_tracks_that_cross_borders_are_closer_to_the_truth_than_standing_still(
    fitted, tracks, points, long_clip
):
    known = read_ground_truth(long_clip)
    home = homes(fitted.windows, points[:, 0].astype(int))
    beyond = np.array([[t not in fitted.windows[k] for t in range(N_FRAMES)] for k in home])
    error, still = (np.linalg.norm(xy - known.tracks, axis=-1)[beyond & known.visible]
                    for xy in (tracks.xy, points[:, None, 1:]))  # fmt: skip
    assert np.median(error) < 0.4 * np.median(still)
    right = (tracks.visible == known.visible)[beyond]
    assert right.mean() > max(0.85, known.visible[beyond].mean())


@pytest.fixture
def taken(monkeypatch):
    """What is known of tracks that are handed over, as they are."""
    found, follow = [], Tracker.follow

    def spied(tracker, queries, refine, handed=None):
        found.extend([handed.past] if handed else [])
        return follow(tracker, queries, refine, handed)

    monkeypatch.setattr(Tracker, "follow", spied)
    return found


@pytest.mark.parametrize(("t", "windows"), [(2, [1, 2]), (28, [1, 0])])
def test_what_is_known_beside_a_window_goes_over(fitted, taken, monkeypatch, t, windows):
    """Three frames of it here, in which the track is as it was answered before."""
    monkeypatch.setattr(long_tracker_module, "REACH", 3)
    tracks = fitted.track(np.array([(t, 30, 20)], np.float32))
    for past, k in zip(taken, windows, strict=True):
        window, forward = WINDOWS[k], t < 10
        start = window.start - 3 if forward else window.stop
        beside = slice(start, start + 3)
        assert past.is_before == forward
        assert past.matches.n_frames == len(window) + 3
        np.testing.assert_allclose(past.xy[0], tracks.xy[0, beside], atol=1e-4)
        np.testing.assert_array_equal(past.shown[0], tracks.visible[0, beside])


def test_frames_that_are_not_answered_yet_tell_nothing(fitted, taken):
    """A track from the middle window goes on to the last one before it goes back to the first."""
    fitted.track(np.array([(14, 30, 20)], np.float32))
    onward, back = taken
    assert WINDOWS[1].start == 8
    assert onward.shown.shape == (1, WINDOWS[2].start)
    assert not onward.shown[0, :8].any()
    assert onward.shown[0, 8:].any()
    assert back.shown.shape == (1, N_FRAMES - WINDOWS[0].stop)


def test_a_scene_without_matches_is_not_refined(fitted, points):
    alone = LongTracker(fitted.index, fitted.windows, fitted.window)
    found, plain = alone.track(points[:5]), fitted.track(points[:5], refine=False)
    np.testing.assert_array_equal(found.xy, plain.xy)


def test_a_track_does_not_depend_on_the_other_queries(fitted, tracks, points):
    for k in (0, 17, 40):
        alone = fitted.track(points[k : k + 1])
        np.testing.assert_allclose(alone.xy[0], tracks.xy[k], atol=2e-3)
        np.testing.assert_allclose(alone.confidence[0], tracks.confidence[k], atol=2e-3)


def test_scores_can_be_computed(fitted, long_clip):
    scores = evaluate([(fitted, read_ground_truth(long_clip))], "given").clips[0].scores
    assert scores["delta_avg"] > 40


def test_pixels_of_a_frame_come_row_by_row(fitted, monkeypatch):
    monkeypatch.setattr(tracker_module, "DENSE_AT_ONCE", 2 * SIZE[0] * N_FRAMES)
    found = next(fitted.dense(10))
    assert len(found) == 2 * SIZE[0]
    np.testing.assert_array_equal(found.queries[[0, 1, 64]], [(10, 0, 0), (10, 1, 0), (10, 0, 1)])
    with pytest.raises(PointsError, match="frame 30"):
        fitted.dense(30)


def test_no_points_and_points_outside(fitted, caplog):
    assert fitted.track([]).xy.shape == (0, N_FRAMES, 2)
    assert caplog.messages.count("no points are asked for: there will be no tracks") == 1
    with pytest.raises(PointsError, match="frame 30"):
        fitted.track([(30, 1, 1)])
