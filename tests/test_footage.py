"""Frames of a scene: the stored ones, those of the video, enlarged ones."""

import numpy as np
import pytest
from PIL import Image

from omnimotion.errors import VideoError
from omnimotion.footage import enlarged, images
from omnimotion.tracks import frame_rate


def test_stored_frames_and_those_of_the_video_are_the_same(tiny_store, tiny_clip):
    """The tiny clip is stored at its own size, so that both are the video's pixels."""
    wanted = [1, 4, 7]
    stored = list(images(tiny_store.folder, None, wanted))
    source = list(images(tiny_store.folder, tiny_clip / "frames", wanted))
    assert len(stored) == len(source) == 3
    names = sorted((tiny_clip / "frames").iterdir())
    for k, t in enumerate(wanted):
        pixels = np.asarray(Image.open(names[t]).convert("RGB"))
        np.testing.assert_array_equal(stored[k], pixels)
        np.testing.assert_array_equal(source[k], pixels)


def test_another_video_is_refused(tiny_store, tmp_path):
    for t in range(8):
        Image.new("RGB", (64, 48), (t, 0, 0)).save(tmp_path / f"{t}.png")
    with pytest.raises(VideoError, match="is not the video of"):
        list(images(tiny_store.folder, tmp_path, [0]))


def test_enlarging_is_said_once_and_only_where_it_is_done(caplog):
    frames = [np.zeros((12, 16, 3), np.uint8)] * 3
    assert [frame.shape for frame in enlarged(frames, (16, 12))] == [(12, 16, 3)] * 3
    assert not caplog.messages
    assert [frame.shape for frame in enlarged(frames, (32, 24))] == [(24, 32, 3)] * 3
    assert len(caplog.messages) == 1
    assert "16x12" in caplog.messages[0]
    assert "32x24" in caplog.messages[0]


def test_a_video_of_some_frames_keeps_time():
    assert frame_rate(24, range(10)) == 24
    assert frame_rate(24, [2, 4, 6]) == 12
    assert frame_rate(24, [5]) == 24
