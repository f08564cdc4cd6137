"""Arrays known by where they lie in memory, so that one call takes any number of them.

Each array given to a compiled function by itself costs as long to hand over as a small grid takes
to sum. Whoever gives addresses keeps the arrays; all are float32, without gaps.
"""

from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic

from omnimotion.kernels.cells import inline


@intrinsic
def _pointer(typing: Any, address: Any) -> Any:
    """To float32 at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(address), generate


@inline
def array_at(address: Any, shape: Any) -> Any:
    """The array of a shape that lies there."""
    return carray(_pointer(address), shape)
