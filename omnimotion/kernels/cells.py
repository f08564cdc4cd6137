"""What all kernels share: how they are compiled, and where in a grid a point lies.

numba keeps compiled code beside a file until that file changes, so a change here, or in what
`rays` calls of `couplings` and `volume`, shows in the other files only once ``__pycache__`` is
removed.
"""

from typing import Any

from numba import float32, int32, njit

FAST = {"contract", "reassoc", "arcp", "nsz"}  # but NaN stays NaN
ZERO, HALF, ONE = float32(0), float32(0.5), float32(1)

kernel = njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
inline = njit(inline="always")


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
