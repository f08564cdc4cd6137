"""Query points as the user gives them: files, text on the command line, stdin, or a grid.

Conventions. A query is (t, x, y): a 0-based frame, and a place in that frame in pixels of the
original video with pixel centres at integers, so x is in [-0.5, W - 0.5] and y in [-0.5, H - 0.5].
A table (CSV) names its columns, because other tools write t, y, x: it starts with a header that
has ``t``, ``x`` and ``y`` in any order; further columns are ignored. JSON is a list of
``[t, x, y]`` or of objects with these names, by itself or as ``points`` of an object. Of an NPZ
file ``queries`` (Q, 3) are read, which both tracks and ground truth have.
"""

import csv
import io
import json
import re
import sys
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

from omnimotion.errors import PointsError
from omnimotion.files import MAX_JSON_BYTES, read_bytes, regular_size, shown

MAX_POINTS = 10_000_000
"""More than this is refused: the tracks would not fit in memory for any clip."""

_MAX_LINE = 4096  # characters; a longer line is no row of numbers, and is not read to its end
_BLOCK = 65536  # rows checked at a time, so that a large file is never held as text
_NUMBERS = re.compile(r"[\s\d.,;+\-eE]*,[\s\d.,;+\-eE]*")

Size = tuple[int, int]


def parse_points(spec: str, n_frames: int, size: Size) -> np.ndarray:
    """Query points float32 (Q, 3) from ``"t,x,y;t,x,y"``, a file's path, or ``-``: CSV on stdin.

    ``size`` is (W, H) of the original video. Raises `PointsError` naming the line (or the place in
    the text) of the first point that is malformed or outside the clip. An empty table gives no
    points.
    """
    if not spec.strip():
        raise PointsError("no query points given: expected t,x,y;t,x,y or the path of a file")
    if spec == "-":
        return _read_stdin(n_frames, size)
    if not _NUMBERS.fullmatch(spec) and _exists(spec):
        return read_points(Path(spec), n_frames, size)
    if "," not in spec:
        raise PointsError(f"no such points file: {shown(spec)}")
    rows = (part.split(",") for part in spec.strip().rstrip(";").split(";"))
    numbered = ((f"point {number}", row) for number, row in enumerate(rows, start=1))
    return _collect("the given points", numbered, (0, 1, 2), 3, n_frames, size)


def read_points(path: Path, n_frames: int, size: Size) -> np.ndarray:
    """Query points float32 (Q, 3) from a .json or .npz file, or from a table with any other name.

    Raises as `parse_points` does.
    """
    if not path.is_file():
        what = "is not a regular file" if path.exists() else "does not exist"
        raise PointsError(f"points file {shown(path)} {what}")
    if path.suffix.lower() == ".json":
        return _read_json(path, n_frames, size)
    if path.suffix.lower() == ".npz":
        return checked_points(f"{shown(path)}: queries", _read_npz(path), n_frames, size)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _read_table(f"points file {shown(path)}", file, n_frames, size)
    except OSError as cause:
        raise PointsError(f"points file {shown(path)} cannot be read: {cause.strerror}") from None


def checked_points(
    source: str, points: np.ndarray, n_frames: int, size: Size,
    place: Callable[[int], str] = "row {}".format,
) -> np.ndarray:  # fmt: skip
    """Rows of t, x, y as float32 (Q, 3); `PointsError` naming the ``place`` of the first row not
    in the clip.
    """
    if points.ndim != 2 or points.shape[1] != 3 or points.dtype.kind not in "iuf":
        raise PointsError(f"{source}: {points.dtype} {points.shape}, expected numbers (Q, 3)")
    _check_count(source, len(points))
    return _in_clip(source, points.astype(np.float64), place, n_frames, size)


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


def _read_stdin(n_frames: int, size: Size) -> np.ndarray:
    file = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    try:
        return _read_table("points on stdin", file, n_frames, size)
    finally:
        file.detach()  # stdin is not ours to close


