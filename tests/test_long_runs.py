"""Fits in windows: how they are cut, gone on with, opened, and what is refused."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import LONG_FLAGS, LONG_FRAMES

import omnimotion
from omnimotion.checkpoint import newest_checkpoint, save_checkpoint
from omnimotion.cli import main
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, ConfigError, SceneError
from omnimotion.export import load_tracks
from omnimotion.files import lock
from omnimotion.flow import SceneStore
from omnimotion.long_runs import Plan, drop_flow, open_clip, start_windows, window_folder
from omnimotion.long_tracker import LongTracker
from omnimotion.runs import open_run
from omnimotion.tracker import Tracker
from omnimotion.window_store import WindowStore
from omnimotion.windows import plan_windows

ONE_STEP = ["--num_iters", "1", "--pairs", "2", "--points", "4", "--samples", "4", "--threads",
            "1", "--preview_every", "0", "--device", "cpu", "--backend", "torch"]  # fmt: skip
WINDOWS = ["--window", "12", "--overlap", "4"]


@pytest.fixture
def scene(long_store, tmp_path):
    """A copy without a run."""
    return shutil.copytree(long_store.folder, tmp_path / "long")


def call(*words):
    return main([str(word) for word in words])


def said(capsys, *words):
    """The exit code and the one line of a refused command."""
    capsys.readouterr()
    code = call(*words)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: ")
    return code, line


def test_a_run_holds_a_run_for_each_window(long_scene):
    run = long_scene / "runs" / "default"
    plan = Plan.load(run)
    assert plan.windows == [range(12), range(8, 20), range(16, 30)]
    assert plan.complete
    for k, window in enumerate(plan.windows):
        report = json.loads((window_folder(run, k) / "report.json").read_text())
        assert report["n_frames"] == len(window)
        assert (window_folder(run, k) / "config.txt").is_file()


def test_the_report_of_a_run_is_that_of_its_worst_windows(long_scene):
    run = long_scene / "runs" / "default"
    whole = json.loads((run / "report.json").read_text())
    parts = [json.loads((window_folder(run, k) / "report.json").read_text()) for k in range(3)]
    assert (whole["n_frames"], whole["size"]) == (LONG_FRAMES, [64, 48])
    assert [each["frames"] for each in whole["windows"]] == [[0, 11], [8, 19], [16, 29]]
    for name, worst in (("held_out_under_2_px", min), ("order_conflicts", max)):
        values = [part["figures"][name]["value"] for part in parts]
        assert whole["figures"][name]["value"] == worst(values)
        assert values[whole["figures"][name]["window"]] == worst(values)
        assert [each["figures"][name] for each in whole["windows"]] == values


def test_it_opens_as_one_scene(long_scene):
    for tracker in (open_clip(long_scene), open_clip(long_scene, long_scene / "runs" / "default")):
        assert isinstance(tracker, LongTracker)
        assert tracker.index.n_frames == LONG_FRAMES
    tracks = omnimotion.load(long_scene, device="cpu").track([[3, 20, 20]])
    assert tracks.xy.shape == (1, LONG_FRAMES, 2)


def test_a_query_writes_tracks_of_the_whole_clip(long_scene, tmp_path):
    out = tmp_path / "tracks.npz"
    assert call("query", "--scene", long_scene, "--grid", 4, "--frame", 20, "--out", out,
                "--device", "cpu") == 0  # fmt: skip
    assert load_tracks(out).frames.tolist() == list(range(LONG_FRAMES))


def test_what_is_fitted_is_not_fitted_again(long_scene, caplog):
    newest = {path: path.stat().st_mtime_ns for path in long_scene.glob("runs/*/window_*/*/*.npz")}
    assert newest
    with caplog.at_level("INFO"):
        assert call("train", "--scene", long_scene, *LONG_FLAGS) == 0
    assert "windows=3 of 12 to 14 frames, 3 are fitted" in caplog.text
    assert newest == {path: path.stat().st_mtime_ns for path in newest}


def flow_of(scene):
    """The frames whose matches are there."""
    return {int(path.stem) for path in (scene / "flow").iterdir()}


def test_flow_is_kept_as_long_as_a_window_needs_it(scene, tiny_config, tmp_path):
    store = SceneStore.open(scene)
    parts = start_windows(store, tmp_path, tiny_config, [range(12), range(8, 20), range(16, 30)])
    for left, first in (parts, 0), (parts[1:], 8), (parts[2:], 16), ([], 30):
        drop_flow(store, left)
        assert flow_of(scene) == set(range(first, 30))
    drop_flow(store, [])


def test_flow_that_is_not_kept_is_gone_when_all_windows_are_fitted(scene, long_scene, caplog):
    words = ["train", "--scene", scene, *WINDOWS, *ONE_STEP, "--keep-flow", "no"]
    assert call(*words) == 0
    assert flow_of(scene) == set()
    assert [path.stat().st_size for path in scene.glob("runs/*/window_*/report.json")]
    with caplog.at_level("INFO"):
        assert call(*words) == 0
    assert "3 are fitted" in caplog.text
    assert flow_of(long_scene) == set(range(LONG_FRAMES))  # the default keeps it


def test_without_flow_queries_are_answered_by_the_scene_alone(long_scene, tmp_path, caplog):
    scene, out = shutil.copytree(long_scene, tmp_path / "long"), tmp_path / "tracks.npz"
    drop_flow(SceneStore.open(scene), [])
    words = ["--scene", scene, "--grid", 4, "--frame", 20, "--device", "cpu"]
    assert call("query", *words, "--out", out, "--sheet", tmp_path / "sheet.png") == 0
    warnings = [each for each in caplog.records if each.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "not refined" in warnings[0].getMessage()
    found = load_tracks(out)
    own = open_clip(long_scene, device="cpu").track(found.queries, refine=False)
    np.testing.assert_array_equal(found.xy, own.xy)


def test_what_needs_flow_that_was_deleted_is_refused_in_one_line(long_scene, capsys, tmp_path):
    scene = shutil.copytree(long_scene, tmp_path / "long")
    drop_flow(SceneStore.open(scene), [])
    other = ["--run", scene / "runs" / "other", *ONE_STEP]
    for words in (other, [*other, *WINDOWS]):
        code, line = said(capsys, "train", "--scene", scene, *words)
        assert code == SceneError.exit_code
        assert "--repair" in line
        assert "--keep-flow no" in line
        assert not list((scene / "runs" / "other").glob("*.json"))


def test_shards_fit_windows_of_their_own_and_the_last_completes_the_run(
    scene, long_scene, tmp_path, caplog
):
    caplog.set_level("INFO")
    words = ["train", "--scene", scene, *WINDOWS, *ONE_STEP, "--keep-flow", "no"]
    run = scene / "runs" / "default"
    assert call(*words, "--shard", "1/2") == 0
    assert "next: query.py" not in caplog.text  # it would be answered by another run
    assert [path.parent.name for path in run.glob("*/report.json")] == ["window_0001"]
    assert not Plan.load(run).complete
    assert flow_of(scene) == set(range(LONG_FRAMES)) - set(range(12, 16))  # of no window to fit
    assert call(*words, "--shard", "0/2") == 0
    assert Plan.load(run).complete
    assert "next: query.py" in caplog.text
    assert flow_of(scene) == set()
    assert call("train", "--scene", long_scene, "--run", tmp_path, *WINDOWS, *ONE_STEP) == 0
    alone, found = (open_clip(long_scene, tmp_path), open_clip(scene, run))
    points = np.array([[3, 20, 20]])
    np.testing.assert_array_equal(*(each.track(points, False).xy for each in (alone, found)))


def test_a_window_that_another_process_fits_is_refused(scene, capsys):
    folder = window_folder(scene / "runs" / "default", 0)
    folder.mkdir(parents=True)
    with lock(folder / "lock"):
        code, line = said(capsys, "train", "--scene", scene, *WINDOWS, *ONE_STEP)
    assert code == ConfigError.exit_code
    assert "window_0000" in line


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        (["--shard", "0/2"], "has one window"),
        ([*WINDOWS, "--shard", "2/2"], "expected I/N"),
        ([*WINDOWS, "--depth", "none"], "--depth goes with clips of one window"),  # not yet read
    ],
)
def test_flags_that_do_not_go_with_the_windows_are_refused(scene, capsys, flags, found):
    code, line = said(capsys, "train", "--scene", scene, *flags, *ONE_STEP)
    assert code == ConfigError.exit_code
    assert found in line


def test_the_newest_run_is_opened_in_windows_or_not(long_scene, tmp_path):
    scene = shutil.copytree(long_scene, tmp_path / "long")
    assert isinstance(open_clip(scene), LongTracker)
    assert call("train", "--scene", scene, "--run", scene / "runs" / "whole", *ONE_STEP) == 0
    assert isinstance(open_clip(scene), Tracker)
    assert isinstance(open_clip(scene, scene / "runs" / "default"), LongTracker)


def test_an_interrupted_run_hides_no_complete_one(long_scene, tmp_path):
    scene = shutil.copytree(long_scene, tmp_path / "long")
    assert call("train", "--scene", scene, "--run", scene / "runs" / "whole", *ONE_STEP) == 0
    begun = newest_checkpoint(scene / "runs" / "whole")
    shutil.rmtree(scene / "runs" / "whole")
    save_checkpoint(scene / "runs" / "begun", replace(begun, complete=False))
    assert isinstance(open_clip(scene), LongTracker)


def test_a_run_whose_flow_is_dropped_is_found_complete_again(scene, tmp_path, caplog):
    words = ("train", "--scene", scene, "--run", tmp_path / "run", *ONE_STEP, "--keep-flow", "no")
    assert call(*words) == 0
    assert not list((scene / "flow").glob("*.npz"))
    assert call(*words) == 0
    assert call(*words, "--num_iters", "2") == 2


def test_a_budget_is_shared_by_the_windows(long_store, tiny_config, tmp_path):
    config = tiny_config.replace(budget="60s")
    parts = start_windows(long_store, tmp_path, config, [range(12), range(8, 20), range(16, 30)])
    assert [part.config.fit.budget for part in parts] == ["20s"] * 3
    assert [part.store.index.n_frames for part in parts] == [12, 12, 14]
    windows = [range(12), range(8, 20), range(16, 30)]
    (tmp_path / "refit").mkdir()
    parts = start_windows(long_store, tmp_path / "refit", config, windows, n_fitted=1)
    assert parts[0].config.fit.budget == "60s"


def test_a_refused_budget_names_what_all_windows_need(scene, tmp_path, capsys):
    """What it names for three windows is three times what one of them needs."""
    words = ("train", "--scene", scene, *WINDOWS, *ONE_STEP, "--num_iters", "0")
    words += ("--run", tmp_path / "run", "--budget", "3s", "--warmup", "9999")
    code, line = said(capsys, *words)
    assert (code, "budget = 3s for 3 windows: too short" in line) == (2, True)
    assert int(re.search(r"give (\d+)s", line)[1]) > 3 * 9999 * 1e-4  # of the fastest step


def test_a_run_with_windows_to_fit_is_not_opened(long_store, tiny_config, scene):
    run = scene / "runs" / "default"
    run.mkdir(parents=True)
    start_windows(long_store, run, tiny_config, [range(20), range(10, 30)])
    for asked in (run, None):
        with pytest.raises(CheckpointError, match="not all windows are fitted"):
            open_clip(scene, asked)


def test_a_plan_of_another_video_or_a_damaged_one_is_refused(long_store, tiny_store, tiny_config,
                                                             tmp_path):  # fmt: skip
    start_windows(long_store, tmp_path, tiny_config, [range(20), range(10, 30)])
    with pytest.raises(CheckpointError, match="another video"):
        start_windows(tiny_store, tmp_path, tiny_config, [range(20), range(10, 30)])
    (tmp_path / "windows.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"windows\.json"):
        Plan.load(tmp_path)


def test_other_settings_are_refused_unless_they_change_nothing(long_store, tiny_config, tmp_path):
    windows = [range(20), range(10, 30)]
    start_windows(long_store, tmp_path, tiny_config, windows)
    start_windows(long_store, tmp_path, tiny_config.replace(threads=2), windows)
    with pytest.raises(ConfigError, match="started with pairs = 24, now 25"):
        start_windows(long_store, tmp_path, tiny_config.replace(pairs=25), windows)
    plan = Plan.load(tmp_path)
    del plan.settings["full_rate_steps"]  # as of a version that had no such setting
    plan.save(tmp_path)
    assert len(start_windows(long_store, tmp_path, tiny_config, windows)) == 2
    with pytest.raises(ConfigError, match="full_rate_steps = -1, now 7"):
        start_windows(long_store, tmp_path, tiny_config.replace(full_rate_steps=7), windows)


@pytest.mark.parametrize(
    ("flags", "found"),
    [(["--window", "7", "--overlap", "4"], "window: 7, expected 8 frames or more"),
     (["--window", "20"], "window: 20, expected 32"),
     (["--overlap", "1"], "overlap: 1, expected 2"),
     (["--window", "14", "--overlap", "4"], "started with 3 windows of 12 frames, now 2 of 14"),
     ([], "started with 3 windows, now one")],
)  # fmt: skip
def test_windows_that_cannot_be_are_refused_in_one_line(long_scene, capsys, flags, found):
    code, line = said(capsys, "train", "--scene", long_scene, *flags, *LONG_FLAGS[4:])
    assert code == 2
    assert found in line


def test_windows_in_a_run_of_one_are_refused(scene, capsys):
    assert call("train", "--scene", scene, *ONE_STEP) == 0
    code, line = said(capsys, "train", "--scene", scene, *WINDOWS, *ONE_STEP)
    assert code == 2
    assert "one window, now 3" in line


def test_what_is_known_of_a_clip_goes_with_one_window(scene, capsys, tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("track,t,x,y\n0,1,20,20\n0,5,22,20\n")
    code, line = said(capsys, "train", "--scene", scene, "--tracks", points, *WINDOWS, *ONE_STEP)
    assert code == 2
    assert "--window 30" in line
    assert not (scene / "runs").exists()


def test_frames_that_are_added_refit_the_last_windows_only(long_clip, tmp_path, caplog):
    clip, scene, later = (tmp_path / name for name in ("frames", "scene", "later"))
    shutil.copytree(long_clip / "frames", clip)
    later.mkdir()
    for path in sorted(clip.iterdir())[24:]:
        path.rename(later / path.name)
    words = ["preprocess", clip, "--scene", scene, "--flow", "dis", "--max-gap", 8]
    assert call(*words) == call("train", "--scene", scene, *WINDOWS, *ONE_STEP) == 0
    run = scene / "runs" / "default"
    assert Plan.load(run).windows == [range(12), range(8, 24)]
    for path in later.iterdir():
        path.rename(clip / path.name)
    assert call(*words, "--append") == 0
    with pytest.raises(CheckpointError, match="another video"):
        open_clip(scene)
    store = SceneStore.open(scene)
    config = Config().replace(**Plan.load(run).settings)
    with caplog.at_level("INFO"):
        parts = start_windows(store, run, config, plan_windows(30, 12, 4))
    assert "window=1 is fitted again: its frames were 8 to 23, now 8 to 19" in caplog.text
    assert [part.run.name for part in parts] == ["window_0001", "window_0002"]
    assert not window_folder(run, 1).exists()
    open_run(WindowStore(store, range(12)), window_folder(run, 0))  # its fit holds
    with pytest.raises(CheckpointError, match="another video"):
        open_run(WindowStore(store, range(1, 13)), window_folder(run, 0))
