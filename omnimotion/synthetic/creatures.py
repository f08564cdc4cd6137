"""The sprites: fish, a turtle and kelp, painted and jointed.

Conventions. A creature is about one unit long in its own frame, x forwards and y down, with its
centre near the origin. It is a tuple of parts from back to front; each has its own texture and
the steps (joints, then the wobble of the whole body) that bring its material to that frame.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from omnimotion.synthetic.motion import Ripple, Signal, Step, hinge
from omnimotion.synthetic.textures import (
    Canvas,
    Colour,
    Field,
    Texture,
    bake,
    ellipse,
    mix,
    noise,
    pick,
    ramp,
)

INK: Colour = (0.06, 0.05, 0.09)
WHITE: Colour = (0.97, 0.96, 0.92)


@dataclass(frozen=True)
class Part:
    """One rigid or wobbling piece: its paint, and the steps from its material to the creature."""

    texture: Texture
    steps: tuple[Step, ...]


Creature = Callable[[np.random.Generator, float], tuple[Part, ...]]


@dataclass(frozen=True)
class Coat:
    """How a fish looks: colours, half height of the body, and its kind of marks."""

    back: Colour
    belly: Colour
    fin: Colour
    height: float
    bands: tuple[float, ...]  # x of the white bands
    blotch: Colour | None  # colour of the dark patch on the flank


ORANGE = Coat((0.93, 0.34, 0.05), (1.0, 0.64, 0.18), (0.98, 0.50, 0.08), 0.20,
              (0.25, -0.06, -0.36), None)  # fmt: skip
BLUE = Coat((0.08, 0.25, 0.78), (0.22, 0.56, 0.95), (0.99, 0.83, 0.15), 0.25,
            (), (0.04, 0.06, 0.25))  # fmt: skip


def _beat(rng: np.random.Generator, swing: float, rate: float, rest: float = 0.0) -> Signal:
    """A joint's angle: ``rest`` plus and minus ``swing`` radians, ``rate`` beats per frame."""
    return Signal(rest, 0.0, ((swing, rate * rng.uniform(0.85, 1.15), rng.uniform()),))


def _grain(rgb: Field, rng: np.random.Generator, canvas: Canvas, strength: float) -> Field:
    """Mottle the paint: light and dark noise from coarse to fine, and a little colour."""
    light = noise(rng, canvas, 5.0, 4, 0.75)
    tint = np.stack([noise(rng, canvas, 4.0, 3) for _ in range(3)], axis=-1)
    return rgb * np.exp(strength * light)[..., None] + 0.3 * strength * tint


def _rim(rgb: Field, level: Field, width: float, share: float = 0.75) -> Field:
    """Darken the paint towards the outline, as a drawn contour."""
    return mix(rgb, np.array(INK), share * ramp(width, 0.0, level))


def fish(rng: np.random.Generator, density: float, coat: Coat) -> tuple[Part, ...]:
    """A fish that swims: a wave runs along the body, the tail and the breast fin are jointed."""
    rate = rng.uniform(0.05, 0.075)
    swim = Ripple(0, (0.018, -0.05, 0.10), 0.8, -rate, rng.uniform())
    tail = (hinge(-0.42, 0.0, _beat(rng, 0.28, rate)), swim)
    breast = (hinge(0.13, 0.06, _beat(rng, 0.45, 1.3 * rate, 0.1)), swim)
    return (
        Part(_tail(rng, density, coat), tail),
        Part(_body(rng, density, coat), (swim,)),
        Part(_breast_fin(rng, density, coat), breast),
    )


def _body(rng: np.random.Generator, density: float, coat: Coat) -> Texture:
    canvas = Canvas((-0.56, -0.44), (0.56, 0.44), density)
    x, y = canvas.grid()
    u = np.clip(x + 0.5, 1e-6, 1 - 1e-6)
    half = coat.height * (1.62 * u**0.75 * (1 - u) ** 0.5 + 0.14)
    trunk = np.minimum(half - np.abs(y), 0.5 - np.abs(x))
    back_fin = ellipse(x, y, (-0.07, -0.82 * coat.height), (0.30, 0.50 * coat.height), 0.14)
    belly_fin = ellipse(x, y, (-0.16, 0.86 * coat.height), (0.17, 0.42 * coat.height), -0.35)
    fins = np.maximum(back_fin, belly_fin)

    rgb = mix(coat.back, coat.belly, ramp(-0.7, 0.8, y / half))
    for place in coat.bands:
        bend = x - place - 0.07 * np.cos(3.0 * y / coat.height)
        rgb = mix(rgb, INK, ramp(0.075, 0.06, np.abs(bend)))
        rgb = mix(rgb, WHITE, ramp(0.058, 0.045, np.abs(bend)))
    if coat.blotch is not None:
        ring = ellipse(x, y, (-0.10, -0.06), (0.33, 0.13), 0.08)
        hole = ellipse(x, y, (-0.02, -0.03), (0.13, 0.055), 0.3)
        rgb = mix(rgb, coat.blotch, ramp(-0.015, 0.015, np.minimum(ring, -hole)))
    scales = np.sin(58 * (x + 0.45 * y)) * np.sin(58 * (x - 0.45 * y))
    rgb = _grain(rgb * (1 + 0.13 * scales)[..., None], rng, canvas, 0.13)
    rays = 0.85 + 0.15 * np.sin(70 * (x + 0.5 * np.abs(y)))
    rgb = mix(_rim(np.array(coat.fin) * rays[..., None], fins, 0.03),
              _rim(rgb, trunk, 0.02), ramp(-0.008, 0.008, trunk))  # fmt: skip
    return bake(canvas, _face(rgb, x, y), np.maximum(trunk, fins))


