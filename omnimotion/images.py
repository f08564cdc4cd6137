"""One image file to one RGB8 array, by an explicit table, or a refusal that names the file.

Convention. Every image becomes uint8 (H, W, 3), RGB, values as stored (colour profiles are not
applied), upright: the EXIF orientation is applied, once. Grey, 1-bit and palette images are
expanded; alpha is composited over black; 16-bit values v become round(v / 257), so that 0 and
65535 map to 0 and 255; CMYK becomes 255 (1 - c)(1 - k). Float and other images are refused, and
files of several pictures.
"""

import io
import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from omnimotion.errors import InputError, OmniMotionError, VideoError
from omnimotion.files import atomic_write, read_bytes, shown

MIN_SIDE = 16  # below, flow has no meaning
MAX_SIDE = 8192
MAX_IMAGE_BYTES = 512 << 20
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm"}

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # EXIF tag
# TIFF tags
_KIND_OF_PAGE, _BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 258, 262, 277, 284
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339
PNG_DEPTH = 24  # offset of the bit depth in the header of a PNG file
_ALPHA_MODES = {"RGBA", "LA", "PA"}
_GREY16_MODES = {"I;16", "I;16L", "I;16B", "I;16N"}
_RGB_MODES = {"1", "L", "P", "RGB", "CMYK", "YCbCr"}


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts frame_9 before frame_10."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts], name


def frame_files(folder: Path, suffixes: Collection[str], n_frames: int) -> list[Path]:
    """The files of a folder, one for each frame, in natural order; `InputError` for other counts.

    Files that begin with a dot are left out.
    """
    try:
        paths = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    except OSError as problem:
        raise InputError(f"cannot read folder {shown(folder)}: {problem.strerror}") from problem
    paths = [path for path in paths if not path.name.startswith(".")]
    if len(paths) != n_frames:
        kinds = " and ".join(suffixes)
        raise InputError(
            f"{shown(folder)} holds {len(paths)} {kinds} files, expected {n_frames}: one for each "
            "frame of the scene"
        )
    return sorted(paths, key=lambda path: natural_order(path.name))


def load_image(path: Path, error: type[OmniMotionError] = VideoError) -> np.ndarray:
    """Read an image file as uint8 RGB (H, W, 3).

    Raises `error`, naming the file, when it is missing, damaged, cut off, of a kind that the table
    above does not hold, or has a side outside 16 to 8192 px.
    """
    data = read_bytes(path, error, MAX_IMAGE_BYTES)
    if not data:
        raise error(f"{shown(path)} is empty (0 bytes)")
    try:
        return decode_image(data)
    except ValueError as problem:
        raise error(f"{shown(path)}: {problem}") from problem


def decode_image(data: bytes) -> np.ndarray:
    """Decode the bytes of an image file to uint8 RGB (H, W, 3); ValueError says why it cannot."""
    try:
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            return _decode(data)
    except (ValueError, MemoryError):
        raise
    except UnidentifiedImageError as problem:  # its text names a buffer in memory
        raise ValueError("damaged image, or of an unknown format") from problem
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as problem:
        raise ValueError(f"exceeds {MAX_SIDE} px a side: {problem}") from problem
    except Exception as problem:  # whatever a damaged file makes the parsers raise
        raise ValueError(f"damaged image, or of an unknown format ({problem})") from problem


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError unless both sides (W, H) are from 16 to 8192 px."""
    width, height = size
    if max(size) > MAX_SIDE:
        raise ValueError(f"{width}x{height} exceeds {MAX_SIDE} px a side: make it smaller")
    if min(size) < MIN_SIDE:
        raise ValueError(
            f"{width}x{height} is too small, at least {MIN_SIDE} px a side are needed"
        )


def open_checked(data: bytes, formats: tuple[str, ...] = ("PNG",)) -> Image.Image:
    """An image file whose size, and of a PNG the checksums, are right; its pixels are not decoded.

    Raises ValueError for the size, else what Pillow raises.
    """
    image = Image.open(io.BytesIO(data), formats=formats)
    check_size(image.size)
    if image.format == "PNG":
        image.verify()  # the CRC of every chunk, which decoding does not look at
        image = Image.open(io.BytesIO(data), formats=formats)
    return image


@contextmanager
def parsing(name: str, expected: str) -> Iterator[None]:
    """`InputError` with the file's ``name`` for what a damaged or hostile one makes parsers raise.

    But for MemoryError: there the machine is too small.
    """
    try:
        yield
    except MemoryError:
        raise
    except UnidentifiedImageError as problem:  # its text names a buffer in memory
        why = "damaged, or of another format"
        raise InputError(f"{name}: {why}; expected {expected}") from problem
    except Exception as problem:
        raise InputError(f"{name}: {shown(str(problem))}; expected {expected}") from problem


def check_video_size(name: str, pixels: np.ndarray, size: tuple[int, int]) -> None:
    """`InputError` unless ``pixels`` (H, W, ...) of the file ``name`` have the size (W, H)."""
    height, width = pixels.shape[:2]
    if (width, height) != size:
        raise InputError(f"{name} is {width}x{height}, expected the video's {size[0]}x{size[1]}")


def save_png(path: Path, rgb: np.ndarray) -> None:
    """Write uint8 RGB (H, W, 3) as a PNG file, atomically. Raises like `files.atomic_path`."""
    atomic_write(path, encode_png(rgb))


def encode_png(pixels: np.ndarray) -> bytes:
    """The bytes of a PNG file of uint8 RGB (H, W, 3), or RGBA (H, W, 4)."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        found = f"{pixels.dtype} of shape {pixels.shape}"
        raise ValueError(f"cannot save {found}, expected uint8 (H, W, 3) or (H, W, 4)")
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, format="PNG", compress_level=3)
    return data.getvalue()


