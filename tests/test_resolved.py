"""What a config leaves to the clip: steps by its length, some settings by its frames' size."""

import pytest

from omnimotion.config import Config
from omnimotion.errors import ConfigError
from omnimotion.resolved import BY_SIZE, resolved_config


@pytest.mark.parametrize(("size", "end"), [((128, 128), 0), ((192, 256), 0), ((854, 480), 1),
                                           ((480, 1280), 1)])  # fmt: skip
def test_settings_of_small_and_of_large_frames(size, end):
    found = resolved_config(Config(), size, 10).values()
    for name, ends in BY_SIZE.items():
        assert found[name] == ends[end], name


def test_between_them_settings_go_with_the_logarithm_of_the_size():
    middle = resolved_config(Config(), (round((256 * 854) ** 0.5), 100), 10)
    assert middle.loss.robust_px == pytest.approx(9, abs=0.02)
    assert middle.fit.motion_share == pytest.approx(0.65, abs=0.01)


def test_what_is_set_stays():
    config = Config().replace(robust_px=0.0, motion_share=0.3, cells=5, num_iters=7)
    found = resolved_config(config, (854, 480), 10).values()
    assert [found[name] for name in ("robust_px", "motion_share", "cells", "num_iters")] == [
        0.0, 0.3, 5, 7,
    ]  # fmt: skip


@pytest.mark.parametrize("name", BY_SIZE)
def test_only_minus_one_goes_by_size_and_less_than_nothing_is_refused(name):
    for value in (-2, -0.5):
        kind = type(Config().values()[name])
        if kind(value):
            with pytest.raises(ConfigError, match=name):
                Config().replace(**{name: kind(value)})


def test_steps_and_cells():
    found = resolved_config(Config().replace(steps_per_frame=50), (854, 480), 90)
    assert (found.fit.num_iters, found.model.cells) == (4500, 8)
    assert resolved_config(Config(), (64, 64), 2).model.cells == 4


def test_the_rate_is_full_for_what_the_size_needs():
    """However many steps are taken."""
    for given in ({}, {"num_iters": 9999}, {"steps_per_frame": 500}):
        config = Config().replace(**given)
        assert resolved_config(config, (128, 128), 10).fit.full_rate_steps == 1200
        assert resolved_config(config, (854, 480), 10).fit.full_rate_steps == 1100
    own = Config().replace(full_rate_steps=7)
    assert resolved_config(own, (64, 48), 8).fit.full_rate_steps == 7


def test_a_fit_without_a_step_is_refused():
    with pytest.raises(ConfigError, match=r"steps_per_frame: 0, expected 1 or more"):
        resolved_config(Config().replace(steps_per_frame=0, num_iters=0), (64, 48), 8)
    assert resolved_config(Config().replace(steps_per_frame=0, num_iters=7), (64, 48), 8)
