"""One setting: what it means, its range, and whether a value is allowed."""

import dataclasses
import math
from typing import Any

from omnimotion.errors import ConfigError


def setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] | None = None,
) -> Any:
    """A dataclass field that carries its meaning and its range (both ends allowed)."""
    return dataclasses.field(
        default=default, metadata={"help": help, "low": low, "high": high, "choices": choices}
    )


def checked(field: dataclasses.Field, value: Any) -> Any:
    """The value of a setting; ConfigError unless it has its type and lies in its range."""
    kind = type(field.default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f"{field.name}: found {value!r}, expected {kind.__name__}")
    choices, low, high = (field.metadata[key] for key in ("choices", "low", "high"))
    if choices and value not in choices:
        raise ConfigError(f"{field.name}: found {value!r}, expected one of {', '.join(choices)}")
    if low is not None and not (value == low == -1 or max(low, 0) <= value <= high):  # or NaN
        raise ConfigError(f"{field.name}: found {value}, expected {low} to {high}")
    if field.name == "budget" and value:
        parse_seconds(str(value))
    return value


def parse_seconds(text: str) -> float:
    """Seconds of a time such as ``60s``, ``10m`` or ``2h``; ConfigError otherwise."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:].lower())
    try:
        seconds = float(text[:-1]) * unit if unit else math.nan
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError(f"budget: {text!r} is no time; write 60s, 10m or 2h")
    return seconds
