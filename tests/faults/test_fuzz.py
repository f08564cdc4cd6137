"""Every reader, given files with random damage: only the project's own errors may come out.

`FEW` changes of each sample in every run of the tests; with `slow`, as many as fit in 10 minutes,
or in the environment's FUZZ_SECONDS, of CPU time; FUZZ_SEED draws the same again.
"""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from clip_files import make_clips
from damage import damaged, film_of, sealed
from fuzzing import SEED, fuzz, fuzz_for_long
from PIL import Image
from some_tracks import make_tracks

from omnimotion.checkpoint import load_checkpoint
from omnimotion.config import load_config
from omnimotion.export import load_tracks, save_tracks
from omnimotion.files import CHECKSUM
from omnimotion.flow import SceneIndex, flow_path, read_flow
from omnimotion.ground_truth import read_ground_truth, read_tapvid
from omnimotion.history import read_metrics
from omnimotion.images import load_image
from omnimotion.known import read_known
from omnimotion.long_runs import PLAN_NAME, Plan
from omnimotion.masks import Mask, load_mask, save_mask
from omnimotion.points import read_points
from omnimotion.runs import run_folder
from omnimotion.video import open_video
from preprocess.job import find_job

FEW = 120
FEW_VIDEOS = 8  # each takes a third of a second
VIDEOS = ["clip.mp4", "clip.mkv", "clip.avi", "fast.mp4"]
POINTS = "t,x,y\n0,1.5,2\n3,10,20.25\n"
KNOWN = "track,t,x,y,visible\n0,0,1.5,2,1\n0,3,10,20.25,0\n1,1,3,4,1\n1,2,3,5,1\n"
CONFIG = "# a fit\nnum_iters = 300\nlearning_rate = 0.01\nbackend = torch\ncamera = true\n"


def encoded(form, mode="RGB"):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, form)
    return file.getvalue()


def tracks_file(folder, suffix):
    path = folder / f"sample{suffix}"
    save_tracks(path, make_tracks(3, 4), overwrite=True)
    return path.read_bytes()


def mask_file(folder):
    labels = np.zeros((24, 32), np.uint8)
    labels[4:9, 5:12] = 2
    save_mask(folder / "m.png", Mask(labels, (0, 0, 0, 9, 9, 9, 200, 10, 30)))
    return (folder / "m.png").read_bytes()


def pickle_file():
    import pickle

    rng = np.random.default_rng(0)
    clip = {
        "video": rng.integers(0, 9, (3, 4, 5, 3), np.uint8),
        "occluded": rng.random((2, 3)) < 0.3,
    }
    clip["points"] = rng.random((2, 3, 2), np.float32)
    return pickle.dumps({"goat": clip})


