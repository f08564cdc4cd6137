"""The canonical volume as a cloud of points: every surface that some frame shows, once.

Conventions. Canonical coordinates are normalised: half the longer side of a frame is 1. A cloud
has x to the right, y up and z towards the viewer, as programs for 3-D show it. How deep something
lies is an order, not a distance. Windows of a clip have a volume each, with axes of their own.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from omnimotion.files import atomic_write, make_folder
from omnimotion.tracker import Tracker, Windowed, every_pixel, to_uint8

BESIDE_TRACKS = 4  # px between rays, where the volume is shown with tracks
PLY_POINT = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])


def canonical_cloud(tracker: Tracker, frames: Iterable[int], step: int) -> np.ndarray:
    """The surfaces that ``frames`` show, records (N,) of `PLY_POINT`.

    Every ``step``-th pixel of a stored frame, in x and y, is a ray; of points that share a cube of
    as many pixels a side the first is kept.
    """
    xy, found = every_pixel(tracker.index.size, step).view(-1, 2), np.zeros(0, PLY_POINT)
    for t in frames:
        for seen in tracker.surfaces(t, xy):
            points = np.zeros(len(seen.u[0]), PLY_POINT)
            points["xyz"] = seen.u[0].cpu().numpy() * (1, -1, -1)
            points["rgb"] = to_uint8(seen.rgb[0])
            found = _thinned(np.concatenate((found, points)), step / tracker.frame.half)
    return found


def volumes(
    path: Path, windows: Sequence[range], frames: Sequence[int]
) -> dict[int, tuple[Path, list[int]]]:
    """By window that has some of the frames: its file, and these frames, counted in the clip.

    A clip of one window has ``path`` itself; of more, ``volume.ply`` stands for
    ``volume_0000.ply`` and so on.
    """
    shown = {k: [t for t in frames if t in window] for k, window in enumerate(windows)}
    one = len(windows) == 1
    return {
        k: (path if one else path.with_name(f"{path.stem}_{k:04d}{path.suffix}"), inside)
        for k, inside in shown.items()
        if inside
    }


def write_volumes(
    tracker: Windowed, files: dict[int, tuple[Path, list[int]]], step: int
) -> Iterator[tuple[Path, int]]:
    """Write the `volumes`, one after the other: each file, and how many points it has.

    Raises like `save_ply`.
    """
    for k, (path, inside) in files.items():
        start = tracker.windows[k].start
        cloud = canonical_cloud(tracker.window(k), [t - start for t in inside], step)
        save_ply(path, cloud)
        yield path, len(cloud)


def save_ply(path: Path, cloud: np.ndarray) -> None:
    """Write records of `PLY_POINT` as a binary PLY file. Raises like `atomic_write`."""
    header = [
        "ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}",
        *(f"property float {axis}" for axis in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")), "end_header", "",
    ]  # fmt: skip
    make_folder(path.parent)
    atomic_write(path, "\n".join(header).encode() + cloud.tobytes())


def _thinned(points: np.ndarray, side: float) -> np.ndarray:
    """The first point of each cube."""
    cubes = np.floor(points["xyz"] / side).astype(np.int64)
    _, first = np.unique(cubes, axis=0, return_index=True)
    return points[np.sort(first)]