def _decode(data: bytes) -> np.ndarray:
    image = open_checked(data, _FORMATS)
    count = _n_pictures(image)
    if count > 1:
        raise ValueError(f"holds {count} pictures: make it one file for each")
    orientation = int(image.getexif().get(_ORIENTATION, 1))
    rgb = _rgb16(data) if _has_16_bits(image, data) else _rgb8(image)
    if image.format == "TIFF":
        orientation = 1  # both decoders have turned it
    return np.ascontiguousarray(_upright(rgb, orientation))


def _n_pictures(image: Image.Image) -> int:
    """How many there are in a file, smaller ones of the first picture left out."""
    count = getattr(image, "n_frames", 1)
    if image.format == "MPO" or count == 1:  # a JPEG, and what a camera keeps with it
        return 1
    if image.format == "TIFF":
        whole = 0
        for page in reversed(range(count)):
            image.seek(page)
            tags = image.tag_v2  # type: ignore[attr-defined]
            whole += not tags.get(_KIND_OF_PAGE, 0) & 1
        return whole
    return count


def _has_16_bits(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG":
        return data[PNG_DEPTH] == 16
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        if tags.get(_SAMPLE_FORMAT, (1,))[0] != 1:
            raise ValueError("is not of unsigned integers: convert it to 8 or 16 bits")
        if tags.get(_BITS_PER_SAMPLE, (1,))[0] != 16:
            return False
        in_planes = tags.get(_SAMPLES, 1) > 1 and tags.get(_PLANAR, 1) != 1
        is_plain = tags.get(_PHOTOMETRIC, 1) in (1, 2) and 1 not in tags.get(_EXTRA_SAMPLES, ())
        if in_planes or not is_plain:  # OpenCV would read other values
            raise ValueError("is a TIFF of 16 bits in planes, with white as 0 or with its alpha "
                             "multiplied in: convert it to 8 bits")  # fmt: skip
        return True
    return image.mode in _GREY16_MODES


def _rgb16(data: bytes) -> np.ndarray:
    """Decode an image of 16 bits a channel, of which Pillow would cut off the lower ones."""
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as problem:
        raise ValueError("damaged image") from problem
    finally:
        cv2.utils.logging.setLogLevel(level)
    if pixels is None or pixels.dtype != np.uint16:
        raise ValueError("is an image of 16 bits that cannot be decoded: convert it to 8 bits")
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=-1)
    colour: np.ndarray = pixels[..., 2::-1].astype(np.uint32)  # BGR to RGB
    if pixels.shape[2] == 4:
        colour = (colour * pixels[..., 3:] + 32767) // 65535
    return ((colour + 128) // 257).astype(np.uint8)


def _rgb8(image: Image.Image) -> np.ndarray:
    image.load()
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        rgba = np.asarray(image.convert("RGBA")).astype(np.uint16)
        return ((rgba[..., :3] * rgba[..., 3:] + 127) // 255).astype(np.uint8)
    if image.mode not in _RGB_MODES:
        raise ValueError(f"has pixels of mode {image.mode}: convert it to 8-bit RGB")
    if image.mode == "CMYK":
        ink = 255 - np.asarray(image).astype(np.uint32)
        return ((ink[..., :3] * ink[..., 3:] + 127) // 255).astype(np.uint8)
    return np.asarray(image.convert("RGB"))


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation, 1 to 8; others, which EXIF does not define, change nothing."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
