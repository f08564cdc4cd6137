"""What a command takes: seconds of the wall and of the CPU, and its own peak of memory.

A process counts as its peak what its parent held when it was started. A benchmark holds PyTorch,
so it has the command started by a small process: this file, run as a program.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

MB = 1e6


class Spent(NamedTuple):
    """What a command took."""

    seconds: float  # of the wall
    cpu_s: float
    peak_mb: float


def spent(
    command: Sequence[str], env: Mapping[str, str] | None = None, quiet: bool = False
) -> Spent:
    """Run a command to its end. Ends the program, with what it said last, when it fails.

    ``quiet``: what it says on stderr is shown only then.
    """
    here, there = os.pipe()
    small = subprocess.Popen(
        [sys.executable, __file__, str(there), *command], env=env, pass_fds=[there], text=True,
        stderr=subprocess.PIPE if quiet else None,
    )  # fmt: skip
    os.close(there)
    _, said = small.communicate()
    with open(here) as told:
        if small.returncode:
            raise SystemExit(f"failed ({small.returncode}): {' '.join(command)}\n{said or ''}")
        return Spent(**json.load(told))


def _run(there: int, command: Sequence[str]) -> int:
    """Run a command and tell what it took; its exit code, 1 where a signal ended it."""
    began = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    found = Spent(
        round(time.perf_counter() - began, 2), round(used.ru_utime + used.ru_stime, 2),
        round(used.ru_maxrss * 1024 / MB),
    )  # fmt: skip
    with open(there, "w") as tell:
        json.dump(found._asdict(), tell)
    return max(1, os.waitstatus_to_exitcode(status)) if status else 0


if __name__ == "__main__":
    sys.exit(_run(int(sys.argv[1]), sys.argv[2:]))
