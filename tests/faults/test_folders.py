"""Rows 42, 43 and 50: folders that cannot be made or written, and paths that lead elsewhere."""

import os
import shutil

import pytest

from omnimotion import cli
from omnimotion.checkpoint import checkpoints, newest_checkpoint
from omnimotion.files import atomic_write, lock
from omnimotion.runs import run_folder

ON_CPU = ["--device", "cpu", "--backend", "torch"]


def refusal(capsys, *words):
    """The exit code, and the only line on stderr that begins with ``error:``."""
    capsys.readouterr()
    code = cli.main([str(word) for word in words])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    return code, lines[0]


def commands(scene, clip, place):
    """Every command that makes a folder or a file, told to do it at `place`."""
    yield "train", "--scene", scene, "--run", place
    yield "preprocess", clip / "frames", "--scene", place, "--flow", "dis"
    yield "query", "--scene", scene, "--grid", 2, "--out", place / "t.csv", *ON_CPU
    yield "query", "--scene", scene, "--dense", "--out", place / "t.npy", *ON_CPU
    yield "query", "--scene", scene, "--maps", "--export", "flo", "--out", place / "m", *ON_CPU
    yield "query", "--scene", scene, "--grid", 2, "--video", place / "v.mp4", *ON_CPU


@pytest.mark.parametrize("below", ["file", "file/under", "null\0byte"])
def test_43_a_folder_that_cannot_be_made_is_named(tiny_scene, tiny_clip, tmp_path, capsys, below):
    (tmp_path / "file").write_text("mine")
    for words in commands(tiny_scene, tiny_clip, tmp_path / below):
        code, line = refusal(capsys, *words)
        assert code == 2, line
        assert str(tmp_path) in line
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_43_a_folder_that_may_not_be_written_is_named(tiny_scene, tiny_clip, tmp_path, capsys):
    place = tmp_path / "mine"
    place.mkdir(mode=0o500)
    for words in commands(tiny_scene, tiny_clip, place):
        code, line = refusal(capsys, *words)
        assert code == 2, line


def test_43_a_clock_that_went_back_does_not_matter(tiny_scene, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder(tiny_scene, None), run)
    found = checkpoints(run)
    assert len(found) == 2
    for age, path in enumerate(found):
        os.utime(path, (1e9 - age, 1e9 - age))  # the newest looks oldest
    state = newest_checkpoint(run)
    assert state is not None
    assert f"step_{state.step:08d}.npz" == found[-1].name


def test_42_two_jobs_in_one_folder(tiny_store, tiny_clip, tmp_path, capsys):
    scene = tmp_path / tiny_store.folder.name
    shutil.copytree(tiny_store.folder, scene)
    with lock(scene / "lock"):
        words = ("preprocess", tiny_clip / "frames", "--scene", scene, "--flow", "dis")
        code, line = refusal(capsys, *words)
    assert code == 2
    assert "another process" in line


def test_50_a_link_is_replaced_not_followed(tmp_path):
    """An output that is a link to another file becomes a file; the other stays."""
    other = tmp_path / "precious"
    other.write_bytes(b"precious")
    (tmp_path / "out").symlink_to(other)
    atomic_write(tmp_path / "out", b"new")
    assert other.read_bytes() == b"precious"
    assert (tmp_path / "out").read_bytes() == b"new"
    assert not (tmp_path / "out").is_symlink()


def test_50_paths_given_by_the_user_are_honoured(tiny_scene, tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    out = inside / ".." / ".." / "t.csv"
    words = ["query", "--scene", tiny_scene, "--grid", "2", "--out", out, *ON_CPU]
    assert cli.main([str(word) for word in words]) == 0
    assert (tmp_path / "t.csv").is_file()


def test_50_a_video_of_a_strange_name_makes_one_folder(tiny_clip, tmp_path, monkeypatch):
    name = "..\u202e $(touch x) ;'\"%03d [1]"
    shutil.copytree(tiny_clip / "frames", tmp_path / name)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    words = ["preprocess", str(tmp_path / name), "--flow", "dis", "--frames", ":3"]
    assert cli.main(words) == 0
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["scenes"]
    assert [path.name for path in (tmp_path / "work" / "scenes").iterdir()] == [name]
