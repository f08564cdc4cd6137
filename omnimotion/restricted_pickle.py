"""Reading a pickle of numpy arrays and plain containers without running anything in it.

A pickle is a program; the unpickler runs whatever it names. Here every name is refused but those
that rebuild numpy arrays, and these are answered by the recorders below, which only note the
pieces. Arrays are then made from a checked dtype, shape and buffer, so neither numpy's own
unpickling nor anything else of the file's choosing is called. A few bytes of a pickle may ask for
any amount of memory: so sizes, the numbers of remembered objects, and what objects grow to where
they are repeated, are held to the size of the file. For TAP-Vid's published files only.
"""

import math
import mmap
import pickle
import pickletools
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from omnimotion.errors import InputError

_PLAIN_KINDS = "biuf"
_MAX_DEPTH = 8  # TAP-Vid nests 3 deep; guards against containers that hold themselves


class _DType:
    """Stands for `numpy.dtype` while the pickle is read."""

    def __init__(self, code: str = "", *_: Any) -> None:
        self.code = code
        self.order = "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def build(self) -> np.dtype[Any]:
        if self.code in ("O", "O8"):
            return np.dtype(object)
        order = self.order if self.order in ("<", ">") else "="
        dtype = np.dtype(self.code).newbyteorder(order)  # type: ignore[arg-type]
        if dtype.kind not in _PLAIN_KINDS or dtype.shape or dtype.names:
            raise ValueError(f"array of type {self.code!r}")
        return dtype


class _Array:
    """Stands for an array while the pickle is read; `build` makes the array."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()
        self.dtype: Any = None
        self.data: Any = b""
        self.order = "C"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, is_fortran, self.data = state
        self.order = "F" if is_fortran else "C"

    def build(self, depth: int, budget: "_Budget") -> Any:
        shape = tuple(int(side) for side in self.shape)
        if not isinstance(self.dtype, _DType) or min(shape, default=0) < 0:
            raise ValueError("array without a dtype, or of negative size")
        dtype = self.dtype.build()
        if dtype.hasobject:
            items = _plain(self.data, depth + 1, budget)
            if not isinstance(items, list) or math.prod(shape) != len(items):
                raise ValueError("object array whose items do not fill it")
            return items  # TAP-Vid's are one-dimensional: a list serves as well
        budget.spend(len(self.data))
        raw = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if not isinstance(raw, bytes | bytearray):
            raise ValueError("array without a buffer")
        return np.frombuffer(raw, dtype).reshape(shape, order=self.order)  # type: ignore[call-overload]


def _reconstruct(*_: Any) -> _Array:
    return _Array()


def _from_buffer(data: Any, dtype: Any, shape: Any, order: str) -> _Array:
    """Protocol 5: `numpy._core.numeric._frombuffer(buffer, dtype, shape, order)`."""
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes; only ever latin1."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _bytearray(data: Any = b"", *encoding: str) -> bytearray:
    """`bytearray` of bytes, or of text in protocol 2; a number would be a size."""
    return bytearray(_encode(data, "latin1") if encoding else memoryview(data))


class _NdArrayName:
    """Stands for the name `numpy.ndarray`, an argument of `_reconstruct`."""


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NdArrayName,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("_codecs", "encode"): _encode,
    ("builtins", "bytearray"): _bytearray,
    ("__builtin__", "bytearray"): _bytearray,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module_name}.{global_name}; only arrays and containers are read"
            ) from None


class _Budget:
    """Values and bytes that may still be made: no more than a file of that size can hold."""

    def __init__(self, size: int) -> None:
        self.left = size

    def spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError("holds more than its size allows")


def _check_sizes(file: mmap.mmap) -> None:
    """Refuse what would make the unpickler take memory before it reads."""
    puts = 0
    operations: Any = pickletools.genops(cast(IO[bytes], file))  # checks lengths of what it reads
    for opcode, argument, _ in operations:
        if opcode.name.endswith("PUT"):
            if argument > puts + 1:  # numbers are in order; Python 2 began at 1
                raise ValueError(f"remembers object {argument} after {puts}")
            puts += 1
        elif opcode.name == "MEMOIZE":
            puts += 1
        elif opcode.name == "FRAME" and argument > len(file):
            raise ValueError(f"frame of {argument} bytes")
    file.seek(0)


def load_plain_pickle(path: Path) -> Any:
    """Content of a pickle of dicts, lists, tuples, text, bytes, numbers and numpy arrays.

    Object arrays come back as lists. Raises InputError naming the file and the reason if it holds
    anything else, is damaged, or cannot be opened; nothing it names is ever called or imported.
    """
    try:
        if not path.is_file():
            raise ValueError("no such file, or no regular one")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            _check_sizes(view)
            loaded = _Unpickler(view, encoding="latin1").load()
            return _plain(loaded, 0, _Budget(len(view)))
    except Exception as error:  # a damaged pickle can fail in any way; none of it is ours
        raise InputError(f"{path}: not a readable pickle of arrays ({error})") from error


def _plain(value: Any, depth: int, budget: _Budget) -> Any:
    """The value with arrays made; refuses what is not plain."""
    budget.spend(1)
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    if isinstance(value, _Array):
        return value.build(depth, budget)
    if isinstance(value, dict):
        return {
            _plain(key, depth + 1, budget): _plain(item, depth + 1, budget)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, depth + 1, budget) for item in value)
    if value is None or isinstance(value, str | bytes | bytearray | bool | int | float):
        return value
    raise ValueError(f"holds a {type(value).__name__}")
