"""Batches: what is done, what is not done again, what fails alone, what a kill leaves."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import pytest

from omnimotion.batch import work as work_module
from omnimotion.batch.local import places_here, usable_cores
from omnimotion.batch.progress import Progress
from omnimotion.batch.stage import Ended, Place, last_words, run_stage
from omnimotion.batch.start import start_batch
from omnimotion.batch.summary import save_summary
from omnimotion.batch.task import STAGES, Failure, Record, Task, in_shard
from omnimotion.batch.work import waiting_lock, work
from omnimotion.cli import main
from omnimotion.config import Config
from omnimotion.errors import ConfigError
from omnimotion.export import load_tracks
from omnimotion.files import lock
from omnimotion.signals import StopSignal
from omnimotion.temporary import temp_beside

ROOT = Path(__file__).parents[1]
FLOW = ("--flow", "dis", "--grid", "4")
DEADLINE_S = 600


def call(*words):
    return main(["batch", *map(str, words)])


def start(*words):
    """The command as a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "omnimotion", "batch", *map(str, words)], env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory):
    """A file of settings; checkpoints often, so that something can be gone on from."""
    path = tmp_path_factory.mktemp("config") / "tiny.txt"
    path.write_text(tiny_config.replace(num_iters=70, checkpoint_every=5).to_text())
    return path