def _face(rgb: Field, x: Field, y: Field) -> Field:
    """Gill, eye and mouth."""
    gill = np.abs(np.hypot(x - 0.33, y) - 0.17) + np.where(x < 0.25, 0.0, 1.0)
    rgb = mix(rgb, INK, 0.45 * ramp(0.016, 0.004, gill))
    eye = np.hypot(x - 0.375, y + 0.045)
    rgb = mix(rgb, INK, ramp(0.056, 0.048, eye))
    rgb = mix(rgb, WHITE, ramp(0.045, 0.038, eye))
    rgb = mix(rgb, INK, ramp(0.031, 0.024, np.hypot(x - 0.382, y + 0.043)))
    return mix(rgb, WHITE, ramp(0.014, 0.008, np.hypot(x - 0.39, y + 0.055)))


def _tail(rng: np.random.Generator, density: float, coat: Coat) -> Texture:
    canvas = Canvas((-0.80, -0.32), (-0.30, 0.32), density)
    x, y = canvas.grid()
    back = -0.42 - x  # distance behind the joint
    half = 0.045 + 0.85 * np.clip(back, 0, None) ** 0.9
    notch = 0.20 + 0.55 * np.abs(y)
    level = np.minimum(np.minimum(half - np.abs(y), notch - back), x * -1 - 0.36)
    level = np.minimum(level, 0.27 - np.abs(y))
    rays = np.sin(34 * np.arctan2(y, back + 0.12))
    rgb = np.array(coat.fin) * (0.85 + 0.15 * rays)[..., None]
    rgb = mix(rgb, coat.back, ramp(0.10, 0.0, back))
    return bake(canvas, _rim(_grain(rgb, rng, canvas, 0.12), level, 0.03), level)


def _breast_fin(rng: np.random.Generator, density: float, coat: Coat) -> Texture:
    canvas = Canvas((-0.16, -0.04), (0.22, 0.28), density)
    x, y = canvas.grid()
    level = ellipse(x, y, (0.05, 0.12), (0.125, 0.07), 2.2)
    rays = np.sin(40 * np.arctan2(y - 0.02, x - 0.16))
    rgb = np.array(coat.fin) * (0.95 + 0.13 * rays)[..., None]
    return bake(canvas, _rim(_grain(rgb, rng, canvas, 0.1), level, 0.02), level)


def turtle(rng: np.random.Generator, density: float) -> tuple[Part, ...]:
    """A turtle from above: a shell with a slight wobble over four paddling limbs and a head."""
    rate = rng.uniform(0.022, 0.032)
    wobble = Ripple(0, (0.012, 0.0, 0.02), 0.7, rate, rng.uniform())
    sway = Ripple(1, (0.008, 0.0, 0.04), 0.8, rate, rng.uniform())
    skin = pick(rng, [(0.42, 0.50, 0.22), (0.36, 0.46, 0.28)])
    beat = _beat(rng, 0.40, rate)
    limbs = []
    for side in (-1.0, 1.0):  # both sides beat as mirror images
        front, rear = beat.scaled(-side), beat.scaled(0.7 * side)
        for joint, tip, width, angle in (
            ((0.20, 0.20), (0.08, 0.50), 0.082, front),
            ((-0.28, 0.14), (-0.47, 0.29), 0.06, rear),
        ):
            paint = _limb(rng, density, skin, (joint[0], side * joint[1]),
                          (tip[0], side * tip[1]), width)  # fmt: skip
            limbs.append(Part(paint, (hinge(joint[0], side * joint[1], angle), wobble, sway)))
    nod = hinge(0.33, 0.0, _beat(rng, 0.15, rate))
    head = Part(_head(rng, density, skin), (nod, wobble, sway))
    return (*limbs, head, Part(_shell(rng, density), (wobble, sway)))


def _hide(rng: np.random.Generator, canvas: Canvas, skin: Field) -> Field:
    """Skin in dark plates between pale seams."""
    seams = np.abs(noise(rng, canvas, 13.0, 1))
    dark = np.array(skin) * 0.55
    rgb = mix(np.array([0.86, 0.83, 0.52]), dark, ramp(0.1, 0.5, seams))
    return _grain(rgb, rng, canvas, 0.12)


