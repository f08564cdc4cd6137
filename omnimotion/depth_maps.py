"""Depth maps of another program, one for each frame: which of two pixels is the farther one.

Conventions. A map is a PNG of 16 bits, grey, or an NPY array of numbers (H, W), of the original
video's size. Only the order of a frame's depths counts, so that scale and shift may be any, and
differ from frame to frame. Larger is farther, unless the setting ``inverse_depth`` says otherwise.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from omnimotion.archive import fingerprint
from omnimotion.errors import InputError
from omnimotion.files import read_bytes, shown
from omnimotion.geometry import Frame, nearest_pixels
from omnimotion.images import frame_files, open_checked, parsing
from omnimotion.points import Size

MAX_MAP_BYTES = 1 << 30
OUTER = 2  # percent of a frame's depths at each end that count as the last before them


@dataclass(frozen=True, eq=False)
class ClipDepth:
    """How far away each pixel of each stored frame is."""

    values: np.ndarray  # float32 (T, h, w) in [0, 1] of each frame's own range

    @property
    def fingerprint(self) -> str:
        """Tells these maps from others."""
        return fingerprint(self.values)


class DepthLookup:
    """The same on the device, read at any place."""

    def __init__(self, depth: ClipDepth, inverse: bool, device: torch.device) -> None:
        values = torch.from_numpy(depth.values)
        self._values = (1 - values if inverse else values).to(device)
        height, width = depth.values.shape[1:]
        self._frame, self._size = Frame(width, height), (width, height)

    def at(self, frames: Tensor, xy: Tensor) -> Tensor:
        """Depths (P, N) at the nearest pixels to normalised places (P, N, 2) of frames (P,)."""
        x, y = self._frame.to_pixels(xy).round().long().unbind(-1)
        width, height = self._size
        return self._values[frames[:, None], y.clamp(0, height - 1), x.clamp(0, width - 1)]


def read_depth(folder: Path, n_frames: int, original_size: Size, size: Size) -> ClipDepth:
    """The maps of a folder, one for each frame, for frames stored at ``size`` (W, H).

    Raises `InputError` for another number of files, and, naming it, for a file that is no map, is
    of another size, or holds a value that is not finite.
    """
    nearest = nearest_pixels(size, original_size)
    paths = frame_files(folder, (".png", ".npy"), n_frames)
    return ClipDepth(np.stack([_ranged(_load(path, original_size))[nearest] for path in paths]))


def _ranged(values: np.ndarray) -> np.ndarray:
    """Depths in [0, 1] of their range, float32; all 0 where they hardly differ."""
    low, high = np.percentile(values, (OUTER, 100 - OUTER))
    if not high > low:
        return np.zeros(values.shape, np.float32)
    ranged: np.ndarray = ((values - low) / (high - low)).clip(0, 1).astype(np.float32)
    return ranged


def _load(path: Path, size: Size) -> np.ndarray:
    """One map, float64 (H, W)."""
    name, data = f"depth {shown(path)}", read_bytes(path, InputError, MAX_MAP_BYTES)
    with parsing(name, "PNG of 16 bits or NPY"):
        values = _png(data) if path.suffix.lower() == ".png" else _npy(data)
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise InputError(f"{name}: no array of numbers (H, W)")
    if values.shape != size[::-1]:
        raise InputError(f"{name} has shape {values.shape}, expected the video's {size[::-1]}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: a value is not finite")
    return values.astype(np.float64)


def _npy(data: bytes) -> np.ndarray:
    try:
        return np.load(io.BytesIO(data), allow_pickle=False)
    except MemoryError as problem:  # of what the header claims: what is there has been read
        raise ValueError(str(problem)) from problem


def _png(data: bytes) -> np.ndarray:
    image = open_checked(data)
    if image.mode not in ("I;16", "I;16B", "I"):
        raise ValueError(f"has pixels of mode {image.mode}")
    return np.asarray(image)
