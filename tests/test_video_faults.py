"""Faulty videos: every frame used was checked, or the video is refused with one line.

The numbers in the names of tests are the rows of the fault matrix.
"""

import logging
import os
import shutil
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from clip_files import H264, TEST_CARD, ffmpeg, make_clips, make_folder

from omnimotion import video as video_module
from omnimotion.errors import OmniMotionError, VideoError
from omnimotion.images import load_image, save_png
from omnimotion.video import open_video
from omnimotion.video_decoder import _read_report, decode


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("clips"))


def refusal(path, **options):
    with pytest.raises(VideoError) as caught:
        open_video(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert path.name.isprintable() is False or path.name in text
    return text


def test_01_missing_video_and_folder_without_images(tmp_path):
    assert "no such video" in refusal(tmp_path / "missing.mp4")
    assert "no such video" in refusal(tmp_path / "null\0.mp4")
    (tmp_path / "empty").mkdir()
    assert "no images in folder" in refusal(tmp_path / "empty")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_01_no_permission(tmp_path):
    (tmp_path / "a.mp4").touch(mode=0)
    (tmp_path / "f").mkdir(mode=0)
    assert "Permission denied" in refusal(tmp_path / "a.mp4")
    assert "Permission denied" in refusal(tmp_path / "f")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "is empty (0 bytes)"),
        (b"some text", "not a supported video container"),
        (b"\x89PNG\r\n\x1a\n0123", "not a supported video container"),
        (b"RIFF\0\0\0\0WAVEfmt ", "not a supported video container"),
        (b"\0\0\0\x18ftypisom" + b"\0" * 500, "truncated or damaged (no index)"),
        (b"\x1a\x45\xdf\xa3" + b"\0" * 500, "no readable video"),
        (b"RIFF\0\0\0\0AVI " + b"\0" * 500, "no readable video"),
    ],
)
def test_02_03_files_that_are_no_video(tmp_path, data, text):
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    assert text in refusal(path)


