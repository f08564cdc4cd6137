"""The background: a reef of rocks and corals on sand that fades into blue water.

Conventions. Material coordinates are those of the world: one unit is the height of the image at
zoom 1, y points down, and the origin is where the camera looks in the middle of the clip.
"""

import math

import numpy as np

from omnimotion.synthetic.textures import (
    Canvas,
    Colour,
    Field,
    Texture,
    bake,
    mix,
    noise,
    pick,
    ramp,
)

CORALS: tuple[Colour, ...] = (
    (0.84, 0.40, 0.42),
    (0.88, 0.58, 0.30),
    (0.58, 0.36, 0.60),
    (0.42, 0.56, 0.34),
    (0.50, 0.50, 0.46),
    (0.62, 0.52, 0.40),
    (0.30, 0.52, 0.56),
)
SAND: Colour = (0.84, 0.74, 0.55)
WATER: Colour = (0.10, 0.40, 0.56)
ROCKS_PER_AREA = 34.0


def reef(rng: np.random.Generator, low: tuple[float, float], high: tuple[float, float],
         density: float) -> Texture:  # fmt: skip
    """The reef over the world rectangle from ``low`` to ``high``; it has no outline."""
    canvas = Canvas(low, high, density)
    x, y = canvas.grid()
    warp = noise(rng, canvas, 3.0, 3)
    ripples = np.sin(34 * y + 5 * x + 1.6 * warp)
    rgb = np.array(SAND) * (0.92 + 0.07 * ripples)[..., None]
    area = (high[0] - low[0]) * (high[1] - low[1])
    places = rng.uniform(low, high, (round(ROCKS_PER_AREA * area), 2))
    grooves = np.exp(-((noise(rng, canvas, 20.0, 2) / 0.3) ** 2))  # meanders: where noise is 0
    for place in places[np.argsort(places[:, 1])]:  # the nearer ones are lower in the image
        _rock(rgb, rng, canvas, (float(place[0]), float(place[1])), grooves)
    light = noise(rng, canvas, 2.5, 7, 0.8)
    tint = np.stack([noise(rng, canvas, 5.0, 4) for _ in range(3)], axis=-1)
    rgb = rgb * np.exp(0.19 * light)[..., None] + 0.035 * tint
    haze = 0.15 + 0.45 * ramp(0.25, -0.75, y + 0.04 * warp)
    return bake(canvas, mix(rgb, WATER, haze), None)


def _rock(rgb: Field, rng: np.random.Generator, canvas: Canvas, centre: tuple[float, float],
          grooves: Field) -> None:  # fmt: skip
    """Paint one dome-shaped rock or coral into ``rgb``, lit from above, with its cast shade."""
    radius = float(np.clip(0.08 * math.exp(0.6 * rng.standard_normal()), 0.025, 0.19))
    colour, lobes = pick(rng, CORALS), int(rng.integers(3, 9))
    phase, depth = rng.uniform(0, 7), rng.uniform(0.04, 0.14)
    kind = rng.uniform()
    columns = _window(canvas.columns, centre[0], 1.7 * radius)
    rows = _window(canvas.rows, centre[1], 1.7 * radius)
    x, y = np.meshgrid(canvas.columns[columns], canvas.rows[rows])
    dx, dy = (x - centre[0]) / radius, 1.25 * (y - centre[1]) / radius
    around = np.arctan2(dy, dx)
    outline = 1 + depth * np.sin(lobes * around + phase)
    r = np.hypot(dx, dy) / outline
    shade = np.clip(0.62 - 0.42 * dy + 0.25 * np.sqrt(np.clip(1 - r * r, 0, 1)), 0.22, 1.25)
    if kind < 0.4:  # a brain coral
        shade = shade * (1.1 - 0.45 * grooves[rows, columns])
    elif kind < 0.7:  # a coral with ribs
        shade = shade * (1 + 0.2 * np.sin(2 * lobes * around + 3 * r + phase))
    under = rgb[rows, columns]
    cast = ramp(1.35, 0.95, np.hypot(dx, dy - 0.25) / outline)
    under *= (1 - 0.45 * cast)[..., None]
    under[:] = mix(under, colour * shade[..., None], ramp(1.0, 0.93, r))


def _window(places: Field, centre: float, reach: float) -> slice:
    """The index range of the texels within ``reach`` of ``centre``."""
    first, last = np.searchsorted(places, (centre - reach, centre + reach))
    return slice(int(first), int(last))
