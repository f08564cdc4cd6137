"""Of several candidates, that which looks right and leads back."""

import itertools

import cv2
import numpy as np
import pytest

from preprocess import choice
from preprocess.choice import RADIUS, better, spread

SPEED = 6  # px, to the right


def pictures(size):
    """Two images of a texture that moves by SPEED."""
    noise = np.random.default_rng(2).uniform(0, 255, (size[1], size[0] + SPEED, 3))
    wide = cv2.GaussianBlur(noise.astype(np.float32), (0, 0), 2) * 4 - 380
    wide = wide.clip(0, 255).astype(np.uint8)
    return wide[:, SPEED:], wide[:, : size[0]]


def both_ways(size, speed):
    flow = np.zeros((size[1], size[0], 2), np.float32)
    flow[..., 0] = speed
    return flow, -flow


def test_each_pixel_has_the_flow_under_which_it_looks_the_same():
    size = (96, 64)
    right, wrong = both_ways(size, SPEED), both_ways(size, SPEED + 9)
    is_left = (np.arange(size[0]) < size[0] // 2)[:, None]
    one = tuple(np.where(is_left, a, b) for a, b in zip(right, wrong))
    other = tuple(np.where(is_left, b, a) for a, b in zip(right, wrong))
    for found, truth in zip(better(one, other, pictures(size)), right):
        ok = (found == truth).all(axis=-1)
        assert ok[:, 24:-24].mean() > 0.97  # some at the seam, and where both leave the frame
        assert ok.mean() > 0.9


def test_of_two_that_look_the_same_it_is_the_one_that_leads_back():
    size = (96, 64)
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    lost = both_ways(size, 3)[0], both_ways(size, 3)[0]
    sound = both_ways(size, 5)
    for candidates in ((lost, sound), (sound, lost)):
        for found, expected in zip(better(*candidates, (image, image)), sound):
            assert (found == expected)[:, 8:-8].all()


def test_of_two_that_are_equal_it_is_the_first():
    size = (96, 64)
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    one, other = both_ways(size, 2), both_ways(size, 3)
    for found, expected in zip(better(one, other, (image, image)), one):
        assert (found == expected)[:, 8:-8].all()


def right(found, speed):
    return (found == (speed, 0)).all(axis=-1)


def test_flow_spreads_to_where_it_does_not_lead_back():
    size = (96, 64)
    ways = both_ways(size, SPEED)
    holes = [flow.copy() for flow in ways]
    for flow in holes:
        flow[20:34, 40:54] = (9, 14)  # of the other way there is none that leads here
    found = spread((holes[0], holes[1]), pictures(size))
    for flow, hole, speed in zip(found, holes, (SPEED, -SPEED)):
        inner = np.s_[8:-8, 24:-24]
        assert right(hole, speed)[inner].mean() < 0.92
        assert right(flow, speed)[inner].all()


def test_it_spreads_no_farther_than_its_places_and_rounds():
    size = (96, 64)
    lost = both_ways(size, 3)[0]
    sound = [flow.copy() for flow in both_ways(size, SPEED)]
    for flow in sound:
        flow[:, 24:72] = lost[:, 24:72]
    found = spread((sound[0], sound[1]), pictures(size))[0]
    assert right(found, 3)[:, 24 + 2 * RADIUS + 1 : 72 - 2 * RADIUS - SPEED - 1].all()
    assert right(found, SPEED)[8:-8, 24:28].mean() > 0.5


def test_flow_that_leads_back_stays():
    size = (96, 64)
    wrong = both_ways(size, 2)  # there and back, though it looks wrong
    for found, expected in zip(spread(wrong, pictures(size)), wrong):
        np.testing.assert_array_equal(found[:, 8:-8], expected[:, 8:-8])


@pytest.mark.parametrize("share", [0.0, 0.02, 0.6, 1.0])
def test_of_flow_close_by_each_pixel_takes_that_under_which_it_looks_most_alike(share):
    """Pixel by pixel: the mean over 3x3 pixels that all have the flow of places as far off."""
    images, random = pictures((32, 24)), np.random.default_rng(5)
    flow = random.normal((SPEED, 0), 3, (24, 32, 2)).astype(np.float32)
    reliable = random.uniform(size=(24, 32)) >= share
    found = choice._spread(flow, reliable, images, 0, 1)
    assert (found != flow).any() == (0 < share < 1)
    for y, x in np.ndindex(reliable.shape):
        shifts = [(0, 0)]
        if not reliable[y, x]:
            shifts += [(dx, dy) for dx, dy in choice._places(1) if at(reliable, y + dy, x + dx)]
        costs = [unlike(flow, images, y, x, *shift) for shift in shifts]
        dx, dy = shifts[int(np.argmin(costs))]
        np.testing.assert_array_equal(found[y, x], flow[y + dy, x + dx])


def test_all_of_a_frame_may_need_it():
    """OpenCV refuses lists of 32767 places or more; and each pixel is judged by its own place."""
    images, random = pictures((400, 300)), np.random.default_rng(6)
    flow = random.normal((SPEED, 0), 1, (300, 400, 2)).astype(np.float32)
    reliable = random.uniform(size=(300, 400)) >= 0.9
    inner, part = np.s_[40:-40, 40:-40], np.s_[120:260, 100:260]
    whole = choice._spread(flow, reliable, images, 0, 0)[part]
    cut = images[0][part], images[1][part]
    alone = choice._spread(flow[part], reliable[part], cut, 0, 0)
    np.testing.assert_array_equal(whole[inner], alone[inner])
    assert (whole != flow[part]).any(axis=-1).mean() > 0.2


def at(image, y, x):
    """A pixel; zero beyond the border."""
    inside = 0 <= y < image.shape[0] and 0 <= x < image.shape[1]
    return image[y, x] if inside else np.zeros_like(image[0, 0])


def unlike(flow, images, y, x, dx, dy):
    """Of the 3x3 pixels around one, if all move as those (dx, dy) from them; borders mirror."""
    total = 0
    for row, column in itertools.product((y - 1, y, y + 1), (x - 1, x, x + 1)):
        row, column = mirrored(row, flow.shape[0]), mirrored(column, flow.shape[1])
        u, v = at(flow, row + dy, column + dx)
        to = (np.float32([[column + u]]), np.float32([[row + v]]))
        moved = cv2.remap(images[1], *to, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0, 0]
        grey = np.abs(images[0][row, column].astype(int) - moved).sum() / 3
        total += min(round(grey), 40)
    return total


def mirrored(k, size):
    return abs(k) if k < size else 2 * size - 2 - k
