"""The colour of a query's pixel is known again where it went, and in any light by its contrast."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from omnimotion.pixels import Pixels
from omnimotion.views import Views, colour_size, grey_size

SIZE = 160, 120
N_FRAMES = 5
FIRST = np.zeros(1, np.int64)


def pixels(frame, size=SIZE):
    index = SimpleNamespace(size=size, n_frames=N_FRAMES)
    return Pixels(Views(SimpleNamespace(index=index, frame=frame)))


BACKGROUND, POINT = np.array([40, 90, 200]), np.array([250, 30, 10])


def spotted(t):
    """One pixel of another colour, at (50 + 3 t, 40)."""
    frame = np.tile(BACKGROUND.astype(np.uint8), (SIZE[1], SIZE[0], 1))
    frame[40, 50 + 3 * t] = POINT
    return frame


def test_a_single_pixel_is_told_from_what_is_around_it():
    """Found where it went, and as far off as it is looked for; elsewhere it is another colour."""
    seen = pixels(spotted)
    r = seen.nearby
    assert r == pytest.approx(160 / 1024)  # a quarter of a pixel, were the frame 256 px long
    colours = seen.colours(np.array([0, 0]), np.array([[50.0, 40.0], [20.0, 20.0]]))
    np.testing.assert_allclose(255 * colours[:, 0].numpy(), [POINT, BACKGROUND], atol=1e-3)
    frames = np.array([3, 3])
    at = np.array([[59.0, 40.0], [59 + r, 40 - r], [59 + 2 * r, 40], [62.0, 40.0], [20.0, 20.0]])
    found = seen.recoloured(colours, frames, np.stack((at, at)))[..., 0]
    apart = np.linalg.norm((POINT - BACKGROUND) / 255)
    np.testing.assert_allclose(found[0], apart * np.array([0, 0, r, 1, 1]), atol=1e-5)
    shares = (1 - r) ** 2, (1 - 2 * r) ** 2, (1 - 3 * r) * (1 - r), 0, 0
    np.testing.assert_allclose(found[1], apart * np.array(shares), atol=1e-5)


@pytest.mark.parametrize(("scale", "size"), [(4, (640, 480)), (8, (640, 480))])
def test_large_frames_keep_their_outermost_pixels(scale, size):
    """Pixels of frames of twice 640 px are of four; patches see both at 320 px."""
    large = 160 * scale, 120 * scale
    assert colour_size(large) == size
    assert grey_size(large) == (320, 240)
    seen = pixels(lambda t: np.kron(spotted(t), np.ones((scale, scale, 1), np.uint8)), large)
    first = np.array([50, 40]) * scale + (scale // 4 - 1) / 2  # the middle of an image's pixel
    places = np.stack((first, first - (scale // 4, 0)))
    colours = seen.colours(np.array([0, 0]), places)
    np.testing.assert_allclose(255 * colours[:, 0].numpy(), [POINT, BACKGROUND], atol=1e-3)


def test_colours_between_pixels_are_bilinear():
    """A third of the way right of the pixel and half of the way below it."""
    found = pixels(spotted).colours(np.array([2]), np.array([[56 + 1 / 3, 40.5]]))
    share = 2 / 3 * 1 / 2
    expected = share * POINT + (1 - share) * BACKGROUND
    np.testing.assert_allclose(255 * found.numpy()[0, 0], expected, atol=1e-3)


def lit(t):
    """A smaller square in a square, both before a ground; each frame is lit more than the last."""
    frame = np.full((SIZE[1], SIZE[0], 3), 40 + 30 * t, np.uint8)
    frame[30:90, 30:90] = np.array([50, 20, 60]) + 30 * t
    frame[58:63, 58:63] = np.array([90, 70, 20]) + 30 * t
    return frame


def test_light_changes_a_colour_but_not_its_contrast():
    """The small square is 120 grey levels lighter in the last frame; so is all around it."""
    seen, middle = pixels(lit), np.array([[60.0, 60.0]])
    colours = seen.colours(FIRST, middle)
    places = np.array([[[60, 60], [75.0, 60]]])
    (own, contrast), (_, other) = seen.recoloured(colours, np.array([4]), places)[0]
    np.testing.assert_allclose(own, 120 * np.sqrt(3) / 255, atol=1e-3)
    assert contrast < 1 / 255
    assert other > 40 / 255  # that of the larger square
    only = seen.recoloured(colours[:, :1], np.array([4]), places)
    np.testing.assert_allclose(only[0, 0], [own], atol=1e-6)


def test_other_surroundings_change_a_contrast_but_not_the_colour():
    """The ground around the square is red in frame 0, green in the others."""

    def frame(t):
        image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
        image[..., min(t, 1)] = 250
        image[40:45, 50:55] = 120
        return image

    seen, middle = pixels(frame), np.array([[52.0, 42.0]])
    found = seen.recoloured(seen.colours(FIRST, middle), np.array([1]), middle[:, None])
    own, contrast = found[0, 0]
    assert own < 1e-5
    assert contrast > 0.5


def test_colours_outside_are_those_of_the_edge():
    seen = pixels(spotted)
    outside = np.array([[[-40.0, 40.0], [500.0, 40.0], [50.0, -9.0], [50.0, 900.0],
                         [1e9, 1e9], [-1e30, 3e7]]])  # fmt: skip
    colours = seen.colours(FIRST, np.array([[9.0, 9.0]]))
    found = seen.recoloured(colours, FIRST, outside)
    np.testing.assert_allclose(found[..., 0], 0, atol=1e-5)


def test_no_tracks():
    seen, nothing = pixels(spotted), np.zeros(0, np.int64)
    nowhere = seen.colours(nothing, np.zeros((0, 2)))
    assert seen.recoloured(nowhere, nothing, np.zeros((0, 3, 2))).shape == (0, 3, 2)


# moved onto a pixel -----------------------------------------------------------------------------


def edge(t):
    """Left of x = 60 the point's colour, right of it the background's."""
    frame = np.tile(BACKGROUND.astype(np.uint8), (SIZE[1], SIZE[0], 1))
    frame[:, :60] = POINT
    return frame


def moved(frame, xy, colour, doubt=1.0):
    """How far places (N, 2) are moved in the second frame."""
    seen = pixels(frame)
    colours = torch.tensor(colour / 255, dtype=torch.float32).expand(len(xy), 3)
    doubts = np.full(len(xy), doubt, np.float32)
    return seen.moved_onto(colours, np.ones(len(xy), np.int64), xy, doubts) - xy


def test_a_track_beside_its_pixel_is_moved_onto_it():
    """To where the colour is its own alone, or as far as it is looked for: a pixel of 256."""
    xy = np.array([[59.4, 30.0], [58.0, 30.0], [62.0, 30.0]])
    found = moved(edge, xy, POINT)
    step = pixels(edge).nearby  # of the places that are looked at
    assert -0.4 - step <= found[0, 0] <= -0.4 + step
    np.testing.assert_allclose(found[1:], 0)  # on it already; out of reach
    np.testing.assert_allclose(found[:, 1], 0)


def test_a_pixel_is_found_in_any_direction():
    """The single pixel of `spotted` is at (53, 40)."""
    for off in ((0.4, 0.0), (0.0, -0.4), (-0.3, 0.3)):
        found = moved(spotted, np.array([[53.0, 40.0]]) + off, POINT)[0]
        assert np.linalg.norm(found + off) < 0.6 * np.linalg.norm(off)
        assert found @ np.array(off) < 0


def test_without_doubt_a_place_stays():
    xy = np.array([[59.4, 30.0]])
    assert moved(edge, xy, POINT, doubt=0.0).max() == 0
    little, much = (-moved(edge, xy, POINT, doubt)[0, 0] for doubt in (2e-3, 1.0))
    assert 0 <= little < much


def test_colours_that_are_off_by_noise_move_nothing():
    """By 0.02 at random everywhere: less than what a place counts."""
    random = np.random.default_rng(3)
    noisy = (128 + random.normal(0, 5, (SIZE[1], SIZE[0], 3))).clip(0, 255).astype(np.uint8)
    xy = random.uniform(20, 100, (300, 2))
    found = moved(lambda t: noisy, xy, np.full(3, 128.0))
    assert np.linalg.norm(found, axis=1).mean() < 0.05 * 160 / 256


def test_no_places_are_moved():
    found = pixels(edge).moved_onto(torch.zeros(0, 3), np.zeros(0, np.int64), np.zeros((0, 2)),
                                    np.zeros(0, np.float32))  # fmt: skip
    assert found.shape == (0, 2)
