"""What matches count: by texture, in both directions of the image."""

import numpy as np
import pytest

from omnimotion.texture import LEAST, certainty

SIZE = 64
Y, X = np.mgrid[:SIZE, :SIZE].astype(np.float64)
INNER = np.s_[16:-16, 16:-16]


def rgb(grey):
    return np.repeat(np.clip(np.rint(grey), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def waves(contrast, frequency=0.5):
    """Waves along x and along y, ``contrast`` high."""
    return 128 + contrast * (np.sin(frequency * X) + np.sin(frequency * Y))


@pytest.mark.parametrize(
    "grey", [np.full((SIZE, SIZE), 90.0), 20 + 3 * X, np.where(X < 32, 0, 200)]
)
def test_what_can_slide_counts_the_least(grey):
    """No texture, a slope, and an edge: a place on it may be anywhere along it."""
    assert certainty(rgb(grey), 20.0)[INNER].max() < LEAST + 1e-3


def test_texture_by_hand():
    """The mean square of a wave's slope, what smoothing leaves of it: exp(-f^2) of its power."""
    contrast, frequency, half = 40.0, 0.9, 200.0
    slope = (contrast * np.sin(frequency)) ** 2 / 2 * np.exp(-(frequency**2))  # by differences
    expected = LEAST + (1 - LEAST) * slope / (slope + half)
    found = certainty(rgb(waves(contrast, frequency)), half)[INNER]
    assert found.mean() == pytest.approx(expected, rel=0.03)


def test_more_texture_counts_more_and_brightness_does_not():
    flat, weak, strong = (certainty(rgb(waves(c)), 50.0)[INNER].mean() for c in (0, 10, 40))
    assert flat < 0.1 * weak < weak < 0.9 * strong < 1
    np.testing.assert_allclose(
        certainty(rgb(waves(10) + 60), 50.0), certainty(rgb(waves(10)), 50.0), atol=1e-5
    )


@pytest.mark.parametrize("half", [0.0, -1.0])
def test_without_a_bound_all_count_the_same(half):
    found = certainty(rgb(waves(40)), half)
    assert found.dtype == np.float32
    assert (found == 1).all()
