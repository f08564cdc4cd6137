"""Objects of JSON with one entry that is odd: of another type, out of range, or not there."""

import copy

VALUES = [
    *(None, True, 0, -1, 2.5, 1e300, 2**62, -(2**62)),
    *("", "x", "\ud800", "<b>", [], [1], [-1, -1], [2**40, 1], ["a"], [None], {}, {"a": 1}),
]
FEW = 3  # items of a list that are looked at


def places(obj, place=()):
    """Where an entry may be replaced, as keys from the outermost."""
    if place:
        yield place
    if isinstance(obj, dict):
        for key in obj:
            yield from places(obj[key], (*place, key))
    elif isinstance(obj, list):
        for k in range(min(FEW, len(obj))):
            yield from places(obj[k], (*place, k))


def odd_objects(obj):
    """What is odd, in words, and the object."""
    for place in places(obj):
        for value in VALUES:
            yield f"{place} is {value!r}", replaced(obj, place, value)
        yield f"{place} is missing", replaced(obj, place)


def replaced(obj, place, *value):
    """A copy with another value at the place, or without it."""
    made = copy.deepcopy(obj)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    if value:
        inner[place[-1]] = value[0]
    else:
        del inner[place[-1]]
    return made