@pytest.fixture(scope="module")
def clips(tiny_clip, tmp_path_factory):
    """The tiny clip as a folder of its own name, and one that no command can use."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "good").symlink_to(tiny_clip)
    (folder / "bad.mp4").write_text("no video\n")
    return [folder / "bad.mp4", folder / "good" / "frames"]


@pytest.fixture(scope="module")
def batch(clips, config, tmp_path_factory):
    """A folder with one video done and one failed, and the exit code."""
    out = tmp_path_factory.mktemp("batches") / "out"
    code = call(*clips, *FLOW, "--config", config, "--out", out)
    return out, code


def summary(out):
    return json.loads((out / "summary.json").read_text())


# what comes out ---------------------------------------------------------------------------------


def test_a_failure_is_named_and_the_others_go_on(batch):
    out, code = batch
    assert code == 7
    found = {row["status"]: row for row in summary(out)["videos"]}
    assert summary(out)["counts"] == {"done": 1, "failed": 1, "begun": 0, "waiting": 0}
    assert (found["failed"]["stage"], found["failed"]["exit_code"]) == ("preprocess", 3)
    assert "bad.mp4" in found["failed"]["error"]
    done = found["done"]
    assert (done["n_frames"], done["size"], done["error"]) == (8, [64, 48], None)
    assert set(done["seconds"]) == set(STAGES)
    assert all(seconds > 0 for seconds in done["seconds"].values())
    assert len(load_tracks(out / done["links"]["tracks"])) == 4 * 3
    assert all((out / link).is_file() for link in done["links"].values())


def test_tracks_are_those_of_the_three_commands(batch, clips, config, tmp_path):
    out, _ = batch
    scene, mine = str(tmp_path / "tiny"), str(tmp_path / "mine.npz")
    assert main(["preprocess", str(clips[1]), "--scene", scene, "--flow", "dis"]) == 0
    assert main(["train", "--scene", scene, "--config", str(config)]) == 0
    assert main(["query", "--scene", scene, "--grid", "4", "--out", mine, "--threads", "1",
                 "--backend", "torch", "--device", "cpu"]) == 0  # fmt: skip
    (theirs,) = (out / "tracks").glob("*.npz")
    assert (load_tracks(theirs).xy == load_tracks(Path(mine)).xy).all()


def test_the_summary_is_of_all_videos_of_the_folder(batch, clips, config):
    """By name, whatever part of them was asked for last, and as they were left."""
    out, _ = batch
    before = summary(out)["videos"]
    assert [row["name"] for row in before] == ["bad", "good"]
    half = temp_beside(out / "results" / "bad.json", ".json")
    half.write_text("{")  # being written
    for asked, code in ((clips[1:], 0), (clips[:1], 7)):
        assert call(*asked, *FLOW, "--config", config, "--out", out) == code
        found = summary(out)
        assert found["counts"] == {"done": 1, "failed": 1, "begun": 0, "waiting": 0}
        assert [row["name"] for row in found["videos"]] == ["bad", "good"]
        assert found["videos"][1] == before[1]
        assert "good.npz" in (out / "summary.html").read_text()
    half.unlink()


def test_tracks_of_other_points_are_not_replaced_unasked(
    batch, clips, config, tmp_path, capsys, monkeypatch
):
    out, _ = batch
    ran, same = [], (*clips, "--flow", "dis", "--config", config, "--out", out)
    monkeypatch.setattr(work_module, "run_stage", lambda *words: ran.append(words))
    table = tmp_path / "points.csv"
    table.write_text("t,x,y\n0,1,1\n")
    for asked, words in (("--grid 5 --frame 0", ("--grid", "5")),
                         ("--grid 4 --frame 2", ("--grid", "4", "--frame", "2")),
                         ("a table", ("--points", table))):  # fmt: skip
        assert call(*same, *words) == 2
        said = capsys.readouterr().err
        assert f"good.npz has the points of --grid 4 --frame 0, now those of {asked}" in said
        assert "--overwrite" in said
    assert ran == []


def test_what_is_done_is_not_done_again(batch, clips, config, monkeypatch):
    """Then only the stage whose question is another, and those after it."""
    out, _ = batch
    ran = []

    def run(words, log, place, stop, held):
        ran.append(words[0])
        return Ended(3, 0.1, 1.0)

    monkeypatch.setattr(work_module, "run_stage", run)
    assert call(clips[1], *FLOW, "--config", config, "--out", out) == 0
    assert ran == []
    same = (clips[1], "--flow", "dis", "--config", config, "--out", out)
    assert call(*same, "--grid", "5", "--overwrite") == 7
    assert ran == ["query"]


def test_a_damaged_record_of_an_earlier_call_is_named(task, caplog):
    task.result.parent.mkdir(parents=True)
    task.result.write_text("{")
    assert save_summary(task.folder, [], [])["videos"] == []
    assert "clip.json is damaged" in caplog.text


def test_the_page_stands_alone_and_names_cannot_break_it(clips, config, tmp_path):
    odd = tmp_path / os.fsdecode(b'<b>&\'"clip" caf\xe9.mp4')
    odd.write_text("no video\n")
    assert call(odd, "--config", config, "--out", tmp_path / "out") == 7
    tags, text = [], (tmp_path / "out" / "summary.html").read_text()

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attributes):
            tags.append(tag)
            assert not any(str(value).startswith("http") for _, value in attributes)

    Reader().feed(text)
    assert "b" not in tags
    assert "script" not in tags
    assert "&lt;b&gt;" in text
    assert f"{quote(os.fsencode(odd.stem))}.log" in text


# kills and stops --------------------------------------------------------------------------------


def wait_for(condition):
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_after_a_kill_the_same_command_goes_on(batch, clips, config, tmp_path, number):
    """Of the batch's own process: its stage saves its work and leaves, whatever became of it."""
    out = shutil.copytree(batch[0], tmp_path / "out")
    for done in ("scenes/good/runs", "tracks", "logs"):  # all but the preprocessed clip
        shutil.rmtree(out / done)
    words = (clips[1], *FLOW, "--config", config, "--out", out)
    first = start(*words)
    wait_for(lambda: len(list(out.glob("scenes/*/runs/default/checkpoints/*"))) > 1)
    first.send_signal(number)
    said = first.communicate(timeout=DEADLINE_S)[1]
    assert first.returncode == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    if number == signal.SIGTERM:
        assert "give the same command again" in said
    assert call(*words) == 0  # waits for what the killed one has begun
    (log,) = (out / "logs").iterdir()
    assert "continues at step" in log.read_text()
    ((mine,), (theirs,)) = (list((each / "tracks").glob("*.npz")) for each in (out, batch[0]))
    assert (load_tracks(mine).xy == load_tracks(theirs).xy).all()


