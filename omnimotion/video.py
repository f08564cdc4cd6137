"""A video: checked frames from a container or a folder of images, decoded one at a time.

Convention. Frames are uint8 RGB (H, W, 3), upright. `source_indices` numbers the frames of the
file from 0, in the order of presentation (of a folder: natural order of the names); frame t of the
`Video` is source frame ``source_indices[t]``. Sizes are (W, H) px, times in seconds.
"""

import hashlib
import logging
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from omnimotion.errors import ConfigError, VideoError
from omnimotion.files import regular_size, shown
from omnimotion.images import MAX_SIDE, SUFFIXES, check_size, load_image, natural_order
from omnimotion.video_decoder import (
    ALL_FRAMES,
    MATROSKA,
    Header,
    Probe,
    decode,
    probe,
    read_header,
)

log = logging.getLogger(__name__)

MIN_FRAMES, MAX_FRAMES = 2, 100_000
FOLDER_FPS = 24.0  # images have no rate; DAVIS and film have this one

_SELECTION = re.compile(r"(\d{0,9}):(\d{0,9})(?::(\d{0,9}))?", re.ASCII)
_IRREGULAR = 0.25  # relative deviation of a frame's duration that makes the rate variable
_CLOCK_S = 0.002  # Matroska keeps times in milliseconds


