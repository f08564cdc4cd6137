"""The command line: what each command writes, and how it refuses."""

import ast
import io
import json
import logging
import os
import pickle
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPORTS
from PIL import Image

from omnimotion import cli
from omnimotion.checkpoint import load_checkpoint
from omnimotion.cli import COMMANDS, main
from omnimotion.export import load_tracks
from omnimotion.files import atomic_path, lock
from omnimotion.pins import stored_pins
from omnimotion.restricted_pickle import load_plain_pickle
from omnimotion.tracker import Tracker
from omnimotion.video import open_video

ROOT = Path(__file__).parents[1]
FAST = ("--threads", "1", "--device", "cpu")
TINY_FIT = ("--num_iters", "3", "--pairs", "2", "--points", "4", "--samples", "4", *FAST,
            "--preview_every", "0")  # fmt: skip


def script(name, *words):
    """Run one of the three scripts as a user does."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, str(ROOT / name), *map(str, words)], cwd=ROOT, env=environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def call(*words):
    return main([str(word) for word in words])


def refusal(capsys, *words):
    """The exit code and the one line of a refused command."""
    capsys.readouterr()
    code = call(*words)
    out, said = capsys.readouterr()
    assert out == ""
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    return code, said


# help -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as caught:
        call(command, "--help")
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"omnimotion {command}" in said
    assert len(said.splitlines()) > 4


def test_without_a_command_the_commands_are_listed(capsys):
    assert call() == 2
    assert call("--help") == 0
    said = capsys.readouterr().out
    assert all(command in said for command in COMMANDS)


@pytest.mark.parametrize("name", ["preprocess.py", "train.py", "query.py"])
def test_scripts_are_the_commands(name):
    done = script(name, "--help")
    assert done.returncode == 0
    assert f"omnimotion {Path(name).stem}" in done.stdout


def test_every_option_of_every_command_is_explained():
    """No option without a help text."""
    for path in (ROOT / "omnimotion" / "commands").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(r"add|\w+\.add_argument",
                                                           ast.unparse(node.func)):  # fmt: skip
                assert "help" in {keyword.arg for keyword in node.keywords}, ast.unparse(node)


# what commands write ----------------------------------------------------------------------------


def test_query_writes_data_and_video(tiny_scene, tmp_path, capsys):
    points = tmp_path / "points.csv"
    points.write_text("t,x,y\n3,10.5,20\n0,40,30.25\n")
    out, video = tmp_path / "tracks.npz", tmp_path / "overlay.mp4"
    words = ("--scene", tiny_scene, "--points", points, "--out", out, "--video", video, *FAST)
    assert call("query", *words) == 0
    with np.load(out, allow_pickle=False) as found:
        assert set(found) >= {"xy", "visible", "confidence", "occlusion", "depth", "queries",
                              "fps", "size", "meta"}  # fmt: skip
        np.testing.assert_array_equal(found["queries"], [(3, 10.5, 20), (0, 40, 30.25)])
        np.testing.assert_array_equal(found["xy"][0, 3], (10.5, 20))
        assert found["xy"].shape == (2, 8, 2)
        assert tuple(found["size"]) == (64, 48)
        json.loads(str(found["meta"]))
    with_tracks = open_video(video)
    assert (len(with_tracks), with_tracks.size) == (8, (64, 48))


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_inline_points_and_every_format(tiny_scene, tmp_path, suffix):
    out = tmp_path / f"tracks{suffix}"
    words = ("--scene", tiny_scene, "--points", "0,10,20;7,30.5,40", "--out", out, *FAST)
    assert call("query", *words) == 0
    tracks = load_tracks(out)
    np.testing.assert_allclose(tracks.queries, [(0, 10, 20), (7, 30.5, 40)], atol=1e-4)


def test_a_grid_in_a_frame(tiny_scene, tmp_path):
    out = tmp_path / "grid.npz"
    words = ("--scene", tiny_scene, "--grid", 4, "--frame", 5, "--out", out)
    assert call("query", *words, *FAST) == 0
    tracks = load_tracks(out)
    assert (tracks.queries[:, 0] == 5).all()
    assert len(tracks) == 4 * 3  # 4 along the longer side of 64x48


def test_points_on_a_mask_and_from_tracks(tiny_scene, tmp_path):
    """A mask of the frame's right half; then the same points again, some frames of them."""
    mask, out = Image.new("1", (64, 48)), tmp_path / "a.npz"
    mask.paste(1, (32, 0, 64, 48))
    mask.save(tmp_path / "m.png")
    words = ("--mask", tmp_path / "m.png", "--frame", 3, "--step", 16, "--out", out)
    assert call("query", "--scene", tiny_scene, *words, *FAST) == 0
    tracks = load_tracks(out)
    assert tracks.queries.tolist() == [[3, x, y] for y in (8, 24, 40) for x in (40, 56)]
    words = ("--from-tracks", out, "--frames", "1:8:3", "--out", tmp_path / "b", "--motion",
             "--export", "csv,nuke,tapvid", "--video", tmp_path / "b.mp4")  # fmt: skip
    assert call("query", "--scene", tiny_scene, *words, *FAST) == 0
    some = load_tracks(tmp_path / "b.csv")
    assert some.frames.tolist() == [1, 4, 7]
    np.testing.assert_allclose(some.times, tracks.times[[1, 4, 7]])
    np.testing.assert_array_equal(some.queries, tracks.queries)
    np.testing.assert_allclose(some.xy, tracks.xy[:, 1:8:3], atol=1e-3)
    assert "speed_px_s" in (tmp_path / "b.csv").read_text().partition("\n")[0]
    (clip,) = load_plain_pickle(tmp_path / "b.pkl").values()
    assert clip["video"].shape == (3, 48, 64, 3)
    assert (tmp_path / "b.nk").is_file()
    assert len(open_video(tmp_path / "b.mp4")) == 3


