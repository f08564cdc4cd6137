"""Claims about written videos: all frames are there, whole, in place, or nothing is (fault 49)."""

import os
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from omnimotion.errors import ConfigError, VideoError
from omnimotion.video import open_video
from omnimotion.video_writer import write_video

ROOT = Path(__file__).parents[1]


def moving_ramp(count, height=48, width=64):
    y, x = np.mgrid[:height, :width]
    for k in range(count):
        yield np.stack((x * 3, y * 4, (x + y + 8 * k) % 100 + 50), axis=-1).astype(np.uint8)


@pytest.mark.parametrize("fps", [10, 29.97, 12.5])
def test_reading_returns_what_was_written(tmp_path, fps):
    path = tmp_path / "a.mp4"
    assert write_video(path, moving_ramp(7), fps) == 7
    video = open_video(path)
    assert video.shape == (7, 48, 64)
    assert video.fps == pytest.approx(fps, rel=1e-4)
    for found, expected in zip(video, moving_ramp(7), strict=True):
        assert np.abs(found.astype(int) - expected).mean() < 3
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize(("height", "width"), [(49, 65), (48, 65), (49, 64)])
def test_odd_sizes_are_padded_at_the_right_and_bottom(tmp_path, height, width):
    path = tmp_path / "a.mp4"
    write_video(path, moving_ramp(3, height, width), 10)
    video = open_video(path)
    assert video.size == (width + width % 2, height + height % 2)
    for found, expected in zip(video, moving_ramp(3, height, width), strict=True):
        assert np.abs(found[:height, :width].astype(int) - expected).mean() < 3
        edge = found[:height, width:].astype(int) - expected[:, -1:]
        assert edge.size == 0 or np.abs(edge).mean() < 6


def test_single_frame_and_tiny_frames_are_written(tmp_path):
    assert write_video(tmp_path / "a.mp4", moving_ramp(1), 10) == 1
    assert write_video(tmp_path / "b.mp4", moving_ramp(2, 2, 2), 10) == 2


def test_names_that_trouble_decoders(tmp_path):
    path = tmp_path / os.fsdecode(b"-caf\xe9 %03d [x].mp4")
    write_video(path, moving_ramp(2), 10)
    assert len(open_video(path)) == 2


def wrong_frames():
    yield from moving_ramp(2)
    yield np.zeros((48, 62, 3), np.uint8)


def failing_frames():
    yield from moving_ramp(2)
    raise KeyError("source failed")


@pytest.mark.parametrize(
    ("frames", "error", "text"),
    [
        (lambda: iter(()), VideoError, "no frames to write"),
        (wrong_frames, VideoError, "frame 2 is uint8 of shape"),
        (lambda: (f.astype(np.float32) for f in moving_ramp(2)), VideoError, "frame 0 is float32"),
        (failing_frames, KeyError, "source failed"),
    ],
)
def test_bad_frames_leave_the_old_file(tmp_path, frames, error, text):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(error, match=text):
        write_video(path, frames(), 10)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e6])
def test_bad_rates_are_refused(tmp_path, fps):
    with pytest.raises(ConfigError, match="fps is"):
        write_video(tmp_path / "a.mp4", moving_ramp(2), fps)


def test_bad_paths_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.mp4"):
        write_video(tmp_path / "a.avi", moving_ramp(2), 10)
    with pytest.raises(ConfigError, match=r"cannot write .*a\.mp4"):
        write_video(tmp_path / "missing" / "a.mp4", moving_ramp(2), 10)


def test_missing_encoder_is_named(tmp_path, monkeypatch):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found")

    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    with pytest.raises(ConfigError, match="no ffmpeg found"):
        write_video(tmp_path / "a.mp4", moving_ramp(2), 10)
    assert os.listdir(tmp_path) == []


def test_frames_that_cannot_be_read_back_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("omnimotion.video_writer.decode", lambda path, wanted: iter([None]))
    with pytest.raises(VideoError, match="wrote 3 frames, but 1 can be read"):
        write_video(tmp_path / "a.mp4", moving_ramp(3), 10)
    assert os.listdir(tmp_path) == []


DISK_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from omnimotion.errors import ResourceError
from omnimotion.video_writer import write_video
rng = np.random.default_rng(0)
frames = [rng.integers(0, 255, (96, 96, 3), dtype=np.uint8) for _ in range(30)]
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    write_video(Path(sys.argv[1]), frames, 10)
except ResourceError as problem:
    sys.exit(0 if "disk full while writing" in str(problem) else str(problem))
sys.exit("accepted")
"""


def test_full_disk_is_a_resource_error(tmp_path):
    command = [sys.executable, "-c", DISK_FULL, str(tmp_path / "a.mp4")]
    subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    assert os.listdir(tmp_path) == []
