"""The checks of flow and the chaining, on flow made by hand."""

import numpy as np
import pytest

from omnimotion.flow import CHAINED, DIRECT, HIDDEN, NONE, FrameFlow
from preprocess.chain import Reached, Step, extend, start, with_hidden
from preprocess.filter import (
    UNRELIABLE,
    CheckedFlow,
    check_flow,
    colour_distance,
    cycle_error,
    cycle_limit,
    looks_alike,
    sample,
    second_cycle_error,
)
from preprocess.mutual import _confirmed

SIZE = (12, 8)  # W, H
SHAPE = (8, 12)
LIMIT = cycle_limit(SIZE)


def constant(dx, dy, shape=SHAPE):
    return np.broadcast_to(np.float32([dx, dy]), (*shape, 2)).copy()


def checked(dx, dy, error=0.0):
    return CheckedFlow(constant(dx, dy), np.full(SHAPE, error, np.float32), np.zeros(SHAPE, bool))


def link(dx, dy, error=0.0):
    return np.dstack((constant(dx, dy), np.full(SHAPE, error, np.float32)))


def anything(x, y, known):
    return known


def test_cycle_limit_grows_with_the_frame():
    assert cycle_limit((128, 96)) == cycle_limit((480, 200)) == 1.5
    assert cycle_limit((960, 540)) == 3.0


def test_cycle_error_by_hand():
    error = cycle_error(constant(2, 0), constant(-2, 1))
    assert error[:, :10] == pytest.approx(1.0)  # (2, 0) + (-2, 1)
    assert (error[:, 10:] == UNRELIABLE).all()  # 10 + 2 is beyond the last column, 11


def test_flow_that_is_not_finite_is_unreliable():
    flow = constant(0, 0)
    flow[3, 4] = np.nan
    assert cycle_error(flow, constant(0, 0))[3, 4] == UNRELIABLE


def test_second_cycle_tells_hidden_points_from_failures():
    # p goes to p + (3, 0), behind a surface at rest: back with (0, 0), and that surface agrees
    flow_ij = constant(0, 0)
    flow_ij[4, 2] = (3, 0)
    flow_ji = constant(0, 0)
    assert cycle_error(flow_ij, flow_ji)[4, 2] == 3
    assert second_cycle_error(flow_ij, flow_ji)[4, 2] == 0
    flow_ij[4, 2] = (5, 0)  # 3 times the limit is 4.5
    hidden = check_flow(flow_ij, flow_ji, np.copy, finds_hidden=True).hidden
    assert hidden[4, 2]
    assert hidden.sum() == 1
    assert not check_flow(flow_ij, flow_ji, np.copy, finds_hidden=False).hidden.any()


@pytest.mark.parametrize("finds_hidden", [False, True])
def test_pixels_of_a_lattice_are_checked_as_all_are(finds_hidden):
    random = np.random.default_rng(0)
    flow_ij, flow_ji = random.normal(0, 4, (2, *SHAPE, 2)).astype(np.float32)
    alike = random.uniform(size=SHAPE) < 0.7
    at = np.s_[1:8:3, 2:12:2]
    every = check_flow(flow_ij, flow_ji, lambda known: known & alike, finds_hidden)
    some = check_flow(flow_ij, flow_ji, lambda known: known & alike[at], finds_hidden, at)
    for name in ("flow", "error", "hidden"):
        np.testing.assert_array_equal(getattr(some, name), getattr(every, name)[at])
    assert (some.error < UNRELIABLE).any()
    assert (some.error == UNRELIABLE).any()


def test_what_looks_different_is_unreliable():
    alike = np.ones(SHAPE, bool)
    alike[2, 3] = False
    still = constant(0, 0)
    error = check_flow(still, still, lambda known: known & alike, finds_hidden=False).error
    assert error[2, 3] == UNRELIABLE
    assert (error == UNRELIABLE).sum() == 1


def test_colour_distance_by_hand():
    one, other = np.zeros((2, 2, 2, 3), np.uint8)
    one[0, 1] = (255, 0, 0)
    other[1, 0] = (30, 40, 0)
    expected = [[0, 1], [50 / 255, 0]]
    np.testing.assert_allclose(colour_distance(one, other), expected, atol=1e-6)


def pattern(seed, shape=(40, 60)):
    """Colours (h, w, 3) that vary from place to place."""
    return np.random.default_rng(seed).integers(60, 180, (*shape, 3)).astype(np.uint8)


def test_another_pattern_of_the_same_colours_is_another_thing():
    one, every = pattern(0), np.ones((40, 60), bool)
    other = np.where(np.arange(60)[:, None] < 30, one, one[::-1, ::-1])
    found = looks_alike(one, other, every, 10.0)  # so far apart no colours are
    assert found[:, :28].all()
    assert found[:, 32:].mean() < 0.1
    noise = np.random.default_rng(1).normal(0, 4, one.shape)
    assert looks_alike(one, (one + noise).round().astype(np.uint8), every, 10.0).all()


