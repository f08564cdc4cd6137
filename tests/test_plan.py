"""The plan of a video: what it says, that it adds up, and that it leaves nothing behind."""

import json
import os
import re
import time

import pytest

from omnimotion import plan as plan_module
from omnimotion.cli import main
from omnimotion.commands.plan import format_plan
from omnimotion.config import Config
from omnimotion.errors import ConfigError
from omnimotion.plan import Clip, _query, _timed_twice


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.txt"
    path.write_text(tiny_config.replace(preview_every=50, checkpoint_every=50).to_text())
    return path


def planned(capsys, *words):
    capsys.readouterr()
    assert main(["plan", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def words(tiny_clip, config, tmp_path):
    return (tiny_clip / "frames", "--config", config, "--flow", "dis", "--folder", tmp_path)


@pytest.fixture
def _brief(monkeypatch):
    """Few steps are timed, and no process asks: for what does not go by how long these take."""
    monkeypatch.setattr(plan_module, "STEPS", 4)
    monkeypatch.setattr(plan_module, "WARMUP", 1)
    monkeypatch.setattr(plan_module, "_query", lambda *_: None)


def test_a_plan_is_of_the_clip_and_adds_up(words, tiny_scene, tmp_path, capsys):
    plan = planned(capsys, *words)
    assert (plan["n_frames"], plan["size"], plan["pairs"]) == (8, [64, 48], 56)
    assert (plan["flow"], plan["steps"]) == ("dis", 150)
    stages = plan["stages"]
    assert stages["train"]["seconds"] > plan["steps"] * plan["step_s"] > 0
    checkpoints = tiny_scene / "runs" / "default" / "checkpoints"
    kept = sum(path.stat().st_size for path in checkpoints.iterdir()) / 1e6
    assert kept < stages["train"]["disk_mb"] < 3 * kept  # and pictures
    assert plan["peak_disk_mb"] > stages["preprocess"]["disk_mb"] > 0
    held = {name: stage["memory_mb"] for name, stage in stages.items()}
    assert held["preprocess"] > 50
    assert max(held["train"], held["query"]) < plan["free_memory_mb"]
    assert os.listdir(tmp_path) == []
    text = format_plan(plan)
    assert f"{held['train']:.0f} MB" in text
    assert "8 frames of 64x48, 56 pairs by dis, windows of train: 1, each 150 steps" in text
    assert "0:0" in text
    assert format_plan(plan | {"video": "caf\udce9.mp4"}).encode()  # its bytes are no text


def test_what_only_the_first_time_takes_is_told_apart():
    """Loops are compiled once: a fit of a long clip was planned at 95 minutes, not 10."""
    waits = [0.3, 0.02, 0.02, 0.3]

    def work():
        time.sleep(waits.pop(0))
        return len(waits)

    result, seconds, more = _timed_twice(work)
    assert result == 2
    assert 0.02 <= seconds < 0.2
    assert 0.2 < more < 0.3
    _, seconds, more = _timed_twice(work)  # the machine was busy the second time
    assert (seconds < 0.2, more) == (True, 0)


@pytest.mark.usefixtures("_brief")
def test_a_budget_is_what_it_says(words, config, tmp_path, capsys):
    longer = tmp_path / "longer.txt"
    many = config.read_text().replace("num_iters = 150", "num_iters = 100000")
    longer.write_text(many + "budget = 10m\n")
    plan = planned(capsys, *words, "--config", longer, "--frames", "0:4")
    assert plan["n_frames"] == 4
    assert plan["stages"]["train"]["seconds"] == 600
    assert plan["steps"] * plan["step_s"] == pytest.approx(600, rel=0.01)
    few = config.read_text().replace("num_iters = 150", "num_iters = 40")
    few = re.sub(r"full_rate_steps = \S+", "full_rate_steps = 0", few)
    longer.write_text(few + "budget = 10m\n")
    plan = planned(capsys, *words, "--config", longer, "--frames", "0:4")
    assert plan["steps"] == 4 * 40  # it ends early, with time left
    assert plan["stages"]["train"]["seconds"] < 600


@pytest.mark.usefixtures("_brief")
def test_a_clip_with_fewer_pairs_than_its_excerpt_by_itself_can_be_planned(
    long_clip, words, capsys, monkeypatch
):
    monkeypatch.setattr("preprocess.pairs.ALL_PAIRS_UP_TO", 9)  # fewer than the excerpt has
    plan = planned(capsys, long_clip / "frames", *words[1:])
    assert plan["n_frames"] == 30
    assert plan["pairs"] == 2 * sum(30 - gap for gap in (1, 2, 3, 4, 6, 8, 12, 16, 24))


def test_hours_are_written_as_hours_and_what_is_not_told_is_left_out():
    stage = {"seconds": 3725.4, "disk_mb": 1.0, "memory_mb": None}
    plan = {
        "video": "v.mp4", "n_frames": 9, "size": [4, 3], "flow": "raft", "pairs": 2, "windows": 1,
        "steps": 5, "step_s": 0.5, "stages": {"train": stage}, "peak_disk_mb": 2.0,
        "free_disk_mb": 3.0, "free_memory_mb": None,
    }  # fmt: skip
    lines = format_plan(plan).splitlines()
    assert lines[-3].split() == ["all", "1:02:05", "1", "MB", "-"]
    assert not lines[-1].startswith("memory")


def test_refusals_leave_nothing_behind(capsys, tmp_path, tiny_clip):
    for words, said in [
        ((tmp_path / "absent.mp4",), "absent.mp4"),
        ((tiny_clip / "frames", "--grid", "0"), "expected 1 or more"),
        ((tiny_clip / "frames", "--frames", "0:1"), "at least 2 frames"),
    ]:
        assert main(["plan", *map(str, words), "--folder", str(tmp_path)]) == 3
        assert said in capsys.readouterr().err
        assert os.listdir(tmp_path) == []


def test_a_part_of_a_clip_has_its_share_of_the_pairs():
    part = Clip(500, (64, 48), pairs=10_000, excerpt_pairs=90).part(100)
    assert (part.n_frames, part.size, part.pairs, part.excerpt_pairs) == (100, (64, 48), 2000, 90)


def test_a_query_of_the_excerpt_that_fails_says_why(tmp_path):
    """It runs as a process of its own; the plan is of no use without it."""
    with pytest.raises(ConfigError, match="query of the clip's first frames failed: error: "):
        _query(tmp_path, Config().fit, 2)
    assert os.listdir(tmp_path) == []
