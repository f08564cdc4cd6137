"""Which surface a query is on: the one that moves as its pixel does."""

from types import SimpleNamespace

import numpy as np
import pytest

from omnimotion.refine import Refiner

N_FRAMES, PX, OWN = 12, 0.5, 4  # PX: pixels of a frame of 256 in one of the store's


@pytest.fixture
def truth():
    random = np.random.default_rng(0)
    return 100 + np.cumsum(random.normal(0, 5, (3, N_FRAMES, 2)), axis=1)


def refiner(truth, known=1.0):
    """One whose matches in frame `OWN` lead to the truth, where there are any."""
    ends = np.where(np.arange(N_FRAMES)[:, None] == OWN, np.nan, truth * known)
    matches = SimpleNamespace(
        n_frames=N_FRAMES, px=PX, ends=lambda t, xy: (ends, np.arange(N_FRAMES) != t)
    )
    return Refiner(matches, SimpleNamespace(size=(512, 512)))


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
