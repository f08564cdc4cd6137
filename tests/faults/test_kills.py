"""Rows 25 and 32: whatever moment a process is killed at, the same command goes on.

And ends with the same bytes as one that nothing disturbed. 500 kills: `pytest -m slow`.
"""

import json
import os
import shutil

import pytest
from processes import experiment

from omnimotion.checkpoint import checkpoints
from omnimotion.export import load_tracks
from omnimotion.fitting import run_fit
from omnimotion.runs import start_fit
from omnimotion.signals import StopSignal

FEW, MANY = 20, 250  # of each: preprocess and fit together have 500 with `slow`
COUNTS = [pytest.param(FEW, id="few"), pytest.param(MANY, marks=pytest.mark.slow, id="many")]
FIT_STEPS = 40


def files(folder):
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name.name != "lock"}


@pytest.mark.parametrize("kills", COUNTS)
def test_25_preprocess_goes_on_to_the_same_bytes(tiny_clip, tiny_store, tmp_path, kills):
    seed, hit = 0, 0
    while hit < kills:
        scene = tmp_path / str(seed) / tiny_store.folder.name
        words = ["preprocess", str(tiny_clip / "frames"), "--scene", str(scene), "--flow", "dis"]
        found, _ = experiment("kills", json.dumps(words), kills - hit, seed, 0.4)
        assert found["code"] == 0
        assert files(scene) == files(tiny_store.folder)
        shutil.rmtree(scene)
        assert found["killed"] > 0, "nothing was killed"
        hit, seed = hit + found["killed"], seed + 1


@pytest.mark.parametrize("kills", COUNTS)
def test_32_a_fit_goes_on_to_the_same_bytes(tiny_store, tiny_config, tmp_path, kills):
    config = tiny_config.replace(
        num_iters=FIT_STEPS, pairs=4, points=8, samples=6, checkpoint_every=1, log_every=10
    )
    run_fit(start_fit(tiny_store, tmp_path / "whole", config), StopSignal())
    expected = checkpoints(tmp_path / "whole")[-1].read_bytes()
    seed, hit = 0, 0
    while hit < kills:
        run = tmp_path / f"run{seed}"
        words = ["train", "--config", tmp_path / "whole" / "config.txt", "--run", run,
                 "--scene", tiny_store.folder]  # fmt: skip
        found, _ = experiment("kills", json.dumps([str(w) for w in words]), kills - hit, seed, 1.0)
        assert found["code"] == 0
        assert checkpoints(run)[-1].read_bytes() == expected
        assert not [name for name in os.listdir(run / "checkpoints") if name.startswith(".")]
        assert found["killed"] > 0, "nothing was killed"
        hit, seed = hit + found["killed"], seed + 1


def test_32_a_query_that_is_killed_leaves_the_old_file_or_the_new_one(tiny_scene, tmp_path):
    out = tmp_path / "tracks.npz"
    out.write_bytes(b"old")
    words = ["query", "--scene", tiny_scene, "--grid", "6", "--out", out, "--overwrite",
             "--device", "cpu", "--backend", "torch"]  # fmt: skip
    found, _ = experiment("kills", json.dumps([str(w) for w in words]), 6, 0, 1.5)
    assert found["code"] == 0
    assert len(load_tracks(out)) == 6 * 4  # as wide as 4 to 3


def test_32_a_fit_in_windows_goes_on_to_the_same_bytes(long_store, tiny_config, tmp_path):
    config = tiny_config.replace(
        num_iters=12, pairs=4, points=8, samples=6, checkpoint_every=2, log_every=5
    )
    (tmp_path / "config.txt").write_text(config.to_text())
    words = ["train", "--config", tmp_path / "config.txt", "--scene", long_store.folder,
             "--window", 12, "--overlap", 4, "--run"]  # fmt: skip
    runs = [tmp_path / "whole", tmp_path / "killed"]
    found = [
        experiment("kills", json.dumps([str(w) for w in (*words, run)]), count, 0, 4.0)[0]
        for run, count in zip(runs, (0, 6))
    ]
    assert [each["code"] for each in found] == [0, 0]
    assert found[1]["killed"] > 0, "nothing was killed"
    fitted = [
        {path.relative_to(run): path.read_bytes() for path in run.rglob("*.npz")} for run in runs
    ]
    assert len({path.parts[0] for path in fitted[0]}) == 3
    assert fitted[0] == fitted[1]
    assert (runs[0] / "windows.json").read_bytes() == (runs[1] / "windows.json").read_bytes()
