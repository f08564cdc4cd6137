"""A batch on this machine: as many videos at once as it has cores or GPUs for."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue

from omnimotion.batch.stage import Place
from omnimotion.batch.task import Record, Task
from omnimotion.batch.work import work
from omnimotion.signals import StopSignal

LOOK_S = 0.5  # between looks at what has ended


def run_here(
    tasks: Sequence[Task], places: Sequence[Place], show: Callable[[list[Record]], None],
    stop: StopSignal,
) -> list[Record]:  # fmt: skip
    """Do the tasks, one at a time in each place; the records, in the order of the tasks.

    ``show`` is called again and again with the records of those that have ended, in that order.
    A stop asks the stages to save their work, and starts no other.
    """
    free: SimpleQueue[Place] = SimpleQueue()
    for place in places:
        free.put(place)

    def one(task: Task) -> Record:
        place = free.get()
        try:
            return work(task, place, stop)
        finally:
            free.put(place)

    ended: list[Record] = []
    with ThreadPoolExecutor(len(places)) as pool:
        futures = [pool.submit(one, task) for task in tasks]
        left = set(futures)
        while left:
            done, left = wait(left, LOOK_S)
            ended += [future.result() for future in futures if future in done]
            show(ended)
    return [future.result() for future in futures]


def places_here(jobs: int, threads: int, gpus: Sequence[str]) -> list[Place]:
    """Where jobs run on this machine: a GPU each where there are any, else a share of the cores.

    ``jobs``: how many, 0 for as many as there are GPUs, or cores for ``threads`` each. 0 threads
    are a core each: two clips on two cores are done sooner than one after the other.
    """
    cores = usable_cores()
    share = len(gpus) if gpus else max(1, len(cores) // (threads or 1))
    count = jobs or share
    if gpus:
        return [Place(gpu=gpus[k % len(gpus)]) for k in range(count)]
    if not 1 < count <= len(cores):
        return [Place()] * count
    return [Place(cores=tuple(cores[k::count])) for k in range(count)]


def gpus_here(device: str) -> list[str]:
    """The GPUs that the setting ``device`` allows, as CUDA_VISIBLE_DEVICES names them."""
    if device == "cpu":
        return []
    import torch  # takes seconds, and a CPU does without

    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [each.strip() for each in named.split(",") if each.strip()][:count] or [
        str(k) for k in range(count)
    ]


def usable_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
