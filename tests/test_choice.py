"""Of two candidates, that which looks right and leads back."""

import cv2
import numpy as np

from preprocess.choice import better

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
    for found, truth in zip(better(one, other, *pictures(size)), right):
        ok = (found == truth).all(axis=-1)
        assert ok[:, 24:-24].mean() > 0.97  # some at the seam, and where both leave the frame
        assert ok.mean() > 0.9


def test_of_two_that_look_the_same_it_is_the_one_that_leads_back():
    size = (96, 64)
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    lost = both_ways(size, 3)[0], both_ways(size, 3)[0]
    sound = both_ways(size, 5)
    for candidates in ((lost, sound), (sound, lost)):
        for found, expected in zip(better(*candidates, image, image), sound):
            assert (found == expected)[:, 8:-8].all()


def test_of_two_that_are_equal_it_is_the_first():
    size = (96, 64)
    image = np.full((size[1], size[0], 3), 120, np.uint8)
    one, other = both_ways(size, 2), both_ways(size, 3)
    for found, expected in zip(better(one, other, image, image), one):
        assert (found == expected)[:, 8:-8].all()