def _read_json(path: Path, n_frames: int, size: Size) -> np.ndarray:
    source = f"points file {shown(path)}"
    try:
        document = json.loads(read_bytes(path, PointsError, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as cause:
        raise PointsError(f"{source} is not valid JSON: {shown(str(cause))}") from None
    rows = document.get("points") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise PointsError(f'{source}: expected a list of [t, x, y], or {{"points": [...]}}')
    numbered = ((f"point {n}", _json_row(source, n, row)) for n, row in enumerate(rows, start=1))
    return _collect(source, numbered, (0, 1, 2), 3, n_frames, size)


def _json_row(source: str, number: int, row: Any) -> list[str]:
    """t, x, y as text, which is what points are made of elsewhere."""
    if isinstance(row, dict) and {"t", "x", "y"} <= row.keys():
        row = [row["t"], row["x"], row["y"]]
    if not isinstance(row, list) or any(isinstance(value, str) for value in row):
        raise PointsError(f'{source}, point {number}: expected [t, x, y] or {{"t":, "x":, "y":}}')
    return [str(value) for value in row]


def _read_npz(path: Path) -> np.ndarray:
    """``queries`` as they are stored."""
    regular_size(path, PointsError)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_count(shown(path), archive.getinfo("queries.npy").file_size // (3 * 8 + 1))
        with np.load(path, allow_pickle=False) as archive:
            return np.asarray(archive["queries"])
    except KeyError:
        raise PointsError(f"{shown(path)} holds no array queries (Q, 3) of t, x, y") from None
    except MemoryError:  # the size of the member is bounded above
        raise PointsError(f"{shown(path)} is damaged: its header claims too many") from None
    except PointsError:
        raise
    except Exception as cause:  # whatever a damaged or hostile file makes the parsers raise
        raise PointsError(f"{shown(path)} is damaged: {shown(str(cause))}") from None


def _read_table(source: str, file: IO[str], n_frames: int, size: Size) -> np.ndarray:
    reader = csv.reader(_lines(source, file), strict=True)
    try:
        header = next((row for row in reader if any(map(str.strip, row))), None)
        if header is None:
            return np.zeros((0, 3), np.float32)
        columns = _columns(source, header)
        numbered = ((f"line {reader.line_num}", row) for row in reader if row)
        return _collect(source, numbered, columns, len(header), n_frames, size)
    except UnicodeDecodeError:
        raise PointsError(f"{source}: is not text; expected CSV: t,x,y") from None
    except csv.Error as cause:
        raise PointsError(f"{source}: is not valid CSV: {cause}") from None


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
            _check_count(source, count)
            blocks.append(_block(source, values, places, n_frames, size))
            values, places = array("d"), []
    blocks.append(_block(source, values, places, n_frames, size))
    return np.concatenate(blocks)


def _check_count(source: str, count: int) -> None:
    if count > MAX_POINTS:
        raise PointsError(f"{source}: more than {MAX_POINTS} points; ask for fewer")


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


def _block(source: str, values: array, places: list[str], n_frames: int, size: Size) -> np.ndarray:
    points = np.frombuffer(values).reshape(-1, 3)
    return _in_clip(source, points, places.__getitem__, n_frames, size)


def _in_clip(
    source: str, points: np.ndarray, place: Callable[[int], str], n_frames: int, size: Size
) -> np.ndarray:
    """The points (q, 3) as float32; raises for the first row outside the clip."""
    last = (n_frames - 1, size[0] - 0.5, size[1] - 0.5)
    with np.errstate(invalid="ignore"):  # nan and inf fail the comparisons, as they should
        bad = ~((points >= (0, -0.5, -0.5)) & (points <= last))
        bad[:, 0] |= points[:, 0] % 1 != 0
    if bad.any():
        row = int(bad.any(axis=1).argmax())
        column = int(bad[row].argmax())
        first, kind = ((0, "a whole number"), (-0.5, "a number"), (-0.5, "a number"))[column]
        raise PointsError(
            f"{source}, {place(row)}: {'txy'[column]} is {points[row, column]:g}, "
            f"expected {kind} from {first} to {last[column]}"
        )
    return points.astype(np.float32)


def check_frame(t: int, n_frames: int) -> int:
    """The frame ``t``; `PointsError` unless it is an integer, also of numpy's, in the clip."""
    if not isinstance(t, int | np.integer):
        raise PointsError(f"frame {t}: expected an integer from 0 to {n_frames - 1}")
    if not 0 <= t < n_frames:
        raise PointsError(f"frame {t}: expected 0 to {n_frames - 1}")
    return int(t)  # torch takes one of 8 bits for a mask
