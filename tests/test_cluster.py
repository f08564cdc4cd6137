"""A batch on a Ray cluster of two workers, one of which is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from omnimotion.batch import cluster
from omnimotion.batch.cluster import Needs, run_on_ray
from omnimotion.cli import main
from omnimotion.errors import ConfigError, ResourceError
from omnimotion.export import load_tracks
from omnimotion.signals import StopSignal
from omnimotion.synthetic import render_clip, write_clip

ROOT = Path(__file__).parents[1]
SEEDS, COPIES = (5, 6, 7), 4  # clips, and names of each
FLOW = ("--flow", "dis", "--grid", "4")
DEADLINE_S = 600


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'omnimotion\[cluster\]'"):
        run_on_ray([], "auto", Needs(1, 1.0, "cpu"), print, StopSignal())


def test_what_no_machine_has_is_refused():
    class Ray:
        """Two machines: cores on one, memory on the other."""

        @staticmethod
        def cluster_resources():
            return {"CPU": 9.0, "memory": 9e9}

        @staticmethod
        def nodes():
            machines = ({"CPU": 8.0, "memory": 1e9}, {"CPU": 1.0, "memory": 8e9})
            return [{"Alive": True, "Resources": machine} for machine in machines]

    assert cluster._options(Ray, Needs(1, 8.0, "auto"))["num_gpus"] == 0
    for needs in (Needs(2, 2.0, "auto"), Needs(1, 1.0, "cuda"), Needs(9, 1.0, "cpu")):
        with pytest.raises(ResourceError, match="no machine of the cluster has"):
            cluster._options(Ray, needs)


@pytest.fixture(scope="module")
def address():
    """Two workers of one core each."""
    before = dict(os.environ)
    # what the workers find the package by, and no report to anyone
    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "memory": 4 << 30, "object_store_memory": 80 << 20}
    ray = Cluster(initialize_head=True, head_node_args=machine | {"include_dashboard": False})
    ray.add_node(**machine)
    yield ray.address
    ray.shutdown()
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.txt"
    path.write_text(tiny_config.replace(num_iters=120, checkpoint_every=10).to_text())
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Clips by seed, each under several names."""
    folder = tmp_path_factory.mktemp("videos")
    for seed in SEEDS:
        clip = render_clip(seed, 8, (64, 48), n_sprites=2, n_queries=8)
        write_clip(clip, folder / f"clip_{seed}_0")
        for k in range(1, COPIES):
            (folder / f"clip_{seed}_{k}").symlink_to(folder / f"clip_{seed}_0")
    return [folder / f"clip_{seed}_{k}" / "frames" for k in range(COPIES) for seed in SEEDS]


def worker_of_a_fit(out):
    """Name of a video being fitted that has something to go on from; its worker's process."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.with_name("cmdline").read_bytes().decode().split("\0")
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has ended
            continue
        scene = Path(words[words.index("--scene") + 1]) if "--scene" in words else None
        is_fit = "omnimotion.child" in words and "train" in words and scene.is_relative_to(out)
        if is_fit and len(list(scene.glob("runs/default/checkpoints/*"))) > 1:
            return scene.name, parent
    return None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_worker_is_killed_and_all_videos_are_done(address, videos, config, tmp_path):
    serial, out = tmp_path / "serial", tmp_path / "out"
    words = [*map(str, (*FLOW, "--config", config))]
    assert main(["batch", *map(str, videos[: len(SEEDS)]), *words, "--out", str(serial)]) == 0
    command = [sys.executable, "-m", "omnimotion", "batch", *map(str, videos), *words]
    with open(tmp_path / "said", "w") as said:
        running = subprocess.Popen(
            [*command, "--out", str(out), "--ray", address, "--memory", "2"],
            stdout=said, stderr=said,
        )  # fmt: skip
        until, victim = time.monotonic() + DEADLINE_S, None
        while victim is None and running.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
            victim = worker_of_a_fit(out)
        assert victim, (tmp_path / "said").read_text()
        name, worker = victim
        os.kill(worker, signal.SIGKILL)
        assert running.wait(DEADLINE_S) == 0, (tmp_path / "said").read_text()
    assert "continues at step" in (out / "logs" / f"{name}.log").read_text()
    counts = json.loads((out / "summary.json").read_text())["counts"]
    assert counts == {"done": len(videos), "failed": 0, "begun": 0, "waiting": 0}
    for path in (out / "tracks").iterdir():
        other = serial / "tracks" / f"{path.stem[:-1]}0.npz"
        np.testing.assert_array_equal(load_tracks(path).xy, load_tracks(other).xy)
