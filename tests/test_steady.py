"""Trails without the camera's motion: what stands still in the world stays where it is."""

import numpy as np
import pytest
import torch
from some_tracks import make_tracks

from omnimotion.flow import SceneIndex
from omnimotion.geometry import Frame
from omnimotion.steady import Steady

SIZE, STORED = (65, 49), (130, 98)
ANGLE, ZOOM, SHIFT = 0.1, 1.2, (0.05, -0.02)


class Camera:
    """A tracker whose cameras are known: each turns, zooms and shifts a little more."""

    def __init__(self, n_frames):
        k = np.arange(n_frames)
        scale, angle = ZOOM**k, ANGLE * k
        self.cameras = torch.tensor(
            np.stack(
                (scale * np.cos(angle), scale * np.sin(angle), SHIFT[0] * k, SHIFT[1] * k), -1
            ),
            dtype=torch.float32,
        )
        self.frame = Frame(*STORED)
        self.scene = self.index = self
        self.original_size, self.size = SIZE, STORED
        self.windows = [range(n_frames)]

    def window(self, k):
        return self

    def snapshot(self):
        return self

    def seen(self, world, t):
        """Where the camera of frame t sees a point of the panorama: original pixels."""
        a, b, tx, ty = self.cameras[t].double().tolist()
        x, y = world[0] - tx, world[1] - ty
        x, y = (a * x + b * y) / (a * a + b * b), (a * y - b * x) / (a * a + b * b)
        half = max(STORED) / 2
        stored = x * half + (STORED[0] - 1) / 2, y * half + (STORED[1] - 1) / 2
        return [(stored[d] + 0.5) * SIZE[d] / STORED[d] - 0.5 for d in (0, 1)]


@pytest.fixture
def camera():
    assert {"original_size", "size"} <= set(SceneIndex.__dataclass_fields__)
    return Camera(7)


def test_a_point_of_the_world_has_no_trail(camera):
    tracks = make_tracks(3, 7)
    worlds = [(0.1, 0.2), (-0.4, 0.3), (0.0, 0.0)]
    tracks.xy[:] = [[camera.seen(world, t) for t in range(7)] for world in worlds]
    assert np.ptp(tracks.xy, axis=1).min() > 0.5  # the camera does move
    for t in (0, 3, 6):
        found = Steady(camera)(tracks, t)
        expected = np.repeat(tracks.xy[:, t : t + 1], 7, axis=1)
        np.testing.assert_allclose(found.xy, expected, atol=1e-3)
        np.testing.assert_array_equal(found.visible, tracks.visible)


def test_some_frames_of_a_clip_have_their_own_cameras(camera):
    tracks = make_tracks(1, 7)
    tracks.xy[:] = [[camera.seen((0.1, 0.2), t) for t in range(7)]]
    some = tracks.at(np.array([1, 4, 6]))
    found = Steady(camera)(some, 2)
    np.testing.assert_allclose(found.xy, np.repeat(some.xy[:, 2:], 3, axis=1), atol=1e-3)


class Windows(Camera):
    """The same cameras, fitted in windows: each into the view of its own middle frame."""

    def __init__(self, n_frames, windows):
        super().__init__(n_frames)
        self.windows = windows
        a, b, tx, ty = self.cameras.double().numpy().T
        self.turns, self.shifts = a + 1j * b, tx + 1j * ty  # z becomes turn z + shift

    def window(self, k):
        frames = np.array(self.windows[k])
        m = frames[len(frames) // 2]
        turns = self.turns[frames] / self.turns[m]
        shifts = (self.shifts[frames] - self.shifts[m]) / self.turns[m]
        one = Camera(len(frames))
        one.cameras = torch.tensor(
            np.stack((turns.real, turns.imag, shifts.real, shifts.imag), -1), dtype=torch.float32
        )
        return one


def test_windows_have_one_panorama():
    clip = Windows(9, [range(4), range(2, 7), range(5, 9)])
    tracks = make_tracks(2, 9)
    tracks.xy[:] = [[clip.seen(world, t) for t in range(9)] for world in [(0.1, 0.2), (-0.3, 0.1)]]
    for t in (0, 4, 8):
        found = Steady(clip)(tracks, t)
        expected = np.repeat(tracks.xy[:, t : t + 1], 9, axis=1)
        np.testing.assert_allclose(found.xy, expected, atol=2e-3)
