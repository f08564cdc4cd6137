"""A folder whose work fails before it has begun does not stay; what is in one does."""

import pytest

from omnimotion.cli import main
from omnimotion.folders import begun


def work(folder, *names):
    with begun(folder, "lock"):
        for name in names:
            (folder / name).write_bytes(b"")
        raise KeyError


def fail_in(folder, *names):
    with pytest.raises(KeyError):
        work(folder, *names)


def test_only_what_is_new_and_holds_nothing_but_its_lock_goes(tmp_path):
    for name, files in (("nothing", ()), ("lock", ["lock"])):
        fail_in(tmp_path / name, *files)
        assert not (tmp_path / name).exists()
    fail_in(tmp_path / "more", "lock", "frame.png")
    assert len(list((tmp_path / "more").iterdir())) == 2
    (tmp_path / "there").mkdir()
    fail_in(tmp_path / "there")
    assert (tmp_path / "there").is_dir()
    with begun(tmp_path / "sound", "lock"):
        pass
    assert (tmp_path / "sound").is_dir()


def test_a_command_that_is_refused_leaves_no_folder(tiny_clip, tiny_store, tmp_path):
    words = ["--flow", "raft", "--raft-weights", str(tmp_path / "none.pth")]
    scene = tmp_path / "scene"
    assert main(["preprocess", str(tiny_clip / "frames"), "--scene", str(scene), *words]) == 3
    assert not scene.exists()
    run = tmp_path / "run"
    words = ["--scene", str(tiny_store.folder), "--run", str(run), "--budget", "1s"]
    assert main(["train", *words]) == 2
    assert not run.exists()
