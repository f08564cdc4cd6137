"""For other programs to learn from: TAP-Vid's pickle, and COLMAP's database of matches."""

import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path

import numpy as np

from omnimotion.errors import InputError
from omnimotion.files import atomic_path, atomic_write
from omnimotion.formats.coordinates import corner_down, share_down
from omnimotion.formats.sheet import Sheet

_PROTOCOL = 4  # every Python since 3.4 reads it
_FOCAL_SHARE = 1.2  # of the longer side: what COLMAP takes where it knows nothing
_MAX_IMAGES = 2**31 - 1  # COLMAP numbers a pair of images by this

_TABLES = """
CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, params BLOB,
    prior_focal_length INTEGER NOT NULL);
CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL UNIQUE, camera_id INTEGER NOT NULL,
    FOREIGN KEY(camera_id) REFERENCES cameras(camera_id));
CREATE UNIQUE INDEX index_name ON images(name);
CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,
    cols INTEGER NOT NULL, data BLOB,
    FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE descriptors (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,
    cols INTEGER NOT NULL, data BLOB,
    FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,
    cols INTEGER NOT NULL, data BLOB);
CREATE TABLE two_view_geometries (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,
    cols INTEGER NOT NULL, data BLOB, config INTEGER NOT NULL, F BLOB, E BLOB, H BLOB,
    qvec BLOB, tvec BLOB);
"""


def save_tapvid(path: Path, sheet: Sheet) -> None:
    """A dict of one clip: video, points and occluded, and what TAP-Vid's readers pass over.

    Points are shares of the frame from the upper left corner, float32 (N, T, 2), so that the video
    may have any size. `InputError` where there are no images.
    """
    tracks, images = sheet.tracks, list(sheet.images)
    if len(images) != tracks.n_frames:
        raise InputError(f"tapvid: {len(images)} images for {tracks.n_frames} frames")
    clip = {
        "video": np.stack(images),
        "points": share_down(tracks.xy, tracks.size).astype(np.float32),
        "occluded": ~tracks.visible,
        "confidence": tracks.confidence,
        "occlusion": tracks.occlusion,
        "meta": sheet.origin(),
    }
    with atomic_path(path) as temp, temp.open("wb") as file:
        pickle.dump({str(tracks.meta.get("scene", "clip")): clip}, file, _PROTOCOL)


def save_colmap(path: Path, sheet: Sheet) -> None:
    """A database in which each frame's visible points are keypoints, and tracks are matches.

    Keypoints are pixels from the upper left corner. Image ``000007.png`` is frame 7, as scene
    folders name them. Matches are raw: COLMAP verifies them before it maps.
    """
    tracks = sheet.tracks
    size, longer = tracks.size, max(tracks.size)
    places = corner_down(tracks.xy).astype("<f4")
    lens = np.array([_FOCAL_SHARE * longer, size[0] / 2, size[1] / 2], "<f8").tobytes()
    with closing(sqlite3.connect(":memory:")) as database:  # of which no half can be left
        database.executescript(_TABLES)
        database.execute("INSERT INTO cameras VALUES (1, 0, ?, ?, ?, 0)", (*size, lens))
        for t, number in enumerate(tracks.frames):
            image = (t + 1, f"{number:06d}.png")
            database.execute("INSERT INTO images VALUES (?, ?, 1)", image)
            points = places[tracks.visible[:, t], t]
            row = (t + 1, len(points), 2, points.tobytes())
            database.execute("INSERT INTO keypoints VALUES (?, ?, ?, ?)", row)
        database.executemany("INSERT INTO matches VALUES (?, ?, 2, ?)", _matches(tracks.visible))
        database.commit()
        atomic_write(path, database.serialize())


def _matches(visible: np.ndarray) -> Iterator[tuple[int, int, bytes]]:
    """Pair, number and indices (M, 2) of the keypoints of all frames that share tracks."""
    index = visible.cumsum(axis=0) - 1  # of a track's keypoint among those of its frame
    for i, j in combinations(range(visible.shape[1]), 2):
        both = visible[:, i] & visible[:, j]
        if both.any():
            pairs = np.column_stack((index[both, i], index[both, j])).astype("<u4")
            yield (i + 1) * _MAX_IMAGES + j + 1, len(pairs), pairs.tobytes()
