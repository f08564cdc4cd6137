"""A refit heeds its pins, moves what is near along, and leaves the rest and the run alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from omnimotion.checkpoint import checkpoints, load_checkpoint
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, ConfigError
from omnimotion.fitting import run_fit
from omnimotion.flow import SceneStore
from omnimotion.known import KnownTracks
from omnimotion.refit import refit_config, refit_folder
from omnimotion.runs import FREE, open_tracker, run_folder, start_fit
from omnimotion.schedule import learning_rate
from omnimotion.signals import StopSignal
from omnimotion.supervision import Supervision

LAST, SHIFT = 7, np.array([0.0, 4.0], np.float32)


@pytest.fixture(scope="module")
def pins(tiny_scene):
    """One point, said to end 4 px lower than its track."""
    track = open_tracker(tiny_scene).track([[0, 31, 23]], refine=False)
    weight = np.zeros((1, LAST + 1), np.float32)
    weight[0, [0, 4, LAST]] = 1
    xy = track.xy + SHIFT * (np.arange(LAST + 1) / LAST)[:, None].astype(np.float32)
    return KnownTracks(xy.astype(np.float32) * weight[..., None], weight, weight > 0)


@pytest.fixture(scope="module")
def asked(tiny_config):
    return tiny_config.replace(pin_steps=100, num_iters=0)


@pytest.fixture(scope="module")
def refitted(tiny_scene, pins, asked):
    """The folder of the refit."""
    store, base = SceneStore.open(tiny_scene), run_folder(tiny_scene, None)
    run = refit_folder(base, pins)
    fit = start_fit(store, run, asked, Supervision(pin=pins), base)
    assert fit.step == 0
    run_fit(fit, StopSignal())
    return run


def ends(scene, run, points, refine=False):
    return open_tracker(scene, run).track(points, refine=refine).xy[:, LAST]


def test_what_is_near_a_pin_moves_along_and_what_is_far_stays(tiny_scene, pins, refitted):
    base = run_folder(tiny_scene, None)
    near = np.array([[0, 31 + x, 23 + y] for x in (-2, 0, 2) for y in (-2, 0, 2)])
    far = np.array([[0, 8, 8], [0, 56, 8], [0, 8, 40], [0, 56, 40]])
    moved = ends(tiny_scene, refitted, near) - ends(tiny_scene, base, near)
    assert np.median(moved[:, 1]) > 0.5 * SHIFT[1]
    still = ends(tiny_scene, refitted, far) - ends(tiny_scene, base, far)
    assert np.median(np.linalg.norm(still, axis=-1)) < 0.15 * SHIFT[1]


def test_tracks_of_the_point_go_through_its_pins(tiny_scene, pins, refitted):
    pinned = np.flatnonzero(pins.weight[0])
    tracker = open_tracker(tiny_scene, refitted)
    for t in pinned:
        track = tracker.track([[t, *pins.xy[0, t]]])
        np.testing.assert_allclose(track.xy[0, pinned], pins.xy[0, pinned], atol=0.05)


def test_the_run_stays_and_the_refit_remembers(tiny_scene, pins, refitted, asked):
    base = run_folder(tiny_scene, None)
    state = load_checkpoint(checkpoints(refitted)[-1])
    assert (state.step, state.complete) == (asked.fit.pin_steps, True)
    assert state.given == {"pin": pins.fingerprint}
    before = load_checkpoint(checkpoints(base)[-1])
    assert before.given == {}
    assert not any(name.startswith("pins.") for name in before.arrays)
    again = start_fit(SceneStore.open(tiny_scene), refitted, asked, Supervision(pin=pins), base)
    assert again.step == asked.fit.pin_steps


def test_a_stopped_refit_goes_on_to_the_same_bytes(tiny_scene, pins, asked, tmp_path):
    store, base, states = SceneStore.open(tiny_scene), run_folder(tiny_scene, None), []
    config = asked.replace(pin_steps=8)
    for name, stops in (("whole", False), ("stopped", True)):
        if stops:
            fit = start_fit(store, tmp_path / name, config, Supervision(pin=pins), base)
            for _ in range(3):
                fit.advance()
            fit.save()
        fit = start_fit(store, tmp_path / name, config, Supervision(pin=pins), base)
        assert fit.step == (3 if stops else 0)
        run_fit(fit, StopSignal())
        states.append(checkpoints(tmp_path / name)[-1].read_bytes())
    assert states[0] == states[1]


def test_other_pins_have_another_folder(tmp_path, pins):
    run = tmp_path / "default"
    one, other = (refit_folder(run, each) for each in (pins, replace(pins, xy=pins.xy + 1)))
    assert one != other
    assert {one.parent, other.parent} == {tmp_path}
    assert one.name.startswith("default-pinned-")


def test_the_settings_are_those_of_the_run():
    run = Config().replace(num_iters=900, decay=16.0, learning_rate=0.04, samples=8, cells=5,
                           rate_bound=0.5)  # fmt: skip
    config = refit_config(run, Config().replace(pin_steps=70, threads=3, samples=8), FREE)
    assert (config.fit.num_iters, config.fit.samples, config.model.cells) == (70, 8, 5)
    assert config.fit.threads == 3
    first = config.fit.learning_rate
    assert first == pytest.approx(0.01)  # the rate in the middle: 0.04 / 16^0.5
    assert first / config.fit.decay == pytest.approx(0.04 / 16)  # and at the end
    assert config.fit.rate_bound == 0  # of the beginning, which is over


def test_the_rate_is_that_of_a_long_fit():
    """Four times the steps go at half the rate; the refit's own few are not slowed once more."""
    run = Config().replace(num_iters=4000, full_rate_steps=1000, rate_power=0.5, decay=16.0,
                           learning_rate=0.04)  # fmt: skip
    fit = refit_config(run, Config(), FREE).fit
    assert learning_rate(fit.warmup, fit.num_iters, fit) == pytest.approx(
        0.04 / 2 / 4 * 4 ** -(fit.warmup / fit.num_iters)
    )


def test_other_settings_are_refused():
    with pytest.raises(ConfigError, match=r"samples = 9: .*\(16\).*pin_steps"):
        refit_config(Config(), Config().replace(samples=9), FREE)


def test_only_a_complete_run_is_refitted(tiny_store, tmp_path, pins, asked):
    with pytest.raises(CheckpointError, match=r"no run .*none: it has none yet"):
        start_fit(tiny_store, tmp_path / "new", asked, Supervision(pin=pins), tmp_path / "none")
    assert not (tmp_path / "new").exists()


def test_what_the_run_chose_itself_may_be_asked_for_as_it_was():
    """A budget halves pairs, restarts choose a seed: the same command and a pin is no change."""
    run = Config().replace(pairs=24, num_iters=90, seed=2, budget="45s", restarts=1)
    asked = Config().replace(pairs=48, num_iters=1000, seed=1, budget="45s", restarts=1)
    assert refit_config(run, asked, FREE).fit.pairs == 24
    with pytest.raises(ConfigError, match="seed = 1"):
        refit_config(run.replace(restarts=0), asked.replace(restarts=0), FREE)
    for other in (run, run.replace(budget="")):
        with pytest.raises(ConfigError, match="pairs = 48"):
            refit_config(other, asked.replace(num_iters=90, budget=""), FREE)


def test_a_refit_of_the_folder_one_is_in_lies_beside_it(tmp_path, pins, monkeypatch):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    assert refit_folder(Path("."), pins) == refit_folder(tmp_path / "run", pins)
