"""Some numbers of one precision as one value, lanes, which the processor works on at once.

The compiler makes loops work on many numbers at once only where it can show that nothing that is
written is read again. Here that is said: lanes are loaded, computed with by ``+ - *``, with other
lanes or with one number for all, and stored. They lie side by side in an array counted flat.
Several at once are in `several`.
"""

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import PrimitiveModel
from numba.extending import intrinsic, lower_builtin, register_model, type_callable

from omnimotion.kernels.cells import FAST

SINGLE, NARROW, WIDE = 1, 8, 16  # what is left over; numbers of a volume cell's corner; points
FLAGS = tuple(sorted(FAST))
INDEX = ir.IntType(32)


class Lanes(types.Type):
    """Of so many numbers, float32 or float64."""

    def __init__(self, width: int, number: Any = types.float32) -> None:
        super().__init__(name=f"Lanes({width}, {number})")
        self.width, self.number = width, number
        self.is_single = number == types.float32
        self.vector = ir.VectorType(ir.FloatType() if self.is_single else ir.DoubleType(), width)

    @property
    def align(self) -> int:
        """Bytes: no more than one number has."""
        return 4 if self.is_single else 8


@register_model(Lanes)
class _Model(PrimitiveModel):
    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, kind.vector)


def spread_of(builder: Any, number: Any, kind: Lanes) -> Any:
    """One number, as precise or less, in all lanes."""
    if number.type != kind.vector.element:
        number = builder.fpext(number, kind.vector.element)
    one = builder.insert_element(ir.Constant(kind.vector, ir.Undefined), number, INDEX(0))
    zeros = ir.Constant(ir.VectorType(INDEX, kind.width), [0] * kind.width)
    return builder.shuffle_vector(one, one, zeros)


def _operator(symbol: Callable, make: str) -> None:
    """Teach the compiler an operator of lanes, and of lanes and a number."""

    @type_callable(symbol)
    def typed(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            kind = a if isinstance(a, Lanes) else b
            if not isinstance(kind, Lanes):
                return None
            return kind if {a, b} <= {kind, kind.number, types.float32} else None

        return typer

    def lower(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = signature.return_type
        a, b = (each if own == kind else spread_of(builder, each, kind)
                for own, each in zip(signature.args, arguments))  # fmt: skip
        return getattr(builder, make)(a, b, flags=FLAGS)

    for pair in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(symbol, *pair)(lower)


for symbol, make in (
    (operator.add, "fadd"), (operator.iadd, "fadd"), (operator.sub, "fsub"),
    (operator.mul, "fmul"), (operator.truediv, "fdiv"),
):  # fmt: skip
    _operator(symbol, make)


def data_of(maker: tuple[Any, Any], array_type: Any, array: Any) -> Any:
    """A pointer to an array's first number; ``maker``: numba's context and builder of code.

    Of an array with gaps there would be others in between: TypeError while it is compiled.
    """
    if array_type.layout != "C":
        raise TypeError(f"{array_type}: expected an array without gaps")
    context, builder = maker
    return context.make_array(array_type)(context, builder, array).data


def place_of(maker: tuple[Any, Any], array_type: Any, array: Any, index: Any, kind: Any) -> Any:
    """A pointer to lanes of an array."""
    _, builder = maker
    place = builder.gep(data_of(maker, array_type, array), [index])
    return builder.bitcast(place, kind.vector.as_pointer())


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, index: Any, width: Any) -> Any:
    """So many lanes from ``index`` on."""
    kind = Lanes(width.literal_value, array.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, where, _ = arguments
        found = builder.load(place_of((context, builder), array, target, where, kind))
        found.align = kind.align
        return found

    return kind(array, index, width), generate


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Put lanes at ``index``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target, where, numbers = arguments
        place = place_of((context, builder), array, target, where, value)
        builder.store(numbers, place, align=value.align)
        return context.get_dummy_value()

    return types.void(array, index, value), generate


@intrinsic
def passed(typing: Any, value: Any, where: Any) -> Any:
    """``value``, but zero where ``where`` is not above zero; NaN lets pass."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        zero = ir.Constant(value.vector, None)
        is_shut = builder.fcmp_ordered("<=", arguments[1], zero)
        return builder.select(is_shut, zero, arguments[0])

    return value(value, where), generate


@intrinsic
def total(typing: Any, value: Any) -> Any:
    """The sum of all lanes."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        whole, left = arguments[0], value.width
        while left > 1:
            left //= 2
            kinds = ir.VectorType(INDEX, left)
            halves = (builder.shuffle_vector(whole, whole, ir.Constant(kinds, list(each)))
                      for each in (range(left), range(left, 2 * left)))  # fmt: skip
            whole = builder.fadd(*halves, flags=FLAGS)
        return builder.extract_element(whole, INDEX(0))

    return value.number(value), generate
