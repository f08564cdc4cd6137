"""Cells of a motion grid, some at once: what their corners hold, and what is added to them.

A grid (nb, na, 2) is read flat. From ``low`` on lie log-scale and shift of a cell's first corner
and of the next along ``u``: a quad (s, t, s', t'); a ``row`` further on that of the two corners
beyond them along ``v``. A quad is loaded, and stored, as one; quads of several cells are turned
into lanes, of each number of all cells, and back.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from omnimotion.kernels.lanes import FLAGS, INDEX, NARROW, Lanes, data_of

QUAD, CORNERS = 4, 8  # numbers of a quad, and of a cell
PAIRED = ([0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15])
"""Of two vectors of two quads each: their first numbers next to one another, and their last."""
JOINED = ([0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15])


class _Cells:
    """Makes code for the cells at ``width`` offsets from ``offsets[m]`` on, and beyond a row."""

    def __init__(self, maker: tuple[Any, Any], kind: Lanes, arrays: tuple, where: Any) -> None:
        (_, self.builder), self.kind = maker, kind
        grid, offsets, m, row = where
        self.grid = data_of(maker, arrays[0], grid)
        first = self.builder.gep(data_of(maker, arrays[1], offsets), [m])
        low = [self.builder.load(self.builder.gep(first, [INDEX(k)])) for k in range(kind.width)]
        self.places = [low, [self.builder.add(each, row) for each in low]]
        self.quad = ir.VectorType(kind.vector.element, QUAD)

    def _pointer(self, place: Any) -> Any:
        place = self.builder.gep(self.grid, [place])
        return self.builder.bitcast(place, self.quad.as_pointer())

    def load(self, side: int) -> list[Any]:
        """A quad of each cell, of the near side along v or the far one."""
        found = [self.builder.load(self._pointer(place)) for place in self.places[side]]
        for each in found:
            each.align = self.kind.align
        return found

    def add(self, side: int, quads: list[Any]) -> None:
        """Add to a quad of each cell, one after the other, since cells may be the same."""
        for place, quad in zip(self.places[side], quads):
            pointer = self._pointer(place)
            before = self.builder.load(pointer)
            before.align = self.kind.align
            self.builder.store(self.builder.fadd(before, quad, flags=FLAGS), pointer,
                               align=self.kind.align)  # fmt: skip

    def shuffle(self, a: Any, b: Any, order: list[int]) -> Any:
        """Numbers of two vectors."""
        kinds = ir.VectorType(INDEX, len(order))
        return self.builder.shuffle_vector(a, b, ir.Constant(kinds, order))

    def turned(self, four: list[Any]) -> list[Any]:
        """Of four vectors of two quads each, four of one number of all: or the other way."""
        a, b, c, d = four
        (p, q), (r, s) = ([self.shuffle(*pair, order) for order in PAIRED]
                          for pair in ((a, b), (c, d)))  # fmt: skip
        return [self.shuffle(*pair, order) for pair in ((p, r), (q, s)) for order in JOINED]

    def lanes(self, quads: list[Any]) -> list[Any]:
        """The four numbers of quads, each in lanes of all cells."""
        if self.kind.width == 1:
            return [self.shuffle(quads[0], quads[0], [k]) for k in range(QUAD)]
        half = NARROW // 2
        return self.turned([self.shuffle(quads[k], quads[k + half], list(range(NARROW)))
                            for k in range(half)])  # fmt: skip

    def quads(self, lanes: list[Any]) -> list[Any]:
        """The way back."""
        if self.kind.width == 1:
            s, t, s_u, t_u = lanes
            first, second = self.shuffle(s, t, [0, 1]), self.shuffle(s_u, t_u, [0, 1])
            return [self.shuffle(first, second, list(range(QUAD)))]
        half, whole = NARROW // 2, self.turned(lanes)
        return [self.shuffle(each, each, list(range(start, start + half)))
                for start in (0, half) for each in whole]  # fmt: skip


@intrinsic(prefer_literal=True)
def corners(typing: Any, grid: Any, offsets: Any, m: Any, row: Any, width: Any) -> Any:
    """Log-scale and shift of a cell's first corner, of the next along u, of that along v, and of
    the one beyond both: lanes of as many cells, from ``offsets[m]`` on; one or `NARROW`.
    """
    kind = Lanes(width.literal_value, grid.dtype)
    found = types.UniTuple(kind, CORNERS)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cells = _Cells((context, builder), kind, (grid, offsets), arguments[:4])
        numbers = [lanes for side in range(2) for lanes in cells.lanes(cells.load(side))]
        return context.make_tuple(builder, found, numbers)

    return found(grid, offsets, m, row, width), generate


@intrinsic
def add_to_corners(typing: Any, grid: Any, offsets: Any, m: Any, row: Any, terms: Any) -> Any:
    """Add lanes, in the order of `corners`, to what the cells' corners hold."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cells = _Cells((context, builder), terms.dtype, (grid, offsets), arguments[:4])
        numbers = [builder.extract_value(arguments[4], k) for k in range(CORNERS)]
        for side, start in enumerate((0, QUAD)):
            cells.add(side, cells.quads(numbers[start : start + QUAD]))
        return context.get_dummy_value()

    return types.void(grid, offsets, m, row, terms), generate
