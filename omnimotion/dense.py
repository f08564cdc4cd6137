"""Tracks of every pixel of a frame as one file, written as they come.

The file is an uncompressed ``.npy``: an array (T, H, W) with the fields of `DTYPE`. At [t, y, x]
is what becomes in frame t of the pixel (x, y) of the frame that was asked; what the fields mean is
said in `omnimotion.tracks`. numpy opens it without reading it: ``np.load(path, mmap_mode="r")``.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from omnimotion.files import atomic_path, make_folder, require_free
from omnimotion.tracks import Tracks

DENSE_SUFFIXES = (".npy",)
DTYPE = np.dtype(
    [("xy", "<f4", (2,)), ("confidence", "<f4"), ("occlusion", "<f4"), ("depth", "<f4"),
     ("visible", "?")]
)  # fmt: skip


def write_dense(path: Path, parts: Iterable[Tracks], n_frames: int, size: tuple[int, int]) -> None:
    """Write the tracks of all pixels of a frame of ``size`` (W, H), row after row, in ``parts``.

    Memory is that of one part. Raises `ConfigError` where the folder cannot be made or written,
    `ResourceError` where the disk is or becomes too full; then nothing is left behind.
    """
    width, height = size
    shape = (n_frames, height, width)
    needed = n_frames * height * width * DTYPE.itemsize
    make_folder(path.parent)
    require_free(path, needed, "a dense query")
    header = {"descr": np.lib.format.dtype_to_descr(DTYPE), "fortran_order": False, "shape": shape}
    with atomic_path(path, needed) as temp, temp.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        start, done = file.tell(), 0
        for tracks in parts:
            for t, row in enumerate(records(tracks)):
                file.seek(start + (t * height * width + done) * DTYPE.itemsize)
                file.write(row.tobytes())
            done += len(tracks)


def records(tracks: Tracks) -> np.ndarray:
    """The tracks (Q, T) as records (T, Q) of `DTYPE`."""
    found = np.empty((tracks.n_frames, len(tracks)), DTYPE)
    for name in DTYPE.names or ():
        found[name] = np.moveaxis(getattr(tracks, name), 1, 0)
    return found