def test_light_is_no_difference():
    """What is lit by other light from left to right, and has too little contrast to make up."""
    dull = (pattern(0) // 60 + 100).astype(np.uint8)
    light = np.linspace(10, 30, 60)[:, None]
    every = np.ones(dull.shape[:2], bool)
    assert looks_alike(dull, (dull + light).astype(np.uint8), every, 0.25)[13:-13, 13:-13].all()


def test_only_what_is_known_is_held_against_a_place():
    one = pattern(0)
    known = np.ones((40, 60), bool)
    known[20, 1::2] = False  # one neighbour in three, and they are of another thing
    other = np.where(known[..., None], one, np.where(one < 120, 255, 0)).astype(np.uint8)
    np.testing.assert_array_equal(looks_alike(one, other, known, 10.0), known)
    assert looks_alike(one, other, np.ones_like(known), 10.0)[19:22].mean() < 0.1


def test_colours_that_differ_are_of_another_thing_whatever_surrounds_them():
    one = np.full((8, 8, 3), 100, np.uint8)
    other = one.copy()
    other[4, 4] += np.uint8(50)
    found = looks_alike(one, other, np.ones((8, 8), bool), 0.3)
    assert not found[4, 4]  # sqrt(3) * 50 / 255 = 0.34
    assert found.sum() == 63


def test_a_chain_adds_its_steps():
    history = {0: start((0, 0), 1, SHAPE)}
    for j in (1, 2, 3):
        step = Step(j, {j - 1: link(1, 0.5)}, LIMIT, SIZE)
        direct = checked(1, 0.5) if j == 1 else None
        history[j] = extend(history, 0, step, direct, anything)
    at = history[3]
    assert (at.x[0, 0], at.y[0, 0]) == (3, 1.5)
    assert at.state[0, 0] == CHAINED
    assert at.state[0, 10] == NONE  # left the frame on the way
    assert history[1].state[0, 0] == DIRECT


def test_the_smaller_cycle_error_wins():
    history = {0: start((0, 0), 1, SHAPE), 1: start((0, 0), 1, SHAPE)}
    step = Step(2, {1: link(1, 0, error=0.5)}, LIMIT, SIZE)
    for error, expected in ((0.2, DIRECT), (1.0, CHAINED), (float(UNRELIABLE), CHAINED)):
        at = extend(history, 0, step, checked(2, 0, error), anything)
        assert at.state[0, 0] == expected
        assert at.x[0, 0] == (2 if expected == DIRECT else 1)


def test_a_longer_step_bridges_an_occlusion():
    source = start((0, 0), 1, SHAPE)
    lost = Reached(
        source.x, source.y, np.full(SHAPE, np.inf, np.float32), np.zeros(SHAPE, np.uint8)
    )
    history = {0: source, 1: source, 2: lost}
    step = Step(3, {2: link(0, 0), 1: link(2, 0)}, LIMIT, SIZE)
    at = extend(history, 0, step, None, anything)
    assert at.state[0, 0] == CHAINED
    assert at.x[0, 0] == 2


def test_a_chain_ends_where_nothing_is_alike():
    history = {0: start((0, 0), 1, SHAPE)}
    step = Step(1, {}, LIMIT, SIZE)
    at = extend(history, 0, step, checked(0, 0), lambda x, y, known: known & False)
    assert at.is_lost
    assert (at.state == NONE).all()


def test_hidden_points_fill_only_what_is_lost():
    source = start((0, 0), 1, SHAPE)
    direct = CheckedFlow(constant(1, 0), np.zeros(SHAPE, np.float32), np.ones(SHAPE, bool))
    state = np.full(SHAPE, DIRECT, np.uint8)
    state[0, 0] = NONE
    filled = with_hidden(Reached(source.x, source.y, source.variance, state), source, direct)
    assert filled.state[0, 0] == HIDDEN
    assert filled.x[0, 0] == 1
    assert (filled.state == HIDDEN).sum() == 1


def frame_flow(i, j, flow):
    state = np.full((1, *SHAPE), CHAINED, np.uint8)
    return FrameFlow(i, np.array([j]), np.zeros((1, 2), np.int32), 1, flow[None], state)


@pytest.mark.parametrize(("back", "is_kept"), [(-2.0, True), (-2.9, True), (-4.5, False)])
def test_a_match_counts_when_it_leads_back(back, is_kept):
    source = frame_flow(0, 1, constant(2, 0))
    target = frame_flow(1, 0, constant(back, 0))
    state = _confirmed(source, 0, target, limit=2.0)
    assert (state[3, 3] == CHAINED) == is_kept


def test_a_match_without_a_way_back_does_not_count():
    source, target = frame_flow(0, 1, constant(2, 0)), frame_flow(1, 0, constant(-2, 0))
    target.state[0, 3, 5] = NONE
    state = _confirmed(source, 0, target, limit=2.0)
    assert state[3, 3] == NONE
    assert state[3, 4] == CHAINED


def test_no_blend_with_unreliable_flow_passes_a_check():
    """OpenCV reads between pixels to 1/32: the least share of a neighbour is 1/1024."""
    error = np.zeros((8, 9), np.float32)
    error[3, 4] = UNRELIABLE
    least = sample(error, np.float32([[4 - 31 / 32]]), np.float32([[3 - 31 / 32]]))
    assert least == pytest.approx(float(UNRELIABLE) / 1024)
    assert least > cycle_limit((8192, 8192))  # the largest frames
