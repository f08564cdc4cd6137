"""Measured columns, against motions whose derivatives are known."""

from dataclasses import replace

import numpy as np
import pytest
from some_tracks import make_tracks

from omnimotion.errors import ConfigError, InputError
from omnimotion.measure import PIXELS, Scale, derivatives, measures

UNEVEN = np.array([0, 0.1, 0.15, 0.4, 1.0])


def test_a_parabola_is_differentiated_exactly_also_at_uneven_times():
    t = UNEVEN[None, :, None]
    xy = 5 + np.array([3.0, -4]) * t + np.array([0.5, 2]) * t**2
    velocity, acceleration = derivatives(xy, UNEVEN)
    np.testing.assert_allclose(velocity, np.array([3.0, -4]) + np.array([1.0, 4]) * t, atol=1e-9)
    np.testing.assert_allclose(acceleration, np.broadcast_to([1.0, 4], xy.shape), atol=1e-9)


def test_columns_are_named_by_their_unit():
    tracks = make_tracks(2, 5)
    xy = np.zeros((2, 5, 2), np.float32)
    xy[..., 0], xy[..., 1] = 30 * UNEVEN, 40 * UNEVEN  # 50 px a second
    tracks = replace(tracks, xy=xy, times=UNEVEN)
    assert measures(tracks) == {}
    found = measures(tracks, Scale(0.1, "mm"), tracks)
    assert list(found) == ["x_mm", "y_mm", "speed_mm_s", "acceleration_mm_s2"]
    np.testing.assert_allclose(found["x_mm"], xy[..., 0] / 10, rtol=1e-6)
    np.testing.assert_allclose(found["speed_mm_s"], 5, rtol=1e-5)
    np.testing.assert_allclose(found["acceleration_mm_s2"], 0, atol=1e-3)
    np.testing.assert_allclose(measures(tracks, whole=tracks)["speed_px_s"], 50, rtol=1e-5)


def test_a_scale_is_a_number_and_a_unit():
    assert Scale.parse("0.5mm") == Scale(0.5, "mm")
    assert Scale.parse("1e-3 m") == Scale(0.001, "m")
    assert PIXELS.per_px == 1


@pytest.mark.parametrize("text", ["", "mm", "0mm", "-1mm", "nanmm", "0.5", "1e999m", "1 m m"])
def test_a_scale_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="scale is"):
        Scale.parse(text)


def test_two_frames_have_no_acceleration():
    with pytest.raises(InputError, match="2 frames, at least 3"):
        measures(make_tracks(2, 2), whole=make_tracks(2, 2))


def test_motion_does_not_depend_on_which_frames_come_out():
    whole = make_tracks(2, 9)
    every = measures(whole, whole=whole)
    for frames in (range(0, 9, 3), range(5, 6), range(9)):
        found = measures(whole.at(frames), whole=whole)
        for name, values in every.items():
            np.testing.assert_array_equal(found[name], values[:, list(frames)])
