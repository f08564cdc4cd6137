"""Arrays known by where they lie in memory, so that one call takes any number of them.

Each array given to a compiled function by itself costs as long to hand over as a small grid takes
to sum. Whoever gives addresses keeps the arrays; all are float32, without gaps.
"""

from typing import Any

from llvmlite import ir
from numba import carray, types
from numba.core import cgutils
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


@intrinsic
def borrowed(typing: Any, arrays: Any) -> Any:
    """The same arrays, or tuples of them, which do not count who uses them.

    Whoever lends them must keep them meanwhile: an argument is kept until its call returns, what
    is made in it until its last use, see `keep`. Each view of an array that counts takes as long
    as dozens of operations.
    """

    def lent(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            array.meminfo = cgutils.get_null_value(array.meminfo.type)
            array.parent = cgutils.get_null_value(array.parent.type)
            return array._getvalue()
        if isinstance(kind, types.BaseTuple):
            for k, each in enumerate(kind):
                own = lent(context, builder, each, builder.extract_value(value, k))
                value = builder.insert_value(value, own, k)
        return value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return lent(context, builder, arrays, arguments[0])

    return arrays(arrays), generate


@intrinsic
def keep(typing: Any, arrays: Any) -> Any:
    """Use arrays, or tuples of them, for nothing: up to here they stay where they are."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_dummy_value()

    return types.void(arrays), generate
