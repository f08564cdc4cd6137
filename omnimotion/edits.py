"""What is drawn on one frame, carried through the clip: layers, and the frames with them on top.

Conventions. A layer is uint8 RGBA (H, W, 4) of the original size (W, H); its colours are not
multiplied with alpha. Frames are uint8 RGB (H, W, 3).
"""

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path

import cv2
import numpy as np

from omnimotion.errors import InputError
from omnimotion.files import atomic_folder, atomic_write, read_bytes, shown
from omnimotion.images import PNG_DEPTH, check_video_size, encode_png, open_checked, parsing
from omnimotion.tracker import Windowed
from omnimotion.video_writer import write_video
from omnimotion.warps import Carrier, relay

MAX_EDIT_BYTES = 512 << 20


def load_edit(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The layer of a PNG with an alpha channel, which must have the size (W, H).

    Raises `InputError`, naming the file, where it is no such PNG, of another size, or shows
    nothing: its alpha is 0 everywhere.
    """
    name, data = f"edit {shown(path)}", read_bytes(path, InputError, MAX_EDIT_BYTES)
    with parsing(name, "a PNG of 8-bit RGBA"):
        layer = _decode(data)
    check_video_size(name, layer, size)
    if not layer[..., 3].any():
        raise InputError(f"{name} shows nothing: its alpha is 0 everywhere")
    return layer


def carried_layer(carrier: Carrier, layer: np.ndarray, t: int, j: int) -> np.ndarray:
    """The layer of frame j, of one drawn on frame t.

    Each pixel shows what is drawn on its surface in frame t; nothing where that is hidden there,
    or outside the frame.
    """
    if t == j:
        return layer.copy()
    near = carrier.near(layer[..., 3] > 0, t, j)
    y, x = np.nonzero(near)
    places, visible = np.full((*near.shape, 2), -1, np.float32), np.zeros(near.shape, bool)
    places[near], visible[near] = carrier.carry(np.stack((x, y), -1).astype(np.float32), j, t)
    found = cv2.remap(
        _multiplied(layer), places[..., 0], places[..., 1], cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,  # the outermost half of a pixel is inside too
    )  # fmt: skip
    return _unmultiplied(found * visible[..., None])


def painted(frame: np.ndarray, layer: np.ndarray) -> np.ndarray:
    """The frame with the layer on top."""
    ink = _multiplied(layer)
    return np.rint(frame * (1 - ink[..., 3:]) + ink[..., :3]).astype(np.uint8)


def write_edit(
    tracker: Windowed, layer: np.ndarray, t: int, frames: Iterable[int],
    folder: Path | None = None, video: tuple[Path, Iterable[np.ndarray], float] | None = None,
) -> None:  # fmt: skip
    """The layer of frame t in each of the frames: as a new folder, a video, or both.

    ``folder``: layers, ``000007.png`` for frame 7. ``video``: an .mp4, the frames to paint on, of
    the original size, and their rate. Raises as `atomic_folder` and `write_video` do; what was
    asked for is there altogether, or nothing is.
    """
    carried = relay(tracker, carried_layer, layer, t)
    with atomic_folder(folder) if folder else nullcontext() as temp:

        def layers() -> Iterator[np.ndarray]:
            for j in frames:
                found = carried.at(j)
                if temp:
                    atomic_write(temp / f"{j:06d}.png", encode_png(found))
                yield found

        if video:
            path, pictures, rate = video
            pairs = zip(pictures, layers(), strict=True)
            write_video(path, (painted(*pair) for pair in pairs), rate)
        else:
            for _ in layers():
                pass


def _multiplied(layer: np.ndarray) -> np.ndarray:
    """float32 (H, W, 4): colours 0 to 255 multiplied with alpha, alpha 0 to 1."""
    alpha = layer[..., 3:].astype(np.float32) / 255
    return np.concatenate((layer[..., :3] * alpha, alpha), axis=-1)


def _unmultiplied(ink: np.ndarray) -> np.ndarray:
    """The layer of what `_multiplied` gives."""
    alpha = ink[..., 3:]
    colour = ink[..., :3] / np.maximum(alpha, 1e-6)
    return np.rint(np.concatenate((colour, 255 * alpha), axis=-1)).clip(0, 255).astype(np.uint8)


def _decode(data: bytes) -> np.ndarray:
    image = open_checked(data)
    if data[PNG_DEPTH] == 16:
        raise ValueError("has 16 bits a channel")
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        raise ValueError(f"has no alpha channel (pixels of mode {image.mode})")
    return np.asarray(image.convert("RGBA"))
