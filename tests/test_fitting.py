"""The fit: it learns, repeats itself, survives being killed, and stops when asked."""

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import current_thread

import numpy as np
import pytest
import torch
from processes import experiment

from omnimotion import budget, runs
from omnimotion.checkpoint import checkpoints, load_checkpoint
from omnimotion.compositing import FAINT, stratified_depths
from omnimotion.errors import CheckpointError, ConfigError, Interrupted
from omnimotion.fitting import run_fit
from omnimotion.flow import SceneIndex, SceneStore
from omnimotion.fused import threads
from omnimotion.history import read_metrics
from omnimotion.known import KnownTracks
from omnimotion.runs import open_tracker, run_folder, start_fit
from omnimotion.signals import StopSignal, catch_signals
from omnimotion.step_draws import Source
from omnimotion.supervision import Supervision

ROOT = Path(__file__).parents[1]
SHORT = {"num_iters": 12, "pairs": 4, "points": 8, "samples": 6, "checkpoint_every": 5}


@pytest.fixture(scope="module")
def short(tiny_config):
    """A fit of 12 steps."""
    return tiny_config.replace(**SHORT)


def fit(store, run, config, stop=None):
    return run_fit(start_fit(store, run, config), stop or StopSignal())


def newest(run):
    return checkpoints(run)[-1]


class StopAfter(StopSignal):
    """Asks to stop once it was looked at a number of times."""

    def __init__(self, looks, number=signal.SIGTERM):
        self.looks, self.asked = looks, int(number)

    @property
    def number(self):
        self.looks -= 1
        return self.asked if self.looks < 0 else 0


def test_what_is_drawn_ahead_is_what_would_be_drawn(tiny_store, short, tmp_path, monkeypatch):
    """Also after a jump to another step, and for other settings than those it was drawn with."""
    drawn = []

    def draw(self, config, step, pair_error):
        drawn.append((step, current_thread().name.startswith("omnimotion-beside")))
        return own(self, config, step, pair_error)

    own = Source.draw
    monkeypatch.setattr(Source, "draw", draw)
    pytest.importorskip("numba")
    short = short.replace(backend="numba")
    made, alone = (start_fit(tiny_store, tmp_path / name, short) for name in ("a", "b"))
    torch.set_num_threads(2)
    try:
        with made.scene.threads():
            assert made.scene.has_threads()
        for step, then in ((0, 1), (1, 5), (5, 6), (3, 4), (4, None)):
            made.step = alone.step = step
            if step == 5:
                made.config = alone.config = short.replace(pairs=5)
            losses = [float(fit.advance(ahead)[1]) for fit, ahead in ((made, then), (alone, None))]
            assert losses[0] == losses[1]
    finally:
        torch.set_num_threads(1)
    for name, tensor in made.tensors().items():
        assert torch.equal(tensor, alone.tensors()[name]), name
    assert {step for step, is_ahead in drawn if is_ahead} == {1, 5, 6, 4}
    # the one draws the first, step 5 for its other settings, and 3 for the jump; the other all
    assert sorted(step for step, is_ahead in drawn if not is_ahead) == [0, 0, 1, 3, 3, 4, 5, 5]


def test_hard_mining_draws_nothing_ahead(tiny_store, short, tmp_path, monkeypatch):
    pytest.importorskip("numba")
    config = short.replace(backend="numba", mining=1.0)
    made = start_fit(tiny_store, tmp_path / "run", config)
    monkeypatch.setattr(threads, "aside", None)  # to call it would fail
    torch.set_num_threads(2)
    try:
        made.advance(then=1)
    finally:
        torch.set_num_threads(1)


def test_a_darkened_fit_stays_as_it_is_with_two_thirds_of_a_ray_lit(tiny_store, short, tmp_path):
    """As most steps of a fit find it; for timing."""
    made = start_fit(tiny_store, tmp_path / "run", short)
    made.darken()
    before = {name: tensor.clone() for name, tensor in made.scene.state_dict().items()}
    for _ in range(3):
        made.advance()
    for name, tensor in made.scene.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    now, xy = made.scene.snapshot(), torch.zeros(1, 5, 2)
    z = stratified_depths((1, 5), 64, None, xy)
    counts = now.render(now.at(torch.tensor([0])), xy, z, FAINT).counts
    assert counts.float().mean() == pytest.approx(2 / 3, abs=0.02)


# learning ---------------------------------------------------------------------------------------


