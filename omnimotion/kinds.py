"""Whether an object read from JSON is made of what its reader takes it to be made of.

Files with checksums hold what was written, but people may write one without, and so may an enemy.
"""

from collections.abc import Mapping
from typing import Any

Kinds = Mapping[str, tuple[type, ...]]

NONE = type(None)
NUMBER = (int, float)


def check_kinds(obj: Any, kinds: Kinds) -> None:
    """ValueError unless the object has these entries, each of one of its types; more may follow.

    Types are those that JSON is read as: true is no number.
    """
    if not isinstance(obj, Mapping):
        raise ValueError(f"holds {type(obj).__name__}, expected an object")
    for name, types in kinds.items():
        if name not in obj:
            raise ValueError(f"{name} is missing")
        if type(obj[name]) not in types:
            raise ValueError(f"{name} is of type {type(obj[name]).__name__}")


def check_list(name: str, values: Any, types: tuple[type, ...]) -> None:
    """ValueError unless ``values``, called ``name``, is a list of such values."""
    if not isinstance(values, list) or any(type(value) not in types for value in values):
        expected = " or ".join(each.__name__ for each in types)
        raise ValueError(f"{name} is no list of {expected}")
