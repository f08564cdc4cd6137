"""Pictures of depth: of the right frame and size, in the same colours throughout."""

from dataclasses import replace

import numpy as np
import pytest

import omnimotion
from omnimotion.depth_pictures import DepthPictures


@pytest.fixture(scope="module")
def tracker(tiny_scene):
    return omnimotion.load(tiny_scene, device="cpu", backend="torch").tracker


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
