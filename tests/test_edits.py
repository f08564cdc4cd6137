"""Something drawn on a frame: where it is in the others, and what is written of it."""

import cv2
import numpy as np
import pytest
from PIL import Image

from omnimotion.edits import carried_layer, load_edit, painted, write_edit
from omnimotion.errors import ConfigError, InputError
from omnimotion.video import open_video
from omnimotion.warps import Carrier

SIZE = WIDTH, HEIGHT = 64, 48
BOX = slice(14, 34), slice(20, 44)
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]


@pytest.fixture(scope="module")
def carrier(tracker):
    return Carrier(tracker)


def gradient():
    """A layer whose red and green say where a pixel comes from; opaque in a box only."""
    layer = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    layer[..., 0], layer[..., 1] = 4 * COLUMNS, 5 * ROWS
    layer[(*BOX, 3)] = 255
    return layer


def test_a_layer_is_its_own_in_its_frame(carrier):
    np.testing.assert_array_equal(carried_layer(carrier, gradient(), 4, 4), gradient())


def test_each_pixel_shows_what_is_drawn_on_its_surface(carrier):
    found = carried_layer(carrier, gradient(), 4, 6)
    places, visible = carrier.map(6, 4)
    x, y = np.moveaxis(places, -1, 0)
    inner = (x > 20) & (x < 43) & (y > 14) & (y < 33) & visible
    outer = (x < 19) | (x > 44) | (y < 13) | (y > 34) | ~visible
    assert inner.sum() > 100
    assert (found[inner][:, 3] == 255).all()
    assert (found[outer][:, 3] == 0).all()
    np.testing.assert_allclose(found[inner][:, 0], 4 * x[inner], atol=0.7)
    np.testing.assert_allclose(found[inner][:, 1], 5 * y[inner], atol=0.7)
    assert np.abs(found.astype(int) - gradient()).max() > 20  # something moves


def test_nothing_is_shown_where_its_surface_is_hidden(carrier):
    """Ink everywhere: its alpha is then the visibility, whatever the ink."""
    everywhere = np.full((HEIGHT, WIDTH, 4), 200, np.uint8)
    found = carried_layer(carrier, everywhere, 7, 0)
    _, visible = carrier.map(0, 7)
    assert not visible.all()
    np.testing.assert_array_equal(found[..., 3], np.where(visible, 200, 0))
    assert (found[visible] == 200).all()


def test_colours_do_not_darken_at_soft_edges(carrier):
    """White ink of varying alpha stays white: nothing of the clear pixels' black mixes in."""
    layer = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    layer[(*BOX, slice(3))], layer[(*BOX, 3)] = 255, 120
    found = carried_layer(carrier, layer, 4, 6)
    soft = (found[..., 3] > 8) & (found[..., 3] < 112)
    assert soft.any()
    assert found[soft][:, :3].min() >= 240


def test_a_frame_is_painted_as_much_as_alpha_says():
    frame, layer = np.full((2, 3, 3), 100, np.uint8), np.zeros((2, 3, 4), np.uint8)
    layer[0, 0] = (200, 0, 50, 255)
    layer[0, 1] = (200, 0, 50, 51)  # a fifth
    found = painted(frame, layer)
    assert found[0, 0].tolist() == [200, 0, 50]
    assert found[0, 1].tolist() == [120, 80, 90]
    assert (found[1] == 100).all()


def saved(path, image):
    image.save(path)
    return path


def test_layers_and_video_of_some_frames(tracker, tiny_store, tmp_path):
    frames = [2, 4, 6]
    pictures = [tiny_store.frame(t) for t in frames]
    out, video = tmp_path / "layers", tmp_path / "v.mp4"
    write_edit(tracker, gradient(), 4, frames, out, (video, pictures, 12))
    names = ["000002.png", "000004.png", "000006.png"]
    assert sorted(path.name for path in out.iterdir()) == names
    np.testing.assert_array_equal(load_edit(out / names[1], SIZE), gradient())
    shown = list(open_video(video))
    assert len(shown) == 3
    for k, name in enumerate(names):
        expected = painted(pictures[k], load_edit(out / name, SIZE))
        assert np.abs(shown[k].astype(float) - expected).mean() < 8  # coded with loss
        assert np.abs(shown[k].astype(float) - pictures[k]).mean() > 12


def test_nothing_is_left_where_one_of_them_cannot_be_written(tracker, tmp_path):
    with pytest.raises(ConfigError, match=r"must end in \.mp4"):
        write_edit(tracker, gradient(), 4, [4], tmp_path / "a", (tmp_path / "v.avi", [], 12))
    assert not any(tmp_path.iterdir())
    (tmp_path / "a").mkdir()
    with pytest.raises(ConfigError, match="exists"):
        write_edit(tracker, gradient(), 4, [4], tmp_path / "a")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image.new("RGBA", SIZE), "shows nothing"),
        (Image.new("RGB", SIZE), "has no alpha channel .*mode RGB.*expected a PNG of 8-bit RGBA"),
        (Image.new("RGBA", (WIDTH, 49), "red"), "is 64x49, expected the video's 64x48"),
    ],
)
def test_what_is_no_edit_is_refused(tmp_path, image, message):
    with pytest.raises(InputError, match=message) as caught:
        load_edit(saved(tmp_path / "e.png", image), SIZE)
    assert "e.png" in str(caught.value)


def test_an_edit_of_16_bits_is_not_cut_down(tmp_path):
    ok, data = cv2.imencode(".png", np.full((HEIGHT, WIDTH, 4), 40000, np.uint16))
    assert ok
    (tmp_path / "e.png").write_bytes(data.tobytes())
    with pytest.raises(InputError, match="has 16 bits a channel; expected a PNG of 8-bit RGBA"):
        load_edit(tmp_path / "e.png", SIZE)


def test_a_damaged_edit_is_refused(tmp_path):
    path = saved(tmp_path / "e.png", Image.fromarray(gradient()))
    whole = path.read_bytes()
    for place in range(8, len(whole) - 12, 23):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"e\.png"):
            load_edit(path, SIZE)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"e\.png"):
        load_edit(path, SIZE)
