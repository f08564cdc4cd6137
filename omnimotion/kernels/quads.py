"""A cell of a motion grid, as the processor takes four numbers side by side: at once.

A grid (nb, na, 2) is read flat. From ``low`` on lie log-scale and shift of a cell's first corner
and of the next along ``u``: (s, t, s', t'); from ``high`` on those of the two corners beyond them
along ``v``. The compiler does not see by itself that these can be read, and added to, as one.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

FLAGS = ("contract", "reassoc", "arcp", "nsz")  # as `cells.FAST`
FIRST, SECOND = (0, 1), (2, 3)  # the two corners of a quad


class _Quads:
    """Makes code for arithmetic on vectors."""

    def __init__(self, context: Any, builder: Any, number: Any) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_value_type(number)

    def pointer(self, array_type: Any, array: Any, index: Any) -> Any:
        """To the four numbers from ``index`` on."""
        data = self.context.make_array(array_type)(self.context, self.builder, array).data
        place = self.builder.gep(data, [index])
        return self.builder.bitcast(place, ir.VectorType(self.number, 4).as_pointer())

    def load(self, pointer: Any) -> Any:
        """What lies there."""
        quad = self.builder.load(pointer)
        quad.align = self._align
        return quad

    def store(self, quad: Any, pointer: Any) -> None:
        """Put it there."""
        self.builder.store(quad, pointer, align=self._align)

    @property
    def _align(self) -> int:
        """Bytes: no more than one number has."""
        return 4 if isinstance(self.number, ir.FloatType) else 8

    def vector(self, *numbers: Any) -> Any:
        """Of these numbers."""
        found = ir.Constant(ir.VectorType(self.number, len(numbers)), ir.Undefined)
        for k, number in enumerate(numbers):
            found = self.builder.insert_element(found, number, _index(k))
        return found

    def corner(self, quad: Any, which: tuple[int, int]) -> Any:
        """Log-scale and shift of one."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), 2), list(which))
        return self.builder.shuffle_vector(quad, quad, mask)

    def numbers(self, vector: Any) -> list[Any]:
        """Of a vector."""
        return [self.builder.extract_element(vector, _index(k)) for k in range(vector.type.count)]

    def add(self, a: Any, b: Any) -> Any:
        """a + b, each with each."""
        return self.builder.fadd(a, b, flags=FLAGS)

    def subtract(self, a: Any, b: Any) -> Any:
        """a - b, each with each."""
        return self.builder.fsub(a, b, flags=FLAGS)

    def multiply(self, a: Any, b: Any) -> Any:
        """a b, each with each."""
        return self.builder.fmul(a, b, flags=FLAGS)

    def between(self, a: Any, off: Any, share: Any) -> Any:
        """``a`` and a share of what is ``off`` from it."""
        return self.add(a, self.multiply(off, self.vector(*[share] * a.type.count)))


def _index(k: int) -> Any:
    return ir.Constant(ir.IntType(32), k)


@intrinsic
def read_cell(typing: Any, grid: Any, low: Any, high: Any, u: Any, v: Any) -> Any:
    """Log-scale and shift at a place (u, v) of a cell."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads, (array, first, beyond, u, v) = _Quads(context, builder, grid.dtype), arguments
        here, there = (quads.load(quads.pointer(grid, array, at)) for at in (first, beyond))
        along = quads.between(here, quads.subtract(there, here), v)
        a, b = quads.corner(along, FIRST), quads.corner(along, SECOND)
        found = quads.between(a, quads.subtract(b, a), u)
        return context.make_tuple(builder, signature.return_type, quads.numbers(found))

    return types.UniTuple(grid.dtype, 2)(grid, low, high, u, v), generate


@intrinsic
def read_slopes(typing: Any, grid: Any, low: Any, high: Any, u: Any, v: Any) -> Any:
    """Log-scale and shift at a place of a cell, their slopes along u, and those along v."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads, (array, first, beyond, u, v) = _Quads(context, builder, grid.dtype), arguments
        here, there = (quads.load(quads.pointer(grid, array, at)) for at in (first, beyond))
        off = quads.subtract(there, here)
        along = quads.between(here, off, v)
        a, b = quads.corner(along, FIRST), quads.corner(along, SECOND)
        slope_u = quads.subtract(b, a)
        value = quads.between(a, slope_u, u)
        a, b = quads.corner(off, FIRST), quads.corner(off, SECOND)
        slope_v = quads.between(a, quads.subtract(b, a), u)
        found = [number for each in (value, slope_u, slope_v) for number in quads.numbers(each)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(grid.dtype, 6)(grid, low, high, u, v), generate


@intrinsic
def add_to_cell(typing: Any, grid: Any, low: Any, high: Any, place: Any, g: Any) -> Any:
    """Add to the corners of a cell what a gradient ``g`` of log-scale and shift at a ``place``,
    (u, v), gives them.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        quads, (array, first, beyond, *pairs) = _Quads(context, builder, grid.dtype), arguments
        (u, v), (s, t) = ([builder.extract_value(pair, k) for k in range(2)] for pair in pairs)
        rest = quads.subtract(ir.Constant(quads.number, 1.0), u)
        weighed = quads.multiply(quads.vector(s, t, s, t), quads.vector(rest, rest, u, u))
        far = quads.multiply(weighed, quads.vector(v, v, v, v))
        for at, part in ((first, quads.subtract(weighed, far)), (beyond, far)):
            pointer = quads.pointer(grid, array, at)
            quads.store(quads.add(quads.load(pointer), part), pointer)
        return context.get_dummy_value()

    return types.void(grid, low, high, place, g), generate
