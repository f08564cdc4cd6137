"""Restarts: the best of several begun fits goes on, as if it had been begun alone."""

import json

import numpy as np
import pytest

from omnimotion import health, restarts
from omnimotion.checkpoint import checkpoints, load_checkpoint
from omnimotion.cli import main
from omnimotion.errors import CheckpointError, ConfigError, FitDiverged, Interrupted
from omnimotion.fitting import run_fit
from omnimotion.health import measure
from omnimotion.history import read_metrics
from omnimotion.restarts import best_start, chosen_config, restarts_report
from omnimotion.runs import NOTHING_GIVEN, check_resumed, start_fit
from omnimotion.signals import StopSignal

STEPS, PAUSE = 20, 6  # 0.3 of the steps
SHORT = {"num_iters": STEPS, "pairs": 4, "points": 8, "samples": 6, "checkpoint_every": 5,
         "restarts": 1, "seed": 3, "backend": "numba"}  # fmt: skip
SEEDS = (3, 4)


@pytest.fixture(scope="module", autouse=True)
def _few_pixels():
    """What is measured of them is not what starts are compared by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(health, "PIXELS", 64)
        yield


@pytest.fixture(scope="module")
def config(tiny_config):
    """Two seeds of a fit of 20 steps."""
    return tiny_config.replace(**SHORT)


class Stop(StopSignal):
    """Asks to stop at one of the looks at it, counted from 0."""

    def __init__(self, look):
        self.look = look

    @property
    def number(self):
        self.look -= 1
        return 15 if self.look < 0 else 0


def fit(store, run, config, stop=None):
    """As the command does."""
    stop = stop or StopSignal()
    made = best_start(lambda folder, c: start_fit(store, folder, c), store, run, config, stop)
    run_fit(made, stop)
    return made


def newest(run):
    return checkpoints(run)[-1].read_bytes()


@pytest.fixture(scope="module")
def whole(tiny_store, config, tmp_path_factory):
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    run.mkdir()
    fit(tiny_store, run, config)
    return run


def test_the_start_that_maps_best_what_moves_goes_on(tiny_store, config, whole, tmp_path):
    """Each seed begun alone, and measured, independent of the record."""
    found = {}
    for seed in SEEDS:
        alone = start_fit(tiny_store, tmp_path / str(seed), config.replace(seed=seed))
        run_fit(alone, StopSignal(), until=PAUSE)
        found[seed] = measure(alone.scene, alone.pool, tiny_store, seed).figures
    best = max(SEEDS, key=lambda seed: found[seed]["moving_under_2_px"])
    said = restarts_report(whole)
    assert said["chosen"] == load_checkpoint(checkpoints(whole)[-1]).config.fit.seed == best
    assert said["starts"] == [{"seed": k, "step": PAUSE, "figures": found[k]} for k in SEEDS]


def test_it_ends_as_if_it_had_been_begun_alone(tiny_store, config, whole, tmp_path):
    chosen = restarts_report(whole)["chosen"]
    run_fit(start_fit(tiny_store, tmp_path, config.replace(seed=chosen)), StopSignal())
    assert newest(tmp_path) == newest(whole)
    steps = [line["step"] for line in read_metrics(whole / "metrics.jsonl")]
    assert steps == [PAUSE, 10, STEPS]
    assert not (whole / "starts").exists()


@pytest.mark.parametrize("look", [2, 5, 8, 14])
def test_stopped_anywhere_it_ends_with_the_same_bytes(tiny_store, config, whole, tmp_path, look):
    with pytest.raises(Interrupted):
        fit(tiny_store, tmp_path, config, Stop(look))
    fit(tiny_store, tmp_path, config)
    assert newest(tmp_path) == newest(whole)
    assert restarts_report(tmp_path) == restarts_report(whole)
    assert not (tmp_path / "starts").exists()


class Killed(Exception):
    """The end of a process at a place of the test's choosing."""


@pytest.mark.parametrize(
    ("name", "call"),
    [("measure", 2), ("write_json", 1), ("write_json", 3), ("atomic_write", 1),
     ("save_checkpoint", 1)],
)  # fmt: skip
def test_killed_at_what_it_writes_it_ends_with_the_same_bytes(
    tiny_store, config, whole, tmp_path, monkeypatch, name, call
):
    real, calls = getattr(restarts, name), iter(range(1, 100))

    def dying(*arguments, **named):
        result = real(*arguments, **named)
        if next(calls) == call:
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(restarts, name, dying)
        with pytest.raises(Killed):
            fit(tiny_store, tmp_path, config)
    assert (tmp_path / "starts").exists()
    fit(tiny_store, tmp_path, config)
    assert newest(tmp_path) == newest(whole)
    assert not (tmp_path / "starts").exists()


def test_a_finished_run_stays_as_it_is(tiny_store, config, whole):
    before = newest(whole)
    assert fit(tiny_store, whole, config).step == STEPS
    assert newest(whole) == before


def diverging(seeds):
    """`run_fit`, but that fits of some seeds run away."""

    def run(made, *arguments, **named):
        if made.config.fit.seed in seeds:
            raise FitDiverged(f"seed {made.config.fit.seed} ran away")
        return run_fit(made, *arguments, **named)

    return run


