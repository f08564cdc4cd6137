"""Rows 4, 13, 45, 46, 47: files that want to run code, fill the memory, or reach other files.

Each is given to a command as a user would; the command must refuse it with its code, the canary
must not be there, and memory must not grow by more than `MOST_MB`.
"""

import json
import pickletools
import shutil
from pathlib import Path

import hostile
import pytest
from processes import experiment

from omnimotion.checkpoint import checkpoints

MOST_MB = 250  # half of what a bomb unpacks to; importing torch takes more
WEIGHTS = ("pickle", "torch", "bomb", "huge header")
ON_CPU = ["--device", "cpu", "--backend", "torch"]


@pytest.fixture(scope="module")
def refusals(tiny_clip, tiny_scene, tmp_path_factory):
    """By name: expected code, code, MB, and the canary's path."""
    folder = tmp_path_factory.mktemp("hostile")
    canary = folder / "canary"
    cases = {}
    for name, data in hostile.archives(canary).items():
        scene = folder / f"scene {name}"
        shutil.copytree(tiny_scene, scene)
        for path in checkpoints(scene / "runs" / "default"):
            path.write_bytes(data)
        query = ["query", "--scene", scene, *ON_CPU, "--out", folder / "t.csv"]
        cases[f"checkpoint: {name}"] = 4, [*query, "--grid", "2"]
        tracks = folder / f"{name}.npz"
        tracks.write_bytes(data)
        query[2] = tiny_scene
        cases[f"tracks: {name}"] = 3, [*query, "--from-tracks", tracks]
        if name not in WEIGHTS:
            continue
        cases[f"weights: {name}"] = 3, [
            "preprocess", tiny_clip / "frames", "--scene", folder / f"raft {name}",
            "--flow", "raft", "--raft-weights", tracks, "--device", "cpu",
        ]  # fmt: skip
    for name, data in hostile.images().items():
        frames = folder / f"frames {name}"
        shutil.copytree(tiny_clip / "frames", frames)
        (frames / f"zzz.{name}").write_bytes(data)
        cases[f"frame: {name}"] = (
            3,
            ["preprocess", frames, "--scene", folder / "s", *["--flow"], "dis"],
        )
        mask = folder / f"mask {name}.png"
        mask.write_bytes(data)
        cases[f"mask: {name}"] = 3, [*query, "--mask", mask]
    bomb = hostile.video_bomb(folder / "bomb.mkv")
    cases["video: bomb"] = 3, ["preprocess", bomb, "--scene", folder / "s", "--flow", "dis"]
    for name, data in hostile.points(canary).items():
        (folder / name).write_bytes(data)
        cases[f"points: {name}"] = 3, [*query, "--points", folder / name]
    config = folder / "config.txt"
    for name, text in CONFIGS.items():
        config = folder / f"{name}.txt"
        config.write_text(text.format(canary))
        cases[f"config: {name}"] = 2, ["train", "--scene", tiny_scene, "--config", config]
    plain = [[str(word) for word in words] for _, words in cases.values()]
    found, said = experiment("memory", json.dumps(plain))
    expected = [code for code, _ in cases.values()]
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    return dict(zip(cases, zip(expected, *zip(*found)))), lines, canary


CONFIGS = {
    "python": "import os; os.system('touch {}')\n",
    "yaml": "num_iters: !!python/object/apply:os.system ['touch {}']\n",
    "key": "num_iters = __import__('os').system('touch {}')\n",
    "section": "[fit]\nnum_iters = 3\n",
    "binary": "\x00\x01\x02num_iters\n",
}


def test_46_47_each_is_refused_with_its_code(refusals):
    found, lines, _ = refusals
    assert {name: code for name, (expected, code, _) in found.items() if code != expected} == {}
    assert len(lines) == len(found)


def test_46_memory_is_bounded(refusals):
    found, _, _ = refusals
    assert {name: mb for name, (_, _, mb) in found.items() if mb > MOST_MB} == {}


def test_31_46_no_canary_sings(refusals):
    _, _, canary = refusals
    assert not canary.exists()
    assert not Path(canary.name).exists()


def test_46_the_canary_would_sing(tmp_path):
    """The files do hold what they are said to hold: a call of open, read without unpickling."""
    canary = str(tmp_path / "canary")
    read = [(code.name, value) for code, value, _ in pickletools.genops(hostile.song(canary))]
    assert {"open", canary} <= {value for _, value in read if isinstance(value, str)}
    assert "REDUCE" in {name for name, _ in read}
