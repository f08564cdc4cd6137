"""Repair of a complete scene: damaged files are made again, others are left alone."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from omnimotion.errors import ConfigError, FlowError
from omnimotion.flow import SceneStore, flow_path, frame_path, read_flow, write_flow
from omnimotion.images import load_image, save_png
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions


@pytest.fixture
def copy(tiny_store, tmp_path):
    folder = tmp_path / tiny_store.folder.name
    shutil.copytree(tiny_store.folder, folder)
    return folder


def mend(tiny_clip, folder):
    preprocess(PreprocessOptions(tiny_clip / "frames", folder, flow="dis", repair=True))


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_damaged_files_are_made_again_to_the_same_bytes(tiny_store, tiny_clip, copy):
    times = {t: flow_path(copy, t).stat().st_mtime_ns for t in (0, 4)}
    flip(flow_path(copy, 2))
    flow_path(copy, 5).write_bytes(flow_path(copy, 6).read_bytes())  # sound, of another frame
    flip(frame_path(copy, 3))
    save_png(frame_path(copy, 1), np.zeros_like(load_image(frame_path(copy, 0))))  # sound, edited
    frame_path(copy, 7).unlink()
    mend(tiny_clip, copy)
    assert contents(copy) == contents(tiny_store.folder)
    assert times == {t: flow_path(copy, t).stat().st_mtime_ns for t in (0, 4)}


def test_matches_that_a_fit_deleted_are_made_again(tiny_store, tiny_clip, copy, caplog):
    shutil.rmtree(copy / "flow")
    with caplog.at_level("INFO"):
        mend(tiny_clip, copy)
    assert "matches of 8 frames are missing and made again" in caplog.text
    assert contents(copy) == contents(tiny_store.folder)


def test_a_sound_scene_is_left_alone(tiny_clip, copy, caplog):
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*.*")}
    with caplog.at_level("INFO"):
        mend(tiny_clip, copy)
    assert before == {path: path.stat().st_mtime_ns for path in copy.rglob("*.*")}
    assert "all files are sound" in caplog.text


def test_who_reads_a_damaged_file_is_told_of_repair(copy):
    flow_path(copy, 2).write_bytes(flow_path(copy, 3).read_bytes())
    with pytest.raises(FlowError, match=r"000002\.npz.*with --repair"):
        SceneStore.open(copy).flow(2)


def test_repair_and_overwrite_exclude_each_other(tmp_path):
    with pytest.raises(ConfigError, match="drop one"):
        PreprocessOptions(tmp_path, tmp_path, repair=True, overwrite=True)


def test_matches_of_another_clip_or_of_other_pairs_are_made_again(tiny_store, tiny_clip, copy):
    """Sound files of this frame; what reads a scene would refuse the one, and miss the other."""
    path = flow_path(copy, 2)
    flow = read_flow(path)
    outside = replace(flow, origin=flow.origin + 1000)
    fewer = replace(flow, **{name: getattr(flow, name)[1:]
                             for name in ("targets", "origin", "flow", "state")})  # fmt: skip
    for other in (outside, fewer):
        write_flow(path, other, max(tiny_store.index.size))
        mend(tiny_clip, copy)
        assert contents(copy) == contents(tiny_store.folder)
