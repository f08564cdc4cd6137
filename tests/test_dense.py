"""Dense queries: every pixel, the same answer as alone, one file that is whole or not there."""

import itertools
import json
import shutil

import numpy as np
import pytest

import omnimotion
from omnimotion import tracker as tracker_module
from omnimotion.cli import main
from omnimotion.dense import DTYPE, write_dense
from omnimotion.errors import PointsError, ResourceError

BACKEND = "auto"
WIDTH, HEIGHT, FRAMES, ASKED = 64, 48, 8, 3
FIELDS = ("xy", "visible", "confidence", "occlusion", "depth")


@pytest.fixture(scope="module")
def dense(tracker, tmp_path_factory):
    """The file of all pixels of a frame, made in parts of seven rows."""
    path = tmp_path_factory.mktemp("dense") / "new" / "dense.npy"
    before = tracker_module.DENSE_AT_ONCE
    tracker_module.DENSE_AT_ONCE = 7 * WIDTH * FRAMES
    try:
        write_dense(path, tracker.dense(ASKED), FRAMES, (WIDTH, HEIGHT))
    finally:
        tracker_module.DENSE_AT_ONCE = before
    return path


def test_it_holds_the_track_of_each_pixel(tracker, dense):
    found = np.load(dense, mmap_mode="r", allow_pickle=False)
    assert (found.shape, found.dtype) == ((FRAMES, HEIGHT, WIDTH), DTYPE)
    some = [(0, 0), (WIDTH - 1, 0), (5, 6), (5, 7), (0, HEIGHT - 1), (WIDTH - 1, HEIGHT - 1)]
    tracks = tracker.track([(ASKED, x, y) for x, y in some], refine=False)
    for k, (x, y) in enumerate(some):
        for name in FIELDS:
            expected = getattr(tracks, name)[k]
            np.testing.assert_allclose(found[name][:, y, x], expected, atol=2e-4, err_msg=name)


def test_in_its_own_frame_each_pixel_is_where_it_is(dense):
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    own = np.load(dense)[ASKED]
    np.testing.assert_array_equal(own["xy"], np.stack((x, y), axis=-1))
    assert own["visible"].all()
    assert (own["confidence"] == 1).all()


def test_the_size_of_parts_does_not_matter(tracker, dense, tmp_path):
    write_dense(tmp_path / "d.npy", tracker.dense(ASKED), FRAMES, (WIDTH, HEIGHT))
    whole, parts = np.load(tmp_path / "d.npy"), np.load(dense)
    for name in FIELDS:
        np.testing.assert_allclose(whole[name], parts[name], atol=2e-4, err_msg=name)


def test_parts_are_rows_of_pixels_in_order(tracker, monkeypatch):
    monkeypatch.setattr(tracker_module, "DENSE_AT_ONCE", 1)  # less than a row
    first, second = itertools.islice(tracker.dense(0), 2)
    np.testing.assert_array_equal(first.queries, [(0, x, 0) for x in range(WIDTH)])
    np.testing.assert_array_equal(second.queries, [(0, x, 1) for x in range(WIDTH)])


def test_pixels_are_those_of_the_original(tiny_scene, tmp_path):
    folder = tmp_path / "large"
    shutil.copytree(tiny_scene, folder)
    index = json.loads((folder / "scene.json").read_text())
    index["original_size"] = [2 * WIDTH, 2 * HEIGHT]
    del index["sha256"]
    (folder / "scene.json").write_text(json.dumps(index))
    parts = list(omnimotion.load(folder, device="cpu").dense(ASKED))
    queries = np.concatenate([part.queries for part in parts])
    assert len(queries) == 4 * WIDTH * HEIGHT
    np.testing.assert_array_equal(queries[-1], (ASKED, 2 * WIDTH - 1, 2 * HEIGHT - 1))


@pytest.mark.parametrize("t", [-1, FRAMES])
def test_a_frame_that_is_none_is_refused_at_once(tracker, t):
    with pytest.raises(PointsError, match=f"frame {t}: expected 0 to {FRAMES - 1}"):
        tracker.dense(t)


def test_what_fails_leaves_nothing(tracker, tmp_path):
    def stopped():
        yield next(tracker.dense(0))
        raise KeyboardInterrupt

    path = tmp_path / "d.npy"
    with pytest.raises(KeyboardInterrupt):
        write_dense(path, stopped(), FRAMES, (WIDTH, HEIGHT))
    with pytest.raises(ResourceError, match="dense query"):
        write_dense(path, iter(()), 1 << 40, (WIDTH, HEIGHT))
    assert list(tmp_path.iterdir()) == []


# the command ------------------------------------------------------------------------------------


def query(*words):
    return main([str(word) for word in ("query", *words, "--threads", "1", "--device", "cpu")])


def test_the_command_writes_the_same(tiny_scene, dense, tmp_path):
    out = tmp_path / "d.npy"
    assert query("--scene", tiny_scene, "--dense", "--frame", ASKED, "--out", out) == 0
    np.testing.assert_allclose(np.load(out)["xy"], np.load(dense)["xy"], atol=2e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--out", "d.npz"), ".npy"), ((), "--out"), (("--frame", "8", "--out", "d.npy"), "frame 8"),
     (("--out", "d.npy", "--video", "o.mp4"), "--video"), (("--out", "old.npy"), "overwrite")],
)  # fmt: skip
def test_the_command_refuses_in_one_line(tiny_scene, words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old.npy").write_bytes(b"precious")
    assert query("--scene", tiny_scene, "--dense", *words) in (2, 3)
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert said in error
    assert [path.name for path in tmp_path.iterdir()] == ["old.npy"]
    assert (tmp_path / "old.npy").read_bytes() == b"precious"