def test_maps_and_masks_of_whole_frames(tiny_scene, tmp_path):
    mask = Image.new("1", (64, 48))
    mask.paste(1, (20, 10, 44, 30))
    mask.save(tmp_path / "m.png")
    frames = ("--frame", 2, "--frames", "2:7:4")
    words = ("--maps", *frames, "--export", "stmap", "--out", tmp_path / "maps")
    assert call("query", "--scene", tiny_scene, *words, *FAST) == 0
    assert len(os.listdir(tmp_path / "maps")) == 4
    words = ("--propagate-mask", tmp_path / "m.png", *frames, "--step", 3, "--out",
             tmp_path / "masks")  # fmt: skip
    assert call("query", "--scene", tiny_scene, *words, *FAST) == 0
    assert sorted(os.listdir(tmp_path / "masks")) == ["000002.png", "000006.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "masks" / "000002.png")),
                                  np.asarray(mask))  # fmt: skip
    words = ("--propagate-mask", tmp_path / "masks", "--frames", "2:7", "--out", tmp_path / "all")
    assert call("query", "--scene", tiny_scene, *words, *FAST) == 0
    assert len(os.listdir(tmp_path / "all")) == 5
    for name in ("000002.png", "000006.png"):
        given, kept = (Image.open(tmp_path / each / name) for each in ("masks", "all"))
        np.testing.assert_array_equal(np.asarray(kept), np.asarray(given))


