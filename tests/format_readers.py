"""Readers of the formats that tracks are written to, from the formats' descriptions.

Each gives, for each track in order, {frame number: (x, y, is_visible)}: x, y in pixels of a frame
(W, H), y down, pixel centres at integers. A frame that the file leaves out is absent.
"""

import csv
import pickle
import re
import runpy
import sqlite3
import sys
import types
from contextlib import closing

import numpy as np


def from_lower_left_corner(x, y, size):
    return float(x) - 0.5, size[1] - 0.5 - float(y)


def read_nuke(path, size):
    """Tracker4: the third list of the knob ``tracks`` has 31 columns for each track."""
    words = re.findall(r'"[^"]*"|[{}]|[^\s{}"]+', path.read_text().partition("\n")[2])
    node = nested(iter(words))
    assert node[0] == "Tracker4"
    head, columns, rows = node[1][node[1].index("tracks") + 1]
    assert head == ["1", "31", str(len(rows))]
    names = [column[4] for column in columns]
    assert len(names) == 31
    tracks = []
    for row in rows:
        assert len(row) == 31
        cell = dict(zip(names, row))
        x, y, on = (keys(cell[name]) for name in ("track_x", "track_y", "e"))
        assert set(x) == set(y) == set(keys(cell["error"]))
        frames = {}
        for number in x:
            enabled = on[max(key for key in on if key <= number)]  # K: a value lasts
            frames[number] = (*from_lower_left_corner(x[number], y[number], size), enabled == 1)
        for number, enabled in on.items():
            assert enabled == (number in x)
        tracks.append(frames)
    return tracks


def nested(words):
    """Lists in braces as lists; quotes go."""
    found = []
    for word in words:
        if word == "}":
            return found
        found.append(nested(words) if word == "{" else word.strip('"'))
    return found


def keys(curve):
    """{frame: value} of an animation: xN names a frame, else it is the one after the last."""
    found, number = {}, None
    for word in curve[1:]:
        if word == "K":
            continue
        if word.startswith("x"):
            number = int(word[1:])
        else:
            found[number] = float(word)
            number += 1
    return found


def read_shake(path, size):
    tracks = []
    for block in path.read_text().split("TrackName ")[1:]:
        name, header, *rows = block.strip("\n").splitlines()
        assert re.fullmatch(r"usertrack\d+", name)
        assert header.split() == ["Frame", "X", "Y", "Correlation"]
        frames = {}
        for frame, x, y, correlation in map(str.split, rows):
            assert 0 <= float(correlation) <= 1
            frames[int(float(frame))] = (*from_lower_left_corner(x, y, size), True)
        tracks.append(frames)
    return tracks


def read_3de(path, size):
    lines = iter(path.read_text().splitlines())
    tracks = []
    for _ in range(int(next(lines))):
        name, colour, count = next(lines), int(next(lines)), int(next(lines))
        assert name
        assert colour == 0
        rows = [next(lines).split() for _ in range(count)]
        tracks.append({int(n): (*from_lower_left_corner(x, y, size), True) for n, x, y in rows})
    assert list(lines) == []
    return tracks


def read_syntheyes(path, size):
    """u and v are -1 and 1 at the centres of the outermost pixels, v down."""
    tracks = {}
    for line in path.read_text().splitlines():
        name, number, u, v, status = line.split()
        frames = tracks.setdefault(name, {})
        follows = not frames or int(number) - 1 in frames
        assert int(status) == (7 if follows else 15)
        x, y = ((float(c) + 1) / 2 * (side - 1) for c, side in zip((u, v), size))
        frames[int(number)] = (x, y, True)
    return list(tracks.values())


def read_pftrack(path, size):
    """Pixels from the centre of the lower left one; lines end with CR LF."""
    text = path.read_bytes().decode("ascii")
    assert text.count("\n") == text.count("\r\n")
    lines, tracks = iter(text.splitlines()), []
    for line in lines:
        if not line:
            continue
        assert re.fullmatch(r'"\w+"', line)
        camera = next(lines)
        assert camera == '"Primary"'
        rows = [next(lines).split() for _ in range(int(next(lines)))]
        assert all(0 <= float(residual) <= 1 for *_, residual in rows)
        tracks.append({int(n): (float(x), size[1] - 1 - float(y), True) for n, x, y, _ in rows})
    return tracks


def read_after_effects(path, size):
    """Pixels from the upper left corner; hidden is opacity 0."""
    text = path.read_bytes().decode("ascii")
    assert text.count("\n") == text.count("\r\n")
    tracks = []
    for piece in text.replace("\r\n", "\n").split("Adobe After Effects 8.0 Keyframe Data\n")[1:]:
        assert piece.strip().endswith("End of Keyframe Data")
        values = dict(re.findall(r"^\t([A-Z][\w ]+)\t([\d.]+)$", piece, re.M))
        assert (int(values["Source Width"]), int(values["Source Height"])) == size
        rows = {
            name: [line.split("\t")[1:] for line in lines.strip("\n").splitlines()]
            for name, lines in re.findall(
                r"^Transform\t(\w+)\n\tFrame.*\n((?:\t.*\n)+)", piece, re.M
            )
        }
        opacity = {int(number): float(percent) for number, percent in rows["Opacity"]}
        tracks.append({
            int(n): (float(x) - 0.5, float(y) - 0.5, opacity[int(n)] == 100)
            for n, x, y, _ in rows["Position"]
        })  # fmt: skip
    return tracks


