"""Several lanes at once, as `lanes` has them: tuples, of a length that the compiler knows."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from omnimotion.kernels.lanes import FLAGS, INDEX, Lanes, data_of, place_of, spread_of


def _unpacked(builder: Any, several: Any, count: int) -> list[Any]:
    return [builder.extract_value(several, k) for k in range(count)]


def _number(maker: tuple[Any, Any], array_type: Any, place: tuple[Any, Any], k: int) -> Any:
    """The number ``k`` behind a place of an array."""
    (_, builder), (array, index) = maker, place
    data = data_of(maker, array_type, array)
    return builder.load(builder.gep(data, [builder.add(index, ir.Constant(index.type, k))]))


def _times(builder: Any, a: Any, b: Any) -> Any:
    return builder.fmul(a, b, flags=FLAGS)


def _plus(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b, flags=FLAGS)


@intrinsic(prefer_literal=True)
def zeros(typing: Any, count: Any, width: Any) -> Any:
    """So many lanes of zeros, float32."""
    kind = types.UniTuple(Lanes(width.literal_value), count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        nothing = ir.Constant(kind.dtype.vector, None)
        return context.make_tuple(builder, kind, [nothing] * kind.count)

    return kind(count, width), generate


@intrinsic(prefer_literal=True)
def load_rows(typing: Any, array: Any, index: Any, step: Any, count: Any, width: Any) -> Any:
    """So many lanes from ``index`` on, from ``index + step`` on, and so on."""
    kind = types.UniTuple(Lanes(width.literal_value, array.dtype), count.literal_value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found, at = [], arguments[1]
        for _ in range(kind.count):
            place = place_of((context, builder), array, arguments[0], at, kind.dtype)
            found.append(builder.load(place))
            found[-1].align = kind.dtype.align
            at = builder.add(at, arguments[2])
        return context.make_tuple(builder, kind, found)

    return kind(array, index, step, count, width), generate


@intrinsic
def store_rows(typing: Any, array: Any, index: Any, step: Any, several: Any) -> Any:
    """Put them at ``index``, ``index + step`` and so on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at = arguments[1]
        for numbers in _unpacked(builder, arguments[3], several.count):
            place = place_of((context, builder), array, arguments[0], at, several.dtype)
            builder.store(numbers, place, align=several.dtype.align)
            at = builder.add(at, arguments[2])
        return context.get_dummy_value()

    return types.void(array, index, step, several), generate


@intrinsic
def weighed(typing: Any, several: Any, array: Any, index: Any) -> Any:
    """The sum of several lanes, each times its number of an array from ``index`` on."""
    kind = several.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = None
        for k, numbers in enumerate(_unpacked(builder, arguments[0], several.count)):
            number = _number((context, builder), array, arguments[1:], k)
            term = _times(builder, numbers, spread_of(builder, number, kind))
            found = term if found is None else _plus(builder, found, term)
        return found

    return kind(several, array, index), generate


@intrinsic
def add_weighed(typing: Any, several: Any, value: Any, array: Any, index: Any) -> Any:
    """Several lanes, and to each a ``value`` times its number of an array from ``index`` on."""
    kind = several.dtype

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        found = []
        for k, numbers in enumerate(_unpacked(builder, arguments[0], several.count)):
            number = _number((context, builder), array, arguments[2:], k)
            term = _times(builder, arguments[1], spread_of(builder, number, kind))
            found.append(_plus(builder, numbers, term))
        return context.make_tuple(builder, several, found)

    return several(several, value, array, index), generate


@intrinsic
def add_products(typing: Any, several: Any, value: Any, others: Any) -> Any:
    """Several lanes, and to each a ``value`` times its one of ``others``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pairs = zip(_unpacked(builder, arguments[0], several.count),
                    _unpacked(builder, arguments[2], several.count))  # fmt: skip
        found = [_plus(builder, a, _times(builder, arguments[1], b)) for a, b in pairs]
        return context.make_tuple(builder, several, found)

    return several(several, value, others), generate


@intrinsic
def turned(typing: Any, several: Any) -> Any:
    """As many lanes as each has numbers, turned: the first numbers of all, the second, and so on.

    Blocks of 1, 2, 4 and so on change sides, until rows are columns. TypeError for another number
    of lanes, or one that is no power of two, while it is compiled.
    """
    if several.count != several.dtype.width or several.count & (several.count - 1):
        raise TypeError(f"{several.count} lanes of {several.dtype.width} numbers")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        n, step = several.count, 1
        rows = _unpacked(builder, arguments[0], n)

        def mixed(a: Any, b: Any, order: list[int]) -> Any:
            kinds = ir.VectorType(INDEX, n)
            return builder.shuffle_vector(a, b, ir.Constant(kinds, order))

        while step < n:
            for k in range(n):
                if k & step == 0:
                    a, b = rows[k], rows[k + step]
                    low = [m if m & step == 0 else n + m - step for m in range(n)]
                    high = [m + step if m & step == 0 else n + m for m in range(n)]
                    rows[k], rows[k + step] = mixed(a, b, low), mixed(a, b, high)
            step *= 2
        return context.make_tuple(builder, several, rows)

    return several(several), generate
