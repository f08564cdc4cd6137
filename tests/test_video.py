"""Claims about videos: each frame once, in order, upright, in RGB, with its time.

The numbers in the names of tests are the rows of the fault matrix.
"""

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_files import FRAMES_20, H264, ffmpeg, make_clips, make_folder

from omnimotion import video as video_module
from omnimotion.errors import ConfigError, VideoError
from omnimotion.video import open_video
from omnimotion.video_decoder import probe

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv", "fast.mp4", "clip.avi"])
def test_containers_give_each_frame_once(clips, name):
    video = open_video(clips / name)
    frames = list(video)
    assert video.shape == (20, 48, 64)
    assert video.fps == 10
    np.testing.assert_allclose(video.times, np.arange(20) / 10, atol=1e-6)
    np.testing.assert_array_equal(video.source_indices, np.arange(20))
    assert {(f.shape, f.dtype) for f in frames} == {((48, 64, 3), np.dtype(np.uint8))}
    assert len({f.tobytes() for f in frames}) > 1
    np.testing.assert_array_equal(np.stack(frames), np.stack(list(video)))


def test_colours_are_rgb_and_lossless_frames_exact(tmp_path):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 48, 64, 3)).astype(np.uint8)
    folder = make_folder(tmp_path / "f", [f"{k}.png" for k in range(3)], frames)
    clip = tmp_path / "clip.mkv"
    ffmpeg(clip, "-i", folder / "%d.png", "-c:v", "ffv1", "-pix_fmt", "bgr0")
    np.testing.assert_array_equal(np.stack(list(open_video(clip))), frames)
    np.testing.assert_array_equal(np.stack(list(open_video(folder))), frames)
    assert open_video(clip).fingerprint == open_video(folder).fingerprint


def test_fingerprint_follows_pixels_not_names(clips, tmp_path):
    shutil.copy(clips / "clip.mp4", tmp_path / "other.mp4")
    first = open_video(clips / "clip.mp4").fingerprint
    assert open_video(tmp_path / "other.mp4").fingerprint == first
    assert open_video(clips / "clip.mp4", "0:19").fingerprint != first


@pytest.mark.parametrize("source", ["clip.mp4", "folder"])
@pytest.mark.parametrize("frames", ["2:9", ":", "3:", ":4", "1:20:4", "::7", "5:900"])
def test_selection_is_a_python_slice(clips, tmp_path, caplog, source, frames):
    path = clips / source
    if source == "folder":
        path = make_folder(tmp_path / "f", [f"{k}.png" for k in range(20)])
    whole, video = open_video(path), open_video(path, frames)
    part = slice(*(int(p) if p else None for p in frames.split(":")))
    np.testing.assert_array_equal(video.source_indices, np.arange(20)[part])
    np.testing.assert_array_equal(np.stack(list(video)), np.stack(list(whole)[part]))
    np.testing.assert_allclose(video.times, whole.times[part])
    assert video.fps == whole.fps / (part.step or 1)
    said = any("reaches beyond the video" in line for line in caplog.messages)
    assert said == (frames == "5:900")


@pytest.mark.parametrize("frames", ["5", "-3:", "1:2:0", "a:b", "1:2:3:4", "1.5:", "9" * 30 + ":"])
def test_malformed_selection_is_refused(clips, frames):
    with pytest.raises(ConfigError, match=r"--frames .* expected start:stop"):
        open_video(clips / "clip.mp4", frames)


@pytest.mark.parametrize(("frames", "count"), [("5:2", 0), ("3:3", 0), ("4:9:8", 1), ("50:", 0)])
def test_a_selection_of_fewer_than_two_frames_is_named(clips, frames, count):
    said = f"needs at least 2 frames, found {count} with these --frames"
    with pytest.raises(VideoError, match=said):
        open_video(clips / "clip.mp4", frames)


def test_trimmed_without_encoding_is_no_damage(clips, tmp_path):
    path = ffmpeg(tmp_path / "t.mp4", "-ss", 0.85, "-i", clips / "clip.mp4", "-c", "copy")
    video = open_video(path)
    assert 10 <= len(video) <= 12
    assert not video.is_truncated


