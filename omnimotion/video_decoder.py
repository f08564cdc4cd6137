"""Decoding of video containers (mp4, mov, mkv, webm, avi), and what is wrong with one.

Convention. Frames are numbered from 0 in the order of presentation; each coded frame comes once,
also when the frame rate varies. Frames are uint8 RGB (H, W, 3), upright: a rotation flag is
applied. OpenCV decodes; it hides damage and changes of size, so the ffmpeg of imageio-ffmpeg looks
through the same frames first. Both may open this one local file and nothing else: the content, not
the name, tells the container, and playlists and protocols are not allowed. Damage is found as far
as the codec can tell: VP9, for one, shows garbage without complaint.
"""

import logging
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import imageio_ffmpeg
import numpy as np

from omnimotion.errors import VideoError
from omnimotion.files import regular_size, shown
from omnimotion.images import MAX_SIDE

log = logging.getLogger(__name__)

MP4, MATROSKA, AVI = "mp4", "mkv", "avi"
ALL_FRAMES = 2**31 - 1  # as far as ffmpeg counts
PROBE_TIMEOUT_S = 3600

_FORMATS = "mov,mp4,matroska,webm,avi"  # ffmpeg's demuxers for the three containers
_MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}  # QuickTime files lack ftyp
_EBML = b"\x1a\x45\xdf\xa3"
_CONFINED = {
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": f"protocol_whitelist;file|format_whitelist;{_FORMATS}",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",  # quiet: an error is reported once, by us
}
_opening = threading.Lock()  # OpenCV takes these options from the environment only

_FRAME_LINE = re.compile(rb"\] n: *(\d+) pts: *\S+ .* s:(\d+)x(\d+) ")
_DECODED_LINE = re.compile(rb"decoder -> ")  # ffmpeg's decoder says so of each frame
_DAMAGED_LINE = re.compile(rb"corrupt decoded frame")  # and this of a damaged one before it
_CUT_LINE = re.compile(
    rb"partial file|ended prematurely|[Cc]orrupt input packet|Error submitting packet"
    rb"|Invalid NAL unit|Invalid data found|moov atom not found"
)
_HUGE_LINE = re.compile(rb"Picture size (\d+x\d+) exceeds specified max pixel count")
_HDR_LINE = re.compile(rb"color_trc:(smpte2084|arib-std-b67)")


@dataclass(frozen=True)
class Probe:
    """What ffmpeg saw in the frames up to the one asked for."""

    count: int  # frames decoded
    damaged: tuple[int, ...]  # frames decoded from damaged data
    is_cut: bool  # packets are missing or unreadable
    resized: (
        tuple[int, tuple[int, int], tuple[int, int]] | None
    )  # frame, (W, H) before and from it
    is_hdr: bool
    huge: str = ""  # WxH of a frame that was not decoded, for its size


@dataclass(frozen=True)
class Header:
    """What the container claims."""

    container: str
    count: int  # frames; of MATROSKA an estimate
    fps: float
    size: tuple[int, int]  # (W, H), upright


def sniff(path: Path) -> str:
    """The container, by the file's first bytes; VideoError when it is none of the three."""
    if regular_size(path, VideoError) == 0:
        raise VideoError(f"{shown(path)} is empty (0 bytes)")
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError as problem:
        raise VideoError(f"cannot read {shown(path)}: {problem.strerror}") from problem
    if head[4:8] in _MP4_BOXES:
        return MP4
    if head[:4] == _EBML:
        return MATROSKA
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return AVI
    raise VideoError(
        f"{shown(path)} is not a supported video container (mp4, mov, mkv, webm, avi): "
        "convert it, or give a folder of images"
    )


def read_header(path: Path) -> Header:
    """What the container claims; VideoError when it holds no readable video."""
    container = sniff(path)
    with _capture(path, container) as capture:
        return Header(
            container,
            int(capture.get(cv2.CAP_PROP_FRAME_COUNT)),
            float(capture.get(cv2.CAP_PROP_FPS)),
            (
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            ),
        )


