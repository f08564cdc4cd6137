"""The archive format, on open binary files: named arrays and one JSON object, without pickles.

Convention. An uncompressed zip of ``<name>.npy`` members and ``meta.json``, in this order: the
object, then the arrays by name; equal contents give equal bytes. A reader accepts only what
`write_members` writes. Zip keeps a CRC-32 of each member, checked here before a member is parsed,
so a flipped bit is found (``torch.load`` does not look at it). `omnimotion.files` has the
functions on paths.
"""

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Container, Mapping
from functools import lru_cache
from typing import IO, Any

import numpy as np

META_NAME = "meta.json"
ARRAY_KINDS = "biufU"  # bool, int, uint, float, text: nothing that could hold an object
MAX_MEMBERS = 10_000
MAX_DIRECTORY_BYTES = 4 << 20  # of the central directory, which zipfile reads before any check

_MEMBER_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)*", re.ASCII)  # no part begins with a dot
_MAX_NAME = 200
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold
_MAX_HEADER = 10_000  # of a .npy file: numpy's own bound
_MAX_EMPTY = 1 << 24  # product of the other sides of an array that has none in one
_CHUNK = 16 << 20
_ENTRY_BYTES = 30  # of a zip's local header, before its name


def write_members(
    file: IO[bytes], arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> None:
    """Write an archive; ValueError for a name, dtype or value that it cannot hold."""
    text = json.dumps(meta, sort_keys=True, allow_nan=False).encode("ascii")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_member(META_NAME), text)
        for name, value in sorted(arrays.items()):
            array = np.asarray(value, order="C")
            if not _is_name(name) or array.dtype.kind not in ARRAY_KINDS:
                raise ValueError(f"cannot archive {name!r} of dtype {array.dtype}")
            large = array.nbytes + _MAX_HEADER > zipfile.ZIP64_LIMIT
            with archive.open(_member(f"{name}.npy"), "w", force_zip64=large) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def read_members(
    file: IO[bytes], size: int, names: Container[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The writable arrays and the JSON object of an archive of `size` bytes.

    ``names``: the arrays to read, where not all; the contents of others are not looked at.

    Raises ValueError for compressed, repeated, overlapping or oddly named members and for objects,
    and lets through what `zipfile` raises on damage. Takes no more memory than the file has bytes.
    """
    count = _member_count(file, size)
    with zipfile.ZipFile(file) as archive:
        members = _checked_members(archive.infolist(), size)
        if len(members) != count:  # a flipped length in the directory hides the entry after it
            raise ValueError(f"directory of {len(members)} members, expected {count}")
        wanted = [info for info in members if names is None or _is_wanted(info.filename, names)]
        contents = {info.filename: _read_member(archive, info) for info in wanted}
    meta = parse_object(bytes(contents.pop(META_NAME)))
    arrays = {name.removesuffix(".npy"): _array(name, data) for name, data in contents.items()}
    return arrays, meta


def parse_object(data: bytes) -> dict[str, Any]:
    """A JSON object from UTF-8 bytes; ValueError for another value, and for a number that is not
    finite or no 64-bit integer: whoever reads it may convert numbers without another look.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"holds {constant}")

    text = data.decode("utf-8")
    obj = json.loads(text, parse_constant=refuse, parse_float=_finite, parse_int=_int64)
    if not isinstance(obj, dict):
        raise ValueError(f"holds {type(obj).__name__}, expected an object")
    return obj


def fingerprint(*arrays: np.ndarray) -> str:
    """Tells arrays from others of their kind by shapes and contents; runs keep it."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"holds {text[:20]}")
    return value


def _int64(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (value := int(text)) < 2**63:
        raise ValueError(f"holds an integer of {len(text)} digits")
    return value


def _is_wanted(name: str, names: Container[str]) -> bool:
    return name == META_NAME or name.removesuffix(".npy") in names


def _is_name(name: str) -> bool:
    return len(name) <= _MAX_NAME and _MEMBER_NAME.fullmatch(name) is not None


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=_ZIP_EPOCH)


def _member_count(file: IO[bytes], size: int) -> int:
    """The number of members that the end record claims.

    Bounds what `zipfile` allocates on opening, by the end records it will believe.
    """
    file.seek(max(size - 98, 0))  # zip64 end record (56), its locator (20), end record (22)
    tail = file.read().rjust(98, b"\0")
    if tail[76:80] != b"PK\x05\x06":
        raise ValueError("no archive, or cut off")
    directory = int.from_bytes(tail[88:92], "little")
    if tail[56:60] == b"PK\x06\x07":
        directory = int.from_bytes(tail[40:48], "little")
    if directory > MAX_DIRECTORY_BYTES:
        raise ValueError(f"directory of {directory} bytes, at most {MAX_DIRECTORY_BYTES}")
    return int.from_bytes(tail[86:88], "little")  # more than MAX_MEMBERS are refused anyway


def _checked_members(members: list[zipfile.ZipInfo], size: int) -> list[zipfile.ZipInfo]:
    names = [info.filename for info in members]
    if len(names) > MAX_MEMBERS or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} members, {len(set(names))} names")
    if META_NAME not in names:
        raise ValueError(f"{META_NAME} is missing")
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        name = info.filename
        if name != META_NAME and not (name.endswith(".npy") and _is_name(name[: -len(".npy")])):
            raise ValueError(f"unexpected member {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"member {name!r} is compressed")
        if info.header_offset < end:
            raise ValueError(f"member {name!r} overlaps another")
        end = info.header_offset + _ENTRY_BYTES + len(name) + info.file_size
    if end > size:
        raise ValueError("members reach beyond the end")
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytearray:
    """The member's bytes, its CRC checked; `bytearray`, so that arrays on it can be written."""
    data = bytearray(info.file_size)
    with archive.open(info) as member, memoryview(data) as view:
        done = 0
        while chunk := member.read(_CHUNK):
            view[done : done + len(chunk)] = chunk
            done += len(chunk)
    if done != len(data):
        raise ValueError(f"member {info.filename!r} is cut off")
    return data


def _array(name: str, data: bytearray) -> np.ndarray:
    shape, dtype, start = _header(name, bytes(data[: _MAX_HEADER + 12]))
    expected = start + math.prod(shape) * dtype.itemsize
    if expected != len(data) or any(side < 0 for side in shape):
        raise ValueError(f"member {name!r} of shape {shape} has {len(data)} bytes, not {expected}")
    if dtype.itemsize == 0 or (0 in shape and math.prod(filter(None, shape)) > _MAX_EMPTY):
        raise ValueError(f"member {name!r} has shape {shape} of nothing")
    return np.ndarray(shape, dtype, buffer=data, offset=start)


def _header(name: str, data: bytes) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, numbers, and where they start, of a .npy file that begins like this."""
    length = 10 + int.from_bytes(data[8:10], "little")
    shape, is_fortran, dtype = _parsed(name, data[:length])
    if dtype.kind not in ARRAY_KINDS or is_fortran:
        raise ValueError(f"member {name!r} has dtype {dtype}, Fortran order {is_fortran}")
    return shape, dtype, length


@lru_cache(maxsize=256)
def _parsed(name: str, header: bytes) -> tuple[tuple[int, ...], bool, np.dtype]:
    """numpy's parser takes longer than a small array; a scene's files begin alike."""
    file = io.BytesIO(header)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"member {name!r} is no .npy file of version 1.0")
    return np.lib.format.read_array_header_1_0(file, _MAX_HEADER)
