"""Schedules: pure functions of progress."""

import dataclasses
from itertools import pairwise

import pytest

from omnimotion.config import FitConfig, LossConfig
from omnimotion.losses import LossTerms
from omnimotion.schedule import (
    learning_rate,
    level_fade,
    loss_weights,
    max_gap,
    motion_share,
    robust_px,
)

FIT = dataclasses.replace(
    FitConfig(), learning_rate=1e-2, rate_bound=0.0, full_rate_steps=0, decay=30.0, warmup=50,
    first_gap=8, gap_ramp=0.4,
)  # fmt: skip
LOSS = dataclasses.replace(
    LossConfig(), photometric=10.0, photometric_ramp=0.5, distortion=4.0, distortion_start=0.4
)


def test_rate_warms_up_then_falls_by_the_decay():
    rates = [learning_rate(step, 1000, FIT) for step in range(1000)]
    assert rates[0] == pytest.approx(1e-2 / 50)
    assert rates[50] == pytest.approx(1e-2 * 30**-0.05)
    assert rates[999] == pytest.approx(1e-2 / 30, rel=0.01)
    assert all(a < b for a, b in pairwise(rates[:46]))
    assert all(a > b for a, b in pairwise(rates[50:]))


def test_rate_can_be_constant():
    fit = dataclasses.replace(FIT, decay=1.0, warmup=0)
    assert {learning_rate(step, 7, fit) for step in range(7)} == {1e-2}


@pytest.mark.parametrize(
    ("steps", "power", "share"),
    [(500, 0.5, 1), (1000, 0.5, 1), (2000, 0.5, 0.5**0.5), (4000, 0.5, 0.5), (4000, 1, 0.25),
     (4000, -1, 0.5)],  # a run of before there was a choice
)
def test_of_more_steps_each_is_smaller(steps, power, share):
    fit = dataclasses.replace(FIT, full_rate_steps=1000, rate_power=power)
    for step in (0, 100, steps - 1):
        assert learning_rate(step, steps, fit) == pytest.approx(
            share * learning_rate(step, steps, FIT)
        )


@pytest.mark.parametrize("bound", [0.5, 0.2, 1.0, 0.0])
def test_rate_is_bounded_while_it_is_high(bound):
    """And where it falls below the bound, it is as without one."""
    fit = dataclasses.replace(FIT, rate_bound=bound)
    for step in range(0, 1000, 7):
        warm, free = min(1, (step + 1) / 50), learning_rate(step, 1000, FIT)
        most = bound or 1.0
        assert learning_rate(step, 1000, fit) == pytest.approx(min(free, most * 1e-2 * warm))
    assert learning_rate(999, 1000, fit) == learning_rate(999, 1000, FIT)


def test_finer_grids_fade_later_and_more_and_more():
    fit = dataclasses.replace(FIT, level_fade=100.0, fade_start=0.4)
    assert [level_fade(progress, fit) for progress in (0, 0.2, 0.4)] == [0, 0, 0]
    assert level_fade(0.7, fit) == pytest.approx(50)
    assert level_fade(1.0, fit) == pytest.approx(100)


def test_far_pairs_come_later():
    gaps = [max_gap(progress / 100, 48, FIT) for progress in range(101)]
    assert gaps[0] == 8
    assert gaps[40:] == [47.0] * 61
    assert gaps[20] == pytest.approx((8 + 47) / 2)
    assert gaps == sorted(gaps)


def test_without_a_ramp_all_pairs_are_drawn_at_once():
    assert max_gap(0.0, 48, dataclasses.replace(FIT, gap_ramp=0.0)) == 47


def test_a_short_clip_has_all_its_pairs_at_once():
    assert max_gap(0.0, 2, FIT) >= 1


def test_every_weight_is_of_a_term_and_the_other_way_round():
    terms = set(LossTerms._fields) - {"flow_px", "lands", "pair_px"}
    assert set(loss_weights(0.5, LOSS)) == terms


@pytest.mark.parametrize(
    ("progress", "photometric", "distortion"),
    [(0.0, 0.0, 0.0), (0.25, 5.0, 0.0), (0.4, 8.0, 0.0), (0.7, 10.0, 2.0), (1.0, 10.0, 4.0)],
)
def test_weights_ramp_as_the_config_says(progress, photometric, distortion):
    weights = loss_weights(progress, LOSS)
    assert weights["photometric"] == pytest.approx(photometric)
    assert weights["distortion"] == pytest.approx(distortion)
    assert weights["flow"] == 1


@pytest.mark.parametrize(
    ("progress", "expected"), [(0.0, 16), (0.4, 16), (0.65, 4), (0.9, 1), (1.0, 1)]
)
def test_a_flow_error_counts_as_its_logarithm_from_less_on_once_things_are_found(
    progress, expected
):
    loss = dataclasses.replace(LOSS, robust_px=1.0, robust_first=16.0)
    assert robust_px(progress, loss) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("last", "first"), [(0.0, 16.0), (4.0, 4.0), (8.0, 2.0), (8.0, 0.0), (8.0, -1.0)],
    ids=["never", "the same", "less at the start", "none at the start", "a run of before"],
)  # fmt: skip
def test_it_stays_what_it_is_where_no_more_is_asked_for_at_the_start(last, first):
    loss = dataclasses.replace(LOSS, robust_px=last, robust_first=first)
    assert {robust_px(progress / 10, loss) for progress in range(11)} == {last}


def test_without_a_ramp_the_weight_is_there_from_the_start():
    loss = dataclasses.replace(LOSS, photometric_ramp=0.0)
    assert loss_weights(0.0, loss)["photometric"] == 10.0


def test_distortion_that_starts_at_the_end_is_finite():
    loss = dataclasses.replace(LOSS, distortion_start=1.0)
    assert loss_weights(0.999, loss)["distortion"] == 0.0


def test_motion_counts_more_and_more():
    fit = dataclasses.replace(FIT, motion_share=0.5, motion_start=0.2, motion_full=0.6)
    shares = [motion_share(progress / 10, fit) for progress in range(11)]
    assert shares[:3] == [0.0] * 3
    assert shares[4] == pytest.approx(0.25)
    assert shares[6:] == pytest.approx([0.5] * 5)
