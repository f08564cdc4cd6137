"""Scenes of pieces: what each point of a frame shows, both frames, exact flow and visibility.

Conventions: those of `motion`; ``frame`` is 0 or 1. The nearest piece is seen. Frames are the mean
of ``supersample`` x ``supersample`` point samples over the area of each pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws
from omnimotion.synthetic.pairs.layers import Layer, draw_background, draw_layers
from omnimotion.synthetic.pairs.motion import draw_camera
from omnimotion.synthetic.pairs.paint import paint
from omnimotion.synthetic.pairs.solids import Solid, draw_solid


@dataclass(frozen=True)
class Surface:
    """What is seen at points (B, N)."""

    piece: Tensor  # int64, in the order of the scene's pieces
    depth: Tensor
    material: Tensor  # (B, N, 3)
    rgb: Tensor  # (B, 3, N)


@dataclass(frozen=True)
class PairScene:
    """B scenes in two frames each; ``size`` is (W, H) in pixels. The first piece is everywhere."""

    pieces: Sequence[Layer | Solid]
    size: tuple[int, int]

    def pixels(self) -> Tensor:
        """Pixel centres (1, H W, 2), row by row."""
        width, height = self.size
        device = self.pieces[0].tile.device
        x, y = (torch.arange(side, device=device).float() for side in (width, height))
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
        return grid.flatten(0, 1)[None]

    def normalised(self, xy: Tensor) -> Tensor:
        """Pixels (..., 2) in coordinates of the scene."""
        middle = (torch.tensor(self.size, device=xy.device) - 1) / 2
        return (xy - middle) / (max(self.size) / 2)

    def in_pixels(self, xy: Tensor) -> Tensor:
        """Undoes `normalised`."""
        middle = (torch.tensor(self.size, device=xy.device) - 1) / 2
        return xy * (max(self.size) / 2) + middle

    def surface(self, xy: Tensor, frame: int) -> Surface:
        """What is seen at ``xy`` (B, N, 2) of a frame."""
        first = self.pieces[0].hit(xy, frame)
        piece = torch.zeros_like(first.depth, dtype=torch.int64)
        depth, material, rgb = first.depth, first.material, first.rgb
        for number, other in enumerate(self.pieces[1:], 1):
            hit = other.hit(xy, frame)
            nearer = hit.covered & (hit.depth < depth)
            piece = torch.where(nearer, number, piece)
            depth = torch.where(nearer, hit.depth, depth)
            material = torch.where(nearer[..., None], hit.material, material)
            rgb = torch.where(nearer[:, None], hit.rgb, rgb)
        return Surface(piece, depth, material, rgb)

    def render(self, frame: int, supersample: int) -> Tensor:
        """The frame as float32 RGB in [0, 1], (B, 3, H, W)."""
        width, height = self.size
        offsets = [(k + 0.5) / supersample - 0.5 for k in range(supersample)]
        pixels = self.pixels()
        total = torch.zeros((), device=pixels.device)
        for dx in offsets:
            for dy in offsets:
                shifted = pixels + torch.tensor((dx, dy), device=pixels.device)
                xy = self._for_all(self.normalised(shifted))
                total = total + self.surface(xy, frame).rgb
        return (total / supersample**2).unflatten(2, (height, width))

    def flow(self) -> tuple[Tensor, Tensor]:
        """Displacement of each pixel of frame 0, px, true for hidden points too: (B, 2, H, W).

        And whether its point is visible in frame 1: bool (B, H, W).
        """
        width, height = self.size
        pixels = self.pixels()
        seen = self.surface(self._for_all(self.normalised(pixels)), 0)
        xy, depth, facing = self._moved(seen, 1)
        place = self.in_pixels(xy)
        last = torch.tensor(self.size, device=xy.device) - 0.5
        visible = facing & ((place >= -0.5) & (place < last)).all(-1)
        for number, piece in enumerate(self.pieces):
            hit = piece.hit(xy, 1)
            visible &= ~(hit.covered & (hit.depth < depth) & (seen.piece != number))
        flow = (place - pixels).mT.unflatten(2, (height, width))
        return flow, visible.unflatten(1, (height, width))

    def velocity(self) -> Tensor:
        """Displacement back to frame 0 of each pixel of frame 1, px, (B, 2, H, W).

        Exact but for bending, which is left out.
        """
        width, height = self.size
        pixels = self.pixels()
        seen = self.surface(self._for_all(self.normalised(pixels)), 1)
        xy, _, _ = self._moved(seen, 0)
        return (self.in_pixels(xy) - pixels).mT.unflatten(2, (height, width))

    def _moved(self, seen: Surface, frame: int) -> tuple[Tensor, Tensor, Tensor]:
        """Place (B, N, 2), depth and facing (B, N) in a frame of points seen in the other."""
        xy, depth = torch.zeros_like(seen.material[..., :2]), seen.depth
        facing = torch.zeros_like(depth, dtype=torch.bool)
        for number, piece in enumerate(self.pieces):
            moved, chosen = piece.move(seen.material, frame), seen.piece == number
            xy = torch.where(chosen[..., None], moved.xy, xy)
            depth = torch.where(chosen, moved.depth, depth)
            facing = torch.where(chosen, moved.facing, facing)
        return xy, depth, facing

    def _for_all(self, xy: Tensor) -> Tensor:
        """(1, N, 2) for all B scenes."""
        return xy.expand(len(self.pieces[0].tile), -1, -1)


def draw_scene(
    draws: Draws, gap: Tensor, size: tuple[int, int], layers: int, solids: int, is_lit: bool
) -> PairScene:
    """Scenes that go on for ``gap`` (B,) frames: a background, ``layers`` and ``solids``."""
    count, pieces = len(gap), 1 + layers + solids
    texels_per_unit = max(size) / 2  # at one texel a pixel
    texels = 1 << max(6, (max(size) - 1).bit_length())
    tiles = paint(draws, pieces * count, texels).split(count)
    camera = draw_camera(draws, gap)
    background = draw_background(draws, camera, gap, tiles[0], texels_per_unit)
    flat = draw_layers(draws, camera, gap, tiles[1 : 1 + layers], texels_per_unit)
    bodies = [
        draw_solid(draws, camera, gap, tile, texels_per_unit, is_lit)
        for tile in tiles[1 + layers :]
    ]
    return PairScene((background, *flat, *bodies), size)