def decode(path: Path, wanted: range) -> Iterator[tuple[float, np.ndarray | None]]:
    """Each frame up to the last wanted one: its time in seconds, and its pixels if wanted."""
    with _capture(path, sniff(path)) as capture:
        for index in range(wanted.stop):
            if not capture.grab():
                return
            time_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if index not in wanted:
                yield time_s, None
                continue
            is_decoded, bgr = capture.retrieve()
            if not is_decoded:
                raise VideoError(f"{shown(path)}: frame {index} cannot be decoded")
            yield time_s, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def probe(path: Path, stop: int) -> Probe | None:
    """Look through the first `stop` frames with ffmpeg; None, and a warning, if that fails."""
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError:
        log.warning("no ffmpeg found: damaged frames and changes of size are not looked for")
        return None
    with _safe_name(path, sniff(path)) as link, tempfile.TemporaryFile() as report:
        # fmt: off
        command = [
            program, "-hide_banner", "-nostdin", "-nostats", "-v", "level+info",
            "-debug_ts", "-protocol_whitelist", "file", "-format_whitelist", _FORMATS,
            "-max_pixels", str(MAX_SIDE**2), "-threads", "1", "-noautorotate",
            "-i", f"file:{link}",
            "-map", "0:v:0", "-frames:v", str(stop), "-vf", "showinfo=checksum=0",
            "-fps_mode", "passthrough", "-f", "null", "-",
        ]
        # fmt: on
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=report,
                timeout=PROBE_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as problem:
            raise VideoError(f"{shown(path)} takes more than {PROBE_TIMEOUT_S} s") from problem
        report.seek(0)
        seen = _read_report(report, stop)
    if seen.count == 0:
        log.warning("ffmpeg cannot read %s: damaged frames are not looked for", shown(path))
        return None
    return seen


def _read_report(lines: Iterable[bytes], stop: int) -> Probe:
    """What ffmpeg's lines say of the first frames; its decoder is ahead of what it shows."""
    count, decoded, damaged, is_cut, is_hdr, huge = 0, 0, [], False, False, ""
    size, resized = None, None
    for line in lines:
        if frame := _FRAME_LINE.search(line):
            if count == stop:  # ffmpeg decodes a little beyond
                break
            here = int(frame[2]), int(frame[3])
            if size is not None and here != size and resized is None:
                resized = (count, size, here)
            size = size or here
            count += 1
        # the decoder's words may come on the line of a frame, before that ends
        if _DECODED_LINE.search(line):
            decoded += 1
        elif _DAMAGED_LINE.search(line):
            damaged.append(decoded)
        elif too_large := _HUGE_LINE.search(line):
            huge = huge or too_large[1].decode()
        is_cut |= _CUT_LINE.search(line) is not None
        is_hdr |= _HDR_LINE.search(line) is not None
    shown_damaged = tuple(frame for frame in damaged if frame < stop)
    return Probe(count, shown_damaged, is_cut, resized, is_hdr, huge)


@contextmanager
def _safe_name(path: Path, container: str) -> Iterator[str]:
    """A plain ASCII name for the file: OpenCV crashes on undecodable ones and expands patterns."""
    with tempfile.TemporaryDirectory(prefix="omnimotion-") as folder:
        link = Path(folder) / f"video.{container}"
        link.symlink_to(path.absolute())
        yield str(link)


@contextmanager
def _capture(path: Path, container: str) -> Iterator[cv2.VideoCapture]:
    with _safe_name(path, container) as link:
        with _confined():
            capture = cv2.VideoCapture(link, cv2.CAP_FFMPEG)
        try:
            if not capture.isOpened():
                raise VideoError(
                    f"{shown(path)} holds no readable video: truncated or damaged (no index), "
                    "sound only, or of an unsupported codec"
                )
            yield capture
        finally:
            capture.release()


@contextmanager
def _confined() -> Iterator[None]:
    """OpenCV opens local video containers only, and is silent, while this block runs."""
    with _opening:
        before = {name: os.environ.get(name) for name in _CONFINED}
        level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        os.environ.update(_CONFINED)
        try:
            yield
        finally:
            cv2.utils.logging.setLogLevel(level)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
