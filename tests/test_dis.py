"""DIS flow: what it finds, and that a search that was used before finds the same."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from preprocess.choice import better, spread
from preprocess.dis import FROM_STEPS, PLAIN, DisEstimator
from preprocess.edges import LEAST_SIDE, mended
from preprocess.pair_store import PairStore
from preprocess.pairs import Lattice, choose_pairs
from preprocess.sections import checked_pair

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


def flight(t):
    """A disc flies over a ground, in eight frames as far as it is wide, and where it is."""
    x, y = np.meshgrid(np.arange(160), np.arange(96))
    left = 24 + STRIDE * t
    is_disc = np.hypot(x - left, y - 48) < 16
    return painted(is_disc, left, 2 * t), is_disc


def painted(is_thing, thing_at, ground_at, seed=5):
    """A picture of a thing over a ground, both of textures that begin at such columns."""
    random = np.random.default_rng(seed)
    ground, thing = (
        cv2.GaussianBlur(random.uniform(0, 1, (120, 260, 3)).astype(np.float32), (0, 0), 1.5)
        for _ in range(2)
    )
    height, width = is_thing.shape
    shade = np.where(is_thing[..., None], np.roll(thing, thing_at, axis=1)[:height, :width],
                     ground[:height, ground_at : ground_at + width])  # fmt: skip
    return np.clip((shade - 0.5) * 700 + 127, 0, 255).astype(np.uint8)


STRIDE = 4  # px a frame, of that disc and of the bar below


def right_share(flow, there, gap):
    off = np.linalg.norm(flow - (STRIDE * gap, 0), axis=-1)
    return (off < 1)[there].mean()


def test_steps_find_what_a_search_from_nothing_loses(tmp_path):
    frames = [flight(t)[0] for t in range(9)]
    estimator = DisEstimator(frames.__getitem__, "")
    store = PairStore(tmp_path, Lattice((160, 96), 1))
    gaps = [1, 2, 4, 8]
    for i, j in choose_pairs(9, gaps):
        store.write(i, j, checked_pair(estimator, store, i, j, gaps))
    is_disc = flight(0)[1]
    for gap in gaps[1:]:
        start = estimator.start(store, 0, gap, gaps)
        assert right_share(estimator.pair(0, gap, start).forward, is_disc, gap) > 0.6
        assert right_share(estimator.pair(0, gap, None).forward, is_disc, gap) < 0.1


def test_steps_are_drawn_to_the_images(estimator):
    exact = np.broadcast_to(np.float32([6, 4]), (SIZE[1], SIZE[0], 2))
    rough = exact + np.float32([0.6, -0.4])
    flow = estimator.pair(0, 2, np.stack((rough, -rough)))
    off = np.linalg.norm(flow.forward - exact, axis=-1)
    assert np.median(off[12:-12, 12:-12]) < 0.1


def test_of_steps_and_what_they_lead_to_each_pixel_has_the_better(estimator):
    """In half of the frame nothing leads from the start to the motion."""
    exact = np.broadcast_to(np.float32([6, 4]), (SIZE[1], SIZE[0], 2))
    is_left = (np.arange(SIZE[0]) < SIZE[0] // 2)[:, None]
    lost = np.where(is_left, exact, np.float32(-30))
    search = FROM_STEPS.made()
    images = frame(0), frame(2)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    drawn = (search.calc(*grey, lost.copy()), search.calc(*grey[::-1], -lost))
    expected = spread(better(drawn, (lost, -lost), images), images)
    found = estimator.pair(0, 2, np.stack((lost, -lost)))
    np.testing.assert_array_equal(found.forward, expected[0])
    np.testing.assert_array_equal(found.backward, expected[1])
    off = np.linalg.norm(found.forward - exact, axis=-1)
    assert np.median(off[12:-12, 12 : SIZE[0] // 2 - 8]) < 0.1


def fin(t, seed):
    """A slanted bar, 6 px wide, sweeps over a ground, and where it is."""
    x, y = np.meshgrid(np.arange(128), np.arange(96))
    left = 40 + STRIDE * t
    is_bar = np.abs(x - left - y / 2) < 3
    return painted(is_bar, left, 0, seed), is_bar


def test_in_small_frames_thin_things_are_found():
    """More often than by a search in frames as they are, whatever the textures are."""
    found, plain = [], []
    for seed in range(6):
        frames, is_bar = [fin(t, seed)[0] for t in range(2)], fin(0, seed)[1]
        flow = DisEstimator(frames.__getitem__, "").pair(0, 1, None).forward
        found.append(right_share(flow, is_bar, 1))
        grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in frames]
        flow = PLAIN.made().calc(*grey, np.zeros((96, 128, 2), np.float32))
        plain.append(right_share(flow, is_bar, 1))
    assert np.mean(found) > 0.8
    assert np.mean(plain) < 0.5
    assert (np.subtract(found, plain) > 0.2).all()


@pytest.mark.parametrize(("size", "gap"), [(SIZE, 1), ((LEAST_SIDE, 96), 2), ((96, 854), 8)])
def test_there_is_no_start_over_a_single_frame_nor_in_large_ones(estimator, tmp_path, size, gap):
    assert estimator.start(PairStore(tmp_path, Lattice(size, 1)), 3, 3 + gap, [1, gap]) is None


def test_flow_of_large_frames_is_the_search_s_mended():
    wide = [cv2.resize(frame(t), (LEAST_SIDE, 320)) for t in range(3)]
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setVariationalRefinementIterations(3)
    grey = [cv2.cvtColor(wide[t], cv2.COLOR_RGB2GRAY) for t in (0, 2)]
    ways = [search.calc(*pair, np.zeros((320, LEAST_SIDE, 2), np.float32))
            for pair in (grey, grey[::-1])]  # fmt: skip
    found = DisEstimator(wide.__getitem__, "").pair(0, 2, None)
    for flow, expected in zip((found.forward, found.backward), mended(*ways, wide[0], wide[2])):
        np.testing.assert_array_equal(flow, expected)


def test_flow_does_not_depend_on_what_was_computed_before(estimator):
    start = np.full((2, SIZE[1], SIZE[0], 2), 3, np.float32)
    pairs = [(0, 1, None), (0, 3, start), (1, 4, start), (1, 4, None), (0, 1, None)]
    alone = [DisEstimator(frame, "").pair(*pair) for pair in pairs]
    with ThreadPoolExecutor(2) as pool:
        threaded = list(pool.map(lambda pair: estimator.pair(*pair), pairs))
    for one, other in zip(alone, threaded):
        np.testing.assert_array_equal(one.forward, other.forward)
        np.testing.assert_array_equal(one.backward, other.backward)


def test_pixels_are_compared_with_the_colours_at_their_matches(estimator):
    pixels = np.s_[10:50:3, 9:80:4]
    y, x = np.mgrid[pixels].astype(np.float32)
    known = np.ones(x.shape, bool)
    assert estimator.alike(0, pixels, 1, (x + VELOCITY[0], y + VELOCITY[1]), known).all()
    assert not estimator.alike(0, pixels, 1, (x, y), known).all()


@pytest.mark.parametrize(("side", "tells"), [(LEAST_SIDE - 16, True), (LEAST_SIDE, False)])
def test_in_small_frames_colours_around_a_match_must_agree(side, tells):
    """Of two patterns whose colours are all near one another."""
    ways = np.random.default_rng(4).integers(100, 150, (2, 32, side, 3)).astype(np.uint8)
    estimator = DisEstimator(ways.__getitem__, "")
    pixels = np.s_[:, :]
    y, x = np.mgrid[:32, :side].astype(np.float32)
    known = np.ones(x.shape, bool)
    assert estimator.alike(0, pixels, 0, (x, y), known).all()
    alike = estimator.alike(0, pixels, 1, (x, y), known).mean()
    assert alike < 0.1 if tells else alike > 0.9


def test_so_do_searches_of_the_smallest_frames():
    """OpenCV takes other scales, from its second call on, where a frame is too small for them."""
    for size in ((44, 28), (40, 16)):
        small = [np.ascontiguousarray(frame(t)[: size[1], : size[0]]) for t in range(8)]
        used = DisEstimator(small.__getitem__, "")
        start = np.ones((2, *size[::-1], 2), np.float32)
        first = used.pair(0, 5, start)
        again = used.pair(0, 5, start)
        np.testing.assert_array_equal(first.forward, again.forward)
        np.testing.assert_array_equal(first.backward, again.backward)