def samples(folder, scene, clip):
    """By reader: the sample's bytes, its name, and how it is read."""
    run = run_folder(scene, None)
    newest = sorted((run / "checkpoints").glob("*.npz"))[-1]
    yield "checkpoint", newest.read_bytes(), "step_00000001.npz", load_checkpoint
    yield "flow", flow_path(scene, 1).read_bytes(), "000001.npz", read_flow
    index = (scene / "scene.json").read_bytes()
    yield "index", index, "scene.json", lambda path: SceneIndex.load(path.parent)
    job = b'{"settings": {"flow": "dis"}, "fingerprint": null, "flow": null}'
    yield "job", job, "preprocess.json", lambda path: find_job(path.parent)
    metrics = (run / "metrics.jsonl").read_bytes()
    yield "metrics", metrics, "metrics.jsonl", read_metrics
    yield "config", CONFIG.encode(), "config.txt", load_config
    for suffix in (".npz", ".csv", ".json"):
        yield f"tracks{suffix}", tracks_file(folder, suffix), f"t{suffix}", load_tracks
    for suffix, data in ((".csv", POINTS.encode()), (".json", b"[[0, 1.5, 2], [3, 10, 20.25]]"),
                         (".npz", tracks_file(folder, ".npz"))):  # fmt: skip
        yield f"points{suffix}", data, f"p{suffix}", lambda path: read_points(path, 8, (64, 48))
    for form, mode in (("PNG", "RGB"), ("PNG", "P"), ("JPEG", "CMYK"), ("TIFF", "RGB"),
                       ("WEBP", "RGBA"), ("BMP", "RGB"), ("PPM", "L")):  # fmt: skip
        yield f"image {form} {mode}", encoded(form, mode), f"i.{form.lower()}", load_image
    yield "mask", mask_file(folder), "m.png", lambda path: load_mask(path, (32, 24))
    yield "tapvid", pickle_file(), "clips.pkl", lambda path: list(read_tapvid(path))
    truth = (clip / "gt.npz").read_bytes()
    yield "truth", truth, "gt.npz", lambda path: read_ground_truth(path.parent)
    yield "known", KNOWN.encode(), "k.csv", lambda path: read_known(path, 8, (64, 48))
    plan = json.dumps({"spans": [[0, 12], [8, 20]], "fingerprint": "f", "settings": {"seed": 0}})
    yield "windows", plan.encode(), PLAN_NAME, lambda path: Plan.load(path.parent)
    yield SEALED[0], newest.read_bytes(), "step_00000001.npz", load_checkpoint
    yield SEALED[1], flow_path(scene, 1).read_bytes(), "000001.npz", read_flow
    yield SEALED[2], tracks_file(folder, ".npz"), "t.npz", load_tracks
    plain = json.dumps({k: v for k, v in json.loads(index).items() if k != CHECKSUM}).encode()
    yield "index, no checksum", plain, "scene.json", lambda path: SceneIndex.load(path.parent)


SEALED = ["checkpoint, sealed", "flow, sealed", "tracks, sealed"]
"""Damaged within, in an archive that is whole: as a program would make it, or an enemy."""
READERS = [
    *("checkpoint", "flow", "index", "job", "metrics", "config"),
    *("tracks.npz", "tracks.csv", "tracks.json", "points.csv", "points.json", "points.npz"),
    *("image PNG RGB", "image PNG P", "image JPEG CMYK", "image TIFF RGB", "image WEBP RGBA"),
    *("image BMP RGB", "image PPM L", "mask", "tapvid", "truth"),
    *("known", "windows", *SEALED),
    "index, no checksum",
]


def damage_of(name):
    return sealed if name in SEALED else damaged


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", READERS)
def test_46_47_only_our_errors(name, tmp_path, tiny_scene, tiny_clip):
    found = {sample[0]: sample for sample in samples(tmp_path, tiny_scene, tiny_clip)}
    assert list(found) == READERS
    random = np.random.default_rng(READERS.index(name))
    fuzz(found[name], tmp_path, random, damage_of(name), count=FEW)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", READERS)
def test_46_47_only_our_errors_for_long(name, tmp_path, tiny_scene, tiny_clip):
    found = {sample[0]: sample for sample in samples(tmp_path, tiny_scene, tiny_clip)}
    random = np.random.default_rng([SEED, READERS.index(name)])
    fuzz_for_long(found[name], tmp_path, random, damage_of(name))


def film(folder, name):
    make_clips(folder)
    return f"video {name}", (folder / name).read_bytes(), name, open_video


@pytest.mark.parametrize("name", VIDEOS)
def test_4_7_only_our_errors(name, tmp_path):
    random = np.random.default_rng(VIDEOS.index(name))
    fuzz(film(tmp_path, name), tmp_path, random, film_of(Path(name).suffix), count=FEW_VIDEOS)


@pytest.mark.slow
@pytest.mark.parametrize("name", VIDEOS)
def test_4_7_only_our_errors_for_long(name, tmp_path):
    random = np.random.default_rng([SEED, VIDEOS.index(name)])
    damage = film_of(Path(name).suffix)
    fuzz_for_long(film(tmp_path, name), tmp_path, random, damage)
