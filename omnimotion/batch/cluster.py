"""A batch on a Ray cluster: a job each video; Ray decides where it runs, and when again.

The windows of a long clip are fitted by jobs of their own, between the clip's first and its last.

Convention. All machines see the batch's folder and the videos under the same paths, and have this
package installed. A job whose worker is lost is given to another one; its stages go on from what
is on disk, a fit from its last checkpoint.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from omnimotion.batch.task import STAGES, Failure, Record, Task
from omnimotion.batch.work import fit_window, found_record, n_windows, work
from omnimotion.errors import ConfigError, ResourceError
from omnimotion.signals import StopSignal

LOOK_S = 0.5  # between looks at what has ended
RETRIES = 3  # of a job whose worker was lost


@dataclass(frozen=True)
class Needs:
    """What a job asks of the machine it runs on."""

    cores: int
    memory_gb: float
    device: str  # cuda: a GPU; auto: a GPU where the cluster has any; cpu: none


def run_on_ray(
    tasks: Sequence[Task], address: str, needs: Needs, show: Callable[[list[Record]], None],
    stop: StopSignal,
) -> list[Record]:  # fmt: skip
    """Do the tasks on the cluster at ``address``; the rest as `omnimotion.batch.local.run_here`.

    Raises ConfigError where Ray is not installed, ResourceError where there is no such cluster,
    or none of its machines has what a task needs.
    """
    ray = _ray()
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as problem:
        reason = str(problem).strip().partition("\n")[0]
        raise ResourceError(f"no Ray cluster at {address}: {reason}") from problem
    try:
        return _run(ray, tasks, needs, show, stop)
    finally:  # workers that still run end with us, and their stages save their work
        ray.shutdown()


def _run(
    ray: Any, tasks: Sequence[Task], needs: Needs, show: Callable[[list[Record]], None],
    stop: StopSignal,
) -> list[Record]:  # fmt: skip
    jobs, ended = _Jobs(ray, _options(ray, needs)), []
    for task in tasks:
        jobs.begin(task)
    while (left := jobs.left) and not stop.number:
        done, _ = ray.wait(left, num_returns=len(left), timeout=LOOK_S)
        ended += [record for each in done if (record := jobs.take(each))]
        show(ended)
    records = {record.name: record for record in ended}
    return [records.get(task.name) or Record(task.name, str(task.video)) for task in tasks]


class _Jobs:
    """What Ray has been given and has not ended."""

    def __init__(self, ray: Any, options: dict[str, Any]) -> None:
        self.ray = ray
        self._work, self._fit = (ray.remote(**options)(each) for each in (work, fit_window))
        self._of_clips: dict[Any, Task] = {}
        self._of_windows: dict[Any, Task] = {}
        self._spread: dict[str, _Spread] = {}  # by clip

    @property
    def left(self) -> list[Any]:
        """References to all jobs."""
        return [*self._of_clips, *self._of_windows]

    def begin(self, task: Task) -> None:
        """Give the first job of a clip."""
        self._of_clips[self._work.remote(task, spreads=True)] = task

    def take(self, job: Any) -> Record | None:
        """What has come of a job that has ended: a clip's record, or None and further jobs."""
        if job in self._of_windows:
            self._take_window(self._of_windows.pop(job), job)
            return None
        task = self._of_clips.pop(job)
        record, spread = _record(self.ray, task, job), self._spread.get(task.name)
        if spread is None and record.begun == "train" and record.failure is None:
            self._spread[task.name] = _Spread(time.monotonic())
            count = n_windows(task)
            for k in range(count):
                self._of_windows[self._fit.remote(task, f"{k}/{count}")] = task
            return None
        if spread and "train" in record.stages:
            spread.add_to(record.stages["train"])
            record.save(task)
        return record

    def _take_window(self, task: Task, job: Any) -> None:
        """After the last window of a clip comes the rest of it, and the windows that failed."""
        with suppress(self.ray.exceptions.RayError):
            self._spread[task.name].mb.append(round(self.ray.get(job).mb))
        if task not in self._of_windows.values():
            self._spread[task.name].ended = time.monotonic()
            self._of_clips[self._work.remote(task)] = task


@dataclass
class _Spread:
    """What the windows of a clip took: from when to when by the wall's clock, and peaks, in MB."""

    began: float
    ended: float = 0.0
    mb: list[int] = field(default_factory=list)

    def add_to(self, made: dict[str, Any]) -> None:
        """To what the record says of the fit, whose last process has found them fitted."""
        made["s"] = round(made["s"] + self.ended - self.began, 1)
        made["mb"] = max([made["mb"], *self.mb])


def _record(ray: Any, task: Task, reference: Any) -> Record:
    """What a task returned, or why Ray gave it up: workers lost again and again, say."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayError as problem:
        reason = str(problem).strip().partition("\n")[0]
        record = found_record(task)
        where = record.begun or STAGES[0]
        record.failure = Failure(where, ResourceError.exit_code, f"given up by Ray: {reason}")
        return record


def _options(ray: Any, needs: Needs) -> dict[str, Any]:
    """The needs as Ray takes them; ResourceError where no machine has them."""
    total = ray.cluster_resources()
    gpus = int(needs.device == "cuda" or (needs.device == "auto" and total.get("GPU", 0) >= 1))
    wanted = {"CPU": needs.cores, "memory": needs.memory_gb * 1e9, "GPU": gpus}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(node.get(key, 0) >= wanted[key] for key in wanted) for node in machines):
        raise ResourceError(
            f"no machine of the cluster has {needs.cores} cores, {needs.memory_gb:g} GB and "
            f"{gpus} GPUs: give fewer --threads or less --memory"
        )
    return {
        "num_cpus": needs.cores, "num_gpus": gpus, "memory": int(wanted["memory"]),
        "max_retries": RETRIES,
    }  # fmt: skip


def _ray() -> Any:
    try:
        return importlib.import_module("ray")
    except ImportError as problem:
        raise ConfigError(
            "--ray: Ray is not installed: pip install 'omnimotion[cluster]', or leave --ray out"
        ) from problem