class _Markers(dict):
    def insert_frame(self, frame, *, co=(0, 0)):
        inside = tuple(min(1, max(-1, share)) for share in co)  # as Blender does
        self[frame] = types.SimpleNamespace(co=inside, mute=False)
        return self[frame]


class _Tracks(list):
    def new(self, *, name, frame):
        track = types.SimpleNamespace(name=name, weight=1.0, markers=_Markers())
        track.markers.insert_frame(frame, co=(0, 0))  # as Blender does
        self.append(track)
        return track


def read_blender(path, size):
    """Run the script against what it needs of Blender, which shows markers in frames nearby, too:
    frames that are left out have muted ones.
    """
    clip = types.SimpleNamespace(size=size, tracking=types.SimpleNamespace(tracks=_Tracks()))
    bpy = types.ModuleType("bpy")
    bpy.data = types.SimpleNamespace(movieclips=[clip])
    before = sys.modules.get("bpy")
    sys.modules["bpy"] = bpy
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:
        if before is None:
            del sys.modules["bpy"]
        else:
            sys.modules["bpy"] = before
    tracks = []
    for track in clip.tracking.tracks:
        assert 0 <= track.weight <= 1
        before, *frames, after = sorted(track.markers)
        assert frames == list(range(before + 1, after))
        assert track.markers[before].mute
        assert track.markers[after].mute
        tracks.append({
            n: (marker.co[0] * size[0] - 0.5, (1 - marker.co[1]) * size[1] - 0.5, not marker.mute)
            for n in frames for marker in [track.markers[n]]
        })  # fmt: skip
    return tracks


def read_napari(path, size):
    table = np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2)
    assert path.read_text().startswith("ID,T,Y,X,")
    tracks = [{} for _ in range(int(table[:, 0].max()) + 1)]
    for track, t, y, x, *_ in table.tolist():
        tracks[int(track)][int(t)] = (x, y, True)
    return tracks


def read_deeplabcut(path, size):
    with path.open(newline="") as file:
        scorer, parts, coords, *rows = list(csv.reader(file))
    assert (scorer[0], parts[0], coords[0]) == ("scorer", "bodyparts", "coords")
    assert coords[1:] == ["x", "y", "likelihood"] * (len(coords) // 3)
    return [
        {int(row[0]): (float(row[k]), float(row[k + 1]), float(row[k + 2]) > 0) for row in rows}
        for k in range(1, len(parts), 3)
    ]


def read_trc(path, size, mm_per_px=1.0):
    """Millimetres from the lower left corner, y up; blank where hidden."""
    lines = [line.split("\t") for line in path.read_text().split("\n")]
    values = dict(zip(lines[1], lines[2]))
    assert values["Units"] == "mm"
    assert lines[5] == [""]
    rows = [line for line in lines[6:] if line != [""]]
    assert int(values["NumFrames"]) == len(rows)
    tracks = [{} for _ in range(int(values["NumMarkers"]))]
    for number, _, *cells in rows:
        assert len(cells) == 3 * len(tracks)
        for q, frames in enumerate(tracks):
            x, y, z = cells[3 * q : 3 * q + 3]
            if x:
                assert float(z) == 0
                place = (float(x) / mm_per_px, float(y) / mm_per_px)
                frames[int(number)] = (*from_lower_left_corner(*place, size), True)
    return tracks


def read_tapvid(path, size):
    """As TAP-Vid's own reader: shares of the frame, whose resolution does not matter."""
    with path.open("rb") as file:
        (clip,) = pickle.load(file).values()
    assert clip["video"].dtype == np.uint8
    assert clip["points"].dtype == np.float32
    assert len(clip["video"]) == clip["points"].shape[1]
    return [
        {t: (x * size[0] - 0.5, y * size[1] - 0.5, not hidden)
         for t, ((x, y), hidden) in enumerate(zip(points, occluded))}
        for points, occluded in zip(clip["points"].tolist(), clip["occluded"].tolist())
    ]  # fmt: skip


def read_colmap(path, size):
    """Keypoints of each image; those joined by matches, in any pair of images, are one track."""
    with closing(sqlite3.connect(path)) as database:
        names = dict(database.execute("SELECT image_id, name FROM images"))
        points = {
            image: np.frombuffer(data, "<f4").reshape(rows, cols)
            for image, rows, cols, data in database.execute("SELECT * FROM keypoints")
        }
        matches = list(database.execute("SELECT * FROM matches"))
        model, width, height = database.execute(
            "SELECT model, width, height FROM cameras"
        ).fetchone()
    assert (model, width, height) == (0, *size)
    track_of = {(image, k): {(image, k)} for image in points for k in range(len(points[image]))}
    for pair, rows, cols, data in matches:
        i, j = divmod(pair, 2147483647)
        for a, b in np.frombuffer(data, "<u4").reshape(rows, cols).tolist():
            joined = track_of[i, a] | track_of[j, b]
            for member in joined:
                track_of[member] = joined
    tracks = {id(members): members for members in track_of.values()}
    return [
        {int(names[image][:6]): (*(points[image][k] - 0.5).tolist(), True) for image, k in members}
        for members in tracks.values()
    ]
