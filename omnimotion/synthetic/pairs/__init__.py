"""Pairs of frames with exact flow, rendered in batches on any device: what flow is trained on.

Conventions. Sizes are (W, H) in pixels; pixel centres are integers; flow is (dx, dy) in pixels
from the first frame to the second, true for hidden points too. All follows from the generator.

There are two renderers. `omnimotion.synthetic` makes one clip of a reef, in float64, with tracks
through all of its frames: the example, and the tests' material. This one makes many different
scenes of two frames each, at the speed of training. They share what frames, flow and visibility
mean (`exact_flow`), the order of layers and how pixels are sampled, not code: one walks over
objects and signals in time, the other over tensors. What is trained here is therefore tested on
scenes that nothing here has drawn.

`paint` holds textures, `outlines` silhouettes, `motion` maps and the camera, `layers` and `solids`
the pieces, `scene` the compositing, `film` what a camera adds.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from omnimotion.errors import ConfigError
from omnimotion.synthetic.pairs.draws import Draws
from omnimotion.synthetic.pairs.film import film
from omnimotion.synthetic.pairs.scene import PairScene, draw_scene

__all__ = ["PairScene", "Pairs", "draw_scene", "render_pairs"]

LAYERS, SOLIDS, SUPERSAMPLE = 9, 2, 2


@dataclass(frozen=True)
class Pairs:
    """B rendered pairs.

    ``first`` and ``second`` float32 RGB in [0, 1], (B, 3, H, W); ``flow`` float32 (B, 2, H, W) in
    px; ``visible`` bool (B, H, W): whether the point of the first frame is seen in the second.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    visible: Tensor


@torch.no_grad()
def render_pairs(
    gap: Tensor, size: tuple[int, int], generator: torch.Generator, *, layers: int = LAYERS,
    solids: int = SOLIDS, supersample: int = SUPERSAMPLE, is_filmed: bool = True,
) -> Pairs:  # fmt: skip
    """A pair for each of ``gap`` (B,), the frames between its two, on the generator's device.

    ``is_filmed``: with changes of light, blur, noise and compression; without, a point has the
    same colour in both frames. Raises ConfigError if a number is out of range.
    """
    for name, found, least in (("width", size[0], 16), ("height", size[1], 16),
                               ("layers", layers, 0), ("solids", solids, 0),
                               ("supersample", supersample, 1)):  # fmt: skip
        if found < least:
            raise ConfigError(f"{name}: found {found}, expected {least} or more")
    draws = Draws(generator)
    gap = gap.to(generator.device, torch.float32)
    scene = draw_scene(draws, gap, size, layers, solids, is_lit=is_filmed)
    first, second = (scene.render(frame, supersample) for frame in (0, 1))
    flow, visible = scene.flow()
    if is_filmed:
        first, second = film(draws, (first, second), (flow, scene.velocity()), gap)
    return Pairs(first, second, flow, visible)
