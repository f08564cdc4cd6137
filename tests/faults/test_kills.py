"""Rows 25 and 32: whatever moment a process is killed at, the same command goes on.

And ends with the same bytes as one that nothing disturbed.
500 kills: `pytest -m slow tests/faults/test_kills.py`.
"""

import hashlib
import json
from pathlib import Path

import pytest
from processes import experiment

from omnimotion.cli import main
from omnimotion.export import load_tracks
from omnimotion.fitting import run_fit
from omnimotion.runs import start_fit
from omnimotion.signals import StopSignal
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions

FEW, MANY = 5, 125  # of each of preprocess, fit, checkpoint and export: 20, and 500 with `slow`
COUNTS = [pytest.param(FEW, id="few"), pytest.param(MANY, marks=pytest.mark.slow, id="many")]
FIT_STEPS, SEED = 40, 0
LONGEST_S = 2 * 3600  # of 125 kills, on a busy machine
ON_CPU = ["--device", "cpu", "--backend", "torch"]


def files(folder):
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if name.name != "lock"}


def killed(words, kills, longest_s, watched=()):
    """How many runs of a command it took to kill it so often; and what watched files ever were.

    ``{}`` in a word stands for the number of the run. Each ended with code 0 when left alone.
    """
    plain, paths = ([str(word) for word in each] for each in (words, watched))
    given = json.dumps(plain), kills, SEED, longest_s, json.dumps(paths)
    found, _ = experiment("kills", *given, timeout=LONGEST_S)
    assert {code for _, code in found["runs"]} == {0}
    assert sum(hit for hit, _ in found["runs"]) == kills
    print(f"{kills} kills of {words[0]} in {len(found['runs'])} runs")  # noqa: T201  with -s
    return len(found["runs"]), set(found["seen"])


@pytest.mark.parametrize("kills", COUNTS)
def test_25_preprocess_goes_on_to_the_same_bytes(tiny_clip, tiny_store, tmp_path, kills):
    scene = tmp_path / "{}" / tiny_store.folder.name
    words = ("preprocess", tiny_clip / "frames", "--scene", scene, "--flow", "dis")
    runs, _ = killed(words, kills, 0.4)
    for number in range(runs):
        assert files(Path(str(scene).format(number))) == files(tiny_store.folder)


@pytest.mark.parametrize("kills", COUNTS)
@pytest.mark.parametrize("every", [10, 1], ids=["fit", "checkpoint"])
def test_32_a_fit_goes_on_to_the_same_bytes(tiny_store, tiny_config, tmp_path, kills, every):
    """Of which most time goes to steps, or to checkpoints."""
    config = tiny_config.replace(
        num_iters=FIT_STEPS, pairs=4, points=8, samples=6, checkpoint_every=every, log_every=10
    )
    whole = tmp_path / "whole"
    run_fit(start_fit(tiny_store, whole, config), StopSignal())
    words = ("train", "--config", whole / "config.txt", "--run", tmp_path / "run{}",
             "--scene", tiny_store.folder)  # fmt: skip
    runs, _ = killed(words, kills, 1.2)
    for number in range(runs):
        found = files(tmp_path / f"run{number}" / "checkpoints")
        assert found == files(whole / "checkpoints")


def test_a_demo_that_was_killed_is_made_in_the_same_folder(tmp_path):
    words = ("demo", tmp_path / "{}", "--length", 12, "--size", "96x64")
    runs, _ = killed(words, FEW, 0.5)
    assert main([str(word).format("whole") for word in words]) == 0
    for number in range(runs):
        assert files(tmp_path / str(number)) == files(tmp_path / "whole")


@pytest.mark.parametrize("kills", COUNTS)
def test_32_a_query_leaves_the_old_files_or_the_new_ones(tiny_scene, tmp_path, kills):
    words = ("query", "--scene", tiny_scene, "--grid", "6", "--overwrite", *ON_CPU,
             "--out", tmp_path / "tracks.npz", "--video", tmp_path / "overlay.mp4")  # fmt: skip
    assert main([str(word) for word in words]) == 0
    assert len(load_tracks(tmp_path / "tracks.npz")) == 6 * 4  # as wide as 4 to 3
    new = files(tmp_path)
    for name in new:
        (tmp_path / name).write_bytes(b"old")
    _, seen = killed(words, kills, 1.0, [tmp_path / name for name in new])
    assert seen <= {hashlib.sha256(data).hexdigest() for data in (*new.values(), b"old")}
    assert files(tmp_path) == new


def test_32_a_fit_in_windows_goes_on_to_the_same_bytes(long_clip, tiny_config, tmp_path):
    """Three windows, of eight frames and a bit more."""
    store = tmp_path / "store"
    preprocess(PreprocessOptions(long_clip / "frames", store, flow="dis", frames="0:18"))
    config = tiny_config.replace(
        num_iters=12, pairs=4, points=8, samples=6, checkpoint_every=2, log_every=5
    )
    (tmp_path / "config.txt").write_text(config.to_text())
    words = ("train", "--config", tmp_path / "config.txt", "--scene", store,
             "--window", 8, "--overlap", 4, "--run")  # fmt: skip
    whole = tmp_path / "whole"
    assert main([str(word) for word in (*words, whole)]) == 0
    runs, _ = killed((*words, tmp_path / "run{}"), 6, 1.5)
    expected = {name: data for name, data in files(whole).items() if name.suffix == ".npz"}
    assert len({name.parts[0] for name in expected}) == 3
    for number in range(runs):
        found = files(tmp_path / f"run{number}")
        assert {name: found[name] for name in found if name.suffix == ".npz"} == expected
        assert found[Path("windows.json")] == (whole / "windows.json").read_bytes()