def test_an_edit_as_layers_and_as_video(tiny_scene, tmp_path):
    edit = Image.new("RGBA", (64, 48))
    edit.paste((255, 0, 0, 255), (20, 10, 44, 30))
    edit.save(tmp_path / "e.png")
    out, video = tmp_path / "layers", tmp_path / "v.mp4"
    words = ("--edit", tmp_path / "e.png", "--frame", 2, "--frames", "2:7:4")
    assert call("query", "--scene", tiny_scene, *words, "--out", out, "--video", video, *FAST) == 0
    assert sorted(os.listdir(out)) == ["000002.png", "000006.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "000002.png")), np.asarray(edit))
    assert (len(open_video(video)), open_video(video).size) == (2, (64, 48))
    video = tmp_path / "alone.mp4"
    assert call("query", "--scene", tiny_scene, *words, "--video", video, *FAST) == 0
    assert len(open_video(video)) == 2


def test_points_on_stdin_and_the_number_of_the_first_frame(tiny_scene, tmp_path, monkeypatch):
    table = io.TextIOWrapper(io.BytesIO(b"t,x,y\n2,10.5,20\n"))
    monkeypatch.setattr(sys, "stdin", table)
    words = ("--points", "-", "--out", tmp_path / "t.3de.txt", "--start-frame", 1001)
    assert call("query", "--scene", tiny_scene, *words, *FAST) == 0
    rows = (tmp_path / "t.3de.txt").read_text().splitlines()[4:]
    places = {int(frame): (float(x), float(y)) for frame, x, y in map(str.split, rows)}
    assert set(places) <= set(range(1001, 1009))
    assert places[1003] == (11, 27.5)  # 48 - 20.5


def test_the_overlay_can_be_drawn_on_the_original(tiny_scene, tiny_clip, tmp_path):
    video = tmp_path / "overlay.mp4"
    words = ("--scene", tiny_scene, "--grid", 3, "--video", video, *FAST)
    assert call("query", *words, "--source", tiny_clip / "frames") == 0
    assert len(open_video(video)) == 8


def test_the_canonical_volume_as_a_point_cloud(tiny_scene, tmp_path):
    words = ("--scene", tiny_scene, "--canonical", "--frames", "::3", "--step", 4)
    assert call("query", *words, "--out", tmp_path / "c.ply", *FAST) == 0
    assert (tmp_path / "c.ply").read_bytes().startswith(b"ply\n")
    assert call("query", *words, "--out", tmp_path / "c.ply", *FAST) == 2  # it is there


def test_a_sheet_and_trails_in_other_styles(tiny_scene, tmp_path):
    words = ("--scene", tiny_scene, "--grid", 3, *FAST)
    plain, other = tmp_path / "plain.png", tmp_path / "other.png"
    assert call("query", *words, "--sheet", plain) == 0
    styled = ("--colour", "depth", "--steady", "--video", tmp_path / "o.mp4")
    assert call("query", *words, "--sheet", other, *styled) == 0
    beside = tmp_path / "beside.mp4"
    assert call("query", *words, "--video", beside, "--beside") == 0
    assert open_video(beside).size == (2 * 64, 48)
    images = [np.asarray(Image.open(path)).astype(int) for path in (plain, other)]
    assert images[0].shape == images[1].shape
    assert images[0].shape[1] > 4 * 64
    assert np.abs(images[0] - images[1]).max() > 50
    assert len(open_video(tmp_path / "o.mp4")) == 8


def test_train_writes_a_run(tiny_store, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("omnimotion.plots._png", REPORTS[0])  # its charts, too
    caplog.set_level("INFO")
    run = tmp_path / "run"
    words = ("--scene", tiny_store.folder, "--run", run, *TINY_FIT, "--preview_every", 2)
    assert call("train", *words) == 0
    for name in ("config.txt", "metrics.jsonl", "loss.png", "checkpoints/step_00000003.npz",
                 "previews/step_00000002.png", "previews/step_00000003.png", "report.json",
                 "report.html"):  # fmt: skip
        assert (run / name).is_file(), name
    preview = np.asarray(Image.open(run / "previews" / "step_00000003.png"))
    assert preview.ndim == 3
    assert preview.std() > 1
    said = next(line for line in caplog.messages if line.startswith("report="))
    assert str(run / "report.html") in said
    assert "held_out_under_2_px=" in said
    assert call("train", *words) == 0  # again: nothing left to do


def test_train_takes_the_points_of_a_tracker(tiny_store, tmp_path, capsys):
    table, run = tmp_path / "points.csv", tmp_path / "run"
    table.write_text("track,t,x,y,confidence\n0,0,10,10,1\n0,3,12,11,0.5\n")
    words = ("--scene", tiny_store.folder, "--run", run, *TINY_FIT)
    assert call("train", *words, "--tracks", table) == 0
    code, line = refusal(capsys, "train", *words)
    assert (code, "with --tracks" in line) == (2, True)
    table.write_text("track,t,x,y\n0,0,10,10\n0,30,12,11\n")
    other = ("--scene", tiny_store.folder, "--run", tmp_path / "other", *TINY_FIT)
    code, line = refusal(capsys, "train", *other, "--tracks", table)
    assert (code, "points.csv" in line, "t is 30" in line) == (3, True, True)
    assert not (tmp_path / "other").exists()


def test_train_goes_on_from_a_run_to_heed_pins(tiny_store, tmp_path, capsys):
    table, run = tmp_path / "pins.csv", tmp_path / "run"
    table.write_text("track,t,x,y,visible\n0,0,10,10,1\n0,3,12,11,0\n")
    words = ("--scene", tiny_store.folder, "--run", run, *TINY_FIT)
    code, line = refusal(capsys, "train", *words, "--pin", table)
    assert (code, f"has no run {run}: it has none yet" in line) == (4, True)
    assert [path.name for path in tmp_path.iterdir()] == ["pins.csv"]
    assert call("train", *words) == 0
    code, line = refusal(capsys, "train", *words, "--pin", table, "--samples", "5")
    assert (code, "samples = 5" in line) == (2, True)
    for _ in range(2):  # again: nothing left to do
        assert call("train", *words, "--pin", table, "--pin_steps", "2") == 0
        (folder,) = tmp_path.glob("run-pinned-*")
        assert [path.name for path in checkpoint_files(folder)] == ["step_00000002.npz"]
    table.write_text("track,t,x,y\n0,1,30,30\n0,5,31,30\n")
    words = ("--scene", tiny_store.folder, "--run", folder, *FAST)
    assert call("train", *words, "--pin", table, "--pin_steps", "2") == 0
    (again,) = tmp_path.glob("run-pinned-*-pinned-*")
    pins = stored_pins(load_checkpoint(*checkpoint_files(again)).arrays, tiny_store.index.n_frames)
    assert [np.flatnonzero(known).tolist() for known in pins.known] == [[1, 5], [0, 3]]
    assert pins.seen.sum() == 3  # one of the first ones is hidden, still
    words = ("--scene", tiny_store.folder, "--run", run, *TINY_FIT)
    table.write_text("track,t,x,y\n0,0,10,10\n")
    code, line = refusal(capsys, "train", *words, "--pin", table)
    assert (code, "pins.csv: no track is seen" in line) == (3, True)


def checkpoint_files(run):
    return sorted((run / "checkpoints").iterdir())[-1:]


def test_train_takes_masks(tiny_store, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    masks, size = tmp_path / "masks", tiny_store.index.original_size
    masks.mkdir()
    for t in range(tiny_store.index.n_frames):
        Image.fromarray(np.eye(size[1], size[0], dtype=np.uint8) * 255).save(masks / f"{t}.png")
    words = ("--scene", tiny_store.folder, "--run", tmp_path / "run", *TINY_FIT)
    assert call("train", *words, "--masks", masks) == 0
    said = next(line for line in caplog.messages if line.startswith("masks: "))
    dropped, known = (int(number) for number in re.findall(r"[0-9]+", said))
    assert 0 < dropped < known
    code, line = refusal(capsys, "train", *words)
    assert (code, "with --masks" in line) == (2, True)
    (masks / "3.png").unlink()
    code, line = refusal(capsys, "train", *words, "--masks", masks)
    assert (code, "holds 7 .png files, expected 8" in line) == (3, True)


def test_train_takes_depth_maps(tiny_store, tmp_path, capsys):
    maps, (width, height) = tmp_path / "maps", tiny_store.index.original_size
    maps.mkdir()
    for t in range(tiny_store.index.n_frames):
        np.save(maps / f"{t}.npy", np.tile(np.arange(width), (height, 1)))
    words = ("--scene", tiny_store.folder, "--run", tmp_path / "run", *TINY_FIT)
    assert call("train", *words, "--depth", maps) == 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["depth_order"] > 0
    code, line = refusal(capsys, "train", *words)
    assert (code, "with --depth" in line) == (2, True)
    np.save(maps / "3.npy", np.zeros((height, width + 1)))
    code, line = refusal(capsys, "train", *words, "--depth", maps)
    assert (code, "3.npy has shape (48, 65), expected the video's (48, 64)" in line) == (3, True)


def test_evaluate_prints_the_convention_and_writes_both_formats(tiny_scene, tiny_clip, tmp_path,
                                                                capsys):  # fmt: skip
    for suffix in (".json", ".md"):
        out = tmp_path / f"scores{suffix}"
        words = (tiny_clip, "--scene", tiny_scene, "--out", out, *FAST)
        assert call("evaluate", *words) == 0
        said = capsys.readouterr().out
        assert "256x256" in said
        assert "tiny" in said
        assert out.stat().st_size > 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert "delta_avg" in json.dumps(scores)


def test_evaluate_finds_the_scene_by_the_name_of_the_clip(tiny_scene, tiny_clip, capsys):
    assert call("evaluate", tiny_clip, "--scenes", tiny_scene.parent, *FAST) == 0
    assert "AJ" in capsys.readouterr().out


def test_evaluate_refuses_what_is_of_another_size(tiny_scene, tiny_clip, tmp_path, capsys):
    """Its pixels are others: every score would be wrong."""
    half = tmp_path / "tiny"
    shutil.copytree(tiny_clip, half)
    for path in (half / "frames").iterdir():
        Image.open(path).resize((32, 24)).save(path)
    (half / "frames" / ".hidden.png").write_bytes(b"no image")
    code, line = refusal(capsys, "evaluate", half, "--scene", tiny_scene, *FAST)
    assert (code, "of a 64x48 video, tiny has frames of 32x24" in line) == (3, True)


def test_evaluate_refuses_what_has_other_frames(tiny_scene, long_clip, capsys):
    code, line = refusal(capsys, "evaluate", long_clip, "--scene", tiny_scene, *FAST)
    assert (code, "has 8 frames, long 30: preprocess all of them" in line) == (3, True)


def test_evaluate_warns_of_a_clip_that_the_scene_was_not_made_of(
    tiny_scene, tiny_clip, tmp_path, caplog
):
    assert call("evaluate", tiny_clip, "--scene", tiny_scene, *FAST) == 0
    assert "Fingerprints differ" not in caplog.text
    other = shutil.copytree(tiny_clip, tmp_path / "other")
    for path in (other / "frames").iterdir():
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    assert call("evaluate", other, "--scene", tiny_scene, *FAST) == 0
    assert "are they the same clip? Fingerprints differ" in caplog.text
    last = sorted((other / "frames").iterdir())[-1]
    last.write_bytes(last.read_bytes()[:100])
    assert call("evaluate", other, "--scene", tiny_scene, *FAST) == 0
    assert "whether" in caplog.messages[-1]
    assert last.name in caplog.messages[-1]


def test_endings_may_be_in_capitals(tiny_scene, tiny_clip, tmp_path):
    out = tmp_path / "scores.JSON"
    assert call("evaluate", tiny_clip, "--scene", tiny_scene, "--out", out, *FAST) == 0
    assert json.loads(out.read_text())


def test_extracted_clips_replace_none_and_are_of_8_bits(tmp_path, capsys):
    points = {"points": np.zeros((1, 3, 2)), "occluded": np.zeros((1, 3), bool)}
    video = np.zeros((3, 16, 16, 3), np.uint8)
    for name, each in (("a.PKL", video), ("b.pkl", video[..., :1].repeat(3, -1) / 127.5 - 1)):
        (tmp_path / name).write_bytes(pickle.dumps({"clip": {"video": each, **points}}))
    words = ("evaluate", "--extract", tmp_path / "out")
    assert call(*words, tmp_path / "a.PKL") == 0
    code, line = refusal(capsys, *words, tmp_path / "a.PKL")
    assert (code, "frames exists" in line) == (2, True)
    code, line = refusal(capsys, *words, tmp_path / "b.pkl")
    assert (code, "video of float64, expected uint8" in line) == (3, True)
    assert len(list((tmp_path / "out" / "clip" / "frames").iterdir())) == 3


@pytest.mark.parametrize("threads", [-1, 10**20])
def test_threads_that_cannot_be_are_refused(tiny_scene, tiny_clip, capsys, threads):
    words = (tiny_clip, "--scene", tiny_scene, f"--threads={threads}")
    code, line = refusal(capsys, "evaluate", *words)
    assert (code, "expected 0 to 1024" in line) == (2, True)


def test_a_name_that_is_too_long_is_the_users(tiny_scene, tmp_path, capsys):
    out = tmp_path / ("n" * 300 + ".csv")
    code, line = refusal(capsys, "query", "--scene", tiny_scene, "--grid", 2, "--out", out)
    assert (code, "File name too long" in line) == (2, True)


def test_folders_of_outputs_are_made_where_they_can_be(tiny_scene, tiny_clip, tmp_path, capsys):
    words = ("query", "--scene", tiny_scene, "--grid", 2, "--device", "cpu")
    new = tmp_path / "new"
    assert call(*words, "--video", new / "v" / "x.mp4", "--sheet", new / "s" / "x.png") == 0
    scores = new / "e" / "x.md"
    assert call("evaluate", tiny_clip, "--scene", tiny_scene, "--out", scores, *FAST) == 0
    (tmp_path / "file").touch()
    code, line = refusal(capsys, *words, "--out", tmp_path / "file" / "x.csv")
    assert (code, "cannot make the folder of" in line) == (2, True)
    other = ("query", "--scene", tmp_path / "none", "--grid", 2)
    assert call(*other, "--out", tmp_path / "left" / "x.csv") == 3
    assert not (tmp_path / "left").exists()  # by who has mistyped the scene


def test_demo_refuses_a_folder_with_another_clip(tmp_path, capsys):
    folder = tmp_path / "clip"
    words = {"--length": 3, "--size": "48x32", "--seed": 7}
    assert call("demo", folder, *sum(words.items(), ())) == 0
    before = (folder / "gt.npz").read_bytes()
    for name, other, found, asked in (
        ("--length", 4, "of 48x32 and 3 frames", "of 48x32 and 4 frames"),
        ("--size", "32x48", "of 48x32 and 3 frames", "of 32x48 and 3 frames"),
        ("--seed", 8, "another --seed", "--seed 8"),
    ):
        code, said = refusal(capsys, "demo", folder, *sum((words | {name: other}).items(), ()))
        assert code == 3
        assert found in said
        assert asked in said
    assert (folder / "gt.npz").read_bytes() == before


def test_demo_renders_a_clip(tmp_path, caplog):
    folder = tmp_path / "clip"
    assert call("demo", folder, "--length", 3, "--size", "48x32") == 0
    assert len(list((folder / "frames").iterdir())) == 3
    assert (folder / "gt.npz").is_file()
    assert call("demo", folder, "--length", 3, "--size", "48x32") == 0  # it is there already


def test_doctor_prints_one_screen(capsys, tmp_path):
    code = call("doctor", "--folder", tmp_path)
    said = capsys.readouterr().out
    assert code in (0, 1)
    assert 3 < len(said.splitlines()) <= 40
    assert call("doctor", "--json", "--folder", tmp_path) == code
    json.loads(capsys.readouterr().out)


# refusals ---------------------------------------------------------------------------------------


def test_usage(capsys, tmp_path, tiny_scene):
    for words, said in [
        (("fly",), "fly"), (("train",), "--scene"), (("query", "--scene", tiny_scene), "--points"),
        (("train", "--scene", tiny_scene, "--smaples", "9"), "--smaples"),
        (("preprocess",), "VIDEO"), (("demo", tmp_path / "x", "--size", "big"), "WxH"),
        (("query", "--scene", tiny_scene, "--grid", "3"), "--out"),
        (("query", "--scene", tiny_scene, "--grid", "x", "--out", "t.npz"), "grid"),
        (("evaluate",), "TRUTH"),
    ]:  # fmt: skip
        code, line = refusal(capsys, *words)
        assert code == 2, words
        assert said in line


def test_an_unknown_key_of_a_config_file(capsys, tmp_path, tiny_store):
    path = tmp_path / "config.txt"
    path.write_text("smaples = 9\n")
    run = tmp_path / "run"
    words = ("--config", path, "--scene", tiny_store.folder, "--run", run)
    code, line = refusal(capsys, "train", *words)
    assert code == 2
    assert "smaples" in line
    assert not run.exists()


def test_a_scene_that_is_none(capsys, tmp_path, tiny_store):
    (tmp_path / "empty").mkdir()
    for command in (("train",), ("query", "--grid", "3", "--out", tmp_path / "t.npz")):
        for scene in (tmp_path / "none", tmp_path / "empty"):
            code, line = refusal(capsys, command[0], "--scene", scene, *command[1:])
            assert code == 3
            assert str(scene) in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]
    assert not any((tmp_path / "empty").iterdir())


def test_a_scene_without_a_run(capsys, tmp_path, tiny_store):
    words = ("--scene", tiny_store.folder, "--grid", "3", "--out", tmp_path / "t.npz")
    code, line = refusal(capsys, "query", *words)
    assert code == 3
    assert "train" in line
    assert not (tmp_path / "t.npz").exists()


@pytest.mark.parametrize(
    "spec", ["8,1,1", "0,64,1", "0,1,-1", "-1,1,1", "0,1", "a,b,c", "0,nan,1", "", ";"]
)
def test_points_that_are_none(capsys, tmp_path, tiny_scene, spec):
    out = tmp_path / "t.npz"
    words = ("--scene", tiny_scene, f"--points={spec}", "--out", out)
    code, _ = refusal(capsys, "query", *words)
    assert code in (2, 3)
    assert not out.exists()


def test_an_empty_table_gives_no_tracks_and_says_so(caplog, tmp_path, tiny_scene):
    points, out = tmp_path / "points.csv", tmp_path / "t.npz"
    points.write_text("t,x,y\n")
    assert call("query", "--scene", tiny_scene, "--points", points, "--out", out, *FAST) == 0
    assert len(load_tracks(out)) == 0
    said = [each.levelname for each in caplog.records if "no points" in each.message]
    assert said == ["WARNING"]


def test_a_bad_row_is_named_with_its_line(capsys, tmp_path, tiny_scene):
    points, out = tmp_path / "points.csv", tmp_path / "t.npz"
    points.write_text("t,x,y\n0,1,1\n99,1,1\n")
    code, line = refusal(capsys, "query", "--scene", tiny_scene, "--points", points, "--out", out)
    assert code == 3
    assert "line 3" in line


def test_a_bad_row_among_two_thousand(capsys, tmp_path, tiny_scene):
    points = tmp_path / "points.csv"
    rows = [f"{k % 8},{k % 64},{k % 48}" for k in range(2000)]
    rows[1234] = "3,64.5,7"
    points.write_text("t,x,y\n" + "\n".join(rows) + "\n")
    words = ("--points", points, "--out", tmp_path / "t", "--export", "csv,nuke")
    code, line = refusal(capsys, "query", "--scene", tiny_scene, *words, *FAST)
    assert code == 3
    assert "line 1236: x is 64.5, expected a number from -0.5 to 63.5" in line
    assert os.listdir(tmp_path) == ["points.csv"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--points", "0,1,1", "--frame", 2), 2, "points have their own frames"),
        (("--grid", 2, "--step", 2), 2, "--step is of the grid inside a mask"),
        (("--grid", 2, "--frames", "0:9"), 2, "the clip has frames 0 to 7"),
        (("--maps", "--export", "stmap", "--source", "v.mp4"), 2, "no --source goes with it"),
        (("--grid", 2, "--scale", "2"), 2, "expected the length of a pixel"),
        (("--grid", 2, "--start-frame", 1001), 2, "csv, json and npz count from 0"),
        (("--grid", 2, "--export", "nuke"), 2, "ends in .nk"),
        (("--mask", "absent.png"), 3, "absent.png"),
        (("--propagate-mask", "absent.png"), 3, "absent.png"),
        (("--propagate-mask", "absent.png", "--export", "nuke"), 2, "not --export"),
        (("--grid", 2, "--beside"), 2, "give --video"),
        (("--grid", 2, "--source", "v.mp4"), 2, "--source is of frames to draw on"),
        (("--canonical",), 2, "must end in .ply"),
        (("--canonical", "--export", "nuke"), 2, "no --export"),
        (("--canonical", "--frame", 2), 2, "give --frames"),
        (("--grid", 2, "--steady"), 2, "give --video or --sheet"),
        (("--grid", 2, "--colour", "depth"), 2, "give --video or --sheet"),
        (("--grid", 2, "--sheet", "s.jpg"), 2, "must end in .png"),
        (("--maps", "--export", "flo", "--sheet", "s.png"), 2, "no --sheet goes with it"),
        (("--edit", "absent.png", "--video", "v.mp4", "--steady"), 2, "no --steady goes with it"),
        (("--edit", "absent.png", "--video", "v.mp4", "--colour", "depth"), 2, "of the trails"),
        (("--edit", "absent.png"), 3, "absent.png"),
        (("--edit", "absent.png", "--motion"), 2, "no --motion goes with it"),
        (("--edit", "absent.png", "--frame", 8), 3, "expected 0 to 7"),
        (("--maps",), 2, "--maps: give --export, which names the format: expected one or more of "
                         "stmap, exr, flo"),
        (("--dense", "--frames", "0:2"), 2, "no --frames"),
        (("--dense",), 2, "must end in .npy"),
        (("--maps", "--export", "stmap", "--motion"), 2, "no --motion goes with it"),
        (("--maps", "--export", "stmap", "--frame", 8), 3, "expected 0 to 7"),
        (("--from-tracks", "absent.npz"), 3, "absent.npz"),
    ],
)
def test_questions_that_make_no_sense(capsys, tmp_path, tiny_scene, words, code, said):
    more = ("--out", tmp_path / "t.csv", *FAST)
    found, line = refusal(capsys, "query", "--scene", tiny_scene, *words, *more)
    assert found == code
    assert said in line
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("frame", [-1, 8])
def test_a_grid_in_no_frame(capsys, tmp_path, tiny_scene, frame):
    words = ("--grid", 3, f"--frame={frame}", "--out", tmp_path / "t.npz")
    code, line = refusal(capsys, "query", "--scene", tiny_scene, *words)
    assert code in (2, 3)
    assert str(frame) in line


@pytest.mark.parametrize("grid", ["0", "-3"])
def test_a_grid_of_nothing(capsys, tmp_path, tiny_scene, grid):
    words = (f"--grid={grid}", "--out", tmp_path / "t.npz")
    code, _ = refusal(capsys, "query", "--scene", tiny_scene, *words)
    assert code in (2, 3)


def test_an_output_that_is_there_is_kept(capsys, tmp_path, tiny_scene):
    for option, name in (("--out", "t.npz"), ("--video", "o.mp4")):
        path = tmp_path / name
        path.write_bytes(b"precious")
        words = ("--scene", tiny_scene, "--grid", "2", option, path, *FAST)
        code, line = refusal(capsys, "query", *words)
        assert code in (2, 3)
        assert "overwrite" in line
        assert path.read_bytes() == b"precious"
    assert call("query", *words, "--overwrite") == 0
    assert path.read_bytes() != b"precious"


@pytest.mark.parametrize("name", ["tracks.txt", "tracks", "."])
def test_an_output_that_cannot_be(capsys, tmp_path, tiny_scene, name):
    words = ("--scene", tiny_scene, "--grid", "2", "--out", tmp_path / name)
    code, _ = refusal(capsys, "query", *words)
    assert code in (2, 3, 6)


def test_an_output_that_may_not_be_written_is_refused_before_the_work(
    capsys, tmp_path, tiny_scene, monkeypatch
):
    may, folder = os.access, tmp_path / "theirs"
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and may(path, mode))
    monkeypatch.setattr(Tracker, "track", None)  # is not reached
    for what in (("--out", folder / "t.npz"), ("--video", folder / "new" / "v.mp4"),
                 ("--maps", "--export", "flo", "--out", folder / "maps")):  # fmt: skip
        points = () if "--maps" in what else ("--grid", "2")
        code, line = refusal(capsys, "query", "--scene", tiny_scene, *points, *what)
        assert (code, f"the folder {folder} may not be written" in line) == (2, True)


