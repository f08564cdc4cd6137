"""Which surface a query is on, and when its matches are followed rather than the scene."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from some_tracks import wandering

from omnimotion.confidence import Evidence
from omnimotion.pins import Pins
from omnimotion.refine import HIDDEN, NEAR_FRAMES, Asked, Found, Refiner, on_the_way

N_FRAMES, PX, OWN = 12, 0.5, 4  # PX: pixels of a frame of 256 in one of the store's
ASKED = Asked(np.full(3, OWN), np.ones(3, bool))


@pytest.fixture
def truth():
    return wandering(N_FRAMES)


NO_PATCHES = SimpleNamespace(size=(512, 512))


class OneColour:
    """Images that are grey everywhere."""

    def colours(self, frames, xy):
        return torch.full((len(xy), 2, 3), 0.5)

    def recoloured(self, colours, frames, xy):
        return np.zeros((*xy.shape[:2], colours.shape[1]), np.float32)


class Striped(OneColour):
    """Red where x is below 100, blue beyond, in every frame; frames after ``last`` are black."""

    def __init__(self, last=N_FRAMES):
        self.last = last

    def colours(self, frames, xy):
        is_red = torch.from_numpy((xy[:, 0] < 100) & (frames <= self.last))
        is_blue = torch.from_numpy((xy[:, 0] >= 100) & (frames <= self.last))
        own = torch.stack((is_red, torch.zeros_like(is_red), is_blue), dim=-1).float()
        return own[:, None].expand(-1, 2, 3)

    def recoloured(self, colours, frames, xy):
        there = self.colours(np.repeat(frames, xy.shape[1]), xy.reshape(-1, 2))
        there = there.view(*xy.shape[:2], 2, 3)[:, :, : colours.shape[1]]
        return (there - colours[:, None]).norm(dim=-1).numpy()


def refiner(truth, known=1.0, pixels=None):
    """One whose matches in frame `OWN` lead to the truth, where there are any."""
    ends = np.where(np.arange(N_FRAMES)[:, None] == OWN, np.nan, truth * known)
    matches = SimpleNamespace(px=PX, by_one=lambda frames, xy: ends)
    return Refiner(matches, NO_PATCHES, pixels or OneColour())


@pytest.mark.parametrize(
    ("off", "expected"),
    [((0, 0, 0), 0), ((8, 0.2, 8), 1), ((8, 9, 1), 2),  # the one that agrees, the first of equals
     ((0.9, 0, 0), 0),  # hardly better is not enough
     ((90, 60, 70), 0)],  # all far off: they tell nothing apart
)  # fmt: skip
def test_the_candidate_that_moves_as_its_pixel_does(truth, off, expected):
    carried = truth[:, None] + (np.array(off) / PX)[:, None, None] * np.array([1.0, 0.0])
    found = refiner(truth).choose(np.full(3, OWN), truth[:, OWN], carried)
    np.testing.assert_array_equal(found, expected)


def test_without_a_match_the_surface_that_is_seen_stands(truth):
    carried = truth[:, None] + np.array([9.0, 0.0])[:, None, None]
    found = refiner(truth, np.nan).choose(np.full(3, OWN), truth[:, OWN], carried)
    np.testing.assert_array_equal(found, 0)


def test_without_matches_the_candidate_whose_colour_goes_along():
    """Both queries are red; candidates stay on red, or go to blue."""
    own = np.array([[60.0, 50.0], [80.0, 50.0], [90.0, 50.0]])
    still = np.repeat(own[:, None], N_FRAMES, axis=1)
    leaves = still.copy()
    leaves[:, OWN + 1 :, 0] = 150
    ends = np.full_like(still, np.nan)
    for carried, expected in (((leaves, leaves, still), 2), ((still, leaves, still), 0)):
        candidates = np.stack(carried, axis=1)
        found = refiner(ends, pixels=Striped()).choose(np.full(3, OWN), own, candidates)
        np.testing.assert_array_equal(found, expected)


def test_colours_of_frames_far_from_the_query_do_not_count():
    """The candidate leaves red only where frames are too far off to be compared."""
    n_frames = 2 * NEAR_FRAMES
    own = np.array([[60.0, 50.0]])
    still = np.repeat(own[:, None], n_frames, axis=1)
    leaves = still.copy()
    leaves[:, NEAR_FRAMES + 1 :, 0] = 150
    matches = SimpleNamespace(px=PX, by_one=lambda frames, xy: np.full_like(still, np.nan))
    for frame, expected in ((0, 0), (NEAR_FRAMES, 1)):
        found = Refiner(matches, NO_PATCHES, Striped(n_frames)).choose(
            np.array([frame]), own, np.stack((leaves, still), axis=1)
        )
        assert found == expected


def test_the_colour_of_a_track_is_compared_with_its_query():
    """Root of the distance of red and blue; of red and black, in the last frames."""
    xy = np.full((1, N_FRAMES, 2), 50.0)
    xy[0, 3:6, 0] = 150
    found = refiner(xy, pixels=Striped(last=8))._colours(np.array([0]), xy[:, 0], xy)
    expected = np.zeros(N_FRAMES)
    expected[3:6], expected[9:] = 2**0.25, 1
    np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-6)
    assert found.shape == (1, N_FRAMES, 2)


class Shifting(OneColour):
    """Images in which a place's pixel is 3 px to its right."""

    def moved_onto(self, colours, frames, xy, doubt):
        expected = 0.5 * NEAR_FRAMES / (NEAR_FRAMES + abs(frames - OWN))  # unlike by half
        np.testing.assert_allclose(doubt, expected, rtol=1e-6)
        return xy + np.array([3.0, 0.0])


