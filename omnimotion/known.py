"""Points whose places are known: the tracks of another tracker, or pins that a user has set.

Conventions. Places are in pixels of the original video, centres at integers, frames from 0. A
table (CSV) has a row for each track and frame; its header names ``track,t,x,y`` in any order, and
``confidence`` (0 to 1) and ``visible`` (0 or 1) may follow, both 1 where the column is absent.
Files of tracks (`omnimotion.export`) are read as well. Frames that are left out are not known.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnimotion.archive import fingerprint
from omnimotion.errors import InputError, PointsError
from omnimotion.export import CSV_COLUMNS, load_tracks_of
from omnimotion.files import read_bytes, shown
from omnimotion.points import Size, checked_points

log = logging.getLogger(__name__)

COLUMNS = ("track", "t", "x", "y")
OPTIONAL = ("confidence", "visible")
Place = Callable[[int], str]  # of a row, for a message
LEAST_CONFIDENCE = 1e-6  # what is less is not known
MAX_PLACES = 30_000_000
"""Tracks times frames; a fit holds some 40 bytes of each."""


@dataclass(frozen=True, eq=False)
class KnownTracks:
    """Q tracks where they are known; each in two frames or more, and seen in one."""

    xy: np.ndarray  # float32 (Q, T, 2) original pixels, 0 where unknown
    weight: np.ndarray  # float32 (Q, T) confidence in [0, 1], 0 where unknown
    visible: np.ndarray  # bool (Q, T), False where hidden or unknown
    licence: str = ""  # that the tracks come under, where it is known

    @property
    def fingerprint(self) -> str:
        """Tells these tracks from others."""
        return fingerprint(self.xy, self.weight, self.visible)


def read_known(
    path: Path, n_frames: int, size: Size, pins: bool = False, licence: str | None = None
) -> KnownTracks:
    """The known tracks of a file, for a video of ``n_frames`` frames and ``size`` (W, H).

    A track that is left with a single place, or is never seen, tells no motion and is dropped.
    ``pins``: places count also where a track is hidden, and no track is dropped. ``licence``: by
    default that of the flow which a file of tracks names.

    Raises `InputError` where the file is no table and no file of tracks, `PointsError` where a
    place is not in the clip, is given twice, or no track is left, or one of pins would be dropped.
    """
    rows, place, named = _table(path) if _is_table(path) else _of_tracks(path, size)
    kept = rows[:, 4] >= LEAST_CONFIDENCE
    if not pins:
        kept &= rows[:, 5] > 0
    numbers, rows, source = np.flatnonzero(kept), rows[kept], shown(path)
    points = checked_points(source, rows[:, 1:4], n_frames, size, lambda k: place(int(numbers[k])))
    tracks, q, count = np.unique(rows[:, 0], return_inverse=True, return_counts=True)
    t = points[:, 0].astype(np.int64)
    _check_twice(source, rows[:, 0], t)
    long = (count >= 2) & (np.bincount(q, rows[:, 5], len(count)) > 0)
    if not long.any():
        raise PointsError(f"{source}: no track is seen in a frame and known in another")
    if pins and not long.all():
        k = tracks[long.argmin()]
        raise PointsError(f"{source}: track {k:g} is not seen in a frame and known in another")
    if long.sum() * n_frames > MAX_PLACES:
        raise PointsError(f"{source}: {long.sum()} tracks of {n_frames} frames; give fewer")
    log.info("%s: %d tracks, %d places of them known", source, long.sum(), count[long].sum())
    number = (np.cumsum(long) - 1)[q][long[q]]
    points, t, rows = points[long[q]], t[long[q]], rows[long[q]]
    xy = np.zeros((long.sum(), n_frames, 2), np.float32)
    weight, visible = np.zeros(xy.shape[:2], np.float32), np.zeros(xy.shape[:2], bool)
    xy[number, t], weight[number, t], visible[number, t] = points[:, 1:], rows[:, 4], rows[:, 5]
    return KnownTracks(xy, weight, visible, named if licence is None else licence)


def known_within(known: KnownTracks, window: range) -> KnownTracks | None:
    """What is known in the frames of a window, counted from its first; None where that is nothing.

    Tracks that are known in one of its frames only, or not seen in any, tell no motion there.
    """
    frames = slice(window.start, window.stop)
    weight, visible = known.weight[:, frames], known.visible[:, frames]
    is_told = ((weight > 0).sum(axis=1) >= 2) & visible.any(axis=1)
    if not is_told.any():
        return None
    return KnownTracks(known.xy[is_told, frames], weight[is_told], visible[is_told])


def _check_twice(source: str, tracks: np.ndarray, t: np.ndarray) -> None:
    order = np.lexsort((t, tracks))
    same = (np.diff(tracks[order]) == 0) & (np.diff(t[order]) == 0)
    if same.any():
        k = order[same.argmax()]
        raise PointsError(f"{source}: track {tracks[k]:g} has two places in frame {t[k]}")


def _is_table(path: Path) -> bool:
    """Whether a file is CSV, but none of `omnimotion.export`."""
    if path.suffix.lower() != ".csv":
        return False
    return _header(read_bytes(path, InputError))[: len(CSV_COLUMNS)] != list(CSV_COLUMNS)


def _header(data: bytes) -> list[str]:
    first = data.partition(b"\n")[0].decode("utf-8-sig", "replace")
    return [name.strip().lower() for name in first.split(",")]


def _table(path: Path) -> tuple[np.ndarray, Place, str]:
    """Rows of track, t, x, y, confidence, visible: float64 (R, 6); the place of each; no licence,
    for which a table has no column.
    """
    data = read_bytes(path, InputError)
    names = _header(data)
    if any(names.count(name) != 1 for name in COLUMNS):
        raise PointsError(
            f"{shown(path)}: the header is {','.join(names)[:60]!r}, expected {','.join(COLUMNS)} "
            f"and, if known, {','.join(OPTIONAL)}"
        )
    text = data.partition(b"\n")[2].decode("utf-8", "replace").split("\n")
    lines = [number for number, line in enumerate(text) if line.strip()]
    if not lines:
        raise PointsError(f"{shown(path)}: no rows below the header")

    def place(row: int) -> str:
        return f"line {lines[row] + 2}"

    try:
        table = np.loadtxt([text[n] for n in lines], delimiter=",", comments=None, ndmin=2)
    except ValueError as problem:
        for row, n in enumerate(lines):
            _check_row(f"{shown(path)}, {place(row)}", text[n], names)
        raise PointsError(f"{shown(path)}: {shown(str(problem))}") from None
    if table.shape[1] != len(names):
        raise PointsError(
            f"{shown(path)}: {table.shape[1]} values a row, {len(names)} in the header"
        )

    ones = np.ones(len(table))
    columns = {
        name: table[:, names.index(name)] if name in names else ones
        for name in (*COLUMNS, *OPTIONAL)
    }
    for name, high in (("track", 2**53), ("confidence", 1), ("visible", 1)):
        wrong = ~((columns[name] >= 0) & (columns[name] <= high))  # also where not a number
        if wrong.any():
            k = int(wrong.argmax())
            found = f"{name} is {columns[name][k]:g}, expected 0 to {high}"
            raise PointsError(f"{shown(path)}, {place(k)}: {found}")
    return np.column_stack(list(columns.values())), place, ""


def _check_row(place: str, line: str, names: list[str]) -> None:
    """Raise `PointsError` unless a line holds a number for each name."""
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(names):
        raise PointsError(f"{place}: {len(cells)} values, {len(names)} in the header")
    for name, cell in zip(names, cells):
        try:
            float(cell)
        except ValueError:
            raise PointsError(f"{place}: {name} is {shown(cell)!r}, expected a number") from None


def _of_tracks(path: Path, size: Size) -> tuple[np.ndarray, Place, str]:
    """The same of a file of tracks, where they are visible."""
    tracks = load_tracks_of(path, size)
    q, column = np.nonzero(tracks.visible)
    places = tracks.xy[q, column].astype(np.float64)
    confidence = tracks.confidence[q, column].clip(0, 1)
    rows = np.column_stack((q, tracks.frames[column], places, confidence, np.ones(len(q))))
    flow = tracks.meta.get("flow")
    licence = str(flow.get("licence") or "") if isinstance(flow, dict) else ""
    return rows, lambda row: f"track {q[row]}, frame {tracks.frames[column[row]]}", licence