def test_a_run_is_known_by_its_name_or_its_folder(capsys, tmp_path, tiny_scene, monkeypatch):
    scene = shutil.copytree(tiny_scene, tmp_path / "scene")
    monkeypatch.chdir(tmp_path)
    assert call("train", "--scene", "scene", "--run", "other", *TINY_FIT) == 0
    assert sorted(path.name for path in (scene / "runs").iterdir()) == ["default", "other"]
    shutil.copytree(scene / "runs" / "other", tmp_path / "else")
    words = ("query", "--scene", "scene", "--points", "0,3,3", "--out", "t.json", "--overwrite")
    names = []
    for run in ("default", "other", scene / "runs" / "default", "./else"):
        assert call(*words, "--run", run) == 0
        names.append(json.loads(Path("t.json").read_text())["meta"]["run"])
    assert names == ["default", "other", "default", "else"]
    code, line = refusal(capsys, *words, "--run", "nothing")
    assert (code, "scene has no run nothing: there are default, other" in line) == (4, True)


@pytest.mark.parametrize("run", ["", ".", ".."])
@pytest.mark.parametrize("command", ["train", "query", "evaluate"])
def test_a_run_needs_a_name(capsys, tmp_path, tiny_scene, tiny_clip, command, run):
    """A variable of the shell that is not set: files of a run among those of others."""
    more = {"query": ["--grid", "2", "--out", tmp_path / "t.npz"], "evaluate": [tiny_clip]}
    before = sorted(tiny_scene.rglob("*"))
    code, line = refusal(capsys, command, "--scene", tiny_scene, f"--run={run}",
                         *more.get(command, []))  # fmt: skip
    assert (code, f"--run {run!r} names no run" in line) == (2, True)
    assert sorted(tiny_scene.rglob("*")) == before


