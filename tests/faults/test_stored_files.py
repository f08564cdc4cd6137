"""Rows 20, 26, 35, 36: 400 flipped bits and 20 truncations of each stored file kind.

What is read is either refused with an error of ours, or exactly what was written.
"""

import json
from dataclasses import asdict

import numpy as np
import pytest
from PIL import Image
from some_tracks import make_tracks

from omnimotion.checkpoint import Checkpoint, checkpoint_path, load_checkpoint, save_checkpoint
from omnimotion.config import Config
from omnimotion.errors import OmniMotionError
from omnimotion.export import load_tracks, save_tracks
from omnimotion.files import read_json
from omnimotion.flow import SceneIndex, flow_path, frame_path, read_flow
from omnimotion.images import load_image
from omnimotion.masks import Mask, load_mask, save_mask
from preprocess.filter import CheckedFlow
from preprocess.job import JOB_NAME, Job, find_job
from preprocess.pair_store import CheckedPair, PairStore
from preprocess.pairs import Lattice

FLIPS, CUTS = 400, 20


def checkpoint(folder, _):
    rng = np.random.default_rng(0)
    arrays = {"scene.a": rng.normal(size=(9, 20)), "adam.mean.a": rng.normal(size=180)}
    save_checkpoint(folder, Checkpoint(7, arrays, "f" * 64, Config(), True))

    def read(path):
        state = load_checkpoint(path)
        return state.step, state.fingerprint, state.config.values(), state.complete, state.arrays

    return checkpoint_path(folder, 7), read


def flow(folder, store):
    path = folder / "000002.npz"
    path.write_bytes(flow_path(store.folder, 2).read_bytes())
    return path, lambda path: vars(read_flow(path))


def pair(folder, _):
    rng = np.random.default_rng(1)
    store = PairStore(folder, Lattice((24, 18), 3))
    checked = CheckedFlow(
        rng.uniform(-9, 9, (18, 24, 2)).astype(np.float32),
        rng.uniform(0, 1, (18, 24)).astype(np.float32), rng.uniform(size=(18, 24)) < 0.2,
    )  # fmt: skip
    store.write(3, 4, CheckedPair(checked, checked))
    return store.path(3, 4), lambda _: (vars(store.lattice_flow(3, 4)), store.link(4, 3))


def tracks(folder, _):
    path = folder / "tracks.npz"
    save_tracks(path, make_tracks(meta={"scene": "clip"}))
    return path, lambda path: vars(load_tracks(path))


def index(folder, store):
    store.index.save(folder)
    return folder / "scene.json", lambda _: asdict(SceneIndex.load(folder))


def job(folder, store):
    Job(store.index.settings, "a" * 64, store.index.flow).save(folder)
    return folder / JOB_NAME, lambda _: asdict(find_job(folder))


def frame(folder, store):
    path = folder / "000003.png"
    path.write_bytes(frame_path(store.folder, 3).read_bytes())
    return path, load_image


def mask(folder, _):
    labels = np.zeros((18, 24), np.uint8)
    labels[4:9, 5:12] = 2
    save_mask(folder / "mask.png", Mask(labels, (0, 0, 0, 9, 9, 9, 200, 10, 30)))
    return folder / "mask.png", lambda path: vars(load_mask(path, (24, 18)))


KINDS = (checkpoint, flow, pair, tracks, index, job, frame, mask)


def same(found, expected):
    """Equality of what readers return, arrays in it included."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    if isinstance(expected, np.ndarray):
        return found.dtype == expected.dtype and np.array_equal(found, expected)
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_26_35_damage_is_refused_or_harmless(kind, tmp_path, tiny_store):
    path, read = kind(tmp_path, tiny_store)
    data, expected = path.read_bytes(), read(path)
    rng = np.random.default_rng(len(data))
    refused = 0
    for place in rng.integers(0, len(data) * 8, FLIPS):
        damaged = bytearray(data)
        damaged[place // 8] ^= 1 << (place % 8)
        refused += is_refused(path, bytes(damaged), read, expected)
    for length in np.linspace(0, len(data) - 1, CUTS).astype(int):
        # a line break, or the checksum of the empty chunk that ends a PNG, may be lost unnoticed
        assert is_refused(path, data[:length], read, expected) or len(data) - length <= 4
    assert refused > FLIPS / 3  # zip headers hold dates and versions
    path.write_bytes(data)
    assert same(read(path), expected)


def is_refused(path, data, read, expected):
    path.write_bytes(data)
    try:
        found = read(path)
    except OmniMotionError:
        return True
    assert same(found, expected), "silently wrong"
    return False


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_20_a_cut_image_of_a_folder_is_refused(tmp_path, form):
    from omnimotion.video import open_video

    rng = np.random.default_rng(0)
    for t in range(3):
        pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{t}.{form.lower()}")
    path = tmp_path / f"1.{form.lower()}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(OmniMotionError, match=path.name) as caught:
        open_video(tmp_path)
    assert caught.value.exit_code == 3


def test_a_report_is_json_that_says_when_it_was_changed(tmp_path):
    from omnimotion.errors import CheckpointError
    from omnimotion.files import write_json

    write_json(tmp_path / "report.json", {"figures": {"flow": 0.5}})
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text)["figures"] == {"flow": 0.5}
    (tmp_path / "report.json").write_text(text.replace("0.5", "0.4"))
    with pytest.raises(CheckpointError, match="checksum"):
        read_json(tmp_path / "report.json", CheckpointError)
