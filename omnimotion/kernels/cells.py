"""What all kernels share: how they are compiled, and where in a grid a point lies."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from numba import float32, int32, njit

FAST = {"contract", "reassoc", "arcp", "nsz"}  # but NaN stays NaN
ZERO, HALF, ONE = float32(0), float32(0.5), float32(1)

inline = njit(inline="always")


def _stamp(folder: Path) -> str:
    """A name for the contents of all source files in a folder."""
    contents = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))
    return hashlib.sha256(contents).hexdigest()


SOURCES = _stamp(Path(__file__).parent)


def kernel(function: Callable) -> Any:
    """Compile a function when it is first called, and keep the code on disk.

    numba keeps it until the function's own file changes, with what it calls of other files inside:
    here it is kept until any of the kernels' files changes.
    """
    compiled = njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")(function)
    if index := _index(compiled):
        index._source_stamp = SOURCES
        index._load_index = partial(_known, index._load_index)
    return compiled


def _known(load: Callable[[], dict]) -> dict:
    """What is kept of a function; nothing where it names types that these sources lack."""
    try:
        return load()
    except (AttributeError, ImportError):
        return {}


def is_kept(compiled: Any) -> bool:
    """Whether some code of a `kernel` is on disk, of the files as they are."""
    index = _index(compiled)
    return index is not None and bool(index._load_index())


def _index(compiled: Any) -> Any:
    """numba's list of what it keeps of a function; None where a later numba has it elsewhere."""
    return getattr(getattr(compiled, "_cache", None), "_cache_file", None)


@inline
def cell(v: Any, n: int) -> tuple[Any, Any]:
    """The cell of ``n`` grid points over [-1, 1] that holds ``v``, and where in it, in [0, 1].

    Beyond the border it is the border; NaN counts as the lower one.
    """
    top = float32(n - 1)
    where = (v + ONE) * (HALF * top)
    where = where if where > ZERO else ZERO
    where = where if where < top else top
    index = int32(where)
    index = index if index < n - 2 else int32(n - 2)
    return index, where - float32(index)


@inline
def slope(v: Any, n: int) -> Any:
    """How fast a place in the grid moves with ``v``, in cells: not at all beyond the border."""
    return HALF * float32(n - 1) if abs(v) < ONE else ZERO
