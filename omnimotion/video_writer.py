"""Writing frames as an H.264 video (mp4, yuv420p), which every player reads.

Convention. Frames are uint8 RGB (H, W, 3) of one size. The format halves the colour's resolution
and so needs even sides: an odd width or height is padded by one column at the right or one row at
the bottom, a copy of the last one; pixel coordinates stay as they are.
"""

import contextlib
import math
import subprocess
import tempfile
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import IO, cast

import imageio_ffmpeg
import numpy as np

from omnimotion.errors import ConfigError, ResourceError, VideoError
from omnimotion.files import atomic_path, free_bytes, shown
from omnimotion.video_decoder import ALL_FRAMES, decode

CRF = 16  # x264's quality: differences are not visible
MAX_FPS = 1000


def write_video(path: Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Write frames, uint8 RGB (H, W, 3), to `path`, which ends in .mp4, and return their number.

    The file is decoded and its frames are counted before it takes its place. Raises ConfigError
    for a bad path or rate and where no H.264 encoder is found, ResourceError when the disk is
    full, VideoError for no frames, frames of several sizes, or a file that does not hold them all.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ConfigError(f"cannot write {shown(path)}: a video's name must end in .mp4")
    if not (math.isfinite(fps) and 0 < fps <= MAX_FPS):
        raise ConfigError(f"fps is {fps}, expected above 0 and at most {MAX_FPS}")
    with atomic_path(path) as temp:
        count = _encode(path, temp, frames, fps)
        found = sum(1 for _ in decode(temp, range(ALL_FRAMES, ALL_FRAMES)))
        if found != count:
            raise VideoError(f"{shown(path)}: wrote {count} frames, but {found} can be read")
    return count


def _encode(path: Path, temp: Path, frames: Iterable[np.ndarray], fps: float) -> int:
    """Encode into `temp` (`path` is for messages); the number of frames."""
    remaining = iter(frames)
    first = next(remaining, None)
    if first is None:
        raise VideoError(f"no frames to write to {shown(path)}")
    count = 0
    with tempfile.TemporaryFile() as report:
        # an encoder that gives up breaks the pipe; its report says why
        with (
            contextlib.suppress(BrokenPipeError),
            _start(temp, _even(first).shape, fps, report) as encoder,
        ):
            stdin = cast(IO[bytes], encoder.stdin)
            for frame in chain([first], remaining):
                if frame.shape != first.shape or frame.dtype != np.uint8:
                    raise VideoError(
                        f"{shown(path)}: frame {count} is {frame.dtype} of shape {frame.shape}, "
                        f"expected uint8 of {first.shape}"
                    )
                stdin.write(_even(frame).data)
                count += 1
        if encoder.returncode != 0:
            raise _encoder_error(path, report)
    return count


def _start(temp: Path, shape: tuple[int, ...], fps: float, report: IO[bytes]) -> subprocess.Popen:
    try:
        program = imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as problem:
        raise ConfigError("no ffmpeg found to write videos: install imageio-ffmpeg") from problem
    # fmt: off
    command = [
        program, "-hide_banner", "-v", "error", "-y", "-protocol_whitelist", "file,pipe",
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{shape[1]}x{shape[0]}", "-r", f"{fps:.6f}",
        "-i", "pipe:0", "-c:v", "libx264", "-preset", "fast", "-crf", str(CRF),
        "-pix_fmt", "yuv420p", "-threads", "2", "-movflags", "+faststart", "-f", "mp4",
        f"file:{temp}",
    ]
    # fmt: on
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=report,
        restore_signals=False,  # a file-size limit is then an error it reports, no signal
    )


def _even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    padding = ((0, height % 2), (0, width % 2), (0, 0))
    return np.ascontiguousarray(np.pad(frame, padding, mode="edge"))


def _encoder_error(path: Path, report: IO[bytes]) -> Exception:
    report.seek(0)
    lines = report.read().decode("utf-8", "replace").splitlines()
    text = "; ".join(lines)
    if "No space left" in text or "File too large" in text:
        free = free_bytes(path) / 1e6
        return ResourceError(f"disk full while writing {shown(path)}: free {free:.1f} MB")
    if "Unknown encoder" in text:
        return ConfigError(f"cannot write {shown(path)}: this ffmpeg has no H.264 encoder")
    return VideoError(
        f"cannot write {shown(path)}: {shown(lines[-1]) if lines else 'ffmpeg failed'}"
    )
