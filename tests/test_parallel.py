"""A fit in two processes is the fit of one; both stop together, and both can be gone on from."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import experiment

from omnimotion.checkpoint import newest_checkpoint
from omnimotion.errors import ConfigError
from omnimotion.fitting import run_fit
from omnimotion.parallel import together
from omnimotion.runs import start_fit
from omnimotion.signals import StopSignal

ROOT = Path(__file__).parents[1]
DEADLINE_S = 600
SHORT = {
    "num_iters": 6, "pairs": 7, "points": 8, "samples": 8, "checkpoint_every": 10,
    "distortion": 0.1, "flow_gradient": 0.1, "smoothness": 0.5,
}  # fmt: skip


def options(scene, run, config):
    """Those of ``train``."""
    settings = run.with_suffix(".txt")
    settings.write_text(config.to_text())
    return ["--scene", str(scene), "--run", str(run), "--config", str(settings)]


def start(scene, run, config, processes=2):
    """``train`` under torchrun."""
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}",
             "--", str(ROOT / "train.py"), *options(scene, run, config)]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def both(scene, run, config):
    """``train`` in two processes as torchrun starts them: their exit codes, and what they said."""
    words = json.dumps(["train", *options(scene, run, config)])
    return experiment("together", words, 2, timeout=DEADLINE_S)


def alone(store, run, config):
    run_fit(start_fit(store, run, config), StopSignal())
    return newest_checkpoint(run)


def assert_close(found, expected):
    assert (found.step, found.complete) == (expected.step, expected.complete)
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        scale = np.abs(array).max() + 1e-6
        off = np.abs(found.arrays[name] - array).max() / scale
        assert off < 3e-4, f"{name}: {off:.1e} of its largest value"


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_two_processes_fit_as_one(tiny_store, tiny_config, tmp_path, backend):
    """An odd number of pairs, so that the parts differ in size."""
    config = tiny_config.replace(**SHORT, backend=backend)
    expected = alone(tiny_store, tmp_path / "alone", config)
    codes, said = both(tiny_store.folder, tmp_path / "both", config)
    assert codes == [0, 0], said
    assert_close(newest_checkpoint(tmp_path / "both"), expected)
    assert (tmp_path / "both" / "report.html").is_file()
    moved = np.abs(expected.arrays["scene.camera_shift"]).max()
    assert moved > 0  # else any two fits would be equal


def test_a_stop_is_for_both_and_they_go_on_together(tiny_store, tiny_config, tmp_path):
    config = tiny_config.replace(**SHORT | {"num_iters": 60, "checkpoint_every": 1000})
    run = tmp_path / "both"
    first = start(tiny_store.folder, run, config)
    until = time.monotonic() + DEADLINE_S
    while not list(run.glob("checkpoints/*.npz")) and time.monotonic() < until:
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=DEADLINE_S)
    state = newest_checkpoint(run)
    assert 0 < state.step < 60
    codes, said = both(tiny_store.folder, run, config)
    assert codes == [0, 0], said
    assert f"continues at step {state.step}" in said
    assert newest_checkpoint(run).complete


def test_a_process_whose_others_are_gone_says_so_in_one_line(monkeypatch):
    """It may be that one has been refused, and has ended, before the others came."""

    def alone(backend):
        raise RuntimeError("Connection closed by peer\nand where")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "init_process_group", alone)
    with pytest.raises(ConfigError, match=r"do not meet.*\(Connection closed by peer\)"), \
            together(torch.device("cpu")):  # fmt: skip
        pass


def test_too_few_pairs_are_refused_in_one_line(tiny_store, tiny_config, tmp_path):
    config = tiny_config.replace(**SHORT | {"pairs": 3})
    codes, said = both(tiny_store.folder, tmp_path / "both", config)
    assert codes == [2, 2]
    line = "error: pairs: found 3, expected at least 4, two for each process"
    assert [each for each in said.splitlines() if each.startswith("error:")] == [line] * 2
