"""Independent work in a few threads: numpy, OpenCV and zlib compute without Python's lock."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_threads(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Run the function on all items, yielding results as they come; the first error stops it.

    At most two items a worker are taken ahead, so that items made on demand stay few.
    """
    queue = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        try:
            running: set[Future[R]] = {
                pool.submit(function, item) for item in islice(queue, 2 * workers)
            }
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
                running |= {pool.submit(function, item) for item in islice(queue, len(done))}
        finally:
            pool.shutdown(cancel_futures=True)
