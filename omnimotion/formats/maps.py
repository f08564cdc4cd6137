"""Maps of a whole frame as files: ST maps (float TIFF or EXR) and optical flow (.flo).

A map says of each pixel of one frame where it is in another: ``xy`` float32 (H, W, 2) in pixels,
y down, centres at integers, and ``visible`` bool (H, W).
"""

import io
import struct
from pathlib import Path
from types import ModuleType

import numpy as np

from omnimotion.errors import ConfigError
from omnimotion.files import atomic_write
from omnimotion.formats.coordinates import share_up

_FLO_MAGIC = 202021.25
_LONG, _SHORT = 4, 3  # TIFF's types of 32 and 16 bits
_SAMPLES = 4


def save_stmap(path: Path, xy: np.ndarray, visible: np.ndarray) -> None:
    """An ST map: red and green are shares of W and H from the lower left corner; alpha is 1 or 0.

    The map of no motion is the identity of Nuke's STMap node. Uncompressed TIFF of float32.
    """
    atomic_write(path, _tiff(_shares(xy, visible)))


def save_exr(path: Path, xy: np.ndarray, visible: np.ndarray) -> None:
    """The same ST map as OpenEXR: float32 channels R, G, B and A, of scan lines, ZIP.

    `ConfigError` where the extra ``exr`` is not installed.
    """
    exr, data = import_openexr(), io.BytesIO()
    pixels = _shares(xy, visible)
    header = {"type": exr.scanlineimage, "compression": exr.ZIP_COMPRESSION}
    channels = {name: np.ascontiguousarray(pixels[..., k]) for k, name in enumerate("RGBA")}
    with exr.File(header, channels) as file:
        file.write(data)  # to memory: on a full disk the library says nothing
    atomic_write(path, data.getvalue())


def import_openexr() -> ModuleType:
    """OpenEXR's own package; `ConfigError` where it is not installed."""
    try:
        import OpenEXR
    except ImportError as problem:
        raise ConfigError(
            f'maps of the kind exr need {problem.name}: pip install "omnimotion[exr]", or take '
            "stmap, the same values as TIFF"
        ) from problem
    module: ModuleType = OpenEXR
    return module


def save_flo(path: Path, xy: np.ndarray, visible: np.ndarray) -> None:
    """Middlebury's flow file: displacement in px, x right and y down, also where it is hidden."""
    height, width = visible.shape
    own = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    flow = (xy.astype(np.float64) - own).astype("<f4")
    atomic_write(path, struct.pack("<fii", _FLO_MAGIC, width, height) + flow.tobytes())


def _shares(xy: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """The pixels of an ST map, float32 (H, W, 4)."""
    height, width = visible.shape
    pixels = np.zeros((height, width, _SAMPLES), "<f4")
    pixels[..., :2] = share_up(xy, (width, height))
    pixels[..., 3] = visible
    return pixels


def _tiff(pixels: np.ndarray) -> bytes:
    """One strip of float32 (H, W, 4): RGB and an alpha that colours are not multiplied with."""
    height, width, _ = pixels.shape
    tags = [
        (256, _LONG, width), (257, _LONG, height), (258, _SHORT, (32,) * _SAMPLES),
        (259, _SHORT, 1), (262, _SHORT, 2), (273, _LONG, None), (277, _SHORT, _SAMPLES),
        (278, _LONG, height), (279, _LONG, pixels.nbytes), (284, _SHORT, 1), (338, _SHORT, 2),
        (339, _SHORT, (3,) * _SAMPLES),
    ]  # fmt: skip
    after = 8 + 2 + 12 * len(tags) + 4  # the header, the tags; then values too long for a tag
    more, entries = b"", b""
    start = after + sum(2 * len(value) for _, _, value in tags if isinstance(value, tuple))
    for tag, kind, value in tags:
        if isinstance(value, tuple):
            entries += struct.pack("<HHII", tag, kind, len(value), after + len(more))
            more += struct.pack(f"<{len(value)}H", *value)
        else:
            entries += struct.pack("<HHII", tag, kind, 1, start if value is None else value)
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return head + entries + struct.pack("<I", 0) + more + pixels.tobytes()
