"""Whole frames carried to others: the same as tracks say, and files that others can read."""

import struct

import cv2
import numpy as np
import pytest

from omnimotion.errors import ConfigError
from omnimotion.formats.maps import save_flo, save_stmap
from omnimotion.maps import check_kinds, write_maps
from omnimotion.warps import Carrier, check_step

SIZE = WIDTH, HEIGHT = 64, 48


@pytest.fixture(scope="module")
def carrier(tracker):
    return Carrier(tracker)


def pixels(width=WIDTH, height=HEIGHT):
    return np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float32)


def test_a_map_says_what_tracks_say(tracker, carrier):
    places, visible = carrier.map(2, 6)
    assert places.shape == (HEIGHT, WIDTH, 2)
    asked = pixels()[::7, ::7].reshape(-1, 2)
    tracks = tracker.track(np.column_stack((np.full(len(asked), 2), asked)), refine=False)
    np.testing.assert_allclose(places[::7, ::7].reshape(-1, 2), tracks.xy[:, 6], atol=1e-3)
    np.testing.assert_array_equal(visible[::7, ::7].ravel(), tracks.visible[:, 6])
    assert np.abs(places - pixels()).max() > 1  # something moves


def test_a_map_of_a_frame_to_itself_is_the_identity(carrier):
    places, visible = carrier.map(3, 3)
    np.testing.assert_array_equal(places, pixels())
    assert visible.all()


def bilinear(image, u, v):
    """What Nuke's STMap reads: u, v are shares from the lower left corner of the image."""
    height, width = image.shape[:2]
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    x0, y0 = (np.floor(c + 1e-9).astype(int) for c in (x, y))
    fx, fy = (c - c0 for c, c0 in ((x, x0), (y, y0)))
    total = 0
    for dx, wx in ((0, 1 - fx), (1, fx)):
        for dy, wy in ((0, 1 - fy), (1, fy)):
            pixel = image[np.clip(y0 + dy, 0, height - 1), np.clip(x0 + dx, 0, width - 1)]
            total = total + pixel * (wx * wy)[..., None]
    return total


def test_an_st_map_of_no_motion_leaves_an_image_as_it_is(tmp_path):
    xy, image = pixels(67, 35), np.random.default_rng(0).integers(0, 256, (35, 67, 3))
    save_stmap(tmp_path / "a.tif", xy, np.ones((35, 67), bool))
    blue, green, red, alpha = np.moveaxis(cv2_read(tmp_path / "a.tif"), -1, 0)
    np.testing.assert_allclose(bilinear(image, red, green), image, atol=0.02)
    np.testing.assert_array_equal(np.rint(bilinear(image, red, green)), image)
    assert (alpha == 1).all()
    assert (blue == 0).all()


def cv2_read(path):
    return cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)


def test_an_st_map_has_places_from_the_lower_left_and_alpha_where_they_are_seen(tmp_path):
    xy, visible = pixels(4, 2), np.ones((2, 4), bool)
    xy[1, 3], visible[1, 3] = (-0.5, 1.5), False  # the lower left corner of the frame
    xy[0, 0] = (3.5, -0.5)  # the upper right one
    save_stmap(tmp_path / "a.tif", xy, visible)
    found = cv2_read(tmp_path / "a.tif")
    assert found.dtype == np.float32
    assert found[1, 3].tolist() == [0, 0, 0, 0]  # blue, green, red, alpha
    assert found[0, 0].tolist() == [0, 1, 1, 1]
    assert found[0, 1].tolist() == [0, 0.75, 1.5 / 4, 1]


def test_a_flow_file_is_displacement_in_pixels(tmp_path):
    xy = pixels(5, 3)
    xy[2, 4] += (1.5, -0.25)
    save_flo(tmp_path / "a.flo", xy, np.ones((3, 5), bool))
    data = (tmp_path / "a.flo").read_bytes()
    assert data[:4] == b"PIEH"
    assert struct.unpack("<ii", data[4:12]) == (5, 3)
    flow = np.frombuffer(data[12:], "<f4").reshape(3, 5, 2)
    assert flow[2, 4].tolist() == [1.5, -0.25]
    assert np.count_nonzero(flow) == 2
    np.testing.assert_array_equal(cv2.readOpticalFlow(str(tmp_path / "a.flo")), flow)


