"""Layers carried from window to window: where they are handed over, and that nothing is lost."""

import cv2
import numpy as np
import pytest

import omnimotion
from omnimotion.cli import main
from omnimotion.ground_truth import read_ground_truth
from omnimotion.maps import backward_maps, forward_maps, write_maps
from omnimotion.masks import Mask, load_mask, save_mask
from omnimotion.propagation import propagated
from omnimotion.relay import Relay
from omnimotion.warps import carried_labels, lattice, relay
from omnimotion.windows import plan_windows

WINDOWS = plan_windows(30, 12, 4)  # 0..11, 8..19, 16..29


def layer():
    """Labels whose places say where they come from."""
    return np.random.default_rng(0).integers(0, 4, (5, 90)).astype(np.uint8)


def moved(k, labels, i, j):
    """Everything moves by a pixel a frame; only frames of the window may be asked."""
    assert i in WINDOWS[k]
    assert j in WINDOWS[k]
    return np.roll(labels, j - i, axis=1)


@pytest.mark.parametrize("t", range(30))
def test_every_frame_has_the_layer_as_if_there_were_one_window(t):
    carried = Relay(WINDOWS, moved, layer(), t)
    for j in [*range(30), 3, 28, 0]:  # in any order
        np.testing.assert_array_equal(carried.at(j), np.roll(layer(), j - t, axis=1))


def test_it_is_handed_over_where_most_of_it_is_shown():
    """Half of it is hidden in frames 16 to 18, so that all of it must come by way of 19."""

    def carry(k, labels, i, j):
        found = moved(k, labels, i, j)
        return found * (np.arange(5)[:, None] > 2) if 16 <= j <= 18 else found

    carried = Relay(WINDOWS, carry, layer(), 9)
    np.testing.assert_array_equal(carried.at(25), np.roll(layer(), 16, axis=1))
    assert not carried.at(17)[0].any()
    coloured = Relay(WINDOWS, carry_colours, np.dstack([layer()] * 4), 9)
    np.testing.assert_array_equal(coloured.at(25)[..., 3], np.roll(layer(), 16, axis=1))


def carry_colours(k, colours, i, j):
    found = moved(k, colours, i, j)
    if 16 <= j <= 18:
        found[:3, :, 3] = 0
    return found


def test_what_is_drawn_in_an_overlap_is_handed_over_as_it_is():
    asked = []

    def carry(k, labels, i, j):
        asked.append((k, i, j))
        return moved(k, labels, i, j)

    Relay(WINDOWS, carry, layer(), 9).at(3)
    assert asked == [(0, 9, 3)] or asked == [(1, 9, 9), (0, 9, 3)]


def test_a_window_is_asked_only_where_it_must_be():
    asked = set()

    def carry(k, labels, i, j):
        asked.add(k)
        return moved(k, labels, i, j)

    Relay(WINDOWS, carry, layer(), 2).at(5)
    assert asked == {0}


STEP = np.array([1.75, -0.5], np.float32)  # px a frame
HIDER = 20  # px: rows from here on are hidden in four of eight frames, 8 to 11 among them


class Sliding:
    """What carries places of a world that slides, behind something, in windows."""

    def __init__(self, window):
        self.start, self.size = window.start, (40, 30)

    def carry(self, xy, i, j):
        hidden = (xy[:, 1] - (j - i) * 0.5 >= HIDER) & ((j + self.start) % 8 < 4)
        return (xy + (j - i) * STEP).astype(np.float32), ~hidden | (i == j)

    def map(self, i, j):
        xy, visible = self.carry(lattice(self.size), i, j)
        return xy.reshape(30, 40, 2), visible.reshape(30, 40)


class Clip:
    """A tracker of windows, as far as maps need it."""

    class index:
        original_size = 40, 30

    windows = WINDOWS

    def window(self, k):
        return WINDOWS[k]


@pytest.mark.parametrize("t", [0, 9, 25])
def test_maps_through_windows_are_as_if_there_were_one(monkeypatch, t):
    """Of places between pixels, beyond the frame too, and whatever is hidden."""
    monkeypatch.setattr("omnimotion.warps.Carrier", Sliding)
    pixels = lattice((40, 30)).reshape(30, 40, 2)
    forward, backward = forward_maps(Clip(), t), backward_maps(Clip(), t)
    for j in (0, 7, 13, 17, 22, 29, t):
        np.testing.assert_allclose(forward(j)[0], pixels + (j - t) * STEP, atol=1e-3)
        np.testing.assert_allclose(backward(j)[0], pixels + (t - j) * STEP, atol=1e-3)
    assert forward(t)[1].all()
    assert backward(t)[1].all()


