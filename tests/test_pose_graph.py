"""Refined tracks: true where matches are, smooth where nothing is seen, deaf to the far off."""

import numpy as np
import pytest
from some_tracks import wandering

from omnimotion import pose_graph as module
from omnimotion.pose_graph import refine

N_FRAMES, PX = 12, 0.5  # PX: pixels of a frame of 256 in one of the store's


class FakeMatches:
    """Matches that lead from ``truth`` (Q, T, 2) to itself, asked for these queries in order.

    ``wrong`` (s, j, offset) are off; ``gaps`` are those of the pairs.
    """

    n_frames, px = N_FRAMES, PX

    def __init__(self, truth, wrong=(), gaps=range(1, N_FRAMES), shown=None):
        self.truth, self.wrong, self.gaps = truth, wrong, gaps
        self.shown = np.ones(truth.shape[:2], bool) if shown is None else shown

    def ends(self, i, xy):
        truth = self.truth[self.shown[:, i]]
        assert len(truth) == len(xy)
        found = truth + (xy - truth[:, i])[:, None]  # rigid around the point
        for s, j, offset in self.wrong:
            if s == i:
                found[:, j] += offset
        asked = np.isin(np.abs(np.arange(N_FRAMES) - i), list(self.gaps))
        found[:, ~asked] = np.nan
        return found, asked


@pytest.fixture
def truth():
    return wandering(N_FRAMES)


@pytest.fixture
def drift():
    """How far off the scene's tracks are: nothing in frame 4, the query's, and ever more."""
    away = np.abs(np.arange(N_FRAMES) - 4) / PX
    return 0.3 * away[:, None] * np.array([1.0, -0.5])


def asked(n=3):
    """Shown everywhere, half sure, query in frame 4."""
    shape = n, N_FRAMES
    return np.ones(shape, bool), np.full(shape, 0.5), np.full(n, 4)


def test_places_that_are_sure_stay(truth, drift):
    """As far as they are sure: a pin does, whatever matches say, and its neighbours follow it."""
    shown, confidence, query = asked()
    sure = np.full(shown.shape, np.inf)
    free = refine(FakeMatches(truth), truth + drift, shown, confidence, query, sure=sure).offset
    plain = refine(FakeMatches(truth), truth + drift, shown, confidence, query).offset
    np.testing.assert_array_equal(free, plain)
    sure[:, 9] = 1e-3
    found = refine(FakeMatches(truth), truth + drift, shown, confidence, query, sure=sure).offset
    assert np.abs(found[:, 9]).max() < 1e-2 < 0.5 < np.abs(free[:, 9]).max()
    assert (np.abs(found[:, 10]) < np.abs(free[:, 10])).all()


def test_true_matches_lead_to_the_truth(truth, drift):
    shown, confidence, query = asked()
    found = refine(FakeMatches(truth), truth + drift, shown, confidence, query)
    assert np.abs(found.offset + drift).max() < 0.1 * np.abs(drift).max()
    assert found.offset.shape == truth.shape


def test_the_query_stays(truth, drift):
    shown, confidence, query = asked()
    found = refine(FakeMatches(truth), truth + drift + 1, shown, confidence, query)
    assert np.abs(found.offset[:, 4]).max() < 1e-3


def test_without_matches_the_scene_stands(truth):
    shown, confidence, query = asked()
    found = refine(FakeMatches(truth, gaps=()), truth, shown, confidence, query)
    assert (found.offset == 0).all()
    assert (found.unmatched == 0).all()


def test_a_sure_scene_moves_less(truth, drift):
    shown, confidence, query = asked()
    little, much = (
        np.abs(refine(FakeMatches(truth), truth + drift, shown, said, query).offset).mean()
        for said in (np.full_like(confidence, 0.999), confidence)
    )
    assert little < 0.5 * much


def test_a_match_of_something_else_is_ignored(truth, drift):
    shown, confidence, query = asked()
    wrong = [(2, 9, 300.0), (9, 2, -400.0), (5, 7, 250.0)]
    clean, odd = (
        refine(FakeMatches(truth, wrong=each), truth + drift, shown, confidence, query).offset
        for each in ((), wrong)
    )
    np.testing.assert_allclose(odd, clean, atol=0.15)


def test_a_match_somewhat_off_counts_less_than_by_squares(truth):
    """One pair in a clip is off by 2 px; least squares would go a good part of the way."""
    shown, confidence, query = asked()
    wrong = [(4, 9, 2 / PX)]
    robust = refine(FakeMatches(truth, wrong), truth, shown, confidence, query).offset
    assert np.abs(robust[:, 9]).max() * PX < 0.15


def test_where_nothing_is_seen_offsets_go_on_smoothly(truth, drift):
    shown, confidence, query = asked()
    shown[:, 6:9] = False
    found = refine(FakeMatches(truth, shown=shown), truth + drift, shown, confidence, query)
    steps = np.diff(found.offset[:, 5:10], axis=1)
    overall = found.offset[:, 9] - found.offset[:, 5]
    assert (np.abs(found.offset[:, 9]) > 1).all()
    assert (np.sign(steps) == np.sign(overall)[:, None]).all()