@dataclass(frozen=True, eq=False)
class Video:
    """The kept frames of a video; iterating decodes them again, in order, one at a time."""

    path: Path
    size: tuple[int, int]  # (W, H) px
    fps: float  # of the kept frames; the mean, where the rate varies
    source_indices: np.ndarray  # (T,) int64
    times: np.ndarray  # (T,) float64 s from the start of the file
    fingerprint: str  # SHA-256 of the size and the pixels of the kept frames
    names: tuple[str, ...] = ()  # of the images, empty for a container
    is_truncated: bool = False  # fewer or worse frames than the file claims; allowed by the user

    def __len__(self) -> int:
        return len(self.source_indices)

    @property
    def shape(self) -> tuple[int, int, int]:
        """T, H, W."""
        return len(self), self.size[1], self.size[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield uint8 RGB (H, W, 3); VideoError when the file is no longer what was opened."""
        count, digest = 0, _Digest(self.path)
        for frame in self._decoded():
            if frame.shape != (self.size[1], self.size[0], 3):
                break
            digest.add(frame, f"frame {count}")
            yield frame
            count += 1
        # what is damaged a decoder may fill in otherwise each time
        is_same = self.is_truncated or digest.hexdigest() == self.fingerprint
        if count != len(self) or not is_same:
            raise VideoError(f"{shown(self.path)} changed after it was opened: start again")

    def _decoded(self) -> Iterator[np.ndarray]:
        if self.names:
            yield from (load_image(self.path / name) for name in self.names)
            return
        kept = self.source_indices
        step = int(kept[1] - kept[0])
        for _, frame in decode(self.path, range(int(kept[0]), int(kept[-1]) + 1, step)):
            if frame is not None:
                yield frame


def open_video(path: Path, frames: str | None = None, *, allow_truncated: bool = False) -> Video:
    """Open a video file or a folder of images, and check every frame that will be used.

    `frames` keeps ``a:b:step`` of the source frames, as a Python slice without negative parts.
    `allow_truncated` accepts what could be decoded of a truncated or damaged file.

    Raises VideoError when the video is missing, unreadable, damaged, unsafe (a playlist), has a
    side outside 16 to 8192 px, frames of several sizes, or keeps fewer than 2 or more than
    100,000 frames, and ConfigError when `frames` is malformed.
    """
    path = Path(path)
    wanted = parse_selection(frames)
    try:
        is_folder = path.is_dir()
        if not os.path.exists(path):
            raise VideoError(f"no such video: {shown(path)}")
    except (ValueError, OSError) as problem:  # a null byte, or too long a name
        raise VideoError(f"no such video: {shown(path)}") from problem
    video = _open_folder(path, wanted) if is_folder else _open_file(path, wanted, allow_truncated)
    if wanted.stop < ALL_FRAMES and video.source_indices[-1] < wanted[-1]:
        log.warning("frames=%s reaches beyond the video, whose last one taken is %d", frames,
                    video.source_indices[-1])  # fmt: skip
    log.info("video=%s frames=%d size=%dx%d", shown(path.name), len(video), *video.size)
    return video


def parse_selection(frames: str | None) -> range:
    """Frames ``a:b:step``, of however many there are; ConfigError when it is malformed."""
    match = _SELECTION.fullmatch((frames or ":").strip())
    if match is None or (match[3] and int(match[3]) == 0):
        raise ConfigError(f"--frames {frames!r}: expected start:stop or start:stop:step from 0")
    return range(int(match[1] or 0), int(match[2] or ALL_FRAMES), int(match[3] or 1))


def _open_folder(folder: Path, wanted: range) -> Video:
    names = _image_names(folder)
    kept = range(len(names))[wanted.start : wanted.stop : wanted.step]
    _check_count(folder, len(kept), wanted)
    digest = _Digest(folder)
    for index in kept:
        digest.add(load_image(folder / names[index]), f"file {shown(names[index])}")
    indices = np.array(kept, np.int64)
    return Video(
        folder,
        digest.size,
        FOLDER_FPS / wanted.step,
        indices,
        indices / FOLDER_FPS,
        digest.hexdigest(),
        tuple(names[index] for index in kept),
    )


def _image_names(folder: Path) -> list[str]:
    """Names of the images in natural order: frame_9 before frame_10."""
    try:
        entries = list(os.scandir(folder))
    except OSError as problem:
        raise VideoError(f"cannot read folder {shown(folder)}: {problem.strerror}") from problem
    names: list[str] = []
    ignored: list[str] = []
    for entry in entries:
        is_image = Path(entry.name).suffix.lower() in SUFFIXES and not entry.name.startswith(".")
        (names if is_image and not entry.is_dir() else ignored).append(entry.name)
    if ignored:
        log.info("ignored=%s", ", ".join(shown(name) for name in sorted(ignored)))
    if not names:
        raise VideoError(f"no images in folder {shown(folder)}: expected png, jpg, webp, tif, bmp")
    return sorted(names, key=natural_order)


def _open_file(path: Path, wanted: range, allow_truncated: bool) -> Video:
    if not wanted:
        _check_count(path, 0, wanted)
    header = read_header(path)
    file_bytes = regular_size(path, VideoError)
    claimed = _check_header(path, header, wanted)
    seen = probe(path, wanted.stop)
    _check_probe(path, seen)

    digest, times, count = _Digest(path), [], 0
    for time_s, frame in decode(path, wanted):
        if frame is not None:
            digest.add(frame, f"frame {count}")
            times.append(time_s)
            _check_count(path, max(len(times), MIN_FRAMES))
        count += 1
    flaw = _flaw(seen, count, claimed, wanted)
    if flaw and not allow_truncated:
        raise VideoError(
            f"{shown(path)}: {flaw}: truncated or damaged; copy it again, or pass "
            "--allow-truncated to use what there is"
        )
    _check_count(path, len(times), wanted)
    if regular_size(path, VideoError) != file_bytes:
        raise VideoError(f"{shown(path)} changed while it was read: wait until it is written")
    indices = np.array(wanted[: len(times)], np.int64)
    fps, seconds = _clock(path, header, indices, np.array(times))
    fingerprint = digest.hexdigest()
    return Video(
        path, digest.size, fps / wanted.step, indices, seconds, fingerprint, (), bool(flaw)
    )


def _check_header(path: Path, header: Header, wanted: range) -> int | None:
    """Refuse before decoding what is too large; the number of frames claimed, when exact."""
    try:
        check_size(header.size)
    except ValueError as problem:
        raise VideoError(f"{shown(path)}: {problem}") from problem
    if header.container == MATROSKA or header.count <= 0:
        return None
    claimed = min(header.count, wanted.stop)
    kept = len(range(wanted.start, claimed, wanted.step))
    _check_count(path, max(kept, MIN_FRAMES))
    return claimed


def _check_count(path: Path, count: int, wanted: range = range(ALL_FRAMES)) -> None:
    if count < MIN_FRAMES:
        where = "" if wanted == range(ALL_FRAMES) else " with these --frames"
        few = f"needs at least {MIN_FRAMES} frames, found {count}{where}"
        raise VideoError(f"{shown(path)}: {few}")
    if count > MAX_FRAMES:
        raise VideoError(
            f"{shown(path)}: {count} frames or more, at most {MAX_FRAMES}: choose some with "
            "--frames start:stop:step"
        )


def _check_probe(path: Path, seen: Probe | None) -> None:
    if seen is None:
        return
    if seen.huge:
        raise VideoError(f"{shown(path)}: a frame of {seen.huge} exceeds {MAX_SIDE} px a side")
    if seen.resized is not None:
        frame, before, after = seen.resized
        raise VideoError(
            f"{shown(path)}: frame {frame} has size {after[0]}x{after[1]}, the ones before "
            f"{before[0]}x{before[1]}: convert it to one size"
        )
    if seen.is_hdr:
        log.warning(
            "%s is HDR video: tone mapping not applied here, colours are as OpenCV decodes them",
            shown(path),
        )


def _flaw(seen: Probe | None, count: int, claimed: int | None, wanted: range) -> str:
    """What is missing, in words, or nothing.

    A container may claim more frames than it shows, without damage: phones trim by an edit list.
    """
    if seen is None:
        return f"decoded {count} of {claimed} frames" if claimed and count < claimed else ""
    damaged = [frame for frame in seen.damaged if frame in wanted]
    is_short = count < (wanted.stop if claimed is None else claimed)
    if count < seen.count or (seen.is_cut and is_short):
        total = max(claimed or 0, seen.count)
        return f"decoded {count}" + (f" of {total}" if total > count else "") + " frames"
    if damaged:
        numbers = ", ".join(map(str, damaged[:5])) + (", ..." if len(damaged) > 5 else "")
        return f"{len(damaged)} damaged frames ({numbers})"
    return ""


def _clock(
    path: Path, header: Header, indices: np.ndarray, times: np.ndarray
) -> tuple[float, np.ndarray]:
    """The source's frame rate, and times in seconds that increase."""
    gaps = np.diff(times) / np.diff(indices)
    is_known = math.isfinite(header.fps) and 0 < header.fps <= 1000
    if not np.all(gaps > 0):
        fps = header.fps if is_known else FOLDER_FPS
        log.warning("%s has no usable times: %g frames a second assumed", shown(path), fps)
        return fps, indices / fps
    typical = float(np.median(gaps))
    if np.any(np.abs(gaps - typical) > _IRREGULAR * typical + _CLOCK_S):
        log.warning("%s has a variable frame rate: each coded frame is taken once, with its own "
                    "time", shown(path))  # fmt: skip
        return float((indices[-1] - indices[0]) / (times[-1] - times[0])), times
    return header.fps if is_known else 1 / typical, times


class _Digest:
    """SHA-256 of the frames, which must all be of the first one's size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = (0, 0)
        self._hash = hashlib.sha256()

    def add(self, frame: np.ndarray, what: str) -> None:
        """Add a frame; VideoError, naming it as `what`, when its size differs."""
        size = (frame.shape[1], frame.shape[0])
        if self.size == (0, 0):
            self.size = size
            self._hash.update(f"{size[0]}x{size[1]}".encode())
        if size != self.size:
            raise VideoError(
                f"{shown(self.path)}: {what} has size {size[0]}x{size[1]}, the ones before "
                f"{self.size[0]}x{self.size[1]}: all must have one size"
            )
        self._hash.update(np.ascontiguousarray(frame).data)

    def hexdigest(self) -> str:
        """The fingerprint of what was added."""
        return self._hash.hexdigest()
