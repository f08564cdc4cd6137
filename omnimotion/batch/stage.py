"""One stage of one video: a command as a process of its own.

Memory that is full or a library that crashes ends that process only. Conventions: seconds of the
wall, megabytes of 10**6 bytes, exit codes of `omnimotion.cli` or minus a signal's number.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from omnimotion.signals import StopSignal

LOOK_S = 0.2  # between looks whether the process has ended
GRACE_S = 60.0  # that it may take to save its work
MAX_TAIL_BYTES = 64 << 10
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place:
    """Where on this machine a stage runs; None: anywhere."""

    cores: tuple[int, ...] | None = None
    gpu: str | None = None  # as CUDA_VISIBLE_DEVICES names it


class Ended(NamedTuple):
    """How a stage ended."""

    code: int
    seconds: float
    mb: float  # peak memory


def run_stage(
    words: Sequence[str], log: Path, place: Place, stop: StopSignal, held: int | None = None
) -> Ended:
    """Run ``omnimotion WORDS...``, what it says going to the end of ``log``.

    It is asked to save and stop when ``stop`` is set, or when this process leaves or dies.
    ``held``: descriptor of a lock that it holds, too, and so for as long as it takes to stop.
    """
    command = [sys.executable, "-m", "omnimotion.child", str(os.getpid()), *words]
    began = time.perf_counter()
    with open(log, "ab") as said:
        said.write(f"$ omnimotion {' '.join(words)}\n".encode("utf-8", "backslashreplace"))
        said.flush()
        # a session of its own, so that Ctrl-C comes from us, once
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
            env=_environment(place), start_new_session=True,
            pass_fds=() if held is None else (held,),
        )  # fmt: skip
    if place.cores and hasattr(os, "sched_setaffinity"):
        with suppress(ProcessLookupError):
            os.sched_setaffinity(process.pid, place.cores)
    try:
        mb = _wait(process, stop)
    finally:
        if process.returncode is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
            process.kill()
            process.wait()
    return Ended(process.returncode, time.perf_counter() - began, mb)


def last_words(log: Path, code: int) -> str:
    """Why a stage ended with ``code``, in one line: its own error, else what ended it."""
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_TAIL_BYTES))
        tail = file.read().decode("utf-8", "replace").rpartition("$ omnimotion ")[2]
    lines = [line.strip() for line in tail.splitlines()[1:] if line.strip()]
    if code < 0:
        name = signal.Signals(-code).name
        hint = ": memory may be short" if -code == signal.SIGKILL else ""
        return f"ended by {name}{hint}"
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1]


def warned(log: Path) -> list[str]:
    """What stages warned of, each once."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    told = (line for line in lines if line.startswith("warning: "))
    return [line.removeprefix("warning: ") for line in dict.fromkeys(told)]


def _wait(process: subprocess.Popen, stop: StopSignal) -> float:
    """Wait for the end of a process, asking it to stop when ``stop`` is set; its peak memory."""
    asked = False
    while True:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            return usage.ru_maxrss * unit / 1e6
        if stop.number and not asked:
            os.kill(process.pid, signal.SIGTERM)
            asked = True
        time.sleep(LOOK_S)


def _environment(place: Place) -> dict[str, str]:
    """The child's environment: this package, and the GPU it may use."""
    environment = dict(os.environ)
    if ROOT.name not in ("site-packages", "dist-packages"):  # run from source
        known = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{known}" if known else str(ROOT)
    if place.gpu is not None:
        environment["CUDA_VISIBLE_DEVICES"] = place.gpu
    return environment
