"""Rows 30, 34, 49: a disk that is full at each place that writes.

A limit on the size of files stands for the disk: it needs no rights and no device. What was there
stays, nothing half written is left, and the command ends with code 6 and one line.
"""

import json
import shutil

import pytest
from PIL import Image
from processes import experiment

from omnimotion.checkpoint import checkpoints, load_checkpoint
from omnimotion.errors import ConfigError
from omnimotion.formats import FORMATS

ON_CPU = ["--device", "cpu", "--backend", "torch"]


def run(commands):
    """Codes and lines on stderr of commands [words, size in bytes]."""
    plain = [[[str(word) for word in words], size] for words, size in commands]
    codes, said = experiment("full_disk", json.dumps(plain))
    return codes, [line for line in said.splitlines() if line.startswith("error:")]


def leftovers(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", "~"))] + [
        path.name for path in folder.rglob(".omnimotion-*")
    ]


def test_30_preprocess_stops_and_then_goes_on(tiny_clip, tiny_store, tmp_path):
    scene = tmp_path / tiny_store.folder.name
    words = ["preprocess", tiny_clip / "frames", "--scene", scene, "--flow", "dis"]
    frame = max((tiny_store.folder / "frames").iterdir(), key=lambda path: path.stat().st_size)
    flow = max((tiny_store.folder / "flow").iterdir(), key=lambda path: path.stat().st_size)
    sizes = [200, frame.stat().st_size // 2, frame.stat().st_size + 1, flow.stat().st_size // 2]
    codes, lines = run([[words, size] for size in sizes] + [[words, 1 << 30]])
    assert codes == [6] * len(sizes) + [0]
    assert len(lines) == len(sizes)
    assert all(str(scene) in line for line in lines), lines
    assert not leftovers(scene)
    for path in (tiny_store.folder / "flow").iterdir():
        assert (scene / "flow" / path.name).read_bytes() == path.read_bytes()


def test_34_a_fit_keeps_its_old_checkpoint(tiny_scene, tmp_path):
    scene = tmp_path / "scene"
    shutil.copytree(tiny_scene, scene)
    run_folder = scene / "runs" / "default"
    newest = checkpoints(run_folder)[-1]
    before = {path.name: path.read_bytes() for path in run_folder.rglob("*.npz")}
    step = load_checkpoint(newest).step
    words = ["train", "--scene", scene, "--config", run_folder / "config.txt"]
    again = [*words, "--run", scene / "runs" / "new"]
    codes, lines = run([
        [[*words, "--num-iters", step], 1000],  # the report of a complete fit
        [again, 20_000],  # a first checkpoint
    ])  # fmt: skip
    assert codes == [6, 6]
    assert all(line.startswith("error: disk full while writing") for line in lines), lines
    assert all("needed about" in line and "free" in line for line in lines), lines
    assert {path.name: path.read_bytes() for path in run_folder.rglob("*.npz")} == before
    assert not leftovers(scene)


def is_installed(extra):
    try:
        extra()
    except ConfigError:
        return False
    return True


@pytest.fixture(scope="module")
def answers(tiny_scene, tiny_clip, tmp_path_factory):
    """Every kind of answer, written where there is room for hardly anything."""
    folder = tmp_path_factory.mktemp("full")
    mask = folder / "mask.png"
    image = Image.new("1", (64, 48))
    image.paste(1, (10, 10, 40, 30))
    image.save(mask)
    logo = folder / "logo.png"
    Image.merge("RGBA", [image.convert("L")] * 4).save(logo)
    base = ["query", "--scene", tiny_scene, *ON_CPU]
    outs = {}
    for name, each in FORMATS.items():
        if each.needed and not is_installed(each.needed):
            continue
        scale = ["--scale", "1mm"] if each.units else []
        outs[name] = [
            *base,
            "--grid",
            "3",
            "--export",
            name,
            *scale,
            "--out",
            f"{name}{each.ending}",
        ]
    outs["dense"] = [*base, "--dense", "--out", "dense.npy"]
    outs["stmap"] = [*base, "--maps", "--export", "stmap", "--out", "stmap"]
    outs["flo"] = [*base, "--maps", "--export", "flo", "--out", "flo"]
    outs["masks"] = [*base, "--propagate-mask", mask, "--step", "8", "--out", "masks"]
    outs["video"] = [*base, "--grid", "3", "--video", "overlay.mp4"]
    outs["sheet"] = [*base, "--grid", "3", "--sheet", "sheet.png"]
    outs["volume"] = [*base, "--canonical", "--out", "volume.ply"]
    outs["edit"] = [*base, "--edit", logo, "--frame", "2", "--out", "layers"]
    outs["scores"] = ["evaluate", tiny_clip, "--scene", tiny_scene, *ON_CPU[:2],
                      "--out", "scores.json"]  # fmt: skip
    for words in outs.values():
        words[-1] = folder / words[-1]
    limit = {"masks": 40}
    codes, lines = run([[words, limit.get(name, 300)] for name, words in outs.items()])
    return folder, dict(zip(outs, codes)), lines


def test_49_every_answer_is_refused_with_code_6(answers):
    _, codes, lines = answers
    assert codes == dict.fromkeys(codes, 6)
    assert len(lines) == len(codes)


def test_49_nothing_half_written_is_left(answers):
    folder, _, _ = answers
    assert sorted(path.name for path in folder.iterdir()) == ["logo.png", "mask.png"]
