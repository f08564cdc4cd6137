"""Which depth of a ray is a track's point: the one that moves as the track does, hidden or not.

In these scenes what is in front (z < 0) moves right, and what is behind rests.
"""

from typing import NamedTuple

import numpy as np
import pytest
import torch

from omnimotion.handover import Handed
from omnimotion.rays import RAY_SAMPLES, surface_at
from omnimotion.volume import Look

SPEED = 0.05  # of the front, normalised units a frame: 6.4 px of a frame of 256
SAMPLE = 2 / RAY_SAMPLES
FRAMES = range(3, 9)  # of the overlap


class Map(NamedTuple):
    frames: torch.Tensor

    def _shift(self, x):
        time = self.frames.view(-1, *[1] * (x.dim() - 2)).to(x)
        moved = torch.where(x[..., 2] < 0, SPEED * time, 0.0)
        return torch.stack((moved, torch.zeros_like(moved), torch.zeros_like(moved)), dim=-1)

    def forward(self, x):
        return x - self._shift(x)

    def inverse(self, u):
        return u + self._shift(u)


class Now(NamedTuple):
    """Opaque at some depths, and transparent elsewhere."""

    surfaces: tuple

    def at(self, frames):
        return Map(frames)

    def volume(self, u):
        near = [(u[..., 2] - z).abs() < SAMPLE for z in self.surfaces]
        density = 100.0 * torch.stack(near).any(0)
        return Look(density, torch.zeros_like(u))

    def render(self, frame_map, xy, z):
        from omnimotion.scene import Snapshot

        return Snapshot.render(self, frame_map, xy, z)


def track(speed, start=(0.1, 0.2)):
    """A point that moves right, in the overlap, (1, O, 2), and where it is in frame 5."""
    x = torch.tensor([start[0] + speed * t for t in FRAMES])
    xy = torch.stack((x, torch.full_like(x, start[1])), dim=-1)[None]
    return xy, xy[:, FRAMES.index(5)][:, None]


def found(now, speed, weight=None):
    xy, own = track(speed)
    weight = torch.ones(1, len(FRAMES)) if weight is None else weight
    handed = Handed(FRAMES.start, xy, weight, np.ones(1, bool))
    return handed.surface_at(now, now.at(torch.tensor([5])), own)


BOTH = Now((-0.5, 0.5))


@pytest.mark.parametrize(("speed", "depth"), [(SPEED, -0.5), (0.0, 0.5)])
def test_the_surface_that_moves_as_the_track_does_is_found_even_behind_another(speed, depth):
    assert float(found(BOTH, speed).depth) == pytest.approx(depth, abs=SAMPLE)


def test_without_a_track_the_front_is_seen():
    _, own = track(0.0)
    seen = surface_at(BOTH, BOTH.at(torch.tensor([5])), own)
    assert float(seen.depth) == pytest.approx(-0.5, abs=SAMPLE)


def test_of_two_surfaces_that_move_alike_the_one_in_front_is_taken():
    assert float(found(Now((0.2, 0.7)), 0.0).depth) == pytest.approx(0.2, abs=SAMPLE)


def test_where_no_surface_moves_so_a_depth_that_does_is_taken():
    assert float(found(Now((-0.5,)), 0.0).depth) > 0
    assert float(found(Now((0.5,)), SPEED).depth) < 0


def test_the_ray_has_no_weight_at_depths_that_move_otherwise():
    seen = found(BOTH, 0.0)
    z = -1 + SAMPLE * (torch.arange(RAY_SAMPLES) + 0.5)
    assert float(seen.weights.sum()) == pytest.approx(1, abs=1e-5)
    assert (seen.weights[..., z < 0] == 0).all()


@pytest.mark.parametrize(("counts", "depth"), [(slice(0, 3), 0.5), (slice(2, 6), -0.5)])
def test_places_count_by_their_weight(counts, depth):
    """A track that rests up to frame 5, where it goes over, and then moves with the front."""
    xy, own = track(0.0)
    steps = torch.tensor([0, 0, 0, 1, 2, 3])
    xy = xy + torch.stack((SPEED * steps, 0 * steps), dim=-1)
    weight = torch.full((1, len(FRAMES)), 1e-3)
    weight[:, counts] = 1
    handed = Handed(FRAMES.start, xy, weight, np.ones(1, bool))
    seen = handed.surface_at(BOTH, BOTH.at(torch.tensor([5])), own)
    assert float(seen.depth) == pytest.approx(depth, abs=SAMPLE)


def test_parts_are_those_of_the_tracks():
    xy = torch.arange(24.0).view(4, 3, 2)
    handed = Handed(2, xy, xy[..., 0], np.array([True, False, True, True]))
    part = handed.part(slice(1, 3))
    assert part.first == 2
    torch.testing.assert_close(part.xy, xy[1:3])
    torch.testing.assert_close(part.weight, xy[1:3, :, 0])
    np.testing.assert_array_equal(part.seen, [False, True])