def test_the_loss_falls_and_flow_is_learned(tiny_scene):
    lines = read_metrics(run_folder(tiny_scene, None) / "metrics.jsonl")
    first, last = lines[0], lines[-1]
    assert last["flow_px"] < min(2.0, 0.7 * first["flow_px"])  # though pairs got farther apart
    assert last["photometric"] < 0.8 * first["photometric"]


def test_metrics_are_in_step_and_finite(tiny_scene, tiny_config):
    lines = read_metrics(run_folder(tiny_scene, None) / "metrics.jsonl")
    every, steps = tiny_config.fit.log_every, tiny_config.fit.num_iters
    assert [line["step"] for line in lines] == list(range(every, steps + 1, every))
    assert all(np.isfinite(value) for line in lines for value in line.values())


def test_the_run_says_what_it_did(tiny_scene, tiny_config):
    from omnimotion.config import load_config

    run = run_folder(tiny_scene, None)
    resolved = load_config(run / "config.txt")
    small = {"cells": 4, "robust_px": 2.0, "robust_first": 16.0, "texture": 0.0,
             "motion_share": 0.5, "motion_start": 0.2, "motion_full": 0.6, "smoothness": 0.3,
             "steps_per_frame": 180, "level_fade": 5.0, "rate_bound": 1.0, "rate_power": 0.5,
             "gap_ramp": 0.2, "full_rate_steps": 8 * 120}  # fmt: skip
    assert resolved == tiny_config.replace(**small)  # what goes by the frame's size
    state = load_checkpoint(newest(run))
    assert (state.step, state.complete) == (tiny_config.fit.num_iters, True)
    assert state.config == resolved
    assert state.fingerprint == SceneIndex.load(tiny_scene).identity


@pytest.mark.parametrize(
    "changes",
    [{"bijection": "mlp", "width": 16}, {"volume": "mlp", "volume_width": 16}, {"camera": False}],
    ids=["mlp bijection", "mlp volume", "no camera"],
)
def test_each_choice_of_network_is_fitted_and_queried(tiny_store, short, tmp_path, changes):
    run = tmp_path / "run"
    report = fit(tiny_store, run, short.replace(**changes))
    assert report.step == SHORT["num_iters"]
    assert np.isfinite(report.flow_error_px)
    tracks = open_tracker(tiny_store.folder, run).track([[0, 10.0, 10.0]])
    assert np.isfinite(tracks.xy).all()


def test_paper_txt_trains_and_queries(tiny_store, tmp_path):
    from omnimotion.config import load_config

    config = load_config(ROOT / "configs" / "paper.txt").replace(
        num_iters=2, pairs=2, points=8, samples=8, device="cpu"
    )
    fit(tiny_store, tmp_path / "run", config)
    tracks = open_tracker(tiny_store.folder, tmp_path / "run").track([[3, 20.0, 30.0]])
    assert tracks.xy[0, 3].tolist() == [20.0, 30.0]


# the same again ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uninterrupted(tiny_store, short, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "whole"
    fit(tiny_store, run, short)
    return newest(run).read_bytes()


def test_the_same_seed_gives_the_same_bytes(tiny_store, short, tmp_path, uninterrupted):
    fit(tiny_store, tmp_path, short)
    assert newest(tmp_path).read_bytes() == uninterrupted


def test_another_seed_does_not(tiny_store, short, tmp_path, uninterrupted):
    fit(tiny_store, tmp_path, short.replace(seed=1))
    assert newest(tmp_path).read_bytes() != uninterrupted


def test_how_often_it_saves_and_logs_does_not_matter(tiny_store, short, tmp_path, uninterrupted):
    config = short.replace(checkpoint_every=2, log_every=1)
    fit(tiny_store, tmp_path, config)
    found, expected = load_checkpoint(newest(tmp_path)), tmp_path / "expected.npz"
    expected.write_bytes(uninterrupted)
    for name, value in load_checkpoint(expected).arrays.items():
        np.testing.assert_array_equal(found.arrays[name], value, err_msg=name)