def test_maps_go_both_ways(tracker, carrier, tmp_path):
    write_maps(tmp_path / "maps", tracker, 2, [2, 6], ["flo"])
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == [
        "backward_0002.flo", "backward_0006.flo", "forward_0002.flo", "forward_0006.flo"
    ]  # fmt: skip
    for name, pair in (("forward", (2, 6)), ("backward", (6, 2)), ("forward", (2, 2))):
        path = tmp_path / "maps" / f"{name}_{6 if 6 in pair else 2:04d}.flo"
        flow = cv2.readOpticalFlow(str(path))
        np.testing.assert_allclose(pixels() + flow, carrier.map(*pair)[0], atol=1e-4)


def test_a_mask_is_its_own_in_its_frame_and_of_the_seen_surface_in_others(carrier):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 20:44] = 1
    labels[30:40, 8:30] = 2
    np.testing.assert_array_equal(carrier.propagate(labels, 4, 4), labels)
    found = carrier.propagate(labels, 4, 6)
    places, visible = carrier.map(6, 4)
    for y in range(0, HEIGHT, 5):
        for x in range(0, WIDTH, 5):
            column, row = (round(float(c)) for c in places[y, x])
            expected = labels[row, column] if visible[y, x] else 0
            assert found[y, x] == expected
    assert set(np.unique(found)) == {0, 1, 2}


def test_all_that_may_show_something_is_near_it_and_what_is_far_is_not(carrier):
    drawn = np.zeros((HEIGHT, WIDTH), bool)
    drawn[20:26, 30:36] = True
    for t, j in ((4, 6), (0, 7), (7, 0)):
        places, visible = carrier.map(j, t)
        x, y = np.rint(places).astype(int).clip(0, (WIDTH - 1, HEIGHT - 1)).transpose(2, 0, 1)
        shows = visible & drawn[y, x]
        near = carrier.near(drawn, t, j)
        assert shows.any()
        assert not (shows & ~near).any()
        assert near.mean() < 0.4
    assert not carrier.near(np.zeros((HEIGHT, WIDTH), bool), 4, 6).any()


def test_nothing_asked_is_nothing_found(carrier):
    places, visible = carrier.carry(np.zeros((0, 2), np.float32), 2, 6)
    assert (places.shape, visible.shape) == ((0, 2), (0,))
    assert not carrier.propagate(np.zeros((HEIGHT, WIDTH), np.uint8), 4, 6).any()


def test_cells_are_decided_by_their_centres(carrier):
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[10:30, 20:44] = 3
    fine, coarse = (carrier.propagate(labels, 4, 6, step) for step in (1, 5))
    assert coarse.shape == fine.shape
    np.testing.assert_array_equal(coarse[2::5, 2::5], fine[2::5, 2::5][: len(coarse[2::5])])
    assert (coarse[5:10, 25:30] == coarse[7, 27]).all()


def test_a_folder_that_is_there_is_not_touched(tracker, tmp_path):
    (tmp_path / "maps").mkdir()
    with pytest.raises(ConfigError, match="maps exists: choose another name"):
        write_maps(tmp_path / "maps", tracker, 2, [2], ["flo"])
    assert not any((tmp_path / "maps").iterdir())


@pytest.mark.parametrize("kinds", [[], ["nuke"], ["stmap", "png"]])
def test_unknown_kinds_of_maps_are_refused(kinds):
    with pytest.raises(ConfigError, match="expected one or more of stmap, exr, flo"):
        check_kinds(kinds)
    check_kinds(["stmap", "flo"])


def test_a_step_below_a_pixel_is_refused():
    with pytest.raises(ConfigError, match="--step 0"):
        check_step(0)
    check_step(4)
    check_step(None)
