"""Solid pieces: boxes and ellipsoids that turn in space, seen in perspective.

Conventions: those of `motion`; the camera is in 0, looks along z, and images (X, Y, Z) at
FOCAL * (X, Y) / Z. Material coordinates are (x, y, z) of the body. Bodies are convex: a point
hides no other of its own body that faces the camera.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws
from omnimotion.synthetic.pairs.layers import FARTHEST, MISSING_SHARE, NEAREST, Hit, Moved
from omnimotion.synthetic.pairs.motion import (
    PARALLAX_DEPTH,
    Camera,
    bounded,
    inverse,
    steps,
    transformed,
)
from omnimotion.synthetic.pairs.paint import sample

FOCAL = 2.0
TINY = 1e-6


@dataclass(frozen=True)
class Solid:
    """One body in each of B scenes; tuples hold frame 0 and frame 1."""

    half: Tensor  # (B, 3) half lengths
    is_box: Tensor  # (B,) bool, else an ellipsoid
    turn: tuple[Tensor, Tensor]  # (B, 3, 3) body to camera
    centre: tuple[Tensor, Tensor]  # (B, 3)
    view: Tensor  # (B, 3, 3) of the camera, in frame 1
    tile: Tensor  # (B, 4, K, K)
    tiling: Tensor  # (B,) tiles for each unit of the body
    light: Tensor  # (B, 3) direction towards it
    ambient: Tensor  # (B,) share of the light that has no direction; 1: no shading
    is_there: Tensor  # (B,) bool

    def hit(self, xy: Tensor, frame: int) -> Hit:
        """What is seen of it at ``xy`` (B, N, 2) of frame 0 or 1."""
        if frame:
            xy = transformed(inverse(self.view), xy)
        ray = torch.cat((xy / FOCAL, torch.ones_like(xy[..., :1])), -1)
        ray = ray @ self.turn[frame]  # into the body's frame: its inverse is its transpose
        start = -(self.centre[frame][:, None] @ self.turn[frame])
        box, in_box = _meet_box(start, ray, self.half[:, None])
        ball, in_ball = _meet_ellipsoid(start, ray, self.half[:, None])
        is_box = self.is_box[:, None]
        depth = torch.where(is_box, box, ball)
        covered = torch.where(is_box, in_box, in_ball) & (depth > TINY) & self.is_there[:, None]
        material = start + depth[..., None] * ray
        return Hit(covered, depth, material, self._colour(material, frame))

    def move(self, material: Tensor, frame: int) -> Moved:
        """Where material (B, N, 3) is in frame 0 or 1."""
        there = material @ self.turn[frame].mT + self.centre[frame][:, None]
        depth = there[..., 2].clamp(min=TINY)
        xy = FOCAL * there[..., :2] / depth[..., None]
        normal = self._normal(material) @ self.turn[frame].mT
        facing = (normal * there).sum(-1) < 0
        return Moved(transformed(self.view, xy) if frame else xy, depth, facing)

    def _normal(self, material: Tensor) -> Tensor:
        """Outward unit normals (B, N, 3), in the body's frame."""
        ratio = material / self.half[:, None]
        largest = ratio.abs().argmax(-1, keepdim=True)
        face = torch.zeros_like(ratio).scatter(-1, largest, ratio.gather(-1, largest).sign())
        ball = torch.nn.functional.normalize(ratio / self.half[:, None], dim=-1)
        return torch.where(self.is_box[:, None, None], face, ball)

    def _colour(self, material: Tensor, frame: int) -> Tensor:
        """Paint from three sides, mixed by the normal, under the light: (B, 3, N)."""
        normal = self._normal(material)
        share = normal.square().square()
        share = share / share.sum(-1, keepdim=True)
        rgb = torch.zeros_like(material).mT
        for axis in range(3):
            place = material[..., [(axis + 1) % 3, (axis + 2) % 3]] * self.tiling[:, None, None]
            paint = sample(self.tile[:, :3], place + 0.37 * axis)
            rgb = rgb + share[..., axis][:, None] * paint
        towards = (normal @ self.turn[frame].mT * self.light[:, None]).sum(-1).clamp(min=0)
        ambient = self.ambient[:, None]
        return rgb * (ambient + (1 - ambient) * towards)[:, None]


def draw_solid(
    draws: Draws, camera: Camera, gap: Tensor, tile: Tensor, texels_per_unit: float, is_lit: bool
) -> Solid:
    """A body that moves and tumbles; ``is_lit``: shaded, its colour changes as it turns."""
    count = len(gap)
    depth = draws.uniform(count, low=NEAREST, high=FARTHEST)
    size = draws.log_uniform(count, low=0.1, high=0.45) * depth / FOCAL
    half = size[:, None] * draws.uniform(count, 3, low=0.4, high=1.0)
    xy = draws.uniform(count, 2, low=-0.9, high=0.9)
    centre = torch.cat((xy * depth[:, None] / FOCAL, depth[:, None]), -1)
    moved = steps(draws, gap, 0.001, 0.07) * depth[:, None] / FOCAL
    moved = moved + camera.shift * PARALLAX_DEPTH / FOCAL
    nearer = (bounded(0.006 * draws.normal(count) * gap, 0.25) * depth)[:, None]
    turn = rotation(3.0 * draws.normal(count, 3))
    tumble = rotation(bounded(0.02 * draws.normal(count, 3) * gap[:, None], 0.7))
    light = torch.nn.functional.normalize(draws.normal(count, 3), dim=-1)
    ambient = draws.uniform(count, low=0.4, high=1.0) if is_lit else torch.ones_like(depth)
    density = draws.log_uniform(count, low=0.5, high=1.3)
    return Solid(
        half=half,
        is_box=draws.chance(count, share=0.5),
        turn=(turn, tumble @ turn),
        centre=(centre, centre + torch.cat((moved, nearer), -1)),
        view=camera.view,
        tile=tile,
        tiling=density * FOCAL / depth * texels_per_unit / tile.shape[-1],
        light=light,
        ambient=ambient,
        is_there=~draws.chance(count, share=MISSING_SHARE),
    )


def rotation(vector: Tensor) -> Tensor:
    """Rotation (B, 3, 3) about ``vector`` (B, 3) by its length in radians."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = (zero, -z, y, z, zero, -x, -y, x, zero)
    return torch.linalg.matrix_exp(torch.stack(rows, -1).unflatten(-1, (3, 3)))


def _meet_box(start: Tensor, ray: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """How far along rays (B, N, 3) a box begins, and whether they meet it."""
    safe = torch.where(ray.abs() < TINY, TINY, ray)
    one, other = (-half - start) / safe, (half - start) / safe
    near, far = torch.minimum(one, other).amax(-1), torch.maximum(one, other).amin(-1)
    return near, near < far


def _meet_ellipsoid(start: Tensor, ray: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """The same for an ellipsoid."""
    start, ray = start / half, ray / half
    a, b = ray.square().sum(-1), (start * ray).sum(-1)
    c = start.square().sum(-1) - 1
    root = b.square() - a * c
    return (-b - root.clamp(min=0).sqrt()) / a, root > 0