def test_the_command_to_go_on_with_names_a_run_elsewhere(tmp_path, tiny_store, caplog):
    caplog.set_level("INFO")
    for run, named in ((tmp_path / "run", True), ("again", False)):
        scene = shutil.copytree(tiny_store.folder, tmp_path / f"scene-{named}")
        assert call("train", "--scene", scene, "--run", run, *TINY_FIT) == 0
        assert (f"--scene {scene} --run {run}" in caplog.messages[-1]) == named


def test_the_command_to_go_on_with_can_be_pasted(tmp_path, tiny_clip, caplog):
    caplog.set_level("INFO")
    scene = tmp_path / "-my clip ü"
    words = ("--scene", scene, "--flow", "dis")
    assert call("preprocess", tiny_clip / "frames", *words) == 0
    assert shlex.split(caplog.messages[-1].partition("next: ")[2]) == [
        "train.py", "--scene", str(scene)
    ]  # fmt: skip
    assert call("train", "--scene", scene, *TINY_FIT) == 0
    words = shlex.split(caplog.messages[-1].partition("next: ")[2])
    assert words[:3] == ["query.py", "--scene", str(scene)]


def test_a_damaged_checkpoint(capsys, tmp_path, tiny_store):
    run = tmp_path / "run"
    assert call("train", "--scene", tiny_store.folder, "--run", run, *TINY_FIT) == 0
    for path in (run / "checkpoints").iterdir():
        path.write_bytes(b"")
    words = ("--scene", tiny_store.folder, "--run", run, "--grid", "2")
    code, _ = refusal(capsys, "query", *words, "--out", tmp_path / "t.npz")
    assert code == 4
    assert not (tmp_path / "t.npz").exists()


