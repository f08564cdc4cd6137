"""Tracks as files: ``.npz`` for programs, ``.csv`` for spreadsheets, ``.json`` for the web.

Conventions are those of `omnimotion.tracks`: original pixels (x, y), centres at integers, frames
0-based. No format holds a pickle, and each is written whole or not at all.

- NPZ: arrays ``xy visible confidence occlusion depth queries frames times fps size`` and the
  member ``meta.json``; numpy opens it with ``allow_pickle=False``.
- JSON: one object; ``tracks`` lists one object per query.
- CSV: one row per track and frame, tracks in order; what belongs to the track or the clip is
  repeated in the last columns. It holds no ``meta``, and of no track at all only the header.

Each may hold more columns, measured (see `omnimotion.measure`), which are not read back. Floats
are written as the shortest decimal that reads back to the same number.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from omnimotion.errors import ConfigError, InputError, PointsError
from omnimotion.files import (
    atomic_path,
    check_writable,
    make_folder,
    read_archive,
    read_bytes,
    shown,
    write_archive,
)
from omnimotion.tracks import PER_FRAME, Tracks

TRACK_SUFFIXES = (".npz", ".csv", ".json")
KIND, FORMAT = "omnimotion-tracks", 2
CSV_COLUMNS = (
    *("track_id", "frame", "time_s", "x", "y", "visible", "confidence", "occlusion", "depth"),
    *("query_frame", "query_x", "query_y", "fps", "width", "height"),
)

_ARRAYS = (*PER_FRAME, "queries", "frames", "times")

Columns = Mapping[str, np.ndarray]  # float32 (Q, T) by name


def save_tracks(
    path: Path, tracks: Tracks, overwrite: bool = False, measured: Columns | None = None
) -> None:
    """Write the tracks in the format that the suffix names, and the folders above if need be.

    ``measured``: more columns, float32 (Q, T) each. Raises `ConfigError` as `check_output` does,
    `ResourceError` where the disk is full.
    """
    check_output(path, TRACK_SUFFIXES, overwrite)
    make_folder(path.parent)
    measured = measured or {}
    if path.suffix.lower() == ".npz":
        _write_npz(path, tracks, measured)
        return
    write = _write_csv if path.suffix.lower() == ".csv" else _write_json
    with atomic_path(path) as temp, temp.open("w", encoding="ascii", newline="\n") as file:
        write(file, tracks, measured)


def load_tracks(path: Path) -> Tracks:
    """Read what `save_tracks` wrote; raises `InputError` naming the file for anything else."""
    readers = {".npz": _read_npz, ".csv": _read_csv, ".json": _read_json}
    suffix = path.suffix.lower()
    if suffix not in readers:
        raise InputError(f"{shown(path)}: expected a file of tracks, {_list(TRACK_SUFFIXES)}")
    try:
        with np.errstate(over="ignore"):  # beyond float32 is inf, which Tracks refuses
            fields = readers[suffix](path)
    except (KeyError, IndexError, TypeError, ValueError, OverflowError, RecursionError) as problem:
        reason = shown(str(problem)) or type(problem).__name__
        raise InputError(f"{shown(path)} holds no tracks: {reason}") from problem
    try:
        return Tracks(**fields)
    except InputError as problem:
        raise InputError(f"{shown(path)}: {problem}") from problem


def load_tracks_of(path: Path, size: tuple[int, int]) -> Tracks:
    """The same of a video of ``size`` (W, H); `PointsError` where it is of another size."""
    tracks = load_tracks(path)
    if tracks.size != size:
        found, expected = ("{}x{}".format(*each) for each in (tracks.size, size))
        raise PointsError(f"{shown(path)} has tracks of a {found} video, expected {expected}")
    return tracks


def check_output(path: Path, suffixes: Collection[str], overwrite: bool) -> None:
    """Raise `ConfigError` where an output may not be written; to be called before long work.

    The folder that it is to be in may be missing, if it can be made.
    """
    if path.suffix.lower() not in suffixes:
        raise ConfigError(f"cannot write {shown(path)}: its name must end in {_list(suffixes)}")
    if path.is_dir():
        raise ConfigError(f"cannot write {shown(path)}: it is a folder")
    if path.exists() and not overwrite:
        raise ConfigError(f"{shown(path)} exists: choose another name, or give --overwrite")
    check_writable(path)


def _list(suffixes: Collection[str]) -> str:
    return " or ".join(suffixes)


def _write_npz(path: Path, tracks: Tracks, measured: Columns) -> None:
    arrays = {**measured} | {name: getattr(tracks, name) for name in _ARRAYS}
    arrays["fps"] = np.float64(tracks.fps)
    arrays["size"] = np.array(tracks.size, np.int64)
    arrays["meta"] = np.array(_json(dict(tracks.meta)))
    write_archive(path, arrays, {"kind": KIND, "format": FORMAT})


def _read_npz(path: Path) -> dict[str, Any]:
    arrays, header = read_archive(path, InputError)
    _check_kind(header)
    fields: dict[str, Any] = {name: arrays[name] for name in _ARRAYS}
    fields |= {"fps": float(arrays["fps"]), "size": _size(arrays["size"])}
    return {**fields, "meta": json.loads(str(arrays["meta"]))}


def _write_json(file: TextIO, tracks: Tracks, measured: Columns) -> None:
    """One line for the clip and one for each track, so that no large text is held."""
    header = {"kind": KIND, "format": FORMAT, "coordinates": "pixel_center"}
    header |= {"fps": float(tracks.fps), "size": [int(side) for side in tracks.size]}
    header |= {"frames": tracks.frames.tolist(), "times": tracks.times.tolist()}
    header |= {"meta": dict(tracks.meta)}
    file.write(_json(header)[:-1] + ',"tracks":[')
    for q in range(len(tracks)):
        record = {name: _plain(getattr(tracks, name)[q]) for name in PER_FRAME}
        record |= {name: _plain(column[q]) for name, column in measured.items()}
        record["query"] = _plain(tracks.queries[q])
        file.write(("," if q else "") + "\n" + _json(record))
    file.write("\n]}\n")


def _read_json(path: Path) -> dict[str, Any]:
    document = json.loads(read_bytes(path, InputError))
    _check_kind(document)
    records, frames = document["tracks"], np.array(document["frames"], np.int64)
    count, n_frames = len(records), len(frames)

    def stack(name: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        if not count:
            return np.zeros((0, *shape), dtype)
        stacked = np.array([record[name] for record in records])
        if stacked.dtype.kind not in "biuf":
            raise ValueError(f"{name} is not made of numbers")
        return stacked.astype(dtype)

    fields: dict[str, Any] = {
        name: stack(name, np.float32, (n_frames,)) for name in ("confidence", "occlusion", "depth")
    }
    fields["xy"] = stack("xy", np.float32, (n_frames, 2))
    fields["visible"] = stack("visible", np.bool_, (n_frames,))
    fields["queries"] = stack("query", np.float32, (3,))
    fields |= {"fps": float(document["fps"]), "size": _size(document["size"]), "frames": frames}
    return {**fields, "times": np.array(document["times"], float), "meta": document["meta"]}


def _write_csv(file: TextIO, tracks: Tracks, measured: Columns) -> None:
    file.write(",".join((*CSV_COLUMNS, *measured)) + "\n")
    clip = (float(tracks.fps), *map(int, tracks.size))
    for q in range(len(tracks)):
        query_t, *query_xy = _plain(tracks.queries[q])
        last = (int(query_t), *query_xy, *clip)
        columns = [tracks.frames.tolist(), tracks.times.tolist()]
        columns += [_plain(getattr(tracks, name)[q]) for name in PER_FRAME]
        extra = [_plain(column[q]) for column in measured.values()]
        for k, (t, time, (x, y), visible, *scores) in enumerate(zip(*columns, strict=True)):
            values = (q, t, time, x, y, int(visible), *scores, *last, *(each[k] for each in extra))
            file.write(",".join(map(str, values)) + "\n")


def _read_csv(path: Path) -> dict[str, Any]:
    header, _, rows = read_bytes(path, InputError).decode("utf-8-sig").partition("\n")
    names = header.strip().split(",")
    if names[: len(CSV_COLUMNS)] != list(CSV_COLUMNS):
        raise ValueError(f"its header is not {','.join(CSV_COLUMNS)}")
    if not rows.strip():
        raise ValueError("it has no rows, so the clip is unknown; save as .npz or .json")
    table = np.loadtxt(rows.splitlines(), delimiter=",", comments=None, ndmin=2)
    n_frames = int((table[:, 0] == 0).sum())
    table = table.reshape(-1, max(n_frames, 1), len(names))[..., : len(CSV_COLUMNS)]
    if (table[..., 0] != np.arange(len(table))[:, None]).any():
        raise ValueError("its rows are not every frame of every track, in order")
    if (table[..., 1:3] != table[0, :, 1:3]).any():
        raise ValueError("its tracks are not of the same frames and times")
    if (table[..., 12:] != table[0, 0, 12:]).any() or (table[..., 9:] != table[:, :1, 9:]).any():
        raise ValueError("fps, width and height differ between rows, or a track's query does")
    values = table.astype(np.float32)
    fields: dict[str, Any] = {
        name: np.ascontiguousarray(values[..., CSV_COLUMNS.index(name)])
        for name in ("confidence", "occlusion", "depth")
    }
    fields |= {"xy": values[..., 3:5].copy(), "visible": table[..., 5] != 0}
    fields |= {"queries": values[:, 0, 9:12].copy(), "fps": float(table[0, 0, 12])}
    if (table[0, :, 1] % 1).any():
        raise ValueError("a frame is not a whole number")
    fields |= {"frames": table[0, :, 1].astype(np.int64), "times": table[0, :, 2].copy()}
    return {**fields, "size": _size(table[0, 0, 13:])}


def _check_kind(header: Any) -> None:
    kind = header.get("kind") if isinstance(header, Mapping) else None
    if kind != KIND:
        raise ValueError(f"kind is {kind!r}, expected {KIND!r}")
    if header.get("format") != FORMAT:
        raise ValueError(f"format is {header.get('format')!r}, this version reads {FORMAT}")


def _size(size: Any) -> tuple[int, int]:
    width, height = (int(side) for side in size)
    return width, height


def _plain(values: np.ndarray) -> list:
    """Nested Python values; a float32 becomes the shortest decimal that reads back to it."""
    if values.dtype == np.float32:
        return values.astype("U").astype(np.float64).tolist()
    return values.tolist()


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
