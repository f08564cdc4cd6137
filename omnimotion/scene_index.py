"""The index of a scene, as it is read from ``scene.json``: checked, and brought up to date."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omnimotion.errors import SceneError
from omnimotion.images import MAX_SIDE
from omnimotion.kinds import NUMBER, Kinds, check_kinds, check_list

INDEX_FORMAT = 2

_KINDS: Kinds = {
    **dict.fromkeys(("name", "source", "fingerprint", "coord_convention"), (str,)),
    **dict.fromkeys(("flow", "settings"), (dict,)),
    **dict.fromkeys(("n_frames", "stride"), (int,)),
    "fps": NUMBER,
}  # fmt: skip
_LISTS: Kinds = {"times": NUMBER, "source_indices": (int,), "coverage": NUMBER, "gaps": (int,)}


def checked_index(path: Path, data: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    """The index's fields with tuples restored; SceneError on a missing, extra or odd field."""
    try:
        values = _with_gaps(data)
        check_kinds(values, _KINDS)
        for name, types in _LISTS.items():
            check_list(name, values[name], types)
        if set(values) != names:
            odd = sorted(set(values) ^ names)
            raise SceneError(f"{path}: missing or unknown keys {odd}: preprocess with --overwrite")
        values["original_size"] = _pair(data["original_size"])
        values["size"] = _pair(data["size"])
        values["gaps"] = [int(gap) for gap in values["gaps"]]
        count, fps = data["n_frames"], data["fps"]
        if not (fps > 0 and data["stride"] > 0):
            raise ValueError(f"fps {fps}, stride {data['stride']}")
        if len(data["times"]) != count or len(data["source_indices"]) != count:
            raise ValueError(f"{len(data['times'])} times for {count} frames")
        values["grown"] = [(int(length), str(known)) for length, known in values["grown"]]
        gaps = values["gaps"]
        if gaps != sorted(set(gaps)) or not all(0 < gap < count for gap in gaps):
            raise ValueError(f"gaps {gaps} of {count} frames")
        if len(data["coverage"]) != 2 * sum(count - gap for gap in gaps):
            raise ValueError(f"coverage of {len(data['coverage'])} pairs")
        return values
    except (KeyError, TypeError, ValueError) as error:
        raise SceneError(f"{path} is damaged ({error}): preprocess with --overwrite") from error


def _with_gaps(data: Mapping[str, Any]) -> dict[str, Any]:
    """The index as it is now; format 1 listed every pair."""
    values = dict(data)
    if values["format"] == 1 and "pairs" in values:
        gaps = {abs(int(j) - int(i)) for i, j in values.pop("pairs")}
        values |= {"gaps": sorted(gaps), "grown": [], "format": INDEX_FORMAT}
    return values


def _pair(values: Any) -> tuple[int, int]:
    """A size (W, H) that frames can have."""
    width, height = (int(side) for side in values)
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise ValueError(f"frames of {width}x{height}")
    return width, height
