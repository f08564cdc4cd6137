"""Rows 26, 36, 45: files of JSON, which people may write, with one odd entry each.

What reads one refuses it, or can be used by all that follows: no error but ours comes out of
either. Fuzzing seldom finds these, because it seldom makes another valid object.
"""

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from odd import odd_objects

from omnimotion.batch.start import start_batch
from omnimotion.batch.summary import FIGURES, line_of, page, row_of, table
from omnimotion.batch.task import Record, Task
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, OmniMotionError
from omnimotion.files import read_json
from omnimotion.fitted import FittedScene
from omnimotion.flow import SceneIndex
from omnimotion.geometry import Frame
from omnimotion.history import History
from omnimotion.long_report import save_windows_report
from omnimotion.plots import plot_metrics
from omnimotion.report import FIGURES as EVERY
from omnimotion.report_page import _about
from omnimotion.restarts import _rank, _record, restarts_report
from omnimotion.tracks import Tracks
from omnimotion.viewer.answers import Answers
from preprocess.job import find_job
from preprocess.train_raft.state import _progress

FITTED = {name: {"value": 0.5, "verdict": "good"} | asdict(EVERY[name]) for name in FIGURES}
COUNTS = {"done": 1, "failed": 0, "begun": 0, "waiting": 0}


def check(obj, path, use):
    """Use a file with each odd object in it; what came out besides our errors must be nothing."""
    found, refused = {}, 0
    for what, odd in odd_objects(obj):
        path.write_text(json.dumps(odd))
        try:
            use()
        except OmniMotionError:
            refused += 1
        except Exception as problem:
            found[what] = repr(problem)
    assert found == {}
    assert refused


@pytest.fixture
def task(tmp_path):
    """One of a batch, with a folder for its record and for the report of its fit."""
    words = {stage: [] for stage in ("preprocess", "train", "query")}
    made = Task("clip", tmp_path / "clip.mp4", tmp_path, words, words)
    for path in (made.result, made.report):
        path.parent.mkdir(parents=True)
    return made


def test_45_a_scene(tiny_scene, tmp_path):
    responses = pytest.importorskip("fastapi.responses")
    index = read_json(tiny_scene / "scene.json", OmniMotionError)

    def use():
        read = SceneIndex.load(tmp_path)
        read.save(tmp_path)
        assert sum(len(read.targets(i)) for i in range(read.n_frames)) == len(read.coverage)
        assert len(read.identity) == 64
        Frame(*read.size)
        about = {"source": read.source, "size": read.size, "n_frames": read.n_frames}
        _about({**about, "flow": read.flow, "step": 1, "seed": 0}).encode()
        answers = Answers(FittedScene(SimpleNamespace(index=read, meta={})), tmp_path)
        responses.JSONResponse(answers.about())
        tracks_of(read)

    check(index, tmp_path / "scene.json", use)


def tracks_of(index):
    """Tracks of no point: what they take over from the index."""
    none = np.zeros((0, index.n_frames), np.float32)
    return Tracks(
        xy=np.zeros((0, index.n_frames, 2), np.float32), visible=none > 0, confidence=none,
        occlusion=none, depth=none, queries=np.zeros((0, 3), np.float32), fps=index.fps,
        size=index.original_size, times=np.round(index.times, 6),
    )  # fmt: skip


def test_45_a_job(tmp_path):
    job = {"settings": {"flow": "dis"}, "fingerprint": None, "flow": None, "grown": []}
    check(job, tmp_path / "preprocess.json", lambda: find_job(tmp_path))


def test_45_a_record_of_a_batch(task):
    failure = {"stage": "train", "exit_code": 1, "error": "said"}
    stages = {"preprocess": {"key": ["a"], "s": 1.5, "mb": 3}}

    def use():
        show(task)

    for failed in (failure, None):
        record = Record(task.name, str(task.video), stages, "train")
        content = {"kind": "omnimotion-batch-result", **asdict(record), "failure": failed}
        check(content, task.result, use)


def show(task):
    """All that a batch says of a video."""
    record = Record.load(task) or Record(task.name, str(task.video))
    record.is_done(task)
    row = row_of(task, record)
    line_of(row)
    table({"counts": COUNTS, "videos": [row]})
    page({"counts": COUNTS, "videos": [row]}).encode("utf-8", "replace")


def test_45_a_report_in_a_batch(task):
    """The summary tells what it can: it refuses none, and leaves out what it cannot show."""
    report = {"n_frames": 8, "size": [64, 48], "figures": FITTED}
    for what, odd in odd_objects(report):
        task.report.write_text(json.dumps(odd))
        assert show(task) is None, what


def test_45_settings_of_a_batch(tmp_path):
    start_batch(tmp_path, Config(), [], ())
    settings = read_json(tmp_path / "batch.json", OmniMotionError)
    few = {name: settings[name] for name in ("kind", "preprocess", "pairs", "camera", "budget")}

    def use():
        start_batch(tmp_path, Config(), [], set(settings) - set(few))

    check(few, tmp_path / "batch.json", use)


def test_36_reports_of_windows(tmp_path):
    window = tmp_path / "window_0000"
    window.mkdir()
    report = {"convention": "c", "scene": "s", "source": "v", "flow": {}, "size": [64, 48],
              "figures": FITTED}  # fmt: skip

    def use():
        save_windows_report(tmp_path, [range(8)], [window])

    check(report, window / "report.json", use)


def test_36_restarts(tmp_path):
    figures = {"moving_under_2_px": 0.5, "held_out_under_2_px": None}
    record = {
        "kind": "omnimotion-restarts", "format": 1, "seed": 0, "restarts": 0,
        "fit": {"scene": "f"}, "starts": [{"seed": 0, "step": 3, "figures": figures}],
        "chosen": None,
    }  # fmt: skip

    def use():
        read = _record(tmp_path, Config())
        sorted(read["starts"], key=_rank)
        restarts_report(tmp_path)

    check(record, tmp_path / "restarts.json", use)


def test_36_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr("omnimotion.plots._png", lambda figure: b"")  # drawing takes a second
    line = {"step": 10, "loss": 0.5, "flow_px": 3.0, "photometric": 0.2}
    path = tmp_path / "metrics.jsonl"

    def use():
        history = History(path, 100)
        history.ran_away()
        history.is_sound()
        history.save()
        plot_metrics(history.lines, tmp_path / "loss.png")

    check(line, path, use)


def test_36_progress_of_a_training_of_raft(tmp_path):
    path = tmp_path / "state.npz"

    def use():
        step, skipped, best_px = _progress(path, json.loads(path.read_text()))
        if min(step, skipped, best_px) < 0:
            raise AssertionError
        raise CheckpointError("used")

    check({"step": 3, "skipped": 0, "best_px": 1.5}, path, use)