def test_a_stage_that_is_killed_is_named_by_its_signal(task, monkeypatch):
    def killed(words, log, place, stop, held):
        log.write_text("$ omnimotion preprocess\nframes=8\n")
        return Ended(-signal.SIGKILL, 0.1, 1.0)

    monkeypatch.setattr(work_module, "run_stage", killed)
    failure = work(task).failure
    assert (failure.stage, failure.exit_code) == ("preprocess", -9)
    assert "SIGKILL" in failure.error
    assert "memory" in failure.error


@pytest.fixture
def task(tmp_path):
    """A task whose video is not there."""
    words = {stage: [] for stage in STAGES}
    return Task("clip", tmp_path / "clip.mp4", tmp_path / "out", words, words)


def test_a_stage_is_a_process_with_a_log(tmp_path):
    log = tmp_path / "log"
    ended = run_stage(["preprocess", "absent.mp4"], log, Place(), StopSignal())
    assert ended.code == 3
    assert ended.mb > 5  # a Python interpreter
    assert "absent.mp4" in last_words(log, ended.code)
    assert log.read_text().startswith("$ omnimotion preprocess absent.mp4\n")


def test_a_video_that_another_process_works_on_is_waited_for(tmp_path):
    path = tmp_path / "lock"
    with lock(path), pytest.raises(ConfigError, match="another process"), waiting_lock(path, 0.1):
        pass
    with waiting_lock(path, 0.1):
        pass


def test_a_damaged_record_is_no_obstacle(task, monkeypatch):
    monkeypatch.setattr(work_module, "run_stage", lambda *_: Ended(3, 0.1, 1.0))
    monkeypatch.setattr(work_module, "last_words", lambda *_: "said")
    task.result.parent.mkdir(parents=True)
    task.result.write_text("{")
    assert work(task).failure.error == "said"


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_said_once_and_as_a_table(task, tmp_path, caplog, capsys, is_terminal):
    others = [replace(task, name=name) for name in ("one", "two")]
    progress = Progress([task, *others])
    progress.is_terminal = is_terminal
    task.result.parent.mkdir(parents=True)
    Record("one", "one.mp4", begun="train").save(others[0])
    failed = Record("clip", "clip.mp4", failure=Failure("query", 6, "disk full"))
    with caplog.at_level("INFO"):
        for _ in range(3):
            progress([failed])
    assert caplog.messages.count("1/3 clip: failed in query (6): disk full") == 1
    assert caplog.messages.count("one: train ...") == (not is_terminal)
    said = capsys.readouterr().err
    assert ("0 done, 1 failed, 1 at work, 1 waiting" in said) == is_terminal
    assert ("one " in said) == is_terminal