def moved_onto(truth, visible, pins=None):
    evidence = np.full((3, N_FRAMES, len(Evidence._fields)), 0.5, np.float32)
    found = Found(truth.astype(np.float32), np.zeros((3, N_FRAMES), np.float32), evidence)
    one = refiner(truth, pixels=Shifting())
    one.pins = pins
    moved = one.moved_onto(ASKED.frames, found, visible)
    assert moved.evidence is evidence
    return moved.xy - found.xy


def test_a_track_ends_on_its_pixel_where_it_is_seen(truth):
    """But in its query's frame, and outside the images."""
    visible = np.ones((3, N_FRAMES), bool)
    visible[1, 7] = False
    inside = truth.copy()
    inside[2, 9, 1] = 600
    found = moved_onto(inside, visible)
    expected = np.full((3, N_FRAMES), 3.0)
    expected[:, OWN] = expected[1, 7] = expected[2, 9] = 0
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)
    assert (found[..., 1] == 0).all()


def test_a_pin_holds_whatever_its_pixel_looks_like(truth):
    known = np.zeros((1, N_FRAMES), bool)
    known[0, [OWN, 8]] = True
    pins = Pins(truth[:1].astype(np.float32), known, known)
    found = moved_onto(truth, np.ones((3, N_FRAMES), bool), pins)
    assert (found[0, [OWN, 8]] == 0).all()
    np.testing.assert_allclose(found[0, 9], (3, 0), atol=1e-4)
    np.testing.assert_allclose(found[1, 8], (3, 0), atol=1e-4)


# what is followed -------------------------------------------------------------------------------


@pytest.fixture
def found(truth):
    """The scene is right up to frame 6 and then 20 px off, where it says the point is hidden."""
    xy = truth.astype(np.float32).copy()
    xy[:, 7:] += 20 / PX
    evidence = np.zeros((3, N_FRAMES, len(Evidence._fields)), np.float32)
    evidence[:, 7:, HIDDEN] = 0.9
    return Found(xy, np.zeros((3, N_FRAMES), np.float32), evidence)


def followed(truth, until, asked, found, confidence, again=(), unlike=0.0, pixels=None):
    """What comes of tracks where matches can be followed to frame ``until``.

    Frames ``again`` are reached after they were lost. Patches are alike at the truth, elsewhere
    less by ``unlike``.
    """
    way, is_again = truth.copy(), np.isin(np.arange(N_FRAMES), again)
    way[:, until:] = np.nan
    matches = SimpleNamespace(
        px=PX, follow=lambda frames, xy: (way, np.broadcast_to(is_again, way.shape[:2]))
    )

    def likeness(xy, where):
        return where * np.where(np.linalg.norm(xy - truth, axis=-1) < 0.1, 1, 1 - unlike)

    refiner = Refiner(matches, NO_PATCHES, pixels or OneColour())
    around = SimpleNamespace(likeness=likeness)
    return refiner._followed(asked, found, confidence, matches, around)


