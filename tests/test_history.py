"""When the lines of metrics say that a fit ran away, or grew rough."""

import numpy as np
import pytest

from omnimotion.history import ROUGH_RATIO, ROUGH_STEPS, SETTLED, History


def history(tmp_path, smoothness, every=50, flow_px=2.0):
    """One with a line every so many steps."""
    made = History(tmp_path / "metrics.jsonl", 0)
    for k, value in enumerate(smoothness, 1):
        made.add({"step": k * every, "loss": 3.0, "flow_px": flow_px, "smoothness": value})
    return made


def noisy(values, seed=0):
    """As the values of single steps are."""
    random = np.random.default_rng(seed)
    return (np.asarray(values) * random.normal(1, 0.1, len(values))).tolist()


@pytest.mark.parametrize("every", [10, 50, 200])
def test_a_jump_of_smoothness_is_found_and_a_slow_fall_is_not(tmp_path, every):
    count = 6000 // every
    falling = noisy(np.linspace(2.0, 1.2, count))
    assert not history(tmp_path, falling, every).grew_rough()
    jump = max(1, round(ROUGH_STEPS / every))
    falling[-jump:] = noisy([2.4] * jump)
    assert history(tmp_path, falling, every).grew_rough()


def test_the_first_steps_do_not_count(tmp_path):
    """A map that does nothing is smooth."""
    first = round(SETTLED / 50) - 1
    assert not history(tmp_path, [0.01] * first + [2.0] * 40).grew_rough()
    rough = [1.1 * ROUGH_RATIO] * (ROUGH_STEPS // 50)
    assert history(tmp_path, [2.0] * first + [1.0] * 40 + rough).grew_rough()


def test_one_line_more_says_little(tmp_path):
    """It is of one step, whatever was drawn in that."""
    once = [1.0] * 40 + [1.0 + 0.9 * (ROUGH_RATIO - 1) * ROUGH_STEPS / 50]
    assert not history(tmp_path, once).grew_rough()


def test_of_few_lines_and_of_those_of_earlier_versions_nothing_is_said(tmp_path):
    assert not history(tmp_path, []).grew_rough()
    assert not history(tmp_path, [1.0, 9.0]).grew_rough()
    made = History(tmp_path / "metrics.jsonl", 0)
    for k in range(1, 60):
        made.add({"step": 50 * k, "loss": 3.0, "flow_px": 2.0})
    assert not made.grew_rough()


def test_three_lines_far_above_the_best_have_run_away(tmp_path):
    made = history(tmp_path, [1.0] * 10)
    for k, px in enumerate((33.0, 80.0, 32.5)):
        assert not made.ran_away()
        made.add({"step": 501 + k, "loss": 9.0, "flow_px": px, "smoothness": 1.0})
    assert made.ran_away()
    assert not made.is_sound()


def test_a_hard_clip_has_not_run_away(tmp_path):
    """Its far pairs, which come later, are off by five times as much as its near ones."""
    made = history(tmp_path, noisy([2.0] * 40), flow_px=1.8)
    for k in range(200):
        made.add({"step": 2001 + 50 * k, "loss": 6.0, "flow_px": 9.5, "smoothness": 2.2})
        assert not made.ran_away()
        assert not made.grew_rough()
