"""A rendered clip from pixels to scores, by the scripts a user calls, each its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from omnimotion.cli import main
from omnimotion.export import load_tracks
from omnimotion.ground_truth import read_ground_truth
from omnimotion.metrics import to_scale
from omnimotion.video import open_video

ROOT = Path(__file__).parents[1]
FIT = ("--num_iters", "150", "--pairs", "24", "--points", "16", "--samples", "12",
       "--threads", "1", "--device", "cpu", "--preview_every", "0")  # fmt: skip


def run(*words):
    """One command of the project; its standard output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """The folder after preprocess, train, query and evaluate."""
    folder = tmp_path_factory.mktemp("work")
    clip, scene = folder / "clip", folder / "scene"
    run("-m", "omnimotion", "demo", clip, "--seed", "5", "--length", "8", "--size", "80x60")
    run("preprocess.py", clip / "frames", "--scene", scene, "--flow", "dis")
    run("train.py", "--scene", scene, *FIT)
    run("query.py", "--scene", scene, "--grid", "8", "--frame", "4", "--threads", "1",
        "--out", folder / "tracks.npz", "--video", folder / "overlay.mp4")  # fmt: skip
    said = run("-m", "omnimotion", "evaluate", clip, "--scene", scene, "--threads", "1",
               "--out", folder / "scores.json")  # fmt: skip
    (folder / "said.txt").write_text(said)
    return folder


def still_scores(truth):
    """delta_avg in percent of points that do not move: what a fit must beat."""
    queries = truth.select("given")
    xy = np.repeat(queries.queries[:, None, 1:], queries.tracks.shape[1], axis=1)
    off = to_scale(xy, truth.size) - to_scale(queries.tracks, truth.size)
    error = np.linalg.norm(off, axis=-1)
    seen = queries.evaluated & queries.visible
    return 100 * np.mean([(error[seen] < threshold).mean() for threshold in (1, 2, 4, 8, 16)])


def test_the_scores_are_those_of_a_fit_that_works(work):
    """Bounds far below a good fit and far above a broken one."""
    (clip,) = json.loads((work / "scores.json").read_text())["clips"]
    scores = clip["scores"]
    still = still_scores(read_ground_truth(work / "clip"))
    assert scores["delta_avg"] > max(60, 20 + still)
    assert scores["OA"] > 75
    assert scores["AJ"] > 40


def test_the_scores_are_printed_with_their_convention(work):
    said = (work / "said.txt").read_text()
    assert "| clip |" in said
    assert "256x256" in said


def test_tracks_and_overlay_are_of_the_clip(work):
    tracks = load_tracks(work / "tracks.npz")
    assert tracks.size == (80, 60)
    assert tracks.n_frames == 8
    assert (tracks.queries[:, 0] == 4).all()
    video = open_video(work / "overlay.mp4")
    assert (len(video), video.size) == (8, (80, 60))


def test_nothing_temporary_stays(work):
    names = [str(path.relative_to(work)) for path in work.rglob("*")]
    assert not [name for name in names if "tmp" in name or "pairs" in name]


def test_an_interrupted_command_can_be_given_again(work):
    """All of it is there: each stage says so and changes nothing."""
    scene = work / "scene"
    before = {path: path.read_bytes() for path in scene.rglob("*.npz")}
    words = (str(work / "clip" / "frames"), "--scene", str(scene), "--flow", "dis")
    assert main(["preprocess", *words]) == main(["train", "--scene", str(scene), *FIT]) == 0
    assert {path: path.read_bytes() for path in scene.rglob("*.npz")} == before