PLAYLISTS = {
    "ffconcat": "ffconcat version 1.0\nfile 'canary.mp4'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ncanary.mp4\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD><Period><BaseURL>canary.mp4</BaseURL></Period></MPD>',
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_04_playlists_open_no_other_file(clips, tmp_path, monkeypatch, kind):
    shutil.copy(clips / "clip.mp4", tmp_path / "canary.mp4")
    path = tmp_path / "clip.mp4"
    path.write_text(PLAYLISTS[kind])
    assert "not a supported video container" in refusal(path)
    monkeypatch.setattr("omnimotion.video_decoder.sniff", lambda path: "mp4")
    assert "no readable video" in refusal(path)  # the whitelist alone refuses it too


@pytest.mark.parametrize("scheme", ["concat:{}|{}", "file:{}", "http://localhost:1/{}"])
def test_04_protocols_are_names_of_files(clips, monkeypatch, scheme):
    monkeypatch.chdir(clips)
    assert "no such video" in refusal(Path(scheme.format("clip.mp4", "clip.mov")))
    before = dict(os.environ)
    open_video(Path("clip.mp4"))
    assert dict(os.environ) == before


def test_05_06_truncated_files(clips, tmp_path):
    for name, share in [("clip.mp4", 0.5), ("fast.mp4", 0.1)]:
        data = (clips / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        assert "truncated or damaged (no index)" in refusal(tmp_path / name)
    for name, of in [("fast.mp4", " of 20"), ("clip.avi", " of 20"), ("clip.mkv", "")]:
        data = (clips / name).read_bytes()
        path = tmp_path / f"cut_{name}"
        path.write_bytes(data[: int(len(data) * 0.8)])
        text = refusal(path)
        video = open_video(path, allow_truncated=True)
        assert video.is_truncated
        assert f"decoded {len(video)}{of} frames" in text
        assert 2 <= len(video) < 20
        assert len(list(video)) == len(video)
        assert not open_video(path, "0:4").is_truncated  # the first frames are whole
    assert not open_video(clips / "fast.mp4", allow_truncated=True).is_truncated


@pytest.mark.parametrize("name", ["clip.mkv", "clip.avi", "fast.mp4"])
def test_07_damaged_bytes_are_found(clips, tmp_path, name):
    data = bytearray((clips / name).read_bytes())
    middle = len(data) * 6 // 10
    data[middle : middle + 400] = np.random.default_rng(0).bytes(400)
    path = tmp_path / name
    path.write_bytes(data)
    text = refusal(path)
    assert "damaged frames (" in text or "decoded" in text
    assert open_video(path, allow_truncated=True).is_truncated


def test_08_too_few_frames(clips, tmp_path):
    ffmpeg(tmp_path / "one.mp4", "-f", "lavfi", "-i", TEST_CARD, "-frames:v", 1, *H264)
    ffmpeg(tmp_path / "sound.mp4", "-f", "lavfi", "-i", "sine=d=1")
    folder = make_folder(tmp_path / "f", ["a.png"])
    assert "needs at least 2 frames, found 1" in refusal(tmp_path / "one.mp4")
    assert "sound only" in refusal(tmp_path / "sound.mp4")
    assert "needs at least 2 frames, found 1" in refusal(folder)
    assert "needs at least 2 frames, found 0" in refusal(clips / "clip.mp4", frames="50:60")


def test_08_too_many_frames_are_refused_early(clips, monkeypatch):
    monkeypatch.setattr(video_module, "MAX_FRAMES", 5)
    for name in ("clip.mp4", "clip.mkv"):
        assert "at most 5: choose some with --frames" in refusal(clips / name)
        assert len(open_video(clips / name, "::4")) == 5


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_09_size_that_changes_within_a_clip(tmp_path, suffix):
    parts = []
    for size in ("64x48", "128x96"):
        source = ("-f", "lavfi", "-i", f"testsrc=size={size}:rate=10", "-frames:v", 10)
        parts.append(ffmpeg(tmp_path / f"{size}.ts", *source, *H264, "-bf", 0).read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    path = ffmpeg(tmp_path / f"clip.{suffix}", "-i", tmp_path / "both.ts", "-c", "copy")
    assert "has size 128x96, the ones before 64x48" in refusal(path)


@pytest.mark.parametrize("side", [8192, 8193])
def test_13_a_frame_that_is_huge_later_on_is_not_decoded(tmp_path, side):
    """Its size is told, where it is more than can be accepted anywhere; else, that it changes."""
    frames = b"".join(
        ffmpeg(tmp_path / f"{size}.png", "-f", "lavfi", "-i", f"color=size={size}", "-frames:v", 1)
        .read_bytes()
        for size in ("64x48", "64x48", f"{side}x{side}")
    )
    (tmp_path / "all").write_bytes(frames)
    pipe = ("-f", "image2pipe", "-c:v", "png", "-i", tmp_path / "all", "-c", "copy")
    said = refusal(ffmpeg(tmp_path / "clip.mkv", *pipe))
    assert ("a frame of 8193x8193 exceeds 8192" in said) == (side == 8193)
    assert ("has size 8192x8192, the ones before 64x48" in said) == (side == 8192)


def test_09_folder_with_mixed_sizes(tmp_path):
    frames = [np.zeros((16, 20, 3), np.uint8)] * 2 + [np.zeros((20, 16, 3), np.uint8)] * 2
    folder = make_folder(tmp_path / "f", [f"{k}.png" for k in range(4)], frames)
    assert "file 2.png has size 16x20, the ones before 20x16" in refusal(folder)


@pytest.mark.parametrize("size", ["8x48", "64x8"])
def test_11_12_small_sizes_are_refused(tmp_path, size):
    source = ("-f", "lavfi", "-i", f"testsrc=size={size}:rate=10", "-frames:v", 3)
    path = ffmpeg(tmp_path / "clip.mkv", *source, "-c:v", "ffv1")
    assert f"{size} is too small, at least 16 px" in refusal(path)


def test_13_huge_sizes_are_refused(tmp_path):
    source = ("-f", "lavfi", "-i", "color=size=8194x16:rate=10", "-frames:v", 2)
    path = ffmpeg(tmp_path / "clip.mp4", *source, *H264)
    assert "8194x16 exceeds 8192" in refusal(path)


def test_20_damaged_image_is_named(tmp_path):
    folder = make_folder(tmp_path / "f", ["0.png", "1.png", "2.png"])
    data = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(data[:-30])
    with pytest.raises(VideoError, match=r"1\.png: damaged image"):
        open_video(folder)


NAMES = [b"caf\xe9", "ü 猫".encode(), b"a b", b"[x]*?", b"%03d", b"-i", b"concat:a", b"x" * 251]


@pytest.mark.parametrize("name", NAMES)
def test_21_any_name_works(clips, tmp_path, caplog, monkeypatch, name):
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    path = Path(os.fsdecode(name + b".mp4"))
    shutil.copy(clips / "clip.mp4", path)
    assert len(list(open_video(path))) == 20
    folder = make_folder(tmp_path / os.fsdecode(name), [os.fsdecode(name + b".png"), "z.png"])
    assert len(list(open_video(folder))) == 2
    caplog.text.encode("utf-8")


def test_22_natural_order_and_what_is_ignored(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    names = ["frame_2.png", "frame_9.png", "frame_10.png", "frame_010b.PNG", "frame_11.png"]
    folder = make_folder(tmp_path / "f", names)
    for other in (".hidden.png", "Thumbs.db", "notes.txt", "._frame_1.png"):
        (folder / other).write_bytes(b"x")
    (folder / "sub.png").mkdir()
    video = open_video(folder)
    assert list(video.names) == names
    assert [int(frame[0, 0, 0]) for frame in video] == [0, 1, 2, 3, 4]
    assert "ignored=._frame_1.png, .hidden.png, Thumbs.db, notes.txt, sub.png" in caplog.text


def test_23_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    os.symlink("loop.mp4", tmp_path / "loop.mp4")
    assert "not a regular file" in refusal(tmp_path / "pipe.mp4")
    assert "no such video" in refusal(tmp_path / "loop.mp4")
    assert "not a regular file" in refusal(Path("/dev/zero"))
    folder = make_folder(tmp_path / "f", ["0.png", "1.png"])
    os.mkfifo(folder / "2.png")
    with pytest.raises(VideoError, match=r"2\.png is not a regular file"):
        open_video(folder)


def test_23_file_growing_while_read(clips, tmp_path, monkeypatch):
    path = tmp_path / "clip.mp4"
    shutil.copy(clips / "clip.mp4", path)

    def growing(path, wanted):
        yield from decode(path, wanted)
        with open(path, "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(video_module, "decode", growing)
    assert "changed while it was read" in refusal(path)


def test_23_file_replaced_after_opening(clips, tmp_path):
    path = tmp_path / "clip.mp4"
    shutil.copy(clips / "clip.mp4", path)
    video = open_video(path)
    ffmpeg(path, "-f", "lavfi", "-i", TEST_CARD, "-frames:v", 5, *H264)
    with pytest.raises(VideoError, match="changed after it was opened"):
        list(video)


def test_random_damage_raises_only_our_errors(clips, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("fast.mp4", "clip.mkv", "clip.avi"):
        for _ in range(5):
            data = bytearray((clips / name).read_bytes())
            for place in rng.integers(0, len(data), 30):
                data[place] = rng.integers(256)
            (tmp_path / name).write_bytes(data)
            try:
                list(open_video(tmp_path / name))
            except OmniMotionError:
                continue


def test_missing_ffmpeg_still_counts_frames(clips, tmp_path, monkeypatch, caplog):
    def missing():
        raise RuntimeError("No ffmpeg exe could be found")

    data = (clips / "fast.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 8 // 10])
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", missing)
    assert len(open_video(clips / "fast.mp4")) == 20
    assert "of 20 frames" in refusal(tmp_path / "cut.mp4")
    assert "no ffmpeg found" in caplog.text


def test_damage_is_told_of_the_frame_that_has_it():
    """ffmpeg's decoder is ahead of what shows the frames, by as many as it happens to be."""
    shown, decoded = b"[x] n: %d pts: 5 y s:64x48 z\n", b"[y] decoder -> pts:5\n"
    damaged = b"[y] corrupt decoded frame\n"
    lines = [decoded, shown % 0, decoded, damaged, decoded, shown % 1, shown % 2, decoded,
             damaged, decoded, shown % 3]  # fmt: skip
    assert _read_report(lines, 4).damaged == (2,)
    assert _read_report(lines, 5).damaged == (2, 4)
    assert _read_report(lines, 2).damaged == ()
    one = _read_report([decoded, shown.rstrip() % 0 + damaged, b"\n", decoded, shown % 1], 2)
    assert (one.count, one.damaged) == (2, (1,))


def test_no_frames_and_names_too_long_are_refused(clips, tmp_path, caplog):
    assert "needs at least 2 frames, found 0" in refusal(clips / "clip.mp4", frames="5:5")
    assert not caplog.records
    assert "no such video" in refusal(tmp_path / ("n" * 300))


def test_an_image_that_is_replaced_is_noticed(tmp_path):
    folder = make_folder(tmp_path / "images", ["0.png", "1.png", "2.png"])
    video = open_video(folder)
    name = folder / video.names[1]
    save_png(name, 255 - load_image(name))
    with pytest.raises(VideoError, match="changed after it was opened"):
        list(video)
