"""DIS flow: what it finds, and that a search that was used before finds the same."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from preprocess.dis import DisEstimator
from preprocess.edges import mended

SIZE = (96, 64)  # W, H
VELOCITY = (3, 2)  # px a frame


def frame(t):
    """A smooth texture that moves by VELOCITY."""
    noise = np.random.default_rng(1).uniform(0, 255, (120, 160, 3)).astype(np.float32)
    x, y = 40 - VELOCITY[0] * t, 30 - VELOCITY[1] * t
    texture = np.clip((cv2.GaussianBlur(noise, (0, 0), 2) - 127) * 5 + 127, 0, 255)
    return texture[y : y + SIZE[1], x : x + SIZE[0]].astype(np.uint8)


@pytest.fixture
def estimator():
    return DisEstimator(frame, "asked for")


def test_flow_is_the_motion_in_both_directions(estimator):
    flow = estimator.pair(0, 2, None)
    inner = np.s_[12:-12, 12:-12]
    assert np.median(flow.forward[inner], axis=(0, 1)) == pytest.approx((6, 4), abs=0.1)
    assert np.median(flow.backward[inner], axis=(0, 1)) == pytest.approx((-6, -4), abs=0.1)


@pytest.mark.parametrize(("gap", "finest"), [(4, 0), (6, 0), (5, 1), (7, 1)])
def test_only_the_gaps_of_log_have_flow_of_full_resolution(estimator, gap, finest):
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(finest)
    search.setVariationalRefinementIterations(3)
    grey = [cv2.cvtColor(frame(t), cv2.COLOR_RGB2GRAY) for t in (0, gap)]
    forward, backward = (
        search.calc(*pair, np.zeros((SIZE[1], SIZE[0], 2), np.float32))
        for pair in (grey, grey[::-1])
    )
    expected, _ = mended(forward, backward, frame(0), frame(gap))
    np.testing.assert_array_equal(estimator.pair(0, gap, None).forward, expected)


def test_flow_does_not_depend_on_what_was_computed_before(estimator):
    pairs = [(0, 1), (3, 0), (1, 4), (0, 1)]
    alone = [DisEstimator(frame, "").pair(i, j, None) for i, j in pairs]
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda pair: estimator.pair(*pair, None), pairs))
    for one, other in zip(alone, threaded):
        np.testing.assert_array_equal(one.forward, other.forward)
        np.testing.assert_array_equal(one.backward, other.backward)


def test_pixels_are_compared_with_the_colours_at_their_matches(estimator):
    pixels = np.s_[10:50:3, 9:80:4]
    y, x = np.mgrid[pixels].astype(np.float32)
    assert estimator.alike(0, pixels, 1, (x + VELOCITY[0], y + VELOCITY[1])).all()
    assert not estimator.alike(0, pixels, 1, (x, y)).all()


def test_so_do_searches_of_the_smallest_frames():
    """OpenCV's search at half resolution takes other scales from its second call on."""
    for size in ((44, 28), (40, 16)):
        small = [np.ascontiguousarray(frame(t)[: size[1], : size[0]]) for t in range(8)]
        used = DisEstimator(small.__getitem__, "")
        first = used.pair(0, 5, None)
        again = used.pair(0, 5, None)
        np.testing.assert_array_equal(first.forward, again.forward)
        np.testing.assert_array_equal(first.backward, again.backward)