def test_10_odd_sizes_are_kept(tmp_path):
    source = ("-f", "lavfi", "-i", "testsrc=size=65x49:rate=10", "-frames:v", 3)
    path = ffmpeg(tmp_path / "odd.mp4", *source, "-pix_fmt", "yuv444p")
    assert open_video(path).size == (65, 49)


@pytest.mark.parametrize("transfer", ["smpte2084", "arib-std-b67", "bt709"])
def test_16_hdr_is_recognised(tmp_path, transfer):
    colour = f"setparams=color_trc={transfer},format=yuv420p10le"
    path = ffmpeg(tmp_path / "clip.mp4", *FRAMES_20, "-vf", colour, "-c:v", "libx264")
    assert probe(path, 20).is_hdr == (transfer != "bt709")


def test_16_ten_bits_are_read_and_hdr_warns_once(clips, tmp_path, monkeypatch, caplog):
    lossless = ("-c:v", "ffv1", "-pix_fmt", "yuv420p10le")
    path = ffmpeg(tmp_path / "clip.mkv", "-i", clips / "clip.mp4", *lossless)
    deep, plain = (np.stack(list(open_video(p))) for p in (path, clips / "clip.mp4"))
    assert deep.dtype == np.uint8
    # luma only: the decoder interpolates the halved chroma of deep video, and repeats it of 8 bits
    luma = np.array([0.299, 0.587, 0.114])
    assert np.abs((deep.astype(float) - plain) @ luma).mean() < 1
    assert not caplog.records
    hdr = dataclasses.replace(probe(path, 20), is_hdr=True)  # a real one takes 3 s to decode
    monkeypatch.setattr(video_module, "probe", lambda path, stop: hdr)
    open_video(path)
    assert [r.levelname for r in caplog.records if "tone mapping not applied" in r.message]
    assert len(caplog.records) == 1


def test_18_rotation_flag_is_applied_once(clips, tmp_path):
    path = tmp_path / "turned.mp4"
    ffmpeg(path, "-display_rotation", 90, "-i", clips / "clip.mp4", "-c", "copy")
    turned = open_video(path)
    assert turned.size == (48, 64)
    upright = np.stack([np.rot90(frame) for frame in open_video(clips / "clip.mp4")])
    np.testing.assert_array_equal(np.stack(list(turned)), upright)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_19_variable_rate_gives_each_coded_frame_once(tmp_path, caplog, suffix):
    choice = ("-vf", "select='lt(mod(n,10),4)'", "-fps_mode", "vfr", "-bf", 0)
    path = ffmpeg(tmp_path / f"clip.{suffix}", *FRAMES_20, *choice, *H264)
    video = open_video(path)
    kept = [n for n in range(50) if n % 10 < 4][:20]
    np.testing.assert_allclose(video.times, np.array(kept) / 10, atol=2e-3)
    assert video.fps == pytest.approx(19 / 4.3, rel=0.01)
    assert sum("variable frame rate" in r.message for r in caplog.records) == 1


def test_24_constant_video_is_read(tmp_path):
    source = ("-f", "lavfi", "-i", "color=black:size=32x32:rate=10", "-frames:v", 5)
    frames = np.stack(list(open_video(ffmpeg(tmp_path / "black.mp4", *source, *H264))))
    assert frames.shape == (5, 32, 32, 3)
    assert frames.max() == 0


@pytest.mark.skipif(not DATA.is_dir(), reason="no ../shared/data beside the repository")
def test_real_video():
    video = open_video(DATA / "cups.mp4", "0:30:10")
    assert video.size == (1280, 720)
    assert video.fps == pytest.approx(29.97 / 10, rel=1e-3)
    np.testing.assert_array_equal(video.source_indices, [0, 10, 20])
    reader = cv2.VideoCapture(str(DATA / "cups.mp4"))
    expected = [reader.read()[1][..., ::-1] for _ in range(21)][::10]
    np.testing.assert_array_equal(np.stack(list(video)), np.stack(expected))
