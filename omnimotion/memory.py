"""What a fit needs of the memory, as far as it can be told before it starts; peaks of a process.

Conventions. Bytes. What is refused cannot fit: the figures are the least that was measured, with
either backend on a CPU. What is let through may still be too much.
"""

from contextlib import suppress
from pathlib import Path

from omnimotion.config import FitConfig
from omnimotion.errors import ResourceError
from omnimotion.flow import SceneIndex

BYTES_PER_MATCH = 70  # while the pool is made: 68 of 4 million, of fewer more
BYTES_PER_SAMPLE = 800  # of a step's rays, until its gradient is known
_GROUP = Path("/sys/fs/cgroup")
_MEMORY = Path("/proc/meminfo")
_SELF = Path("/proc/self")
_FORGET_PEAK = "5"  # see proc(5), clear_refs


def check_memory(index: SceneIndex, fit: FitConfig, on_gpu: bool) -> None:
    """Raise ResourceError, naming the setting to lower, where a fit cannot fit into memory.

    Says nothing where the system does not tell how much is free, nor about a GPU's memory.
    """
    free = free_memory()
    if free is None:
        return
    width, height = (side // index.stride for side in index.size)
    known = round(sum(index.coverage) * width * height)
    matches = BYTES_PER_MATCH * min(fit.pool, known)
    _require(matches, free, f"pool (now {fit.pool}; the scene has {known} matches)")
    if not on_gpu:
        samples = BYTES_PER_SAMPLE * fit.pairs * fit.points * fit.samples
        now = f"now {fit.pairs}, {fit.points}, {fit.samples}"
        _require(samples, free, f"pairs, points or samples ({now})")


def free_memory() -> int | None:
    """Bytes that this process may still take without swapping; None where that is not told."""
    try:
        lines = dict(line.split(":") for line in _MEMORY.read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        most, used = (
            int((_GROUP / name).read_text()) for name in ("memory.max", "memory.current")
        )
        parts = dict(line.split() for line in (_GROUP / "memory.stat").read_text().splitlines())
        return min(free, most - used + int(parts["file"]))  # what is cached of files is given up
    except (OSError, KeyError, ValueError):  # no group, or one without a limit
        return free


def forget_peak() -> None:
    """From now on `peak_memory` is of what comes; does nothing where the system has no such."""
    with suppress(OSError):
        (_SELF / "clear_refs").write_text(_FORGET_PEAK)


def peak_memory() -> int | None:
    """The most bytes that this process has held in memory; None where that is not told."""
    try:
        lines = dict(line.split(":", 1) for line in (_SELF / "status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


def _require(needed: int, free: int, setting: str) -> None:
    if needed > free:
        raise ResourceError(
            f"the fit needs at least {needed / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are "
            f"free: lower {setting}"
        )
