"""Preprocessing as a job: right matches, the same bytes after a kill, and honest refusals."""

import filecmp
import itertools
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from omnimotion.cli import main as command_line
from omnimotion.errors import ConfigError, FlowError, ResourceError, SceneError
from omnimotion.files import lock, write_json
from omnimotion.flow import CHAINED, DIRECT, NONE, SceneStore
from omnimotion.images import save_png
from omnimotion.temporary import temp_beside
from preprocess import sections
from preprocess.compute import preprocess
from preprocess.job import JOB_NAME, find_job, require_ours
from preprocess.options import PreprocessOptions
from preprocess.pair_store import PairStore

DATA = Path(__file__).parents[2] / "shared" / "data"
SIZE = (72, 56)  # W, H
VELOCITY = np.array([2, 1])  # px a frame


def texture(size, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (size[1], size[0], 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip((smooth - 127) * 4 + 127, 0, 255).astype(np.uint8)


def moving_clip(folder, count=6, occluder=True, seed=0):
    """A texture that moves by VELOCITY; a flat block, 10 px wide, stands in frames 2 and 3."""
    folder.mkdir(parents=True)
    canvas = texture((SIZE[0] + 40, SIZE[1] + 40), seed)
    for t in range(count):
        x, y = 30 - VELOCITY * t
        frame = canvas[y : y + SIZE[1], x : x + SIZE[0]].copy()
        if occluder and t in (2, 3):
            frame[20:40, 30:40] = (250, 20, 20)
        save_png(folder / f"{t}.png", frame)
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return moving_clip(tmp_path_factory.mktemp("clip") / "frames")


@pytest.fixture(scope="module")
def scene(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes") / "moving"
    return preprocess(PreprocessOptions(clip, folder, flow="dis"))


@contextmanager
def interrupted(at):
    """A job that is run here dies as it writes its pair number ``at``."""
    write, counter = PairStore.write, itertools.count()

    def dying(self, i, j, pair):
        if next(counter) == at:
            raise KeyboardInterrupt
        write(self, i, j, pair)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PairStore, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            yield


def same_bytes(one, other):
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    assert names == sorted(
        str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()
    )
    return not filecmp.cmpfiles(one, other, names, shallow=False)[1]


def test_matches_follow_the_motion(scene):
    store = SceneStore.open(scene)
    assert store.index.n_frames == 6
    assert store.index.size == store.index.original_size == SIZE
    errors, valid, total = [], 0, 0
    for i in range(6):
        frame = store.flow(i)
        assert frame.targets.tolist() == [j for j in range(6) if j != i]
        for m, j in enumerate(frame.targets):
            xy_i, xy_j, state = frame.matches(m)
            errors.append(np.linalg.norm(xy_j - xy_i - VELOCITY * (j - i), axis=-1))
            valid, total = valid + len(state), total + frame.state[m].size
    errors = np.concatenate(errors)
    assert np.mean(errors < 1) > 0.97
    assert np.median(errors) < 0.1
    assert valid / total > 0.7


def test_matches_off_the_gaps_of_log_are_chained(scene):
    store = SceneStore.open(scene)
    for i in range(6):
        frame = store.flow(i)
        for state, j in zip(frame.state, frame.targets):
            assert (CHAINED in state) or abs(j - i) == 1
            assert (DIRECT in state) == (abs(j - i) != 5)


def test_the_occluder_hides_and_the_background_is_found_again(scene):
    frame = SceneStore.open(scene).flow(0)
    x, y = 30 - 4 + 5, 20 - 2 + 10  # reaches the block's middle in frame 2
    found = {int(j): frame.state[m, y, x] for m, j in enumerate(frame.targets)}
    assert found[1] in (DIRECT, CHAINED)
    assert found[2] == NONE
    assert found[4] in (DIRECT, CHAINED)
    assert found[5] in (DIRECT, CHAINED)


def test_scene_tells_where_it_comes_from(scene, clip):
    index = SceneStore.open(scene).index
    assert index.flow["method"] == "dis"
    assert index.flow["why"] == "asked for"
    assert index.source == clip.name
    assert index.coord_convention == "pixel_center"
    assert len(index.coverage) == 30
    assert not (scene / "pairs").exists()
    assert not (scene / "preprocess.json").exists()


def test_a_complete_scene_is_left_alone(scene, clip):
    before = {path: path.stat().st_mtime_ns for path in scene.rglob("*.*")}
    preprocess(PreprocessOptions(clip, scene, flow="dis"))
    assert before == {path: path.stat().st_mtime_ns for path in scene.rglob("*.*")}


def test_opencv_threads_are_restored(clip, tmp_path):
    before = cv2.getNumThreads()
    preprocess(PreprocessOptions(clip, tmp_path / "s", flow="dis", frames=":2"))
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("at", [0, 1, 7, 13])
def test_a_job_that_dies_resumes_to_the_same_bytes(clip, scene, tmp_path, at):
    options = PreprocessOptions(clip, tmp_path / scene.name, flow="dis")
    with interrupted(at):
        preprocess(options)
    assert not (options.scene / "scene.json").exists()
    preprocess(options)
    assert same_bytes(scene, options.scene)


def test_a_job_that_is_killed_resumes_to_the_same_bytes(clip, scene, tmp_path):
    folder = tmp_path / scene.name
    code = (
        "import sys, pathlib\n"
        "from preprocess.compute import preprocess\n"
        "from preprocess.options import PreprocessOptions\n"
        "print('ready', flush=True)\n"
        "preprocess(PreprocessOptions(*map(pathlib.Path, sys.argv[1:3]), flow='dis'))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    for delay_s in np.random.default_rng(3).uniform(0, 0.3, 3):
        child = subprocess.Popen(
            [sys.executable, "-c", code, str(clip), str(folder)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert child.stdout is not None
        with child.stdout:
            child.stdout.readline()
            time.sleep(delay_s)
            child.send_signal(signal.SIGKILL)
        child.wait()
    preprocess(PreprocessOptions(clip, folder, flow="dis"))
    assert same_bytes(scene, folder)


def test_a_job_that_was_killed_at_its_first_file_is_begun_again(tmp_path):
    (tmp_path / "lock").touch()
    temp_beside(tmp_path / JOB_NAME, ".json").write_text("{")
    require_ours(tmp_path)
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="neither empty nor a scene"):
        require_ours(tmp_path)


def test_a_torn_pair_is_computed_again(clip, scene, tmp_path, monkeypatch):
    options = PreprocessOptions(clip, tmp_path / scene.name, flow="dis")
    monkeypatch.setattr(sections, "merge_all", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        preprocess(options)
    torn = options.scene / "pairs" / "000000_000001.npz"
    torn.write_bytes(torn.read_bytes()[:5000])
    monkeypatch.undo()
    preprocess(options)
    assert same_bytes(scene, options.scene)


def test_other_options_are_refused_by_name(scene, clip):
    with pytest.raises(ConfigError, match="max_side is 854 there, 48 here"):
        preprocess(PreprocessOptions(clip, scene, flow="dis", max_side=48))


def test_overwrite_waits_for_a_fit_and_names_runs_of_before(clip, tmp_path, caplog):
    folder = tmp_path / "scene"
    preprocess(PreprocessOptions(clip, folder, flow="dis"))
    (folder / "runs" / "default" / "window_0000").mkdir(parents=True)
    again = PreprocessOptions(clip, folder, flow="dis", overwrite=True)
    with lock(folder / "runs" / "default" / "window_0000" / "lock"), \
            pytest.raises(ConfigError, match=r"another process uses .*window_0000"):  # fmt: skip
        preprocess(again)
    preprocess(again)
    assert not [line for line in caplog.messages if "of no use" in line]  # the same flow
    preprocess(PreprocessOptions(clip, folder, flow="dis", frames="0:4", overwrite=True))
    (said,) = [line for line in caplog.messages if "of no use" in line]
    assert "with this: default; give train.py a new name" in said


def test_another_video_is_refused_and_overwrite_starts_afresh(clip, tmp_path):
    other = moving_clip(tmp_path / "other", count=3, occluder=False, seed=5)
    folder = tmp_path / "scene"
    preprocess(PreprocessOptions(clip, folder, flow="dis", frames=":3"))
    with pytest.raises(FlowError, match="another video"):
        preprocess(PreprocessOptions(other, folder, flow="dis", frames=":3"))
    preprocess(PreprocessOptions(other, folder, flow="dis", overwrite=True))
    assert SceneStore.open(folder).index.source == "other"


@pytest.mark.parametrize(
    "change", [{"settings": [1]}, {"settings": None}, {"flow": "dis"}, {"fingerprint": 3},
               {"grown": {}}, {"grown": None}, {"other": 1}],
)  # fmt: skip
def test_the_file_of_a_job_that_is_none_is_refused(tmp_path, change):
    job = {"settings": {}, "fingerprint": None, "flow": None, "grown": []}
    write_json(tmp_path / JOB_NAME, job)
    assert find_job(tmp_path).settings == {}
    write_json(tmp_path / JOB_NAME, job | change)
    with pytest.raises(SceneError, match=JOB_NAME):
        find_job(tmp_path)


def test_a_folder_of_the_users_is_not_touched(clip, tmp_path):
    folder = tmp_path / "mine"
    (folder / "frames").mkdir(parents=True)
    (folder / "frames" / "000000.png").write_bytes(b"precious")
    for overwrite in (False, True):
        options = PreprocessOptions(clip, folder, flow="dis", overwrite=overwrite)
        with pytest.raises(ConfigError, match="neither empty nor a scene"):
            preprocess(options)
    assert [path.name for path in folder.rglob("*")] == ["frames", "000000.png"]


def test_unrelated_frames_have_no_reliable_flow(tmp_path):
    (tmp_path / "noise").mkdir()
    for t in range(3):
        rng = np.random.default_rng(t)
        save_png(tmp_path / "noise" / f"{t}.png", rng.integers(0, 256, (48, 48, 3), np.uint8))
    with pytest.raises(FlowError, match="no reliable flow; 6 of 6 pairs empty"):
        preprocess(PreprocessOptions(tmp_path / "noise", tmp_path / "s", flow="dis"))


def test_identical_frames_stay_where_they_are(tmp_path):
    (tmp_path / "still").mkdir()
    for t in range(3):
        save_png(tmp_path / "still" / f"{t}.png", texture((40, 32)))
    scene = SceneStore.open(
        preprocess(PreprocessOptions(tmp_path / "still", tmp_path / "s", flow="dis"))
    )
    frame = scene.flow(1)
    assert (frame.state != NONE).all()
    assert np.abs(frame.flow).max() < 0.05


def test_a_short_disk_is_refused_before_any_work(clip, tmp_path, monkeypatch):
    monkeypatch.setattr("omnimotion.files.free_bytes", lambda path: 1000)
    with pytest.raises(ResourceError, match="preprocessing needs"):
        preprocess(PreprocessOptions(clip, tmp_path / "s", flow="dis"))
    assert not (tmp_path / "s" / "frames").exists()


def test_large_frames_are_reduced(clip, tmp_path):
    options = PreprocessOptions(clip, tmp_path / "s", flow="dis", max_side=36, frames="0:3")
    index = SceneStore.open(preprocess(options)).index
    assert index.size == (36, 28)
    assert index.original_size == SIZE


@pytest.mark.parametrize(
    "changes",
    [{"flow": "lk"}, {"pairs": "few"}, {"max_side": 8}, {"max_side": 99999}, {"max_side": 1.5},
     {"raft_model": "tiny"}, {"flow": "dis", "raft_weights": Path("w.pth")},
     {"flow": "dis", "raft_model": "small"}],
)  # fmt: skip
def test_bad_options_are_refused(changes):
    with pytest.raises(ConfigError, match=next(iter(changes)) if len(changes) == 1 else "raft"):
        PreprocessOptions(Path("video"), Path("scene"), **changes)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no test videos at {DATA}")
def test_matches_of_a_rendered_clip_are_right(tmp_path):
    options = PreprocessOptions(
        DATA / "layers_0" / "frames", tmp_path / "s", flow="dis", frames="0:10"
    )
    store = SceneStore.open(preprocess(options))
    truth = np.load(DATA / "layers_0" / "gt.npz", allow_pickle=False)
    tracks, visible = truth["tracks"], truth["visible"]
    errors, total = [], 0
    for i in range(10):
        frame = store.flow(i)
        for m, j in enumerate(frame.targets):
            both = visible[:, i] & visible[:, j]
            column, row = np.rint(tracks[both, i]).astype(int).clip(0, 127).T
            flow, state = frame.flow[m, row, column], frame.state[m, row, column]
            error = np.linalg.norm(flow - (tracks[both, j] - tracks[both, i]), axis=-1)
            errors.append(error[state != NONE])
            total += len(error)
    errors = np.concatenate(errors)
    assert len(errors) / total > 0.93
    assert np.mean(errors < 1.5) > 0.97  # 3 px at 256


def test_a_scene_is_not_lost_to_a_job_that_cannot_begin(clip, tmp_path, monkeypatch):
    folder = tmp_path / "scene"
    preprocess(PreprocessOptions(clip, folder, flow="dis", frames=":3"))
    before = sorted(path.name for path in folder.rglob("*"))
    without = PreprocessOptions(clip, folder, flow="raft", raft_weights=tmp_path / "none.pth",
                                overwrite=True)  # fmt: skip
    with pytest.raises(FlowError, match=r"none\.pth"):
        preprocess(without)
    monkeypatch.setattr("omnimotion.files.free_bytes", lambda path: 0)
    with pytest.raises(ResourceError, match="preprocessing needs"):
        preprocess(PreprocessOptions(clip, folder, flow="dis", overwrite=True))
    assert sorted(path.name for path in folder.rglob("*")) == before
    assert SceneStore.open(folder).index.n_frames == 3


def test_a_link_that_leads_to_itself_is_no_video(tmp_path, capsys):
    (tmp_path / "loop").symlink_to("loop")
    assert command_line(["preprocess", str(tmp_path / "loop")]) == 3
    assert "no such video" in capsys.readouterr().err
