"""Query points as the user gives them: a CSV file, text on the command line, or a grid.

Conventions. A query is (t, x, y): a 0-based frame, and a place in that frame in pixels of the
original video with pixel centres at integers, so x is in [-0.5, W - 0.5] and y in [-0.5, H - 0.5].
A file names its columns, because other tools write t, y, x: it starts with a header that has
``t``, ``x`` and ``y`` in any order; further columns are ignored.
"""

import csv
import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from omnimotion.errors import PointsError
from omnimotion.files import shown

MAX_POINTS = 10_000_000
"""More than this is refused: the tracks would not fit in memory for any clip."""

_MAX_LINE = 4096  # characters; a longer line is no row of numbers, and is not read to its end
_BLOCK = 65536  # rows checked at a time, so that a large file is never held as text
_NUMBERS = re.compile(r"[\s\d.,;+\-eE]*,[\s\d.,;+\-eE]*")

Size = tuple[int, int]


def parse_points(spec: str, n_frames: int, size: Size) -> np.ndarray:
    """Query points float32 (Q, 3) from ``"t,x,y;t,x,y"`` or from the path of a CSV file.

    ``size`` is (W, H) of the original video. Raises `PointsError` naming the line (or the place in
    the text) of the first point that is malformed or outside the clip. An empty file gives no
    points.
    """
    if not spec.strip():
        raise PointsError("no query points given: expected t,x,y;t,x,y or the path of a CSV file")
    if not _NUMBERS.fullmatch(spec) and _exists(spec):
        return read_points(Path(spec), n_frames, size)
    if "," not in spec:
        raise PointsError(f"no such points file: {shown(spec)}")
    rows = (part.split(",") for part in spec.strip().rstrip(";").split(";"))
    numbered = ((f"point {number}", row) for number, row in enumerate(rows, start=1))
    return _collect("the given points", numbered, (0, 1, 2), 3, n_frames, size)


def read_points(path: Path, n_frames: int, size: Size) -> np.ndarray:
    """Query points float32 (Q, 3) from a CSV file; raises as `parse_points` does."""
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise PointsError(f"points file {shown(path)} {what}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_table(path, file, n_frames, size)
    except UnicodeDecodeError:
        raise PointsError(f"points file {shown(path)} is not text; expected CSV: t,x,y") from None
    except csv.Error as cause:
        raise PointsError(f"points file {shown(path)} is not valid CSV: {cause}") from None
    except OSError as cause:
        raise PointsError(f"points file {shown(path)} cannot be read: {cause.strerror}") from None


def grid_points(n: int, t: int, size: Size) -> np.ndarray:
    """A regular grid in frame ``t``: float32 (Q, 3), with ``n`` points along the longer side.

    The points are the centres of equal cells, as square as the frame allows.
    """
    if n < 1:
        raise PointsError(f"a grid of {n} points a side was asked for; expected 1 or more")
    if t < 0:
        raise PointsError(f"a grid in frame {t} was asked for; frames start at 0")
    columns, rows = (max(1, round(n * side / max(size))) for side in size)
    if columns * rows > MAX_POINTS:
        raise PointsError(f"a grid of {columns} x {rows} points exceeds {MAX_POINTS} points")
    x = (np.arange(columns) + 0.5) * size[0] / columns - 0.5
    y = (np.arange(rows) + 0.5) * size[1] / rows - 0.5
    xy = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    return np.column_stack((np.full(len(xy), t), xy)).astype(np.float32)


def _exists(spec: str) -> bool:
    try:
        return Path(spec).exists()
    except (OSError, ValueError):  # too long for a path, or with a NUL
        return False


def _read_table(path: Path, file: IO[str], n_frames: int, size: Size) -> np.ndarray:
    source = f"points file {shown(path)}"
    reader = csv.reader(_lines(source, file), strict=True)
    header = next((row for row in reader if any(map(str.strip, row))), None)
    if header is None:
        return np.zeros((0, 3), np.float32)
    columns = _columns(source, header)
    numbered = ((f"line {reader.line_num}", row) for row in reader if row)
    return _collect(source, numbered, columns, len(header), n_frames, size)


def _lines(source: str, file: IO[str]) -> Iterator[str]:
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        if len(line) == _MAX_LINE or "\0" in line:
            raise PointsError(f"{source}, line {number}: not a row of numbers; expected t,x,y")
        yield line


def _columns(source: str, header: list[str]) -> tuple[int, int, int]:
    names = [name.strip().lower() for name in header]
    if all(names.count(name) == 1 for name in "txy"):
        return names.index("t"), names.index("x"), names.index("y")
    found = ",".join(header)[:60]
    if _is_number(header[0]):
        raise PointsError(
            f"{source}: the first line is {found!r}, not a header; add the line t,x,y "
            "(frame, column, row), since other tools write t,y,x"
        )
    raise PointsError(f"{source}: the header is {found!r}, expected t,x,y separated by commas")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _collect(
    source: str,
    rows: Iterable[tuple[str, list[str]]],
    columns: tuple[int, int, int],
    width: int,
    n_frames: int,
    size: Size,
) -> np.ndarray:
    """Checked float32 (Q, 3) from rows of text, each with the name of its place."""
    values, places, count = array("d"), list[str](), 0
    blocks = [np.zeros((0, 3), np.float32)]
    for place, row in rows:
        values.extend(_numbers(f"{source}, {place}", row, columns, width))
        places.append(place)
        if len(places) == _BLOCK:
            count += _BLOCK
            if count > MAX_POINTS:
                raise PointsError(f"{source}: more than {MAX_POINTS} points; ask for fewer")
            blocks.append(_checked(source, values, places, n_frames, size))
            values, places = array("d"), []
    blocks.append(_checked(source, values, places, n_frames, size))
    return np.concatenate(blocks)


def _numbers(
    place: str, row: list[str], columns: tuple[int, int, int], width: int
) -> tuple[float, ...]:
    if len(row) != width:
        raise PointsError(f"{place}: {len(row)} values, expected {width}")
    try:
        if any("_" in row[column] for column in columns):  # Python reads 1_0 as 10
            raise ValueError
        return tuple(float(row[column]) for column in columns)
    except ValueError:
        found = ",".join(row)[:60]
        raise PointsError(f"{place}: {found!r} holds something that is not a number") from None


def _checked(
    source: str, values: array, places: list[str], n_frames: int, size: Size
) -> np.ndarray:
    """The block as float32 (q, 3); raises for the first row outside the clip."""
    points = np.frombuffer(values).reshape(-1, 3)
    last = (n_frames - 1, size[0] - 0.5, size[1] - 0.5)
    with np.errstate(invalid="ignore"):  # nan and inf fail the comparisons, as they should
        bad = ~((points >= (0, -0.5, -0.5)) & (points <= last))
        bad[:, 0] |= points[:, 0] % 1 != 0
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        column = int(bad[row].argmax())
        first, kind = ((0, "a whole number"), (-0.5, "a number"), (-0.5, "a number"))[column]
        raise PointsError(
            f"{source}, {places[row]}: {'txy'[column]} is {points[row, column]:g}, "
            f"expected {kind} from {first} to {last[column]}"
        )
    return points.astype(np.float32)