def test_other_settings_for_a_run(capsys, tmp_path, tiny_store):
    words = ("--scene", tiny_store.folder, "--run", tmp_path / "run", *TINY_FIT)
    assert call("train", *words) == 0
    code, line = refusal(capsys, "train", *words, "--photometric", "3")
    assert code == 2
    assert "photometric" in line


def test_two_fits_of_one_run(capsys, tmp_path, tiny_store):
    run = tmp_path / "run"
    run.mkdir()
    with lock(run / "lock"):
        code, _ = refusal(capsys, "train", "--scene", tiny_store.folder, "--run", run, *TINY_FIT)
    assert code == 2


def test_a_video_that_is_none(capsys, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("no video\n")
    small = tmp_path / "small"
    small.mkdir()
    for name in ("0.png", "1.png"):
        Image.new("RGB", (15, 40)).save(small / name)
    for video in (tmp_path / "none.mp4", text, small):
        code, _ = refusal(capsys, "preprocess", video, "--scene", tmp_path / "scene")
        assert code == 3
        assert not (tmp_path / "scene").exists()


def test_a_picture_without_anything_to_match(capsys, tmp_path):
    """Frames of one colour have no usable flow."""
    flat = tmp_path / "flat"
    flat.mkdir()
    for t in range(3):
        Image.new("RGB", (40, 32), (90, 90, 90)).save(flat / f"{t}.png")
    words = (flat, "--scene", tmp_path / "scene", "--flow", "dis")
    capsys.readouterr()
    code = call("preprocess", *words)
    if code == 0:  # DIS matches flat frames where they are: then the fit must cope
        assert call("train", "--scene", tmp_path / "scene", *TINY_FIT) in (0, 3)
    else:
        assert code == 3
        assert not (tmp_path / "scene" / "scene.json").exists()


def test_ctrl_c_outside_the_fit_is_one_line(monkeypatch, capsys):
    def interrupted(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.importlib, "import_module", interrupted)
    assert call("doctor") == 128 + signal.SIGINT
    assert capsys.readouterr().err.count("\n") == 1


# README -----------------------------------------------------------------------------------------


def blocks_of(pages, language):
    for page in pages:
        text = page.read_text(encoding="utf-8")
        yield from re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def readme_commands():
    """Of the README and docs/: those of bash blocks, continued lines joined, no comments."""
    pages = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    for block in blocks_of(pages, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            command = line.partition("  #")[0].partition(" < ")[0].strip()
            if command and not command.startswith("#"):
                yield command


def make_targets():
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


def parser_of(name):
    import importlib

    from omnimotion.config import Parser

    command = importlib.import_module(f"omnimotion.commands.{name}")
    parser = Parser(prog=name)
    command.add_arguments(parser)
    return parser


def test_every_command_of_the_readme_is_valid(monkeypatch):
    import shlex

    from preprocess.train_raft.__main__ import parser_of_training

    monkeypatch.chdir(ROOT)
    commands = list(readme_commands())
    assert len(commands) >= 8
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            assert words[1] in make_targets(), command
        elif words[0] in ("git", "cd", "pip"):
            continue
        else:
            if words[0] == "python":
                words = words[1:]
            if words[:2] == ["-m", "preprocess.train_raft"]:
                parser_of_training().parse_args(words[2:])
                continue
            name = words[1] if words[0] == "omnimotion" else words[0].removesuffix(".py")
            rest = words[2:] if words[0] == "omnimotion" else words[1:]
            if words[0].startswith("benchmarks/"):
                assert (ROOT / words[0]).is_file(), command
                continue
            assert name in COMMANDS, command
            parser_of(name).parse_args(rest)


def test_the_python_example_of_the_readme_runs(tiny_scene, tmp_path, monkeypatch):
    blocks = list(blocks_of([ROOT / "README.md"], "python"))
    assert blocks
    (tmp_path / "scenes").mkdir()
    (tmp_path / "scenes" / "clip").symlink_to(tiny_scene)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        (tmp_path / "example.py").write_text(block, encoding="utf-8")
        names = runpy.run_path(str(tmp_path / "example.py"))
        assert names["tracks"].xy.shape[2] == 2


def test_links_and_pictures_of_the_readme_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    for picture in (ROOT / "docs").glob("*.png"):
        assert picture.stat().st_size <= 500_000


def test_the_readme_names_every_exit_code():
    from omnimotion import errors

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    codes = {
        error.exit_code for error in vars(errors).values()
        if isinstance(error, type) and hasattr(error, "exit_code")
    }  # fmt: skip
    for code in codes | {130, 143}:
        assert re.search(rf"^\| {code} \|", text, re.M), code


def test_a_query_removes_what_a_killed_one_left_beside_its_outputs(tiny_scene, tmp_path):
    with atomic_path(tmp_path / "overlay.mp4") as temp:
        left = temp.with_name(temp.name.replace(f"-{os.getpid()}-", "-999999999-"))
    os.remove(tmp_path / "overlay.mp4")
    left.write_bytes(b"half")
    out = tmp_path / "t.csv"
    assert call("query", "--scene", tiny_scene, "--grid", "3", "--out", out, *FAST) == 0
    assert sorted(os.listdir(tmp_path)) == ["t.csv"]


@pytest.mark.parametrize(("level", "said"), [("INFO", "a cut?"), ("WARNING", "warning: a cut?")])
def test_a_warning_says_that_it_is_one(level, said):
    record = logging.makeLogRecord({"msg": "a %s?", "args": ("cut",), "levelname": level,
                                    "levelno": getattr(logging, level)})  # fmt: skip
    assert cli._Said().format(record) == said
