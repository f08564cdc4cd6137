"""Pictures of depth: of the right frame and size, in the same colours throughout."""

from dataclasses import replace

import numpy as np

import omnimotion
from omnimotion.cli import main
from omnimotion.depth_pictures import DepthPictures
from omnimotion.video import open_video


def test_near_is_brighter_in_every_frame_alike(tracker):
    """Over all frames together, the picture's light follows the depth alone."""
    pictures = DepthPictures(tracker, 64)
    depth = np.concatenate([tracker.surface(t)[0].ravel() for t in (0, 3, 7)])
    light = np.concatenate([pictures.small(t).sum(-1, dtype=int).ravel() for t in (0, 3, 7)])
    order = np.argsort(depth)
    assert (np.diff(light[order]) <= 6).all()  # the colours' sum rises by steps, not evenly
    assert light[order[0]] > light[order[-1]] + 300


def test_rays_are_bounded_and_the_size_is_the_videos(tracker, monkeypatch):
    coarse = DepthPictures(tracker, 20)
    assert coarse.small(3).shape == (12, 16, 3)
    assert coarse.full(3).shape == (48, 64, 3)
    for y, x in ((0, 0), (3, 3)):  # a step of 4: each ray stands for its block
        np.testing.assert_array_equal(coarse.full(3)[y::4, x::4], coarse.small(3))
    large = replace(tracker.index, original_size=(100, 75))
    monkeypatch.setattr(tracker, "index", large)
    assert coarse.full(3).shape == (75, 100, 3)


def test_a_frame_of_a_long_clip_is_as_the_window_shows_it_that_it_is_best_in(long_scene):
    """Windows of frames 0 to 11, 8 to 19, 16 to 29."""
    tracker = omnimotion.load(long_scene, device="cpu", backend="torch").tracker
    pictures = DepthPictures(tracker, 64)
    for t, k, there in ((0, 0, 0), (13, 1, 5), (18, 2, 2), (29, 2, 13)):
        of_window = DepthPictures(tracker.window(k), 64)
        np.testing.assert_array_equal(pictures.small(t), of_window.small(there))


def test_the_depth_of_a_long_clip_goes_beside_its_video(long_scene, tmp_path):
    words = ["query", "--scene", str(long_scene), "--grid", "3", "--beside",
             "--frames", "0:30:10", "--video", str(tmp_path / "v.mp4"), "--device", "cpu",
             "--backend", "torch"]  # fmt: skip
    assert main(words) == 0
    frames = [frame for frame in open_video(tmp_path / "v.mp4")]
    assert [frame.shape for frame in frames] == [(48, 128, 3)] * 3
    depths = DepthPictures(omnimotion.load(long_scene, device="cpu", backend="torch").tracker, 427)
    for frame, t in zip(frames, (0, 10, 20)):
        off = np.abs(frame[:, 64:].astype(int) - depths.full(t))
        assert np.median(off) < 12  # a video is not exact
