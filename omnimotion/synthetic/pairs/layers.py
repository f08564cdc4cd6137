"""Flat pieces: textured layers that are moved by a projective map, bent, and hinged to another.

Conventions: those of `motion`. Material coordinates reach about as far as the unit circle.
Bending is a thin-plate spline from frame 0 to the material, kept on a lattice and sampled
smoothly: frame 0 shows the piece bent, frame 1 flat. Both what is seen and where it goes are then
closed formulas, though the spline has no closed inverse.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws
from omnimotion.synthetic.pairs.motion import (
    Camera,
    about,
    about_centre,
    bounded,
    inverse,
    steps,
    transformed,
    translation,
)
from omnimotion.synthetic.pairs.outlines import Outline, draw_outline
from omnimotion.synthetic.pairs.paint import sample

BEND_NODES, BEND_REACH, BEND_PINS = 12, 1.5, 6
NEAREST, FARTHEST, BACKGROUND = 2.0, 5.0, 8.0  # depths of layers, of the background
HINGED_SHARE, RESTING_SHARE, MISSING_SHARE = 0.35, 0.2, 0.15
JOINT_DEPTH = 0.01  # how much nearer a hinged piece is than the one it hangs on


@dataclass(frozen=True)
class Hit:
    """What points (B, N) of a frame show of one piece."""

    covered: Tensor  # bool: the piece is there
    depth: Tensor
    material: Tensor  # (B, N, 3)
    rgb: Tensor  # (B, 3, N)


@dataclass(frozen=True)
class Moved:
    """Where points (B, N) of a piece are in a frame."""

    xy: Tensor  # (B, N, 2)
    depth: Tensor
    facing: Tensor  # bool: not on the far side of their own piece


@dataclass(frozen=True)
class Layer:
    """One flat piece in each of B scenes."""

    pose: Tensor  # (B, 3, 3) material to frame 0
    motion: Tensor  # (B, 3, 3) frame 0 to frame 1
    bend: Tensor  # (B, 2, BEND_NODES, BEND_NODES) added on the way from frame 0 to the material
    depth: Tensor  # (B,) in both frames
    outline: Outline | None  # None: it is everywhere, the background
    tile: Tensor  # (B, 4, K, K)
    tiling: Tensor  # (B,) tiles for each unit of material
    is_there: Tensor  # (B,) bool

    def hit(self, xy: Tensor, frame: int) -> Hit:
        """What is seen of it at ``xy`` (B, N, 2) of frame 0 or 1."""
        pose = self.motion @ self.pose if frame else self.pose
        place = transformed(inverse(pose), xy)
        if frame == 0:
            grid = (place / BEND_REACH)[:, None]
            bend = F.grid_sample(self.bend, grid, "bicubic", "border", align_corners=True)
            place = place + bend[:, :, 0].mT
        texel = sample(self.tile, place * self.tiling[:, None, None])
        covered = self.is_there[:, None].expand(texel[:, 3].shape)
        if self.outline is not None:
            covered = covered & self.outline.covers(place, texel[:, 3])
        depth = self.depth[:, None].expand(covered.shape)
        return Hit(covered, depth, F.pad(place, (0, 1)), texel[:, :3])

    def move(self, material: Tensor, frame: int) -> Moved:
        """Where material (B, N, 3) is in frame 1; in frame 0 the bending is left out."""
        pose = self.motion @ self.pose if frame else self.pose
        xy = transformed(pose, material[..., :2])
        depth = self.depth[:, None].expand(xy.shape[:2])
        return Moved(xy, depth, torch.ones_like(depth, dtype=torch.bool))


class _Body(NamedTuple):
    """What a piece that hangs on another must know of it, in frame 0."""

    motion: Tensor  # (B, 3, 3) without the camera's
    xy: Tensor  # (B, 2) of its centre
    size: Tensor  # (B,)
    depth: Tensor  # (B,)


def draw_background(
    draws: Draws, camera: Camera, gap: Tensor, tile: Tensor, texels_per_unit: float
) -> Layer:
    """A layer that covers the whole of both frames."""
    count = len(gap)
    depth = torch.full((count,), BACKGROUND, device=draws.device)
    tilt = _tilt(draws, gap)
    density = draws.log_uniform(count, low=0.4, high=1.1)
    return Layer(
        pose=about_centre(draws.uniform(count, high=6.3), torch.zeros_like(depth)),
        motion=camera.motion(depth) @ tilt,
        bend=draw_bend(draws, gap),
        depth=depth,
        outline=None,
        tile=tile,
        tiling=density * texels_per_unit / tile.shape[-1],
        is_there=torch.ones_like(depth, dtype=torch.bool),
    )


def draw_layers(
    draws: Draws, camera: Camera, gap: Tensor, tiles: Sequence[Tensor], texels_per_unit: float
) -> list[Layer]:
    """A layer for each of the tiles; some hang on the one before by a joint, as limbs do."""
    layers: list[Layer] = []
    parent: _Body | None = None
    for tile in tiles:
        count = len(gap)
        size = draws.log_uniform(count, low=0.06, high=0.6)
        depth = draws.uniform(count, low=NEAREST, high=FARTHEST)
        xy = draws.uniform(count, 2, low=-1.0, high=1.0)
        own = _own_motion(draws, gap, xy)
        if parent is not None:
            hangs = draws.chance(count, share=HINGED_SHARE)
            joint = parent.xy + 0.7 * parent.size[:, None] * draws.direction(count)
            beyond = joint + 0.6 * size[:, None] * draws.direction(count)
            turn = bounded(0.03 * draws.normal(count) * gap, 0.9)
            swing = parent.motion @ about(joint, about_centre(turn, torch.zeros_like(turn)))
            own = torch.where(hangs[:, None, None], swing, own)
            xy = torch.where(hangs[:, None], beyond, xy)
            depth = torch.where(hangs, parent.depth - JOINT_DEPTH, depth)
        pose = translation(xy) @ about_centre(draws.uniform(count, high=6.3), size.log())
        density = draws.log_uniform(count, low=0.5, high=1.5)
        layers.append(
            Layer(
                pose=pose,
                motion=camera.motion(depth) @ own,
                bend=draw_bend(draws, gap),
                depth=depth,
                outline=draw_outline(draws, count),
                tile=tile,
                tiling=density * size * texels_per_unit / tile.shape[-1],
                is_there=~draws.chance(count, share=MISSING_SHARE),
            )
        )
        parent = _Body(own, xy, size, depth)
    return layers


def draw_bend(draws: Draws, gap: Tensor) -> Tensor:
    """A thin-plate spline through random pins, of bounded height; none in half of the pieces."""
    count = len(gap)
    axis = torch.linspace(-BEND_REACH, BEND_REACH, BEND_NODES, device=draws.device)
    nodes = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    pins = draws.uniform(count, BEND_PINS, 1, 1, 2, low=-1.0, high=1.0)
    square = (nodes - pins).square().sum(-1).clamp(min=1e-6)
    spline = torch.einsum(
        "bpc,bpyx->bcyx", draws.normal(count, BEND_PINS, 2), square * square.log()
    )
    spline = spline - spline.mean((2, 3), keepdim=True)
    bends = draws.chance(count, share=0.5)
    height = bounded(draws.log_uniform(count, low=0.003, high=0.05) * gap, 0.15) * bends
    return spline * (height / spline.abs().amax((1, 2, 3)))[:, None, None, None]


def _own_motion(draws: Draws, gap: Tensor, centre: Tensor) -> Tensor:
    """Frame 0 to frame 1, without the camera: moves, turns, grows, shears and tilts."""
    count = len(gap)
    gap = gap * ~draws.chance(count, share=RESTING_SHARE)
    angle = bounded(0.015 * draws.normal(count) * gap, 0.7)
    log_scale = bounded(0.008 * draws.normal(count) * gap, 0.35)
    shape = about_centre(angle, log_scale)
    shape[:, 0, 1] += bounded(0.006 * draws.normal(count) * gap, 0.25)
    shift = steps(draws, gap, 0.001, 0.07)
    return translation(shift) @ about(centre, shape @ _tilt(draws, gap))


def _tilt(draws: Draws, gap: Tensor) -> Tensor:
    """The projective part of a turn out of the image plane."""
    tilt = translation(torch.zeros(len(gap), 2, device=draws.device))
    tilt[:, 2, :2] = bounded(0.004 * draws.normal(len(gap), 2) * gap[:, None], 0.12)
    return tilt