# shards and places ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_are_disjoint_and_complete(tmp_path, count):
    words = {stage: [] for stage in STAGES}
    tasks = [Task(f"v{k}", tmp_path, tmp_path, words, words) for k in range(5)]
    shards = [in_shard(tasks[::-1], (k, count)) for k in range(count)]
    assert sorted(task.name for shard in shards for task in shard) == [f"v{k}" for k in range(5)]
    assert {len(shard) for shard in shards} <= {5 // count, 5 // count + 1}


def test_an_array_of_jobs_shares_a_folder(tmp_path, config):
    """A scheduler that does no more than setting the variable of each job of an array."""
    scheduler = tmp_path / "sbatch"
    scheduler.write_text(
        '#!/bin/sh\n[ "$1" = --array=0-2 ] && [ "$2" = --wrap ] || exit 9\n'
        'for id in 0 1 2; do SLURM_ARRAY_TASK_ID=$id sh -c "$3"; echo "job $id: $?"; done\n'
    )
    scheduler.chmod(0o755)
    videos = [tmp_path / f"{name}.mp4" for name in "dcba"]
    for video in videos:
        video.write_text("no video\n")
    words = [sys.executable, "-m", "omnimotion", "batch", *videos, "--config", config]
    wrapped = f"{shlex.join(map(str, [*words, '--out', tmp_path / 'out']))} --shard "
    done = subprocess.run(
        [scheduler, "--array=0-2", "--wrap", wrapped + "$SLURM_ARRAY_TASK_ID/3"], check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert [line for line in done.stdout.splitlines() if line.startswith("job")] == [
        "job 0: 7", "job 1: 7", "job 2: 7"
    ]  # fmt: skip
    logs = sorted((tmp_path / "out" / "logs").iterdir())
    assert [log.stem for log in logs] == list("abcd")
    assert all(log.read_text().count("$ omnimotion preprocess") == 1 for log in logs)
    assert summary(tmp_path / "out")["counts"]["failed"] == 4


def test_jobs_share_the_cores_or_the_gpus():
    cores = usable_cores()
    assert len(places_here(0, 1, [])) == len(cores)
    assert places_here(0, 0, []) == places_here(0, 1, [])  # threads not set: a core each
    assert places_here(1, 0, []) == [Place()]
    shares = [place.cores for place in places_here(len(cores), 0, [])]
    if len(cores) > 1:
        assert sorted(core for share in shares for core in share) == cores
    assert [place.gpu for place in places_here(0, 1, ["0", "3"])] == ["0", "3"]
    assert [place.gpu for place in places_here(3, 1, ["0", "3"])] == ["0", "3", "0"]


# refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shard", "3/3"), "I from 0 to N - 1"), (("--shard", "1"), "I/N"),
        (("--jobs", "-1"), "expected 0 or more"), (("--grid", "0"), "expected 1 or more"),
        (("--ray", "auto", "--jobs", "2"), "drop one"), (("--memory", "0"), "above 0"),
        (("--points", "absent.csv"), "no such file"), (("--frame", "-1"), "expected 0 or more"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_starts(capsys, tmp_path, words, said):
    assert call(tmp_path / "clip.mp4", "--out", tmp_path / "out", *words) in (2, 3)
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_videos_of_one_name(capsys, tmp_path):
    assert call(tmp_path / "a.mp4", tmp_path / "x" / "a.avi", "--out", tmp_path / "out") == 2
    assert "would both be the scene 'a'" in capsys.readouterr().err


def test_a_folder_is_of_one_config(capsys, batch, clips, tmp_path):
    other = tmp_path / "other.txt"
    other.write_text("num_iters = 7\n")
    assert call(*clips, *FLOW, "--config", other, "--out", batch[0]) == 2
    said = capsys.readouterr().err
    assert "was started with" in said
    assert "another --out" in said


def test_a_folder_of_something_else_is_left_alone(capsys, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    assert call(tmp_path / "a.mp4", "--out", tmp_path) == 2
    assert "neither empty nor a batch" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_batch_that_was_killed_at_its_first_file_is_begun_again(tmp_path):
    name = temp_beside(tmp_path / "batch.json", ".json").name
    (tmp_path / name.replace(f"-{os.getpid()}-", "-999999999-")).write_text("{")
    start_batch(tmp_path, Config(), [], ())
    assert sorted(os.listdir(tmp_path)) == ["batch.json", "config.txt"]


def test_points_of_each_video(capsys, tmp_path, config, monkeypatch):
    points, asked = tmp_path / "points", []
    points.mkdir()
    (points / "a.csv").write_text("t,x,y\n0,1,1\n")
    words = (tmp_path / "a.mp4", "--out", tmp_path / "out", "--points", points)
    monkeypatch.setattr(work_module, "run_stage", lambda words, *_: asked.append(words) or OK)
    call(*words)
    assert str(points / "a.csv") in asked[-1]
    assert "--grid" not in asked[-1]
    assert call(tmp_path / "b.mp4", *words) == 2
    assert "0 tables of points for b" in capsys.readouterr().err


OK = Ended(0, 0.1, 1.0)
