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
from omnimotion.batch import work as work_module
from omnimotion.batch.cluster import Needs, run_on_ray
from omnimotion.batch.stage import Ended
from omnimotion.batch.task import STAGES, Record, Task
from omnimotion.cli import main
from omnimotion.errors import ConfigError, ResourceError
from omnimotion.export import load_tracks
from omnimotion.files import write_json
from omnimotion.flow import SceneIndex
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


class FakeRay:
    """Does each job when it is asked for, in this process; those of ``lost`` end as lost do."""

    class exceptions:
        class RayError(Exception):
            """A worker was lost."""

    def __init__(self, lost=()):
        self.lost, self.jobs, self.given = lost, [], []

    def remote(self, **_):
        ray = self

        def decorated(function):
            class Job:
                @staticmethod
                def remote(task, *words, **more):
                    ray.given.append((function.__name__, task.name, *words))
                    ray.jobs.append(lambda: function(task, *words, **more))
                    return len(ray.jobs) - 1

            return Job

        return decorated

    def wait(self, jobs, num_returns, timeout):
        return jobs[:1], jobs[1:]

    def get(self, job):
        if self.given[job] in self.lost:
            raise self.exceptions.RayError
        return self.jobs[job]()

    @staticmethod
    def cluster_resources():
        return {"CPU": 1.0, "memory": 9e9}

    @staticmethod
    def nodes():
        return [{"Alive": True, "Resources": {"CPU": 1.0, "memory": 9e9}}]


@pytest.fixture
def stages(monkeypatch):
    """Stages that take no time and leave a file; what they were given, as words."""
    ran = []

    def run(words, log, place, stop, held=None):
        ran.append(words)
        product = Path(words[words.index("--scene" if words[0] != "query" else "--out") + 1])
        if words[0] == "preprocess":
            n_frames = 200 if "long" in product.name else 100
            write_index(product, n_frames)
        elif words[0] == "train":
            write_json(product / "runs" / "default" / "report.json", {})
        else:
            product.touch()
        return Ended(0, 1.0, 100.0 + 50 * ("--shard" in words))

    monkeypatch.setattr(work_module, "run_stage", run)
    return ran


def write_index(scene, n_frames):
    (scene / "runs" / "default").mkdir(parents=True)
    SceneIndex(
        name=scene.name, source="video.mp4", fingerprint="0", original_size=(64, 48),
        size=(64, 48), n_frames=n_frames, fps=10.0, times=[t / 10 for t in range(n_frames)],
        source_indices=list(range(n_frames)), flow={}, stride=1, gaps=[1],
        coverage=[1.0] * 2 * (n_frames - 1), settings={}, grown=[],
    ).save(scene)  # fmt: skip


def task_of(name, tmp_path):
    video = tmp_path / f"{name}.mp4"
    video.touch()
    empty = {stage: [] for stage in STAGES}
    return Task(name, video, tmp_path / "out", asked=empty, how=empty)


@pytest.mark.parametrize("is_lost", [False, True])
def test_windows_of_a_long_clip_are_jobs_of_their_own(stages, tmp_path, is_lost):
    window = ("fit_window", "long", "1/2")
    ray = FakeRay(lost=[window] if is_lost else [])
    tasks = [task_of(name, tmp_path) for name in ("long", "short")]
    found = cluster._run(ray, tasks, Needs(1, 1.0, "cpu"), lambda _: None, StopSignal())
    assert [record.is_done(task) for record, task in zip(found, tasks)] == [True, True]
    of_long = [given for given in ray.given if given[1] == "long"]
    assert of_long == [("work", "long"), ("fit_window", "long", "0/2"), window, ("work", "long")]
    assert [given for given in ray.given if given[1] == "short"] == [("work", "short")]
    words = [each for each in stages if str(tasks[0].scene) in each]
    fits = [each[-2:] if "--shard" in each else each[0] for each in words]
    shards = [["--shard", "0/2"], ["--shard", "1/2"]][: 1 if is_lost else 2]
    assert fits == ["preprocess", *shards, "train", "query"]
    made = Record.load(tasks[0]).stages["train"]
    assert (made["s"], made["mb"]) == (pytest.approx(1.0, abs=0.5), 150)


def test_a_long_clip_that_fails_before_its_fit_is_not_spread(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(work_module, "run_stage", lambda *_: Ended(3, 1.0, 100.0))
    ray, task = FakeRay(), task_of("long", tmp_path)
    (tmp_path / "out" / "logs").mkdir(parents=True)
    task.log.write_text("error: no video\n")
    (found,) = cluster._run(ray, [task], Needs(1, 1.0, "cpu"), lambda _: None, StopSignal())
    assert (found.failure.stage, found.failure.exit_code) == ("preprocess", 3)
    assert ray.given == [("work", "long")]


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_windows_of_a_long_clip_are_spread(address, tiny_config, tmp_path):
    clip, path = tmp_path / "long", tmp_path / "tiny.txt"
    write_clip(render_clip(5, 160, (48, 32), n_sprites=1, n_queries=8), clip)
    path.write_text(tiny_config.replace(num_iters=20).to_text())
    words = ["batch", clip / "frames", *FLOW, "--config", path, "--out"]
    serial, out = tmp_path / "serial", tmp_path / "out"
    assert main([*map(str, words), str(serial)]) == 0
    ray = [sys.executable, "-m", "omnimotion", *map(str, [*words, out, "--ray", address])]
    done = subprocess.run([*ray, "--memory", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (out / "logs").iterdir()) == [
        "long.0_of_2.log", "long.1_of_2.log", "long.log"
    ]  # fmt: skip
    for k in (0, 1):
        said = (out / "logs" / f"long.{k}_of_2.log").read_text()
        assert f"window_000{k}" in said
        assert f"window_000{1 - k}" not in said
    assert json.loads((out / "summary.json").read_text())["counts"]["done"] == 1
    found, alone = (load_tracks(each / "tracks" / "long.npz") for each in (out, serial))
    np.testing.assert_array_equal(found.xy, alone.xy)
