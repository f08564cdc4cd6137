"""A rendered scene: layers that move invertibly, composited from back to front.

Conventions. Pixel coordinates are (x, y) with pixel centres at integers. A *layer* is one piece
of material: layer 0 is the background, which covers everything, and a higher number is nearer.
A *surface point* is (layer, material coordinate); it has a position in every frame, hidden or not,
and is visible where it lies in the image and no nearer layer covers it. Frames are the mean of
``supersample`` x ``supersample`` point samples over the area of each pixel.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from omnimotion.errors import ConfigError
from omnimotion.synthetic.motion import Motion, Points
from omnimotion.synthetic.textures import Texture

BOUND_STEPS = 12  # lattice over a layer's material, to find where it lies in the image
BOUND_MARGIN_PX = 3.0  # wobble between the points of that lattice


@dataclass(frozen=True)
class Layer:
    """A texture in motion."""

    texture: Texture
    motion: Motion
    bounded: bool = True  # False: covers the whole image (the background)

    def box(self, t: float) -> tuple[float, float, float, float]:
        """Left, top, right, bottom in pixels of a box that holds the layer in frame ``t``."""
        if not self.bounded:
            return (-np.inf, -np.inf, np.inf, np.inf)
        canvas = self.texture.canvas
        axes = [np.linspace(a, b, BOUND_STEPS) for a, b in zip(canvas.low, canvas.high)]
        xy = self.motion.to_image(np.stack(np.meshgrid(*axes), axis=-1), t)
        left, top = xy.min(axis=(0, 1)) - BOUND_MARGIN_PX
        right, bottom = xy.max(axis=(0, 1)) + BOUND_MARGIN_PX
        return (float(left), float(top), float(right), float(bottom))


@dataclass(frozen=True)
class Surface:
    """What is seen at given positions.

    ``layer`` int16 (...), ``material`` float64 (..., 2), ``rgb`` float32 (..., 3) in [0, 1].
    """

    layer: NDArray[np.int16]
    material: Points
    rgb: NDArray[np.float32]


@dataclass(frozen=True)
class SyntheticScene:
    """A clip before it is rendered: ``size`` is (W, H) in pixels, ``layers`` back to front."""

    layers: tuple[Layer, ...]
    n_frames: int
    size: tuple[int, int]
    fps: float = 12.0

    def pixels(self) -> Points:
        """The pixel centres, float64 (H, W, 2)."""
        width, height = self.size
        return _grid(np.arange(width), np.arange(height))

    def surface(self, t: float, xy: Points | None = None) -> Surface:
        """What is seen at ``xy`` (..., 2) in frame ``t``; at each pixel centre by default."""
        if xy is None:
            xy = self.pixels()
        points = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
        layer = np.zeros(len(points), np.int16)
        material, rgb = np.empty((len(points), 2)), np.empty((len(points), 3), np.float32)
        for number, piece in enumerate(self.layers):
            left, top, right, bottom = piece.box(t)
            x, y = points[:, 0], points[:, 1]
            near = np.flatnonzero((x >= left) & (x <= right) & (y >= top) & (y <= bottom))
            place = piece.motion.to_material(points[near], t)
            texel = piece.texture.sample(place)
            inside = texel[:, 3] > 0
            chosen = near[inside]
            layer[chosen], material[chosen] = number, place[inside]
            rgb[chosen] = texel[inside, :3]
        shape = np.shape(xy)[:-1]
        return Surface(layer.reshape(shape), material.reshape(*shape, 2), rgb.reshape(*shape, 3))

    def position(self, layer: NDArray[np.integer], material: Points, t: float) -> Points:
        """Pixels (..., 2) in frame ``t`` of surface points, hidden or outside ones too."""
        xy = np.empty(np.shape(material))
        for number in np.unique(layer):
            chosen = layer == number
            xy[chosen] = self.layers[int(number)].motion.to_image(material[chosen], t)
        return xy

    def visible(self, layer: NDArray[np.integer], xy: Points, t: float) -> NDArray[np.bool_]:
        """Whether points of ``layer`` (...) at pixels ``xy`` (..., 2) are seen in frame ``t``."""
        width, height = self.size
        x, y = xy[..., 0], xy[..., 1]
        inside = (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)
        return inside & (self.surface(t, xy).layer == layer)

    def render(self, t: float, supersample: int = 2) -> NDArray[np.uint8]:
        """Frame ``t`` as uint8 RGB (H, W, 3).

        Raises ConfigError if ``supersample`` is not positive.
        """
        if supersample < 1:
            raise ConfigError(f"supersample: found {supersample}, expected 1 or more")
        (width, height), s = self.size, supersample
        x = (np.arange(width * s) + 0.5) / s - 0.5
        y = (np.arange(height * s) + 0.5) / s - 0.5
        rgb = self.surface(t, _grid(x, y)).rgb.reshape(height, s, width, s, 3)
        return np.rint(255 * rgb.mean(axis=(1, 3))).astype(np.uint8)


def _grid(x: NDArray[np.generic], y: NDArray[np.generic]) -> Points:
    """Positions (len(y), len(x), 2)."""
    return np.stack(np.meshgrid(x, y), axis=-1).astype(np.float64)
