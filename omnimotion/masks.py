"""Masks of objects: which pixels of a frame belong to which.

Conventions. A mask is a PNG of the original video's size. In an indexed one (DAVIS) each index is
an object and 0 is background; a black-and-white one holds one object. Labels are uint8 (H, W).
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from omnimotion.errors import InputError, PointsError
from omnimotion.files import read_bytes, shown
from omnimotion.images import check_size

MAX_MASK_BYTES = 64 << 20


def load_mask(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The labels uint8 (H, W) of a PNG that must have the size (W, H); 0 is background.

    Raises `InputError`, naming the file, when it is no mask, of another size, or has no object.
    """
    data = read_bytes(path, InputError, MAX_MASK_BYTES)
    try:
        labels = _decode(data)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as problem:
        reason = shown(str(problem))
        raise InputError(f"mask {shown(path)}: {reason}; expected an indexed PNG") from problem
    height, width = labels.shape
    if (width, height) != size:
        raise InputError(
            f"mask {shown(path)} is {width}x{height}, expected the video's {size[0]}x{size[1]}"
        )
    if not labels.any():
        raise InputError(f"mask {shown(path)} is empty: every pixel is background")
    return labels


def mask_points(labels: np.ndarray, t: int, step: int) -> np.ndarray:
    """The pixels of a grid of ``step`` px that lie on objects, float32 (Q, 3) of frame ``t``.

    ``labels``: (H, W). Raises `PointsError` where the grid misses an object altogether.
    """
    if step < 1:
        raise PointsError(f"a grid of {step} px was asked for; expected 1 or more")
    first = step // 2
    grid = labels[first::step, first::step]
    missed = np.setdiff1d(labels, grid[grid > 0])
    missed = missed[missed > 0]
    if len(missed):
        count = int((labels == missed[0]).sum())
        raise PointsError(
            f"mask: object {missed[0]} ({count} px) holds no point of a grid of {step} px: "
            "give a smaller --step"
        )
    rows, columns = np.nonzero(grid)
    places = np.stack((columns, rows), axis=-1) * step + first
    return np.column_stack((np.full(len(places), t), places)).astype(np.float32)


def _decode(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data), formats=("PNG",))
    check_size(image.size)
    image.verify()  # the CRC of every chunk, which decoding does not look at
    image = Image.open(io.BytesIO(data), formats=("PNG",))
    if image.mode not in ("P", "L", "1"):
        raise ValueError(f"has pixels of mode {image.mode}")
    values = np.asarray(image)
    if image.mode == "P":
        return values.astype(np.uint8)
    grey = np.unique(values)
    if len(grey) > 2 or (len(grey) == 2 and grey[0] != 0):
        raise ValueError(f"is grey with {len(grey)} values, not black and one other")
    return (values > 0).astype(np.uint8)
