"""Masks: which pixels are objects, which points a grid finds on them, and what is no mask."""

import numpy as np
import pytest
from PIL import Image

from omnimotion.errors import InputError, PointsError
from omnimotion.masks import Mask, load_mask, mask_points, save_mask

SIZE = (20, 16)


def labels_of(*boxes):
    """Labels with object k + 1 on the k-th box (x0, y0, x1, y1), ends excluded."""
    labels = np.zeros(SIZE[::-1], np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = number
    return labels


def saved(path, labels, mode):
    if mode == "P":
        image = Image.fromarray(labels, "L").convert("L")
        image = Image.frombytes("P", image.size, image.tobytes())
        image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    else:
        image = Image.fromarray((labels > 0).astype(np.uint8) * 255).convert(mode)
    image.save(path)
    return path


def test_an_indexed_mask_gives_its_indices(tmp_path):
    labels = labels_of((2, 3, 8, 9), (10, 3, 15, 9))
    found = load_mask(saved(tmp_path / "m.png", labels, "P"), SIZE)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, labels)


def test_a_mask_without_an_object_is_one_where_it_may_be(tmp_path):
    path = saved(tmp_path / "m.png", labels_of(), "L")
    assert not load_mask(path, SIZE, may_be_empty=True).labels.any()
    with pytest.raises(InputError, match="empty"):
        load_mask(path, SIZE)


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA"])
def test_a_black_and_white_mask_is_one_object(tmp_path, mode):
    labels = labels_of((2, 3, 8, 9), (10, 3, 15, 9))
    found = load_mask(saved(tmp_path / "m.png", labels, mode), SIZE)
    np.testing.assert_array_equal(found.labels, labels > 0)


def test_a_mask_reads_back_with_its_palette(tmp_path):
    labels = labels_of((2, 3, 8, 9), (10, 3, 15, 9))
    found = load_mask(saved(tmp_path / "a.png", labels, "P"), SIZE)
    save_mask(tmp_path / "b.png", found)
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0]
        np.testing.assert_array_equal(np.asarray(image), labels)
    save_mask(tmp_path / "c.png", Mask(labels, (0, 0, 0, 255, 255, 255)))
    np.testing.assert_array_equal(load_mask(tmp_path / "c.png", SIZE).labels, labels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: saved(path, labels_of(), "L"), "is empty"),
        (lambda path: saved(path, np.zeros((16, 21), np.uint8), "L"), "is 21x16, expected.*20x16"),
        (lambda path: Image.new("RGB", SIZE, "red").save(path), "in colours: save it indexed, or"),
        (lambda path: Image.new("RGBA", SIZE, (9, 9, 9, 8)).save(path), "without alpha"),
        (lambda path: Image.new("I;16", SIZE, 99).save(path), "16 bits a channel: save it with 8"),
        (lambda path: Image.linear_gradient("L").resize(SIZE).save(path),
         "is grey with .* values: threshold it, to black and one other value"),
        (lambda path: Image.linear_gradient("L").resize(SIZE).convert("RGB").save(path),
         "is grey with .* values: threshold it"),
        (lambda path: Image.new("L", SIZE).save(path, "JPEG"), "or of another format; expected"),
        (lambda path: path.write_text("none"), "of another format; expected an indexed or black"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_mask_is_refused(tmp_path, make, message):
    path = tmp_path / "m.png"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        load_mask(path, SIZE)
    assert "m.png" in str(caught.value)
    assert "BytesIO" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_mask_is_refused(tmp_path):
    path = saved(tmp_path / "m.png", labels_of((2, 3, 8, 9)), "P")
    whole = path.read_bytes()
    for place in range(8, len(whole) - 12, 7):  # up to the chunk that only marks the end
        path.write_bytes(whole[:place])
        with pytest.raises(InputError, match="mask"):
            load_mask(path, SIZE)
        damaged = bytearray(whole)
        damaged[place] ^= 16
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="mask"):
            load_mask(path, SIZE)


def test_points_are_the_grid_pixels_on_objects():
    """Step 4 begins at pixel 2: of the box only these lie inside."""
    points = mask_points(labels_of((5, 5, 15, 11)), 3, 4)
    assert points.dtype == np.float32
    assert points.tolist() == [[3, x, y] for y in (6, 10) for x in (6, 10, 14)]


def test_step_one_is_every_pixel_of_every_object():
    labels = labels_of((2, 3, 8, 9), (10, 3, 15, 9))
    points = mask_points(labels, 0, 1)
    found = np.zeros_like(labels, bool)
    found[points[:, 2].astype(int), points[:, 1].astype(int)] = True
    np.testing.assert_array_equal(found, labels > 0)


def test_an_object_that_the_grid_misses_is_not_left_out():
    labels = labels_of((2, 2, 16, 14), (3, 3, 5, 5))
    with pytest.raises(PointsError, match=r"object 2 \(4 px\) holds no point.*smaller --step"):
        mask_points(labels, 0, 12)
    with pytest.raises(PointsError, match="grid of 0 px"):
        mask_points(labels, 0, 0)
