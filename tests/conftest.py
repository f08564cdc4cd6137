"""A tiny rendered clip, its flow, and a scene fitted to it: made once, shared by all tests.

Whoever wants to change one of them makes a copy.
"""

import os
import shutil
import signal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin slow all processes down

import numpy as np
import pytest
import torch

import omnimotion
from omnimotion import health, plan, plots, runs
from omnimotion.cli import main
from omnimotion.config import Config
from omnimotion.fitting import run_fit
from omnimotion.flow import SceneStore
from omnimotion.images import encode_png
from omnimotion.runs import run_folder, start_fit
from omnimotion.signals import StopSignal
from omnimotion.synthetic import render_clip, write_clip
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions

HELPERS = ("clip_files", "format_readers", "fuzzing", "hostile", "processes", "some_tracks")
pytest.register_assert_rewrite(*HELPERS)  # their asserts hold under ``python -O``, as tests' do

TINY_SIZE, TINY_FRAMES, TINY_STEPS = (64, 48), 8, 150
TINY_SETTINGS = {
    "num_iters": TINY_STEPS, "pairs": 24, "points": 16, "samples": 12, "warmup": 20,
    "log_every": 10, "preview_every": 0, "device": "cpu", "backend": "torch", "threads": 1,
}  # fmt: skip


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as shells start what is in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests' processes inherit it


@pytest.fixture(scope="session", autouse=True)
def _one_thread_unless_told():
    """Tiny tensors are faster on one thread, and the tests do not disturb one another."""
    own = runs.set_threads
    with pytest.MonkeyPatch.context() as patch:
        for module in (runs, plan):
            patch.setattr(module, "set_threads", lambda threads: own(threads or 1))
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """One thread whatever the test before has set, also for what fixtures make."""
    torch.set_num_threads(1)


REPORTS = plots._png, health.PIXELS
BLANK = encode_png(np.full((2, 2, 3), 255, np.uint8))


@pytest.fixture(scope="session", autouse=True)
def _quick_reports():
    """Every fit ends with a report. Its charts, and many sampled pixels, take seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_png", lambda figure: BLANK)
        patch.setattr(health, "PIXELS", 512)
        yield


@pytest.fixture(scope="module")
def full_reports():
    """Reports as users get them, in a module that asks for this; and in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_png", REPORTS[0])
        patch.setattr(health, "PIXELS", REPORTS[1])
        yield


@pytest.fixture(scope="session")
def tiny_config():
    """Settings of a fit that takes seconds."""
    return Config().replace(**TINY_SETTINGS)


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A folder with ``frames/`` and ``gt.npz``."""
    folder = tmp_path_factory.mktemp("clips") / "tiny"
    write_clip(render_clip(5, TINY_FRAMES, TINY_SIZE, n_sprites=2, n_queries=64), folder)
    return folder


@pytest.fixture(scope="session")
def tiny_store(tiny_clip, tmp_path_factory):
    """The preprocessed clip, without any run."""
    folder = tmp_path_factory.mktemp("stores") / "tiny"
    preprocess(PreprocessOptions(tiny_clip / "frames", folder, flow="dis"))
    return SceneStore.open(folder)


@pytest.fixture(scope="session")
def tiny_scene(tiny_store, tiny_config, tmp_path_factory):
    """The folder of a preprocessed and fitted scene."""
    folder = tmp_path_factory.mktemp("scenes") / "tiny"
    shutil.copytree(tiny_store.folder, folder)
    store = SceneStore.open(folder)
    run_fit(start_fit(store, run_folder(folder, None), tiny_config), StopSignal())
    return folder


@pytest.fixture(scope="module")
def fitted(tiny_scene, request):
    """The tiny scene, ready for queries; a module may choose another `BACKEND` than torch."""
    backend = getattr(request.module, "BACKEND", "torch")
    return omnimotion.load(tiny_scene, device="cpu", backend=backend)


@pytest.fixture(scope="module")
def tracker(fitted):
    """Its tracker."""
    return fitted.tracker


LONG_FRAMES, LONG_WINDOW, LONG_OVERLAP = 30, 12, 4
LONG_FLAGS = ["--window", str(LONG_WINDOW), "--overlap", str(LONG_OVERLAP)]
for name, value in (TINY_SETTINGS | {"num_iters": 100, "backend": "numba"}).items():
    LONG_FLAGS += [f"--{name}", str(value)]
"""Of a fit of the long clip in three windows."""


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory):
    """A clip of 30 frames, with ``frames/`` and ``gt.npz``."""
    folder = tmp_path_factory.mktemp("clips") / "long"
    write_clip(render_clip(5, LONG_FRAMES, TINY_SIZE, n_sprites=2, n_queries=64), folder)
    return folder


@pytest.fixture(scope="session")
def long_store(long_clip, tmp_path_factory):
    """The preprocessed long clip, without any run."""
    folder = tmp_path_factory.mktemp("stores") / "long"
    preprocess(PreprocessOptions(long_clip / "frames", folder, flow="dis", pairs="log"))
    return SceneStore.open(folder)


@pytest.fixture(scope="session")
def long_scene(long_store, tmp_path_factory):
    """The folder of the long clip, preprocessed and fitted in three windows."""
    folder = tmp_path_factory.mktemp("scenes") / "long"
    shutil.copytree(long_store.folder, folder)
    assert main(["train", "--scene", str(folder), *LONG_FLAGS]) == 0
    return folder
