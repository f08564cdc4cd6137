"""Painted material: colour and silhouette as functions of the material coordinate.

Conventions. A texture is baked once into a raster of ``density`` texels per material unit and is
then sampled bilinearly, so it is continuous and band-limited, and the same paint can be baked for
any image size: `Canvas` gives the coordinates, octaves of noise above the raster's Nyquist
frequency are drawn (so that the random stream does not depend on the density) but left out.
Colours are RGB in [0, 1]. ``level`` is a rough signed distance to the outline in material units:
a point belongs to the layer where it is positive.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Field = NDArray[np.float64]  # (h, w), a scalar for each texel
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Canvas:
    """The texel grid over the material rectangle from ``low`` to ``high``, both (x, y)."""

    low: tuple[float, float]
    high: tuple[float, float]
    density: float  # texels per material unit

    @property
    def columns(self) -> Field:
        """Material x of each texel column, (w,)."""
        count = math.ceil((self.high[0] - self.low[0]) * self.density) + 1
        return self.low[0] + np.arange(count) / self.density

    @property
    def rows(self) -> Field:
        """Material y of each texel row, (h,)."""
        count = math.ceil((self.high[1] - self.low[1]) * self.density) + 1
        return self.low[1] + np.arange(count) / self.density

    def grid(self) -> tuple[Field, Field]:
        """Material x and y of each texel, (h, w) each."""
        x, y = np.meshgrid(self.columns, self.rows)
        return x, y


@dataclass(frozen=True)
class Texture:
    """A baked material. ``texels`` is float32 (h, w, 4): RGB in [0, 1], then ``level``."""

    texels: NDArray[np.float32]
    canvas: Canvas

    def sample(self, material: NDArray[np.float64]) -> NDArray[np.float32]:
        """RGB and level (..., 4) at material points (..., 2), continued as constant outside."""
        height, width, channels = self.texels.shape
        place = (material - self.canvas.low) * self.canvas.density
        x = np.clip(place[..., 0], 0, width - 1.001)
        y = np.clip(place[..., 1], 0, height - 1.001)
        column, row = x.astype(np.intp), y.astype(np.intp)
        fx = (x - column).astype(np.float32)[..., None]
        fy = (y - row).astype(np.float32)[..., None]
        flat, first = self.texels.reshape(-1, channels), row * width + column
        upper = flat[first] * (1 - fx) + flat[first + 1] * fx
        lower = flat[first + width] * (1 - fx) + flat[first + width + 1] * fx
        return upper * (1 - fy) + lower * fy


def bake(canvas: Canvas, rgb: Field, level: Field | None) -> Texture:
    """A texture from paint (h, w, 3) and level (h, w); no level means that it has no outline."""
    if level is None:
        level = np.ones(rgb.shape[:2])
    else:
        # The border is outside, so that the constant continuation of the raster is too.
        level = level.copy()
        for edge in (level[0], level[-1], level[:, 0], level[:, -1]):
            np.minimum(edge, -1.0 / canvas.density, out=edge)
    texels = np.concatenate([np.clip(rgb, 0, 1), level[..., None]], axis=-1)
    return Texture(texels.astype(np.float32), canvas)


def mix(first: ArrayLike, second: ArrayLike, share: ArrayLike) -> Field:
    """Blend colours (..., 3) by a field (h, w): ``first`` where it is 0, ``second`` where 1."""
    weight = np.asarray(share)[..., None]
    return np.asarray(first) * (1 - weight) + np.asarray(second) * weight


def ramp(low: float, high: float, value: ArrayLike) -> Field:
    """The smooth step from 0 at ``low`` to 1 at ``high``, which may be the smaller."""
    share = np.clip((np.asarray(value) - low) / (high - low), 0, 1)
    return share * share * (3 - 2 * share)


def ellipse(x: Field, y: Field, centre: tuple[float, float], radii: tuple[float, float],
            angle: float = 0.0) -> Field:  # fmt: skip
    """The level (h, w) of an ellipse whose first radius lies at ``angle`` radians."""
    dx, dy = x - centre[0], y - centre[1]
    along = dx * math.cos(angle) + dy * math.sin(angle)
    across = dy * math.cos(angle) - dx * math.sin(angle)
    return (1 - np.hypot(along / radii[0], across / radii[1])) * min(radii)


def noise(rng: np.random.Generator, canvas: Canvas, cells: float, octaves: int,
          fall: float = 0.6) -> Field:  # fmt: skip
    """Fractal noise (h, w), of zero mean and about unit deviation.

    ``cells`` per material unit in the first octave; each next one has twice as many and ``fall``
    times the amplitude (0.5 gives the 1/f amplitude spectrum of natural images).
    """
    extent = (canvas.high[0] - canvas.low[0], canvas.high[1] - canvas.low[1])
    total: Field = np.zeros((len(canvas.rows), len(canvas.columns)))
    power, amplitude = 0.0, 1.0
    for _ in range(octaves):
        shape = [math.ceil(side * cells) + 4 for side in (extent[1], extent[0])]
        lattice = rng.standard_normal(shape)
        if 2 * cells <= canvas.density:
            across = _spline(canvas.columns, canvas.low[0], cells, shape[1])
            down = _spline(canvas.rows, canvas.low[1], cells, shape[0])
            total += amplitude * (down @ lattice @ across.T)
            power += amplitude**2
        cells, amplitude = 2 * cells, amplitude * fall
    spline_deviation = 0.48  # of cubic B-spline noise from a unit normal lattice
    return total / (spline_deviation * math.sqrt(max(power, 1e-12)))


def _spline(places: Field, low: float, cells: float, count: int) -> Field:
    """Uniform cubic B-spline weights (len(places), count) of a lattice with ``cells`` per unit."""
    where = (places - low) * cells + 1
    distance = np.abs(where[:, None] - np.arange(count))
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far)


def pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Field:
    """One of the colours, (3,), slightly varied."""
    colour = np.array(colours[int(rng.integers(len(colours)))])
    return colour + 0.04 * rng.standard_normal(3)