def test_what_is_hidden_where_maps_are_handed_over_stays_hidden(monkeypatch):
    """Windows 0 and 1 share frames 8 to 11, in all of which the lower rows are hidden."""
    monkeypatch.setattr("omnimotion.warps.Carrier", Sliding)
    _, visible = forward_maps(Clip(), 0)(13)
    assert visible[:HIDER].all()
    assert not visible[HIDER + 6 :].any()


@pytest.fixture(scope="module")
def fitted(long_scene):
    return omnimotion.load(long_scene, device="cpu", backend="torch")


def test_masks_follow_the_true_tracks_through_all_windows(fitted, long_clip):
    """A mask of half the frame: where its points are seen later, it ought to be."""
    known, t = read_ground_truth(long_clip), 3
    x, y = np.rint(known.tracks[:, t]).astype(int).T
    rows = known.visible[:, t] & (x >= 0) & (x < 64) & (y >= 0) & (y < 48)
    labels = np.zeros((48, 64), np.uint8)
    labels[:, :32] = 1
    carried, right = propagated(fitted.tracker, {t: labels}, 1), []
    for j in range(20, 30):  # two windows away
        u, v = np.rint(known.tracks[:, j]).astype(int).T
        seen = rows & known.visible[:, j] & (u >= 0) & (u < 64) & (v >= 0) & (v < 48)
        right += (carried.at(j)[v[seen], u[seen]] == labels[y[seen], x[seen]]).tolist()
    assert len(right) > 100
    assert np.mean(right) > 0.7  # tracks are 2 of 64 px off there


def test_maps_follow_the_true_tracks_through_all_windows(fitted, long_clip, tmp_path):
    """Both ways, and nearly as well as tracks, which know more where they go over."""
    known, t, last = read_ground_truth(long_clip), 3, 22
    write_maps(tmp_path / "maps", fitted.tracker, t, [last], ["flo"])
    both = known.visible[:, t] & known.visible[:, last]
    ends = known.tracks[both][:, [t, last]]
    ends = ends[((np.rint(ends) >= 0) & (np.rint(ends) < (64, 48))).all(axis=(1, 2))]
    assert len(ends) > 15
    queries = np.column_stack((np.full(len(ends), t), ends[:, 0]))
    tracks = fitted.track(queries, refine=False).xy[:, last]
    error = np.median(np.linalg.norm(tracks - ends[:, 1], axis=-1))
    for name, one, other in (("forward", 0, 1), ("backward", 1, 0)):
        flow = cv2.readOpticalFlow(str(tmp_path / "maps" / f"{name}_{last:04d}.flo"))
        x, y = np.rint(ends[:, one]).astype(int).T
        off = np.linalg.norm(ends[:, one] + flow[y, x] - ends[:, other], axis=-1)
        assert np.median(off) < 1.5 * error + 0.5


def test_the_commands_carry_masks_and_edits_through_all_windows(long_scene, fitted, tmp_path):
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:44] = 1
    save_mask(tmp_path / "m.png", Mask(labels))
    common = ["query", "--scene", str(long_scene), "--frame", "2", "--frames", "0:30:7",
              "--device", "cpu", "--backend", "torch"]  # fmt: skip
    words = ["--propagate-mask", str(tmp_path / "m.png"), "--out", str(tmp_path / "masks")]
    assert main([*common, *words]) == 0
    expected = propagated(fitted.tracker, {2: labels}, 1)
    for j in range(0, 30, 7):
        found = load_mask(tmp_path / "masks" / f"{j:06d}.png", (64, 48), may_be_empty=True)
        np.testing.assert_array_equal(found.labels, expected.at(j))
    from PIL import Image

    ink = np.dstack([np.full_like(labels, 200)] * 3 + [255 * labels])
    Image.fromarray(ink).save(tmp_path / "ink.png")
    words = ["--edit", str(tmp_path / "ink.png"), "--out", str(tmp_path / "layers")]
    assert main([*common, *words]) == 0
    alone = relay(fitted.tracker, carried_labels(1), labels, 2)  # edits go as the scene says
    for j in (7, 28):
        alpha = np.asarray(Image.open(tmp_path / "layers" / f"{j:06d}.png"))[..., 3]
        both, either = ((alpha > 127) & (alone.at(j) > 0)), ((alpha > 127) | (alone.at(j) > 0))
        assert both.sum() > 0.8 * either.sum()


def test_trails_without_the_cameras_motion_are_drawn_of_all_windows(long_scene, tmp_path):
    words = ["query", "--scene", str(long_scene), "--grid", "3", "--steady", "--device", "cpu",
             "--backend", "torch", "--sheet", str(tmp_path / "sheet.png")]  # fmt: skip
    assert main(words) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000
