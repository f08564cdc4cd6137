"""A fitted scene in Python: the same as tracks and commands say, in original pixels."""

import numpy as np
import pytest
from PIL import Image

import omnimotion
from omnimotion.errors import ConfigError, InputError, PointsError
from omnimotion.geometry import resize_xy
from omnimotion.propagation import Propagation
from omnimotion.tracks import Tracks
from omnimotion.warps import Carrier

SIZE = WIDTH, HEIGHT = 64, 48
FRAMES = 8


def test_it_says_what_it_is(fitted):
    assert (fitted.n_frames, fitted.size) == (FRAMES, SIZE)
    assert fitted.meta["run"] == "default"


def test_tracks_are_the_trackers(fitted):
    points = [[0, 12.5, 24], [3, 40, 30]]
    for refine in (True, False):
        found, expected = fitted.track(points, refine), fitted.tracker.track(points, refine)
        assert isinstance(found, Tracks)
        np.testing.assert_array_equal(found.xy, expected.xy)
    parts = list(fitted.dense(3))
    assert sum(len(part) for part in parts) == WIDTH * HEIGHT


def a_mask():
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 20:44] = 3
    return labels


def test_a_mask_goes_to_every_frame(fitted):
    found = fitted.propagate(a_mask(), 4)
    assert (found.shape, found.dtype) == ((FRAMES, HEIGHT, WIDTH), np.uint8)
    expected = Propagation(fitted.tracker, {4: a_mask()})
    for j in (0, 4, 7):
        np.testing.assert_array_equal(found[j], expected.at(j))
    np.testing.assert_array_equal(found[4], a_mask())


def test_a_mask_may_be_bool_integers_or_a_file(fitted, tmp_path):
    Image.fromarray(a_mask() * 85).save(tmp_path / "m.png")
    expected = fitted.propagate(a_mask() > 0, 4, step=4)
    for mask in (tmp_path / "m.png", str(tmp_path / "m.png"), (a_mask() > 0).astype(np.int64)):
        np.testing.assert_array_equal(fitted.propagate(mask, 4, step=4), expected)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((HEIGHT, WIDTH)), r"float64 \(48, 64\), expected bool or integers"),
        (np.zeros((WIDTH, HEIGHT), bool), r"bool \(64, 48\), expected .*\(48, 64\)"),
        (np.full((HEIGHT, WIDTH), 300), "labels 300 to 300, expected 0 to 255"),
    ],
)
def test_what_is_no_mask_is_refused(fitted, mask, message):
    with pytest.raises(InputError, match=message):
        fitted.propagate(mask, 4)
    with pytest.raises(ConfigError, match="step 0"):
        fitted.propagate(a_mask(), 4, step=0)


def test_a_frame_is_rendered_as_the_video_shows_it(fitted, tiny_store):
    found, frame = fitted.render(5), tiny_store.frame(5)
    assert (found.shape, found.dtype) == (frame.shape, np.uint8)
    error = np.abs(found.astype(float) - frame).mean()
    assert error < 0.8 * np.abs(frame - frame.mean(axis=(0, 1))).mean()  # a fit of seconds
    np.testing.assert_allclose(found, fitted.tracker.surface(5)[1], atol=1)


def test_depth_is_that_of_tracks(fitted):
    """A point asked in a frame lies on the surface that is seen there."""
    depth = fitted.depth(5)
    assert (depth.shape, depth.dtype) == ((HEIGHT, WIDTH), np.float32)
    asked = [[5, x, y] for x in range(2, WIDTH, 9) for y in range(2, HEIGHT, 9)]
    found = fitted.track(asked, refine=False).depth[:, 5]
    expected = [depth[y, x] for _, x, y in asked]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert np.ptp(depth) > 0.01


def test_places_are_original_pixels(fitted, monkeypatch):
    """Of a clip stored at half its size, every second pixel falls between stored ones."""
    from dataclasses import replace

    stored = fitted.tracker.index
    large = replace(stored, original_size=(2 * WIDTH, 2 * HEIGHT))
    monkeypatch.setattr(fitted.tracker, "index", large)
    depth = fitted.depth(5)
    assert depth.shape == (2 * HEIGHT, 2 * WIDTH)
    xy = resize_xy(np.float32([[7, 9]]), large.original_size, stored.size)[0]
    monkeypatch.setattr(fitted.tracker, "index", stored)
    found = fitted.track([[5, *xy]], refine=False).depth[0, 5]
    np.testing.assert_allclose(found, depth[9, 7], atol=1e-3)


@pytest.mark.parametrize("frame", [-1, FRAMES])
def test_a_frame_outside_the_clip_is_refused(fitted, frame):
    def propagate(t):
        return fitted.propagate(a_mask(), t)

    for ask in (fitted.render, fitted.depth, fitted.dense, propagate):
        with pytest.raises(PointsError, match=f"frame {frame}: expected 0 to 7"):
            ask(frame)


@pytest.mark.parametrize("frame", [1.5, 1.0, np.float32(2), float("nan"), "3"])
def test_a_frame_that_is_no_integer_is_refused(fitted, frame):
    def propagate(t):
        return fitted.propagate(a_mask(), t)

    for ask in (fitted.render, fitted.depth, fitted.dense, propagate):
        with pytest.raises(PointsError, match=f"frame {frame}: expected an integer from 0 to 7"):
            next(iter(ask(frame)))


def test_a_frame_may_be_an_integer_of_numpy(fitted):
    for kind in (np.int64, np.uint8):
        np.testing.assert_array_equal(fitted.depth(kind(3)), fitted.depth(3))
        assert (next(fitted.dense(kind(3))).queries[:, 0] == 3).all()


def test_a_clip_in_windows_answers_as_any(long_scene):
    fitted = omnimotion.load(long_scene, device="cpu", backend="torch")
    points = [[0, 10, 10], [fitted.n_frames - 1, 20, 20]]
    assert fitted.track(points).xy.shape == (2, fitted.n_frames, 2)
    labels = np.zeros(fitted.size[::-1], np.uint8)
    labels[10:20, 10:20] = 3
    found = fitted.propagate(labels, 0)
    assert found.shape == (fitted.n_frames, *labels.shape)
    np.testing.assert_array_equal(found[0], labels)
    assert set(np.unique(found[20:])) <= {0, 3}
    window = fitted.tracker.window(1)  # of frames 8 to 19
    depth, rgb = Carrier(window).seen(14 - 8)
    np.testing.assert_array_equal(fitted.render(14), rgb)
    np.testing.assert_array_equal(fitted.depth(14), depth)
