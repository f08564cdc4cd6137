"""Masks of objects: which pixels of a frame belong to which.

Conventions. A mask is a PNG of the original video's size. In an indexed one (DAVIS) each index is
an object and 0 is background; a black-and-white one holds one object, however its pixels are
stored: painting programs save it with three colours that are equal, and an alpha that is opaque.
Labels are uint8 (H, W).
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from omnimotion.errors import InputError, PointsError
from omnimotion.files import atomic_write, read_bytes, shown
from omnimotion.images import PNG_DEPTH, check_video_size, open_checked, parsing

MAX_MASK_BYTES = 64 << 20

_BLACK_AND_WHITE = (0, 0, 0, 255, 255, 255)


@dataclass(frozen=True, eq=False)
class Mask:
    """Which object each pixel belongs to."""

    labels: np.ndarray  # uint8 (H, W), 0 is background
    palette: tuple[int, ...] = _BLACK_AND_WHITE  # R, G, B of each label, one after the other


def load_mask(path: Path, size: tuple[int, int], may_be_empty: bool = False) -> Mask:
    """The mask of a PNG that must have the size (W, H).

    Raises `InputError`, naming the file, when it is no mask, of another size, or has no object
    though it may not be empty.
    """
    name, data = f"mask {shown(path)}", read_bytes(path, InputError, MAX_MASK_BYTES)
    with parsing(name, "an indexed or black-and-white PNG"):
        mask = _decode(data)
    check_video_size(name, mask.labels, size)
    if not (may_be_empty or mask.labels.any()):
        raise InputError(f"{name} is empty: every pixel is background")
    return mask


def save_mask(path: Path, mask: Mask) -> None:
    """Write an indexed PNG with the mask's palette, atomically. Raises like `atomic_path`."""
    height, width = mask.labels.shape
    image = Image.frombytes("P", (width, height), mask.labels.tobytes())
    image.putpalette([*mask.palette, *[0] * (768 - len(mask.palette))])  # so that it has 8 bits
    data = io.BytesIO()
    image.save(data, format="PNG")
    atomic_write(path, data.getvalue())


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


def _decode(data: bytes) -> Mask:
    image = open_checked(data)
    if data[PNG_DEPTH] == 16:
        raise ValueError("has 16 bits a channel: save it with 8")
    values = np.asarray(image)
    if image.mode == "P":
        return Mask(values.astype(np.uint8), tuple(image.getpalette() or ()))
    if image.mode in ("RGB", "RGBA", "LA"):
        values = _grey(values, "A" in image.mode)
    elif image.mode not in ("L", "1"):
        raise ValueError(f"has pixels of mode {image.mode}")
    grey = np.unique(values)
    if len(grey) > 2 or (len(grey) == 2 and grey[0] != 0):
        raise ValueError(
            f"is grey with {len(grey)} values: threshold it, to black and one other value"
        )
    return Mask((values > 0).astype(np.uint8))


def _grey(pixels: np.ndarray, has_alpha: bool) -> np.ndarray:
    """The one value of each pixel of uint8 (H, W, C); ValueError where it has several."""
    if has_alpha and (pixels[..., -1] < 255).any():
        raise ValueError("is transparent in places: save it without alpha")
    colour = pixels[..., :-1] if has_alpha else pixels
    if (colour != colour[..., :1]).any():
        raise ValueError("is in colours: save it indexed, or in black and white")
    return colour[..., 0]