def test_an_unsure_scene_gives_way_to_what_is_followed(truth, found):
    confidence = np.full((3, N_FRAMES), 0.9)
    confidence[0, 7:] = 0.4
    moved = followed(truth, 10, ASKED, found, confidence)
    np.testing.assert_allclose(moved.xy[0, :10], truth[0, :10], atol=1e-4)
    assert (moved.evidence[0, :10, HIDDEN] == 0).all()  # what is followed is seen
    np.testing.assert_array_equal(moved.xy[0, 10:], found.xy[0, 10:])
    np.testing.assert_array_equal(moved.evidence[0, 10:], found.evidence[0, 10:])
    np.testing.assert_array_equal(moved.xy[1:], found.xy[1:])  # the scene is sure


def seen(found):
    """The scene is as far off, but says that the point is seen there."""
    return found._replace(evidence=np.zeros_like(found.evidence))


def test_a_sure_scene_gives_way_where_its_place_looks_unlike(truth, found):
    confidence = np.full((3, N_FRAMES), 0.9)
    moved = followed(truth, N_FRAMES, ASKED, seen(found), confidence, unlike=0.3)
    np.testing.assert_allclose(moved.xy, truth, atol=1e-4)
    little = followed(truth, N_FRAMES, ASKED, seen(found), confidence, unlike=0.1)
    np.testing.assert_array_equal(little.xy, found.xy)


def test_a_place_of_another_colour_looks_unlike(truth, found):
    """Red is left of x = 100: the first track is, but not where the scene has it."""
    left = truth - truth[:1] + (90, 100)
    off = left.astype(np.float32)
    off[:, 7:] += 20 / PX
    moved = followed(left, N_FRAMES, ASKED, seen(found)._replace(xy=off),
                     np.full((3, N_FRAMES), 0.9), pixels=Striped())  # fmt: skip
    np.testing.assert_allclose(moved.xy[0], left[0], atol=1e-4)


def test_what_hides_a_point_may_look_unlike(truth, found):
    moved = followed(truth, N_FRAMES, ASKED, found, np.full((3, N_FRAMES), 0.9), unlike=0.5)
    np.testing.assert_array_equal(moved.xy, found.xy)


def test_what_was_lost_and_found_again_is_less_sure(truth, found):
    confidence, late = np.full((3, N_FRAMES), 0.3), range(7, N_FRAMES)
    moved = followed(truth, N_FRAMES, ASKED, found, confidence, late)
    np.testing.assert_array_equal(moved.xy, found.xy)
    moved = followed(truth, N_FRAMES, ASKED, seen(found), confidence, late, unlike=0.3)
    np.testing.assert_allclose(moved.xy, truth, atol=1e-4)


def test_where_they_agree_it_does_not_matter_how_sure_the_scene_is(truth, found):
    close = found._replace(xy=(truth + 1.5 / PX * np.array([1.0, 0.0])).astype(np.float32))
    moved = followed(truth, N_FRAMES, ASKED, close, np.zeros((3, N_FRAMES)))
    np.testing.assert_array_equal(moved.xy, close.xy)


def test_it_is_judged_over_all_frames_that_differ(truth, found):
    """Unsure in one of five: the scene stands in all of them."""
    confidence = np.full((3, N_FRAMES), 0.9)
    confidence[:, 8] = 0.1
    moved = followed(truth, N_FRAMES, ASKED, found, confidence)
    np.testing.assert_array_equal(moved.xy, found.xy)


def test_a_track_that_begins_hidden_follows_nothing(truth, found):
    asked = ASKED._replace(seen=np.array([True, False, True]))
    moved = followed(truth, N_FRAMES, asked, found, np.zeros((3, N_FRAMES)))
    np.testing.assert_allclose(moved.xy[[0, 2]], truth[[0, 2]], atol=1e-4)
    np.testing.assert_array_equal(moved.xy[1], found.xy[1])


# what a track passes ----------------------------------------------------------------------------


def test_what_is_on_the_way_is_averaged_from_the_query_to_the_frame():
    """Of two tracks, from frames 1 and 3 of five; one frame of the second does not count."""
    values = np.arange(10, dtype=np.float32).reshape(2, 5, 1)
    counts = np.ones((2, 5), bool)
    counts[1, 2] = False
    found = on_the_way(values, counts, np.array([1, 3]))[..., 0]
    # a query's own frame does not count
    np.testing.assert_allclose(found[0], [0, 0, 2, math.sqrt((4 + 9) / 2), math.sqrt(29 / 3)])
    np.testing.assert_allclose(found[1], [math.sqrt((25 + 36) / 2), 6, 0, 0, 9])


def test_nothing_on_the_way_speaks_for_nothing_against():
    found = on_the_way(np.ones((1, 4, 3)), np.zeros((1, 4), bool), np.array([2]))
    assert (found == 0).all()