def test_a_start_that_runs_away_is_given_up(tiny_store, config, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(restarts, "run_fit", diverging({3}))
    fit(tiny_store, tmp_path, config)
    assert restarts_report(tmp_path)["chosen"] == 4
    assert [bool(start["figures"]) for start in restarts_report(tmp_path)["starts"]] == [0, 1]
    assert "seed 3 is given up" in caplog.text


def test_when_all_run_away_so_does_the_run(tiny_store, config, tmp_path, monkeypatch):
    monkeypatch.setattr(restarts, "run_fit", diverging(SEEDS))
    for _ in range(2):
        with pytest.raises(FitDiverged):
            fit(tiny_store, tmp_path, config)
    assert not checkpoints(tmp_path)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([(0.5, 0.9), (0.7, 0.2), (0.6, 0.9)], 1),
        ([(0.5, 0.8), (0.5, 0.9), (0.1, 1.0)], 1),  # a tie
        ([(None, 0.8), (None, 0.9), (None, 0.7)], 1),  # nothing moves
        ([(None, None), (0.0, 0.0), (None, 0.9)], 1),
        ([None, (None, None), None], 1),  # the others were given up
    ],
)
def test_what_is_better(values, expected):
    names = restarts.COMPARED
    starts = [{"figures": None if pair is None else dict(zip(names, pair))} for pair in values]
    assert max(range(3), key=lambda k: restarts._rank(starts[k])) == expected


def test_all_starts_have_the_steps_that_the_first_was_given_time_for(
    tiny_store, config, tmp_path, monkeypatch
):
    from omnimotion import runs

    counts = iter((40, 50, 60))

    def within(trial, *_):
        return trial.config.replace(num_iters=next(counts), pairs=2)

    monkeypatch.setattr(runs, "config_within", within)
    made = fit(tiny_store, tmp_path, config.replace(budget="5m"))
    assert (made.step, made.config.fit.pairs) == (40, 2)
    assert {start["step"] for start in restarts_report(tmp_path)["starts"]} == {12}


@pytest.mark.parametrize("change", [{"seed": 4}, {"restarts": 2}, {"pairs": 5}])
@pytest.mark.parametrize("look", [8, 14], ids=["comparing", "chosen"])
def test_other_settings_do_not_continue_a_run(tiny_store, config, tmp_path, change, look):
    with pytest.raises(Interrupted):
        fit(tiny_store, tmp_path, config, Stop(look))
    name = next(iter(change))
    with pytest.raises(ConfigError, match=rf"started with {name} = .*another --run"):
        fit(tiny_store, tmp_path, config.replace(**change))


def test_a_run_begun_without_restarts_is_not_continued_with_them(tiny_store, config, tmp_path):
    run_fit(start_fit(tiny_store, tmp_path, config.replace(restarts=0)), StopSignal())
    with pytest.raises(ConfigError, match="restarts = 0, now 1"):
        fit(tiny_store, tmp_path, config)


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"kind": "else"}', b"\x00" * 100])
def test_a_damaged_record_is_refused_in_a_line(tiny_store, config, tmp_path, content):
    (tmp_path / "restarts.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"restarts\.json") as caught:
        fit(tiny_store, tmp_path, config)
    assert "\n" not in str(caught.value)


def test_the_command_compares_starts_and_reports_them(tiny_store, config, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "config.txt").write_text(config.to_text())
    words = ["train", "--config", tmp_path / "config.txt", "--scene", tiny_store.folder]
    assert main([*map(str, words), "--run", str(run), "--restarts", "1"]) == 0
    report = json.loads((run / "report.json").read_text())
    assert [start["seed"] for start in report["restarts"]["starts"]] == [3, 4]
    assert report["restarts"]["chosen"] == report["seed"]
    assert "the best of 2 seeds" in (run / "report.html").read_text()
    assert np.isfinite(report["figures"]["held_out_median_px"]["value"])


def test_without_restarts_nothing_is_said_of_them(tmp_path):
    assert restarts_report(tmp_path) is None


def test_a_run_begun_with_restarts_is_not_continued_without(tiny_store, config, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        fit(tiny_store, run, config, Stop(8))
    (tmp_path / "config.txt").write_text(config.replace(restarts=0).to_text())
    words = ["train", "--config", tmp_path / "config.txt", "--scene", tiny_store.folder]
    assert main([*map(str, words), "--run", str(run)]) == 2
    assert "started with restarts = 1, now 0" in capsys.readouterr().err
    assert (run / "starts").is_dir()


def test_a_complete_run_is_known_by_the_command_that_made_it(tiny_store, config, tmp_path):
    """Whichever seed went on: a command given again is asked with the first one."""
    fit(tiny_store, tmp_path, config)
    known = chosen_config(tmp_path, config)
    assert known.fit.seed == restarts_report(tmp_path)["chosen"]
    check_resumed(tiny_store, tmp_path, known, NOTHING_GIVEN)
    other = config.replace(seed=SEEDS[0] + SEEDS[1] - known.fit.seed)
    with pytest.raises(ConfigError, match="seed"):
        check_resumed(tiny_store, tmp_path, other, NOTHING_GIVEN)
    with pytest.raises(ConfigError, match="restarts = 1, now 2"):
        chosen_config(tmp_path, config.replace(restarts=2))
    assert chosen_config(tmp_path / "other", config) == config