def _limb(rng: np.random.Generator, density: float, skin: Field, joint: tuple[float, float],
          tip: tuple[float, float], width: float) -> Texture:  # fmt: skip
    centre = ((joint[0] + tip[0]) / 2, (joint[1] + tip[1]) / 2)
    reach = math.dist(joint, tip) / 2 + 0.07
    low, high = (centre[0] - reach, centre[1] - reach), (centre[0] + reach, centre[1] + reach)
    canvas = Canvas(low, high, density)
    x, y = canvas.grid()
    angle = math.atan2(tip[1] - joint[1], tip[0] - joint[0])
    level = ellipse(x, y, centre, (reach - 0.02, width), angle)
    return bake(canvas, _rim(_hide(rng, canvas, skin), level, 0.018), level)


def _head(rng: np.random.Generator, density: float, skin: Field) -> Texture:
    canvas = Canvas((0.22, -0.14), (0.60, 0.14), density)
    x, y = canvas.grid()
    level = np.maximum(
        ellipse(x, y, (0.46, 0.0), (0.11, 0.085)), ellipse(x, y, (0.36, 0.0), (0.12, 0.055))
    )
    rgb = _rim(_hide(rng, canvas, skin), level, 0.018)
    eye = np.hypot(x - 0.49, np.abs(y) - 0.052)
    return bake(canvas, mix(rgb, INK, ramp(0.024, 0.016, eye)), level)


def _shell(rng: np.random.Generator, density: float) -> Texture:
    canvas = Canvas((-0.44, -0.36), (0.46, 0.36), density)
    x, y = canvas.grid()
    level = ellipse(x, y, (0.0, 0.0), (0.40 + 0.03, 0.31))
    level = np.minimum(level, 0.42 - 0.35 * np.abs(y) - np.abs(x))
    spine = [(-0.28, 0.0), (-0.095, 0.0), (0.09, 0.0), (0.27, 0.0)]
    flank = [(px, side * 0.165) for px in (-0.2, 0.0, 0.19) for side in (-1, 1)]
    rim = [(0.43 * math.cos(a), 0.33 * math.sin(a)) for a in np.arange(16) * math.pi / 8]
    seeds = np.array(spine + flank + rim)
    distance = np.hypot(x[..., None] - seeds[:, 0], y[..., None] - seeds[:, 1])
    order = np.argsort(distance, axis=-1)[..., :2]
    near, next_ = np.moveaxis(np.take_along_axis(distance, order, -1), -1, 0)
    palette = [pick(rng, [(0.52, 0.33, 0.12), (0.45, 0.40, 0.14), (0.36, 0.24, 0.10)])
               for _ in seeds]  # fmt: skip
    plates = np.array(palette)[order[..., 0]]
    plates = plates * (1.35 - 3.2 * near)[..., None]
    streaks = np.sin(22 * np.arctan2(y - seeds[order[..., 0], 1], x - seeds[order[..., 0], 0]))
    rgb = plates * (1 + 0.16 * streaks * ramp(0.02, 0.06, near))[..., None]
    rgb = mix(np.array([0.90, 0.78, 0.42]), rgb, ramp(0.006, 0.022, next_ - near))
    return bake(canvas, _rim(_grain(rgb, rng, canvas, 0.16), level, 0.025), level)


def kelp(rng: np.random.Generator, density: float) -> tuple[Part, ...]:
    """A frond that stands and sways, wider swings towards its top."""
    canvas = Canvas((-0.30, -0.62), (0.30, 0.95), density)
    x, y = canvas.grid()
    level = 0.022 - np.abs(x)
    leaf = pick(rng, [(0.32, 0.42, 0.08), (0.42, 0.36, 0.07), (0.18, 0.40, 0.14)])
    rgb = np.broadcast_to(0.7 * leaf, (*x.shape, 3))
    for k, place in enumerate(np.arange(0.88, -0.55, -0.115)):
        side = 1.0 if k % 2 else -1.0
        angle = -math.pi / 2 + side * rng.uniform(0.55, 0.95)
        reach = rng.uniform(0.11, 0.135) * (1.0 if place > -0.3 else 0.75)
        centre = (reach * math.cos(angle), place + reach * math.sin(angle))
        blade = ellipse(x, y, centre, (reach, 0.042), angle)
        across = (y - place) * math.cos(angle) - x * math.sin(angle)
        shade = np.exp(0.1 * rng.standard_normal()) * (1.1 + 6.0 * np.abs(across))
        paint = np.clip(leaf + np.array([0.10, 0.10, 0.0]), 0, 1) * shade[..., None]
        paint = _rim(paint, blade, 0.016, 0.6)
        rgb = mix(rgb, paint, ramp(-0.004, 0.004, blade))
        level = np.maximum(level, blade)
    level = np.minimum(level, 0.58 - np.abs(y - 0.02) + np.where(y > 0, 0.5, 0.0))
    rgb = _grain(rgb, rng, canvas, 0.18)
    sway = Ripple(1, (0.055, -0.06, 0.0), 0.45, rng.uniform(0.018, 0.028), rng.uniform())
    return (Part(bake(canvas, rgb, level), (sway,)),)


def orange_fish(rng: np.random.Generator, density: float) -> tuple[Part, ...]:
    """The fish with white bands."""
    return fish(rng, density, ORANGE)


def blue_fish(rng: np.random.Generator, density: float) -> tuple[Part, ...]:
    """The tall blue fish with yellow fins."""
    return fish(rng, density, BLUE)
