"""Flow at the edges of things: what looks alike and lies close by says how they move."""

import cv2
import numpy as np
import pytest

from preprocess import edges
from preprocess.edges import RADIUS, beside, mended
from preprocess.filter import cycle_error, cycle_limit

W, H = 72, 56
LEFT, RIGHT = (3.0, -1.0), (0.0, 0.5)


@pytest.fixture
def two_sides():
    """Colours, true flow, and which of it is known: red moves by LEFT, green by RIGHT."""
    column = np.arange(W)
    is_left = np.broadcast_to(column < 40, (H, W))
    colours = np.where(is_left[..., None], (0.8, 0.1, 0.1), (0.1, 0.7, 0.2)).astype(np.float32)
    flow = np.where(is_left[..., None], LEFT, RIGHT).astype(np.float32)
    reliable = np.broadcast_to(abs(column - 39.5) > 4, (H, W)).copy()
    return colours, flow, reliable


@pytest.fixture(params=["compiled", "numpy"])
def way(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setattr(edges, "_compiled", lambda: None)
    elif edges._compiled() is None:
        pytest.skip("numba does not run here")


def test_each_side_of_an_edge_gets_the_motion_of_its_colour(two_sides, way):
    colours, flow, reliable = two_sides
    wrong = np.where(reliable[..., None], flow, np.float32(99))
    inner = np.s_[RADIUS:-RADIUS]  # at the border of the frame there is less to go by
    np.testing.assert_allclose(beside(wrong, reliable, colours)[inner], flow[inner], atol=1e-5)


def test_a_few_wrong_motions_are_outvoted(two_sides, way):
    colours, flow, reliable = two_sides
    random = np.random.default_rng(0)
    wrong = np.where(reliable[..., None], flow, np.float32(99))
    some = random.random((H, W)) < 0.1
    wrong[some & reliable] = 40
    found = beside(wrong, reliable, colours)
    right = np.linalg.norm(found - flow, axis=-1) < 0.1
    assert right[~reliable].mean() > 0.95


def test_what_is_reliable_stays_to_the_bit(two_sides, way):
    colours, flow, reliable = two_sides
    noisy = flow + np.random.default_rng(1).normal(0, 1, flow.shape).astype(np.float32)
    np.testing.assert_array_equal(beside(noisy, reliable, colours)[reliable], noisy[reliable])


def test_what_has_nothing_alike_close_by_stays(two_sides, way):
    colours, flow, reliable = two_sides
    blue = ~reliable & (np.arange(W) == 40)
    colours[blue] = (0.1, 0.1, 0.9)
    wrong = np.where(reliable[..., None], flow, np.float32(99))
    found = beside(wrong, reliable, colours)
    assert (found[blue] == 99).all()
    assert (found[~blue] != 99).mean() > 0.99


def test_what_is_far_from_all_that_is_known_stays(two_sides, way):
    colours, flow, reliable = two_sides
    reliable[:, 20:60] = False
    wrong = np.where(reliable[..., None], flow, np.float32(99))
    found = beside(wrong, reliable, colours)
    assert (found[:, 20 + RADIUS : 60 - RADIUS] == 99).all()


def test_places_that_disagree_say_nothing(way):
    """One colour, and of the places around a pixel one half moves one way, the other another."""
    colours = np.full((H, W, 3), 0.5, np.float32)
    flow = np.zeros((H, W, 2), np.float32)
    flow[::2] = 30
    reliable = np.ones((H, W), bool)
    reliable[30, 35] = False
    flow[30, 35] = 7
    assert beside(flow, reliable, colours)[30, 35].tolist() == [7, 7]


def test_compiled_and_numpy_find_the_same_bits(monkeypatch):
    if edges._compiled() is None:
        pytest.skip("numba does not run here")
    random = np.random.default_rng(2)
    flow = np.cumsum(random.normal(0, 0.3, (H, W, 2)), axis=1).astype(np.float32)
    colours = cv2.GaussianBlur(random.random((H, W, 3)).astype(np.float32), (0, 0), 2)
    reliable = random.random((H, W)) < 0.4
    compiled = beside(flow, reliable, colours)
    monkeypatch.setattr(edges, "_compiled", lambda: None)
    np.testing.assert_array_equal(beside(flow, reliable, colours), compiled)
    assert (compiled != flow).any(axis=-1)[~reliable].mean() > 0.3


def scene(t):
    """A red disc flies over a green ground; both are textured."""
    random = np.random.default_rng(3)
    ground, disc = (
        cv2.GaussianBlur(random.uniform(0, 1, (160, 200)).astype(np.float32), (0, 0), 2)
        for _ in range(2)
    )
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    on_disc = np.hypot(x - 50 - 9 * t, y - 60) < 26
    shades = disc[20:140, 20 + 18 - 9 * t : 180 + 18 - 9 * t], ground[20:140, 20:180]
    shade = np.clip((np.where(on_disc, *shades) - 0.5) * 6 + 0.5, 0.1, 1)
    colours = np.where(on_disc[..., None], (230, 60, 40), (50, 190, 80))
    return (colours * shade[..., None]).astype(np.uint8), on_disc


def test_small_frames_stay_as_they_are():
    (image_i, _), (image_j, _) = scene(0), scene(1)
    flow = np.random.default_rng(4).normal(0, 9, (120, 160, 2)).astype(np.float32)
    for one, other in zip(mended(flow, -flow, image_i, image_j), (flow, -flow)):
        np.testing.assert_array_equal(one, other)


def test_more_of_a_moving_thing_has_matches_and_they_are_right(monkeypatch):
    monkeypatch.setattr(edges, "LEAST_SIDE", 0)
    (image_i, on_disc), (image_j, _) = scene(0), scene(1)
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (image_i, image_j)]
    forward, backward = search.calc(*grey, None), search.calc(*grey[::-1], None)
    limit = cycle_limit((160, 120))
    before = cycle_error(forward, backward) < limit
    new_forward, new_backward = mended(forward, backward, image_i, image_j)
    after = cycle_error(new_forward, new_backward) < limit
    truth = np.where(on_disc[..., None], (9, 0), (0, 0))
    is_right = np.linalg.norm(new_forward - truth, axis=-1) < 2
    assert after[on_disc].mean() > before[on_disc].mean() + 0.01
    assert is_right[after & ~before & on_disc].mean() > 0.9
    assert is_right[after].mean() > 0.97
