"""Checkpoints: whole, checked, portable, and never half written."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from omnimotion import files
from omnimotion.checkpoint import (
    KEPT,
    Checkpoint,
    build_scene,
    checkpoint_path,
    checkpoints,
    copy_arrays,
    load_checkpoint,
    newest_checkpoint,
    restore_scene,
    run_name,
    save_checkpoint,
    to_arrays,
)
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, ResourceError
from omnimotion.files import write_archive
from omnimotion.geometry import Frame
from omnimotion.runs import run_folder
from omnimotion.scene import grid_values

CPU = torch.device("cpu")


def state(step, seed=0):
    numbers = np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)
    arrays = {"scene.x": numbers, "adam.step": np.float32(step)[()] * np.ones((), np.float32)}
    return Checkpoint(step, arrays, "f" * 64, Config(), False)


def test_what_is_saved_is_loaded(tmp_path):
    found = load_checkpoint(save_checkpoint(tmp_path, state(12)))
    for name, value in state(12).arrays.items():
        np.testing.assert_array_equal(found.arrays[name], value)
        assert found.arrays[name].dtype == value.dtype
    assert (found.step, found.fingerprint, found.complete) == (12, "f" * 64, False)
    assert found.config == Config()


def test_the_same_state_gives_the_same_bytes(tmp_path):
    a, b = (save_checkpoint(tmp_path / name, state(3)).read_bytes() for name in "ab")
    assert a == b


def test_only_the_newest_are_kept(tmp_path):
    for step in range(1, 6):
        save_checkpoint(tmp_path, state(step))
    steps = range(6 - KEPT, 6)
    assert checkpoints(tmp_path) == [checkpoint_path(tmp_path, step) for step in steps]
    assert newest_checkpoint(tmp_path).step == 5


def test_a_run_without_checkpoints_has_no_newest(tmp_path):
    assert newest_checkpoint(tmp_path / "none") is None


def damage(path, how):
    data = bytearray(path.read_bytes())
    if how == "empty":
        data = bytearray()
    elif how == "cut":
        data = data[: len(data) // 2]
    elif how == "bit":
        data[len(data) // 2] ^= 1
    elif how == "page":
        data = bytearray(b"<html>not found</html>")
    path.write_bytes(bytes(data))


def test_one_of_a_newer_version_is_refused_and_stays_as_it_is(tmp_path):
    for step in (1, 2):
        save_checkpoint(tmp_path, state(step))
    newest = checkpoint_path(tmp_path, 2)
    arrays, meta = files.read_archive(newest, CheckpointError)
    meta["config"]["of_tomorrow"] = 1.0
    write_archive(newest, arrays, meta)
    before = newest.read_bytes()
    said = r"step_00000002.*newer version.*'of_tomorrow'.*update"
    with pytest.raises(CheckpointError, match=said):
        newest_checkpoint(tmp_path)
    assert newest.read_bytes() == before


@pytest.mark.parametrize("how", ["empty", "cut", "bit", "page"])
def test_damage_is_noticed_and_the_one_before_is_taken(tmp_path, caplog, how):
    for step in (1, 2):
        save_checkpoint(tmp_path, state(step))
    newest = checkpoint_path(tmp_path, 2)
    damage(newest, how)
    with pytest.raises(CheckpointError, match="step_00000002"):
        load_checkpoint(newest)
    assert newest_checkpoint(tmp_path).step == 1
    assert "set aside" in caplog.text
    assert newest.with_suffix(".corrupt").is_file()


def test_when_all_are_damaged_it_is_said(tmp_path):
    damage(save_checkpoint(tmp_path, state(1)), "cut")
    with pytest.raises(CheckpointError, match="damaged"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize("problem", [MemoryError(), OSError(errno.EMFILE, "Too many open files"),
                                     OSError(errno.EIO, "Input/output error")])  # fmt: skip
def test_what_cannot_be_read_just_now_is_not_set_aside(tmp_path, monkeypatch, problem):
    for step in (1, 2):
        save_checkpoint(tmp_path, state(step))

    def fail(*_):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(files, "read_members", fail)
        with pytest.raises(ResourceError, match=r"cannot read .*step_00000002\.npz"):
            newest_checkpoint(tmp_path)
    assert newest_checkpoint(tmp_path).step == 2


def test_a_folder_that_cannot_be_looked_into_is_not_an_empty_one(tmp_path, monkeypatch):
    """Or the fit would begin again."""
    save_checkpoint(tmp_path, state(1))

    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "listdir", fail)
    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(OSError, match="Input/output"):
        newest_checkpoint(tmp_path)


def test_an_archive_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "other.npz"
    write_archive(path, {"x": np.zeros(3)}, {"kind": "something else", "format": 1})
    with pytest.raises(CheckpointError, match=r"other\.npz"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"smaples": 3}}, {"config": 3}, {"step": "x"}, {"step": -1}, {"step": 1.5},
        {"fingerprint": None}, {"complete": "no"}, {"given": {"tracks": 1}}, {"given": []},
    ],
)  # fmt: skip
def test_a_meta_that_makes_no_sense_is_refused(tmp_path, change):
    meta = {
        "kind": "omnimotion-checkpoint", "format": 1, "step": 1, "fingerprint": "f",
        "config": Config().values(), "complete": True,
    }  # fmt: skip
    path = tmp_path / "odd.npz"
    write_archive(path, {"x": np.zeros(3)}, meta | change)
    with pytest.raises(CheckpointError, match=r"odd\.npz"):
        load_checkpoint(path)


HUGE = {"cells": 64, "levels": 6}, {"volume_cells": 256, "volume_z_cells": 128}


@pytest.mark.parametrize("settings", HUGE)
def test_grids_larger_than_the_file_are_refused_before_they_are_made(tiny_scene, settings):
    found = newest_checkpoint(run_folder(tiny_scene, None))
    config = found.config.replace(**settings)
    with pytest.raises(CheckpointError, match=r"grids of \d{7,} numbers, \d+ are there"):
        restore_scene(replace(found, config=config), Frame(64, 48), 8, "torch", CPU)


@pytest.mark.parametrize("value", [1e9, -1e30, np.inf, np.nan])
def test_cameras_do_not_decide_how_much_memory_is_taken(tiny_scene, value):
    found = newest_checkpoint(run_folder(tiny_scene, None))
    start = found.arrays["scene.camera_start"].copy()
    start[3] = value
    changed = replace(found, arrays=found.arrays | {"scene.camera_start": start})
    with pytest.raises(CheckpointError, match=r"cameras|grids of"):
        restore_scene(changed, Frame(64, 48), 8, "torch", CPU)


@pytest.mark.parametrize("volume", ["grid", "mlp"])
def test_the_numbers_of_grids_are_known_before(volume):
    """All but the coarser grids of the volume, and what is no grid."""
    cameras = torch.tensor([1.0, 0, 0, 0]).repeat(8, 1)
    config = Config().replace(cells=5, volume=volume)
    scene = build_scene(Frame(64, 48), cameras, config, "torch", CPU)
    made = sum(each.numel() for each in scene.bijection.parameters())
    if volume == "grid":
        made += scene.volume.levels[-1].numel()
    assert grid_values(Frame(64, 48), cameras, config.model) == made


def test_copying_names_what_does_not_fit():
    targets = {"a": torch.zeros(2), "b": torch.zeros(3)}
    with pytest.raises(CheckpointError, match=r"b: nothing, expected \(3,\)"):
        copy_arrays(targets, {"a": np.ones(2, np.float32)})
    with pytest.raises(CheckpointError, match=r"a: shape \(4,\), expected \(2,\)"):
        copy_arrays(targets, {"a": np.ones(4, np.float32)})


@pytest.mark.parametrize("dtype", ["U3", "<i4", "?"])
def test_copying_names_an_array_of_another_kind(dtype):
    with pytest.raises(CheckpointError, match=r"a: .*expected torch\.float32"):
        copy_arrays({"a": torch.zeros(2)}, {"a": np.zeros(2, dtype)})


def test_arrays_are_copies():
    tensor = torch.zeros(3)
    arrays = to_arrays({"a": tensor})
    tensor += 1
    np.testing.assert_array_equal(arrays["a"], np.zeros(3))


@pytest.fixture(scope="module")
def fitted(tiny_scene):
    return newest_checkpoint(run_folder(tiny_scene, None))


def test_a_scene_is_restored_as_it_was(tiny_store, fitted):
    frame, n_frames = Frame(*tiny_store.index.size), tiny_store.index.n_frames
    scene = restore_scene(fitted, frame, n_frames, "torch", CPU)
    for name, value in scene.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), fitted.arrays[f"scene.{name}"])


def test_a_checkpoint_of_a_longer_clip_is_refused(tiny_store, fitted):
    frame = Frame(*tiny_store.index.size)
    with pytest.raises(CheckpointError, match="9-frame"):
        restore_scene(fitted, frame, 9, "torch", CPU)


def test_a_leftover_of_a_kill_does_not_matter(tiny_scene, tmp_path):
    """A kill while writing leaves a temporary file beside the checkpoint, nothing else."""
    run = tmp_path / "run"
    shutil.copytree(run_folder(tiny_scene, None), run)
    good = checkpoints(run)[-1]
    (good.parent / f".{good.name}.12345.tmp").write_bytes(good.read_bytes()[:1000])
    assert newest_checkpoint(run).step == load_checkpoint(good).step


def test_a_run_has_the_name_that_it_is_given(tmp_path, monkeypatch):
    (tmp_path / "first").mkdir()
    (tmp_path / "best").symlink_to("first")
    monkeypatch.chdir(tmp_path / "first")
    assert [run_name(path) for path in (tmp_path / "best", Path("."))] == ["best", "first"]