@pytest.mark.parametrize("looks", [1, 4, 9])
def test_stop_and_resume_gives_the_same_bytes(tiny_store, short, tmp_path, uninterrupted, looks):
    with pytest.raises(Interrupted) as caught:
        fit(tiny_store, tmp_path, short, StopAfter(looks))
    assert caught.value.exit_code == 143
    half = load_checkpoint(newest(tmp_path))
    assert 0 < half.step < SHORT["num_iters"]
    assert not half.complete
    with pytest.raises(CheckpointError, match="no complete"):
        open_tracker(tiny_store.folder, tmp_path)
    report = fit(tiny_store, tmp_path, short)
    assert report.step == SHORT["num_iters"]
    assert newest(tmp_path).read_bytes() == uninterrupted
    steps = [line["step"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert steps == sorted(set(steps))


def test_a_fit_that_pauses_goes_on_to_the_same_bytes(tiny_store, short, tmp_path, uninterrupted):
    assert run_fit(start_fit(tiny_store, tmp_path, short), StopSignal(), until=7).step == 7
    half = load_checkpoint(newest(tmp_path))
    assert (half.step, half.complete) == (7, False)
    fit(tiny_store, tmp_path, short)
    assert newest(tmp_path).read_bytes() == uninterrupted


def test_steps_are_a_total(tiny_store, short, tmp_path):
    fit(tiny_store, tmp_path, short)
    before = newest(tmp_path).read_bytes()
    again = start_fit(tiny_store, tmp_path, short)
    assert again.step == SHORT["num_iters"]
    assert run_fit(again, StopSignal()).step == SHORT["num_iters"]
    assert newest(tmp_path).read_bytes() == before


def test_a_kill_before_old_checkpoints_were_removed_leaves_none(tiny_store, short, tmp_path):
    fit(tiny_store, tmp_path, short)
    kept = checkpoints(tmp_path)
    shutil.copy(kept[0], kept[0].with_name("step_00000001.npz"))
    start_fit(tiny_store, tmp_path, short)
    assert checkpoints(tmp_path) == kept


def test_a_damaged_checkpoint_costs_only_the_steps_since_the_one_before(
    tiny_store, short, tmp_path, uninterrupted
):
    fit(tiny_store, tmp_path, short)
    newest(tmp_path).write_bytes(b"")
    assert start_fit(tiny_store, tmp_path, short).step == 10  # saved every 5 steps
    fit(tiny_store, tmp_path, short)
    assert newest(tmp_path).read_bytes() == uninterrupted


@pytest.fixture(scope="module")
def whole(tiny_store, tiny_config, tmp_path_factory):
    """A run of 60 steps that nothing disturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    fit(tiny_store, run, tiny_config.replace(**SHORT | {"num_iters": 60, "checkpoint_every": 10}))
    return run


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_killed_process_resumes_to_the_same_bytes(tiny_store, whole, tmp_path, number):
    """The script itself, ended from outside in the middle of a fit."""
    killed = tmp_path / "killed"
    words = ("--config", whole / "config.txt", "--scene", tiny_store.folder, "--run", killed)
    code, said = experiment("signalled", json.dumps([*map(str, words)]), int(number), killed)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 128 + number
        assert "stopped at step" in said
    state = load_checkpoint(newest(killed))
    assert state.step < 60, "it had already ended"
    fit(tiny_store, killed, state.config)
    assert newest(killed).read_bytes() == newest(whole).read_bytes()


@pytest.fixture
def _interrupts():
    """Ctrl-C raises, also where the tests run in a shell's background, which ignores it."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("_interrupts")
def test_signals_are_put_back():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with catch_signals() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):  # the second one acts as if nothing was caught
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# refusing ---------------------------------------------------------------------------------------


def test_other_settings_do_not_continue_a_run(tiny_store, short, tmp_path):
    fit(tiny_store, tmp_path, short)
    with pytest.raises(ConfigError, match=r"learning_rate = .*another --run"):
        start_fit(tiny_store, tmp_path, short.replace(learning_rate=0.5))


def test_a_run_of_a_version_with_fewer_settings_goes_on_without_them(
    tiny_store, short, tmp_path, monkeypatch
):
    """What was not known then is -1 in its checkpoint, as in no config that was filled in."""
    known = runs.resolved_config

    def before(*asked):
        return known(*asked).replace(full_rate_steps=-1)

    monkeypatch.setattr(runs, "resolved_config", before)
    with pytest.raises(Interrupted):
        run_fit(start_fit(tiny_store, tmp_path, short), StopAfter(3))
    monkeypatch.setattr(runs, "resolved_config", known)
    again = start_fit(tiny_store, tmp_path, short)
    assert again.step > 0
    assert again.config.fit.full_rate_steps == -1
    with pytest.raises(ConfigError, match="full_rate_steps = -1, now 7"):
        start_fit(tiny_store, tmp_path, short.replace(full_rate_steps=7))


def test_a_checkpoint_of_a_version_that_did_not_know_how_many_points_land_goes_on(
    tiny_store, short, tmp_path
):
    at_rest, begun = (start_fit(tiny_store, tmp_path / name, short) for name in ("one", "two"))
    begun.advance()
    assert float(begun.lands) != float(at_rest.lands)
    state = load_checkpoint(begun.save())
    del state.arrays["lands"]
    at_rest.restore(state)
    assert at_rest.step == 1
    at_rest.advance()
    assert float(at_rest.loss(*given_to(at_rest))[0]) > 0


def given_to(fit):
    """What a fit's loss is asked for in its next step."""
    batch, depths, order = fit.ahead.take(fit.config, fit.step, fit.pair_error, None)
    return batch, {"flow": 1.0}, depths, fit.lands, order


def other_video(store, folder):
    """The same scene with the fingerprint of another video."""
    folder.mkdir()
    for name in ("frames", "flow"):
        (folder / name).symlink_to(store.folder / name)
    index = json.loads((store.folder / "scene.json").read_text())
    index["fingerprint"] = "0" * 64
    del index["sha256"]
    (folder / "scene.json").write_text(json.dumps(index))
    return SceneStore.open(folder)


def test_a_run_of_another_video_is_refused(tiny_store, short, tmp_path):
    run = tmp_path / "run"
    fit(tiny_store, run, short)
    other = other_video(tiny_store, tmp_path / "other")
    with pytest.raises(CheckpointError, match="another video"):
        start_fit(other, run, short)
    with pytest.raises(CheckpointError, match="another video"):
        open_tracker(other.folder, run)


DIVERGING = """
import sys
from pathlib import Path
import torch
from omnimotion.config import load_config
from omnimotion.errors import FitDiverged
from omnimotion.fitting import run_fit
from omnimotion.flow import SceneStore
from omnimotion.runs import start_fit
from omnimotion.signals import StopSignal

store, run, config = (Path(word) for word in sys.argv[1:])
fit = start_fit(SceneStore.open(store), run, load_config(config))
advance, parameter = fit.advance, next(fit.scene.volume.parameters())

def poisoned(then=None):
    if fit.step >= 7:  # as after a step that went wrong
        with torch.no_grad():
            parameter.fill_(float("nan"))
    return advance(then)

fit.advance = poisoned
try:
    run_fit(fit, StopSignal())
except FitDiverged as error:
    sys.exit(str(error))
"""


def test_a_diverging_fit_is_stopped_and_what_is_saved_is_sound(tiny_store, short, tmp_path):
    """In a process of its own: coordinates that are not finite can crash grid_sample on a CPU."""
    config = short.replace(num_iters=40, log_every=7, checkpoint_every=3)
    (tmp_path / "config.txt").write_text(config.to_text())
    words = [tiny_store.folder, tmp_path / "run", tmp_path / "config.txt"]
    done = subprocess.run(
        [sys.executable, "-c", DIVERGING, *map(str, words)], cwd=ROOT, capture_output=True,
        text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "learning_rate" in done.stderr
    assert "Traceback" not in done.stderr
    found = checkpoints(tmp_path / "run")
    assert found
    for path in found:
        arrays = load_checkpoint(path).arrays
        assert all(np.isfinite(value).all() for value in arrays.values()), path.name


# known tracks ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def given(tiny_clip, tiny_store):
    """The true tracks of every other point, as if another tracker had found them."""
    return Supervision(tracks=true_tracks(tiny_clip, slice(0, None, 2)))


def true_tracks(clip, part):
    with np.load(clip / "gt.npz", allow_pickle=False) as truth:
        xy, visible = truth["tracks"][part].astype(np.float32), truth["visible"][part]
    return KnownTracks(xy, visible.astype(np.float32), visible)


def test_known_tracks_are_learned_where_flow_is_not(tiny_clip, tiny_store, short, tmp_path, given):
    """In as many steps, the other points of the same objects are nearer to the truth."""
    config, truth = short.replace(num_iters=40), true_tracks(tiny_clip, slice(1, None, 2))
    start, errors = truth.visible.argmax(axis=1), []
    points = np.column_stack((start, truth.xy[np.arange(len(start)), start]))
    for name, supervision in (("without", Supervision()), ("with", given)):
        run_fit(start_fit(tiny_store, tmp_path / name, config, supervision), StopSignal())
        found = open_tracker(tiny_store.folder, tmp_path / name).track(points, refine=False).xy
        errors.append(np.linalg.norm(found - truth.xy, axis=-1)[truth.visible].mean())
    assert errors[1] < errors[0]


def test_with_known_tracks_stop_and_resume_gives_the_same_bytes(
    tiny_store, short, tmp_path, given, uninterrupted
):
    runs = [tmp_path / "whole", tmp_path / "stopped"]
    run_fit(start_fit(tiny_store, runs[0], short, given), StopSignal())
    with pytest.raises(Interrupted):
        run_fit(start_fit(tiny_store, runs[1], short, given), StopAfter(4))
    run_fit(start_fit(tiny_store, runs[1], short, given), StopSignal())
    whole, stopped = (newest(run).read_bytes() for run in runs)
    assert whole == stopped
    assert whole != uninterrupted


def test_other_tracks_do_not_continue_a_run(tiny_clip, tiny_store, short, tmp_path, given):
    other = Supervision(tracks=true_tracks(tiny_clip, slice(0, 5)))
    run_fit(start_fit(tiny_store, tmp_path / "with", short, given), StopSignal())
    fit(tiny_store, tmp_path / "without", short)
    for name, wrong, said in (
        ("with", other, "with other --tracks"), ("with", Supervision(), "with --tracks"),
        ("without", given, "without --tracks"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"started {said}: .*another --run"):
            start_fit(tiny_store, tmp_path / name, short, wrong)


def test_answers_name_the_licence_of_known_tracks(tiny_store, short, tmp_path, given):
    config = short.replace(num_iters=1)
    for licence, named in (("CC-BY-NC-4.0", "CC-BY-NC-4.0"), ("", "not said")):
        known = Supervision(tracks=replace(given.tracks, licence=licence))
        run = tmp_path / named
        run_fit(start_fit(tiny_store, run, config, known), StopSignal())
        tracks = open_tracker(tiny_store.folder, run).track([[0, 5, 5]], refine=False)
        assert tracks.meta["tracks"] == {"licence": named}


# budget -----------------------------------------------------------------------------------------


def test_a_budget_becomes_a_number_of_steps_that_a_resume_keeps(
    tiny_store, short, tmp_path, monkeypatch
):
    """On a machine whose steps take minutes, and later less; beside that nothing counts."""
    for step_s in (100, 30):
        monkeypatch.setattr(budget, "step_seconds", lambda *_, step_s=step_s: step_s)
        made = start_fit(tiny_store, tmp_path, short.replace(budget="50m", num_iters=1))
        steps = made.config.fit.num_iters
        assert steps in range(27, 30)
        if not made.step:
            with pytest.raises(Interrupted):
                run_fit(made, StopAfter(3))
    assert run_fit(made, StopSignal()).step == steps


def test_a_budget_that_comes_later_is_refused_and_another_one_changes_nothing(
    tiny_store, short, tmp_path, monkeypatch, caplog
):
    with pytest.raises(Interrupted):
        fit(tiny_store, tmp_path / "without", short, StopAfter(3))
    with pytest.raises(ConfigError, match="was started without --budget"):
        start_fit(tiny_store, tmp_path / "without", short.replace(budget="50m"))
    monkeypatch.setattr(budget, "step_seconds", lambda *_: 30)
    with pytest.raises(Interrupted):
        fit(tiny_store, tmp_path / "with", short.replace(budget="50m"), StopAfter(3))
    steps = load_checkpoint(newest(tmp_path / "with")).config.fit.num_iters
    assert not caplog.messages
    again = start_fit(tiny_store, tmp_path / "with", short.replace(budget="2h"))
    assert (again.config.fit.num_iters, again.config.fit.budget) == (steps, "50m")
    assert "has the steps of its --budget 50m: 2h changes nothing" in caplog.text


def test_half_the_pairs_of_a_short_budget_are_kept_too(tiny_store, short, tmp_path, monkeypatch):
    config = short.replace(budget="50m", num_iters=1000)
    monkeypatch.setattr(budget, "step_seconds", lambda *_: 30)
    with pytest.raises(Interrupted):
        fit(tiny_store, tmp_path, config, StopAfter(3))
    state = load_checkpoint(newest(tmp_path))
    assert state.config.fit.pairs == short.fit.pairs // 2
    assert start_fit(tiny_store, tmp_path, config).config == state.config


def test_steps_follow_the_length_of_the_clip(tiny_store, short, tmp_path):
    made = start_fit(tiny_store, tmp_path, short.replace(num_iters=0, steps_per_frame=3))
    assert made.config.fit.num_iters == 3 * tiny_store.index.n_frames
