"""Files that are either whole or absent: bytes, JSON objects, archives of arrays; and locks.

Convention. Every output goes to a temporary file beside its target, is synced, and is renamed over
it; whatever goes wrong, the old file stays and the temporary one goes. What is read is bounded and
must be a regular file. Sizes are in bytes, 1 MB in a message is 10**6 bytes. POSIX only (`fcntl`).
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from omnimotion.archive import parse_object, read_members, write_members
from omnimotion.errors import CheckpointError, ConfigError, OmniMotionError, ResourceError
from omnimotion.temporary import temp_beside

MAX_ARCHIVE_BYTES = 8 << 30
MAX_JSON_BYTES = 64 << 20
CHECKSUM = "sha256"  # key of a JSON object: of the others, as compact sorted JSON

_DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_UNREADABLE_NOW = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE}


def shown(path: Path | str) -> str:
    """The path as it may be printed: one line, encodable, whatever bytes the name holds."""
    text = os.fspath(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@contextmanager
def atomic_path(path: Path, needed_bytes: int = 0) -> Iterator[Path]:
    """A temporary file beside `path`, with its suffix, that becomes `path` when the block ends.

    The temporary file exists, empty, on entry. ``needed_bytes``, when known, is for the message.
    Raises ResourceError when the disk is full and ConfigError when the folder cannot be written.
    """
    path = Path(path)
    with _writing(path):
        temp = _create_temp(path)
    try:
        try:
            yield temp
            with _writing(path):
                _sync(temp)
                os.replace(temp, path)
                _sync(path.parent)
        except OSError as problem:
            if problem.errno not in _DISK_FULL:
                raise
            needed = max(needed_bytes, temp.stat().st_size if temp.exists() else 0)
            raise ResourceError(
                f"disk full while writing {shown(path)}: needed about {_mb(needed)}, "
                f"free {_mb(free_bytes(path))}; free some space and run it again"
            ) from problem
    finally:
        temp.unlink(missing_ok=True)


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path`, or leave `path` as it was. Raises like `atomic_path`."""
    with atomic_path(path, needed_bytes=len(data)) as temp:
        temp.write_bytes(data)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path`, which must not exist, in the end.

    Raises ConfigError as `check_new_folder` does, and where the folder above cannot be written.
    """
    check_new_folder(path)
    with _writing(path):
        make_folder(path.parent)
        temp = temp_beside(path)
        temp.mkdir()
    try:
        yield temp
        with _writing(path):
            temp.rename(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def check_new_folder(path: Path) -> None:
    """Raise ConfigError where `path` exists, or cannot be made; to be called before long work."""
    if path.exists():
        raise ConfigError(f"{shown(path)} exists: choose another name for the folder")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Raise ConfigError where nothing can be written at `path`; to be called before long work.

    Folders above it may be missing, if they can be made.
    """
    above = next(each for each in path.absolute().parents if each.exists())
    if not above.is_dir():
        raise ConfigError(f"cannot make the folder of {shown(path)}: {shown(above)} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write {shown(path)}: the folder {shown(above)} may not be "
                          "written: choose another one")  # fmt: skip


def make_folder(folder: Path) -> None:
    """Make a folder for output, and those above; `ConfigError` where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the name
        raise ConfigError(f"cannot make {shown(folder)}: {_reason(problem)}") from problem


def read_bytes(
    path: Path, error: type[OmniMotionError], max_bytes: int = MAX_ARCHIVE_BYTES
) -> bytes:
    """The bytes of a regular file, of which at most `max_bytes` are accepted.

    Raises `error` where it is missing, no regular file, unreadable, too large or still growing.
    """
    size = regular_size(path, error)
    if size > max_bytes:
        raise error(f"{shown(path)} has {_mb(size)}, at most {_mb(max_bytes)} are accepted")
    try:
        with open(path, "rb") as file:
            data = file.read(size + 1)
    except OSError as problem:
        raise error(f"cannot read {shown(path)}: {problem.strerror}") from problem
    if len(data) != size:
        raise error(f"{shown(path)} changed while it was read: wait until it is written")
    return data


def regular_size(path: Path, error: type[OmniMotionError]) -> int:
    """Size in bytes of a regular file; `error` when there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the name
        raise error(f"no such file: {shown(path)} ({_reason(problem)})") from problem
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{shown(path)} is not a regular file")
    return status.st_size


def write_json(path: Path, obj: Mapping[str, Any]) -> None:
    """Write a JSON object and its checksum atomically; ValueError for NaN and infinity."""
    text = json.dumps({**obj, CHECKSUM: _checksum(obj)}, indent=1, allow_nan=False)
    atomic_write(path, f"{text}\n".encode("ascii"))


def read_json(path: Path, error: type[OmniMotionError]) -> dict[str, Any]:
    """Read a JSON object, without its checksum; `error`, naming the file, for anything else.

    An object without a checksum is taken as it is: people may write one.
    """
    data = read_bytes(path, error, MAX_JSON_BYTES)
    try:
        obj = parse_object(data)
        found = obj.pop(CHECKSUM, None)
        if found is not None and found != _checksum(obj):
            raise ValueError(f"its checksum is another; drop the line {CHECKSUM!r} after an edit")
    except (ValueError, RecursionError) as problem:
        raise error(f"{shown(path)} is damaged: {_reason(problem)}") from problem
    return obj


def write_archive(path: Path, arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> None:
    """Write named arrays and a JSON object as one archive, atomically and deterministically.

    Raises ValueError for what an archive cannot hold (objects, NaN in `meta`, odd names), and like
    `atomic_path`.
    """
    needed = sum(array.nbytes for array in arrays.values())
    with atomic_path(path, needed) as temp, open(temp, "wb") as file:
        write_members(file, arrays, meta)


def read_archive(
    path: Path,
    error: type[OmniMotionError] = CheckpointError,
    max_bytes: int = MAX_ARCHIVE_BYTES,
    names: Container[str] | None = None,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays (writable), all or those of the given names, and the JSON object of an archive.

    Raises `error`, naming the file, when it is missing, larger than `max_bytes`, or is anything
    that `write_archive` could not have written (see `omnimotion.archive`), and ResourceError when
    memory or open files are short, or the disk fails.
    """
    size = regular_size(path, error)
    if size > max_bytes:
        raise error(f"{shown(path)} has {_mb(size)}, at most {_mb(max_bytes)} are accepted")
    try:
        with open(path, "rb") as file:
            return read_members(file, size, names)
    except Exception as problem:  # whatever a damaged or hostile file makes the parsers raise
        says = f"cannot read {shown(path)} ({_mb(size)}): {_reason(problem)}"
        if isinstance(problem, MemoryError) or getattr(problem, "errno", 0) in _UNREADABLE_NOW:
            raise ResourceError(says) from problem  # the file may be sound
        raise error(f"{shown(path)} is damaged: {_reason(problem)}") from problem


def free_bytes(path: Path) -> int:
    """Free space for the user where `path` is, or would be."""
    folder = Path(path).absolute()
    while not folder.is_dir():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_free(path: Path, needed_bytes: int, what: str) -> None:
    """Raise ResourceError unless `needed_bytes` are free where `path` is, or would be."""
    free = free_bytes(path)
    if needed_bytes > free:
        raise ResourceError(
            f"{what} needs {_mb(needed_bytes)} in {shown(path)}, {_mb(free)} free: "
            "free some space or choose another folder"
        )


@contextmanager
def lock(path: Path) -> Iterator[int]:
    """Hold the lock file `path`, a descriptor; the kernel releases it even after a kill.

    Raises ConfigError when another process holds it or the file cannot be made.
    """
    with _writing(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as problem:
            raise ConfigError(
                f"another process uses {shown(path.parent)}: wait for it, or choose another name"
            ) from problem
        yield handle
    finally:
        os.close(handle)


def _checksum(obj: Mapping[str, Any]) -> str:
    text = json.dumps(obj, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _reason(problem: BaseException) -> str:
    text = str(getattr(problem, "strerror", None) or problem).partition("\n")[0]
    return shown(text) or type(problem).__name__


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn the failures that mean a bad output folder into a ConfigError."""
    try:
        yield
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the name
        if getattr(problem, "errno", None) in _DISK_FULL:
            raise
        raise ConfigError(f"cannot write {shown(path)}: {_reason(problem)}") from problem


def _create_temp(path: Path) -> Path:
    """A new empty file beside `path`; its name is short, since `path`'s may be of 255 bytes."""
    if path.exists() and not (path.is_symlink() or path.is_file() or path.is_dir()):
        raise ConfigError(f"{shown(path)} is a pipe or a device: choose another name")
    suffix = path.suffix if path.suffix.isascii() and len(path.suffix) <= 16 else ""
    temp = temp_beside(path, suffix)
    os.close(os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    return temp


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
