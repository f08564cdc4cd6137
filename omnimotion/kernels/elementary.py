"""exp and log of float32 in a form that a compiler turns into code for many points at once.

The library's are calls, one point at a time. Both are good to some 1e-7 of their result.
"""

from typing import Any

from llvmlite import ir
from numba import float32, int32, types
from numba.extending import intrinsic

from omnimotion.kernels.cells import ONE, ZERO, inline

LOW, HIGH = float32(-87.0), float32(88.0)  # exp of less is 0 in float32, of more infinite
PER_LOG_2 = float32(1.4426950408889634)
LOG_2, LOG_2_REST = float32(0.693145751953125), float32(1.4286068202862268e-6)
ROUND = float32(128.5)
ROOT_2 = float32(1.4142135623730951)
EXPONENT, MANTISSA = int32(23), int32(0x7FFFFF)  # of a float32: where it starts, where it is
BIAS, ONE_BITS = int32(127), int32(0x3F800000)


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """The float32 of the same bits as an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@intrinsic
def _as_bits(typing_context: Any, value: Any) -> Any:
    """The int32 of the same bits as a float32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@inline
def exp(x: Any) -> Any:
    """exp(x), from 1.6e-38 to 1.6e38; NaN stays NaN."""
    x = LOW if x < LOW else x
    x = HIGH if x > HIGH else x
    power = int32(int32(x * PER_LOG_2 + ROUND) - int32(128))
    rest = x - float32(power) * LOG_2 - float32(power) * LOG_2_REST
    y = float32(1 / 720)
    y = y * rest + float32(1 / 120)
    y = y * rest + float32(1 / 24)
    y = y * rest + float32(1 / 6)
    y = y * rest + float32(0.5)
    y = y * rest + ONE
    y = y * rest + ONE
    return y * _as_float(int32((power + BIAS) << EXPONENT))


@inline
def log(x: Any) -> Any:
    """log(x) of a positive, normal x; NaN stays NaN."""
    bits = _as_bits(float32(x))
    power = int32(int32(bits >> EXPONENT) - BIAS)
    part = _as_float(int32((bits & MANTISSA) | ONE_BITS))  # in [1, 2)
    is_high = part > ROOT_2
    part = part * (ONE - float32(is_high) * float32(0.5))
    power = int32(power + int32(is_high))
    t = (part - ONE) / (part + ONE)
    square = t * t
    y = float32(2 / 9)
    y = y * square + float32(2 / 7)
    y = y * square + float32(2 / 5)
    y = y * square + float32(2 / 3)
    y = y * square + float32(2)
    return float32(power) * float32(0.6931471805599453) + t * y + x * ZERO


@inline
def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow; and its slope, the sigmoid of x."""
    e = exp(-abs(x))
    share = ONE / (ONE + e)
    at_least = ZERO if x <= ZERO else x
    return at_least + log(ONE + e), share if x >= ZERO else e * share


@inline
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    e = exp(-abs(x))
    share = ONE / (ONE + e)
    return share if x >= ZERO else e * share
