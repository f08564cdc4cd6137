"""The names of temporary files, by which what killed processes left is told from what is being
written: the machine and the process that write it.
"""

import hashlib
import os
import re
import secrets
import shutil
import time
from pathlib import Path

_HOST = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:8]  # a name may hold anything
_TEMP_NAME = re.compile(r"\.omnimotion-([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp.*", re.ASCII)
_FOREIGN_S = 24 * 3600  # after which what another machine left half written is taken for dead


def temp_beside(path: Path, suffix: str = "") -> Path:
    """A new name beside ``path``, for this process."""
    name = f".omnimotion-{_HOST}-{os.getpid()}-{secrets.token_hex(4)}.tmp{suffix}"
    return path.with_name(name)


def is_temp(path: Path) -> bool:
    """Whether the name is that of a temporary file of ours, of whatever process."""
    return _TEMP_NAME.fullmatch(path.name) is not None


def remove_stale_temps(folder: Path) -> None:
    """Delete what killed processes left half written in `folder`.

    Of a folder that machines share, what is another's goes when nothing was written to it for a
    day: whether its process lives can only be seen there.
    """
    for entry in folder.iterdir():
        if not _is_stale(entry):
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _is_stale(entry: Path) -> bool:
    match = _TEMP_NAME.fullmatch(entry.name)
    if match is None:
        return False
    if match[1] == _HOST:
        return not _is_alive(int(match[2]))
    try:
        return time.time() - entry.lstat().st_mtime > _FOREIGN_S
    except FileNotFoundError:  # it became whole, or its own machine removed it
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
