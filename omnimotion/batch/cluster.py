"""A batch on a Ray cluster: a task each video; Ray decides where it runs, and when again.

Convention. All machines see the batch's folder and the videos under the same paths, and have this
package installed. A task whose worker is lost is given to another one; its stages go on from what
is on disk, a fit from its last checkpoint.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from omnimotion.batch.task import STAGES, Failure, Record, Task
from omnimotion.batch.work import found_record, work
from omnimotion.errors import ConfigError, ResourceError
from omnimotion.signals import StopSignal

LOOK_S = 0.5  # between looks at what has ended
RETRIES = 3  # of a task whose worker was lost


@dataclass(frozen=True)
class Needs:
    """What a task asks of the machine it runs on."""

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
    remote = ray.remote(**_options(ray, needs))(work)
    given = {remote.remote(task): task for task in tasks}
    left, ended, records = list(given), [], {}
    while left and not stop.number:
        done, left = ray.wait(left, num_returns=len(left), timeout=LOOK_S)
        for each in done:
            records[given[each].name] = _record(ray, given[each], each)
            ended.append(records[given[each].name])
        show(ended)
    return [records.get(task.name) or Record(task.name, str(task.video)) for task in tasks]


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