def test_it_is_the_least_squares_solution(truth, drift, monkeypatch):
    """Without robustness: against one dense system of equations, a row for each term."""
    monkeypatch.setattr(module, "ROBUST", 1e9)
    monkeypatch.setattr(module, "TOO_FAR", 1e9)
    shown, confidence, query = asked()
    confidence = np.random.default_rng(1).uniform(0.2, 0.9, confidence.shape)
    shown[0, 7] = False
    matches = FakeMatches(truth, gaps=(1, 2, 5), shown=shown)
    found = refine(matches, truth + drift, shown, confidence, query).offset[0] * PX
    sigma = module.SURE_PX + module.UNSURE_PX * (1 - confidence[0]) ** module.SHARPNESS
    rows, values = [], []

    def add(entries, value, deviation):
        row = np.zeros(N_FRAMES)
        for t, sign in entries:
            row[t] = sign
        rows.append(row / deviation)
        values.append(np.broadcast_to(value, 2) / deviation)

    for t in range(N_FRAMES):
        add([(t, 1)], 0, module.QUERY_PX if t == 4 else sigma[t])
    for t in range(N_FRAMES - 1):
        step = module.STEP_SHARE * min(sigma[t], sigma[t + 1])
        add([(t, -1), (t + 1, 1)], 0, step)
    for s in range(N_FRAMES):
        for j in range(N_FRAMES):
            if abs(s - j) in (1, 2, 5) and shown[0, s] and shown[0, j]:
                off = PX * (drift[s] - drift[j])  # a true match, seen from tracks that drift
                add([(s, -1), (j, 1)], off, module.MATCH_PX)
    expected = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_unmatched_is_the_share_of_the_usual_that_ends_elsewhere(truth):
    """Frame 9 is asked from 7, 8, 10 and 11; one of these leads elsewhere. Usual is all four."""
    shown, confidence, query = asked()
    matches = FakeMatches(truth, wrong=[(8, 9, 300.0)], gaps=(1, 2))
    found = refine(matches, truth, shown, confidence, query).unmatched
    np.testing.assert_allclose(found[:, 9], 1 - ((3 + 0.5) / (4 + 1)) / ((4 + 0.5) / (4 + 1)))
    np.testing.assert_allclose(found[:, 4], 0)


def test_what_is_usual_is_seen_where_the_track_is_shown(truth):
    """Shown in 5 frames of 12, where all matches end: that is usual, though most frames lack."""
    shown, confidence, query = asked()
    shown[:, 5:] = False
    wrong = [(s, j, 300.0) for s in range(5) for j in range(5, N_FRAMES)]
    matches = FakeMatches(truth, wrong, shown=shown)
    found = refine(matches, truth, shown, confidence, query).unmatched
    np.testing.assert_allclose(found[:, :5], 0)
    np.testing.assert_allclose(found[:, 5:], 1 - (0.5 / 6) / (4.5 / 5))


def test_elsewhere_is_the_share_of_matches_from_the_track_that_leave_it(truth):
    """Two of the four that start in frame 8 do; those that end there do not count."""
    shown, confidence, query = asked()
    wrong = [(8, 7, 300.0), (8, 10, -200.0), (3, 2, 100.0)]
    found = refine(FakeMatches(truth, wrong, gaps=(1, 2)), truth, shown, confidence, query)
    expected = np.zeros(N_FRAMES)
    expected[8], expected[3] = 2 / 5, 1 / 5  # one more is taken to stay
    np.testing.assert_allclose(found.elsewhere, np.tile(expected, (3, 1)))


def test_a_match_that_leads_where_a_point_is_hidden_says_nothing(truth):
    shown, confidence, query = asked()
    shown[:, 7] = False
    matches = FakeMatches(truth, [(8, 7, 300.0)], gaps=(1, 2), shown=shown)
    assert (refine(matches, truth, shown, confidence, query).elsewhere == 0).all()


def test_no_tracks():
    empty = np.zeros((0, N_FRAMES))
    found = refine(FakeMatches(np.zeros((0, N_FRAMES, 2))), np.zeros((0, N_FRAMES, 2)), empty > 0,
                   empty, np.zeros(0, np.int64))  # fmt: skip
    assert found.offset.shape == (0, N_FRAMES, 2)
    assert found.unmatched.shape == found.elsewhere.shape == (0, N_FRAMES)


# the image around the query ---------------------------------------------------------------------


def test_a_patch_that_is_found_leads_there(truth, drift):
    """No match at all; the patch is seen in frame 8, first looked for at the track itself."""
    shown, confidence, query = asked()
    track, looked = truth + drift, []

    def find(xy, where):
        looked.append(xy)
        assert (where == shown).all()
        found = np.full_like(truth, np.nan)
        found[:, 8] = truth[:, 8]
        return found

    found = refine(FakeMatches(truth, gaps=()), track, shown, confidence, query, find=find).offset
    np.testing.assert_array_equal(looked[0], track)
    assert np.abs(track + found - truth)[:, 8].max() * PX < 0.1
    assert (np.abs(found[:, 7]) > 0.5 * np.abs(found[:, 8])).all()  # its neighbours follow
    assert np.abs(found[:, 4]).max() < 1e-3


def test_a_patch_against_all_matches_counts_little(truth):
    shown, confidence, query = asked()
    wrong = np.full_like(truth, np.nan)
    wrong[:, 8] = truth[:, 8] + 2.5 / PX
    found = refine(
        FakeMatches(truth), truth, shown, confidence, query, find=lambda *_: wrong
    ).offset
    assert np.abs(found[:, 8]).max() * PX < 0.2


def test_patches_are_looked_for_where_matches_lead(truth, drift):
    shown, confidence, query = asked()
    looked = []

    def find(xy, _):
        looked.append(xy)
        return np.full_like(truth, np.nan)

    found = refine(FakeMatches(truth), truth + drift, shown, confidence, query, find=find)
    plain = refine(FakeMatches(truth), truth + drift, shown, confidence, query)
    np.testing.assert_allclose(looked[0], truth + drift + plain.offset, atol=1e-9)
    np.testing.assert_allclose(found.offset, plain.offset, atol=1e-9)  # none was found
