"""The loop that feeds damaged files to a reader, and what it holds the reader to.

Time is CPU time of this process and of those it has started and waited for, so that a busy machine
neither shortens a run nor makes a reader look slow. What hangs without using any is ended by the
wall clock, with the file left where it was read from and a traceback of every thread.
"""

import faulthandler
import os
import resource
import time
from contextlib import contextmanager

import pytest

from omnimotion.errors import OmniMotionError

SECONDS = float(os.environ.get("FUZZ_SECONDS", 600))
SEED = int(os.environ.get("FUZZ_SEED", time.time()))
LONGEST_S = 10.0  # CPU time of one file
LONGEST_WALL_S = 900.0  # generous: the machine may have next to no time for us
ARMED_S = 10.0  # for so long files share an alarm: each is a thread that must begin and end
LARGEST_MB = 2000  # more memory than before: of images, up to 8192 px a side are read


def cpu_s():
    """CPU time of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def peak_mb():
    """The most memory that this process, or one of its children, ever had."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) / 1e3


def is_refused(name, read, path):
    """Read a damaged file; whether that ended in an error of ours. Any other is a failure."""
    try:
        read(path)
    except OmniMotionError:
        return True
    except Exception as problem:
        (path.parent / "found").write_bytes(path.read_bytes())
        pytest.fail(f"{name}: {problem!r} from {path.parent / 'found'}")
    return False


@contextmanager
def alarm():
    """What ends the process when it is not called for `LONGEST_WALL_S`."""
    since = -ARMED_S

    def go_on():
        nonlocal since
        if time.monotonic() - since > ARMED_S:
            since = time.monotonic()
            faulthandler.dump_traceback_later(LONGEST_WALL_S, exit=True)

    try:
        yield go_on
    finally:
        faulthandler.cancel_dump_traceback_later()


def fuzz_for_long(sample, folder, rng, damage):
    """For `SECONDS`; shown with -s."""
    print(f"{fuzz(sample, folder, rng, damage, seconds=SECONDS)}, seed {SEED}")  # noqa: T201


def fuzz(sample, folder, rng, damage, count=None, seconds=None):
    """Read so many damaged files, or for so many seconds; a line of what was seen."""
    name, data, file_name, read = sample
    folder = folder / name.replace(" ", "_")
    folder.mkdir()
    path = folder / file_name
    begun, memory = cpu_s(), peak_mb()
    refused = k = 0
    slowest = slowest_wall = 0.0
    with alarm() as go_on:
        while k < count if count else cpu_s() - begun < seconds:
            k += 1
            path.write_bytes(damage(data, rng))
            go_on()
            start, start_wall = cpu_s(), time.monotonic()
            refused += is_refused(name, read, path)
            slowest = max(slowest, cpu_s() - start)
            slowest_wall = max(slowest_wall, time.monotonic() - start_wall)
            assert slowest < LONGEST_S, f"{path} takes {slowest:.1f} s"
    more = peak_mb() - memory
    assert refused > 0
    assert more < LARGEST_MB, f"{name} took {more:.0f} MB"
    return (
        f"{name}: {k} files, {refused} refused, CPU {cpu_s() - begun:.0f} s, slowest "
        f"{slowest:.2f} s ({slowest_wall:.1f} s by the clock), {more:.0f} MB more memory"
    )
