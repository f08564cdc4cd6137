"""How the compiled loops share the threads of a CPU.

Each splits its points among as many threads as torch uses. A thread adds to a gradient of its
own, and these are summed in order, so that a result depends on the number of threads at most.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from itertools import pairwise
from threading import Lock
from typing import Any

import torch

MIN_POINTS = 1024  # a thread with fewer costs more than it saves
_loops = ContextVar("_loops", default=0)  # threads of the compiled loops; 0 is as torch has


@contextmanager
def loop_threads() -> Iterator[None]:
    """Inside, torch computes on one thread, and the compiled loops on as many as torch had.

    torch's threads wait for one another at each operation: on a busy machine that takes longer
    than the operation. The loops are long, and wait once. Several threads may be inside at a time.
    """
    if _loops.get():
        yield
        return
    threads = _users.enter()
    token = _loops.set(threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _loops.reset(token)
        _users.leave()


class _Users:
    """How many threads torch had before the first of those that are inside `loop_threads`.

    What one of them sets is what a thread begins with that is new to torch: such a one, coming
    while another is inside, would take the one thread that it finds for all there are.
    """

    def __init__(self) -> None:
        self._lock, self._inside, self._threads = Lock(), 0, 1

    def enter(self) -> int:
        with self._lock:
            if not self._inside:
                self._threads = torch.get_num_threads()
            self._inside += 1
            return self._threads

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1


_users = _Users()


def spread(part: Callable[[slice], Any], rows: int, points_a_row: int) -> list[Any]:
    """Call ``part`` on slices of the rows, one for each thread; the results in their order."""
    n = min(n_threads(rows * points_a_row), max(1, rows))
    if n == 1:
        return [part(slice(0, rows))]
    edges = [rows * k // n for k in range(n + 1)]
    return _shared([partial(part, slice(a, b)) for a, b in pairwise(edges)])


def each_thread(part: Callable[[int, int], Any], points: int) -> list[Any]:
    """Call ``part`` with the number of each thread and how many there are."""
    n = n_threads(points)
    return _shared([partial(part, k, n) for k in range(n)])


def _shared(parts: list[Callable[[], Any]]) -> list[Any]:
    """The results of parts, each done by a thread, the first by this one: else it would wait."""
    first, *others = parts
    started = [_threads(len(others)).submit(part) for part in others]
    return [first(), *(each.result() for each in started)]


def both(first: Callable[[], Any], second: Callable[[], Any]) -> None:
    """Do two things, each on a thread where there are two."""
    if n_threads(2 * MIN_POINTS) > 1:
        _shared([first, second])
    else:
        first()
        second()


def aside(function: Callable[..., Any], *given: Any) -> Future[Any]:
    """Call a function on a thread besides those of the loops; its result, once that is there."""
    return _beside().submit(function, *given)


def n_threads(points: int) -> int:
    """How many threads so many points are worth."""
    return max(1, min(_loops.get() or torch.get_num_threads(), points // MIN_POINTS))


@cache
def _beside() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="omnimotion-beside")


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="omnimotion")

