"""Who swims where: builds a `SyntheticScene` from a random generator.

Conventions. World units: one is the height of the image at zoom 1, y down; lengths, speeds and
beats are per frame and do not depend on the length of the clip, which only decides when the
creatures meet: in its middle, near the centre of the image.
"""

from dataclasses import dataclass

import numpy as np

from omnimotion.errors import ConfigError
from omnimotion.synthetic.creatures import Creature, blue_fish, kelp, orange_fish, turtle
from omnimotion.synthetic.motion import Motion, Signal, Similarity, Step, Stretch
from omnimotion.synthetic.reef import reef
from omnimotion.synthetic.scene import Layer, SyntheticScene

SWIM_SPEED = 0.019  # world units per frame
PAN_SPEED = 0.008
MAX_SWIM, MAX_PAN = 1.1, 0.34  # world units in the whole clip; longer clips are slower
SWAY = 0.03  # amplitude of the camera's drift, world units
ZOOM = 0.07  # amplitude of the logarithm of the zoom
TEXELS_PER_PIXEL = 1.4
BACK_PARALLAX, FRONT_PARALLAX = 0.75, 1.15  # share of the pan that the farthest, nearest sees


@dataclass(frozen=True)
class Role:
    """A creature of the cast, and where it is in the middle of the clip, in world units."""

    creature: Creature
    length: float
    lane: float  # height above (-) or below (+) the centre
    lead: float  # how far ahead it is of the centre, in the direction in which it swims
    swims: bool = True


CAST = (  # back to front; lanes overlap in part, and leads differ, so that none hides another long
    Role(blue_fish, 0.50, -0.17, 0.15),
    Role(turtle, 0.54, 0.14, 0.0),
    Role(orange_fish, 0.45, 0.04, -0.15),
    Role(kelp, 1.05, 0.0, 0.38, swims=False),
)


@dataclass(frozen=True)
class Camera:
    """Where the camera looks in the world (x, y), its roll in radians and log zoom."""

    look: tuple[Signal, Signal]
    roll: Signal
    log_zoom: Signal
    size: tuple[int, int]

    def view(self, parallax: float) -> Similarity:
        """World to pixels for a plane that shifts ``parallax`` times as much as plane 1."""
        width, height = self.size
        log_height = float(np.log(height))
        zoom = Signal(self.log_zoom.offset + log_height, 0.0, self.log_zoom.waves)
        return Similarity(
            pivot=(self.look[0].scaled(parallax), self.look[1].scaled(parallax)),
            target=(Signal((width - 1) / 2), Signal((height - 1) / 2)),
            angle=self.roll,
            log_scale=zoom,
        )


def build_scene(seed: int, n_frames: int = 36, size: tuple[int, int] = (160, 120),
                n_sprites: int = 3) -> SyntheticScene:  # fmt: skip
    """A reef with ``n_sprites`` creatures that pass in front of one another, from the seed alone.

    ``size`` is (W, H) in pixels. Raises ConfigError if an argument is out of range.
    """
    for name, found, least in (("n_frames", n_frames, 1), ("n_sprites", n_sprites, 0),
                               ("width", size[0], 16), ("height", size[1], 16)):  # fmt: skip
        if found < least:
            raise ConfigError(f"{name}: found {found}, expected {least} or more")
    stage, scenery, *players = np.random.default_rng(seed).spawn(2 + n_sprites)
    camera = _camera(stage, n_frames, size)
    layers = [_background(scenery, camera)]
    facing = 1.0 if stage.uniform() < 0.5 else -1.0
    for k, rng in enumerate(players):
        depth = (k + 1) / (n_sprites + 1)
        view = camera.view(BACK_PARALLAX + depth * (FRONT_PARALLAX - BACK_PARALLAX))
        layers += _player(rng, k, facing if k % 2 else -facing, n_frames, size[1], view)
    return SyntheticScene(tuple(layers), n_frames, size)


def _slope(speed: float, furthest: float, n_frames: int) -> float:
    """World units per frame: ``speed``, or less in a clip in which that is too far."""
    return min(speed, furthest / n_frames)


def _camera(rng: np.random.Generator, n_frames: int, size: tuple[int, int]) -> Camera:
    slope = _slope(PAN_SPEED, MAX_PAN, n_frames) * rng.choice((-1.0, 1.0))
    middle = (n_frames - 1) / 2

    def drift(amplitude: float) -> tuple[tuple[float, float, float], ...]:
        return ((amplitude, rng.uniform(0.012, 0.022), rng.uniform()),)

    look = (Signal(-slope * middle, slope, drift(SWAY)), Signal(0.0, 0.0, drift(SWAY)))
    return Camera(look, Signal(0.0, 0.0, drift(0.05)), Signal(0.0, 0.0, drift(ZOOM)), size)


def _background(rng: np.random.Generator, camera: Camera) -> Layer:
    width, height = camera.size
    aspect = width / height
    # Half the view at the least zoom, turned by the roll, and how far the camera looks aside.
    reach = (MAX_PAN / 2 + SWAY, SWAY)
    half = [(0.5 * a + 0.06 * b) * np.exp(ZOOM) + r
            for a, b, r in ((aspect, 1.0, reach[0]), (1.0, aspect, reach[1]))]  # fmt: skip
    texture = reef(rng, (-half[0], -half[1]), (half[0], half[1]), TEXELS_PER_PIXEL * height)
    return Layer(texture, Motion((camera.view(BACK_PARALLAX),)), bounded=False)


def _player(rng: np.random.Generator, k: int, facing: float, n_frames: int,
            height: int, view: Similarity) -> list[Layer]:  # fmt: skip
    """The layers of the ``k``-th creature, which swims towards ``facing`` (+1 is right).

    ``height`` is that of the image in pixels, to choose the resolution of the paint.
    """
    role, middle = CAST[k % len(CAST)], (n_frames - 1) / 2
    length = role.length * rng.uniform(0.92, 1.08)
    lane = role.lane + rng.uniform(-0.06, 0.06)
    lead = facing * (role.lead + rng.uniform(-0.1, 0.1))
    parts = role.creature(rng, TEXELS_PER_PIXEL * height * length)
    steps: list[Step] = [Stretch(facing * length, length)]
    if role.swims:
        slope = facing * _slope(SWIM_SPEED, MAX_SWIM, n_frames) * rng.uniform(0.8, 1.15)
        bob, nod = (((swing, rng.uniform(0.02, 0.035), rng.uniform()),) for swing in (0.035, 0.09))
        path = (Signal(lead - slope * middle, slope), Signal(lane, 0.0, bob))
        tilt = Signal(rng.uniform(-0.12, 0.12), 0.0, nod)
        steps.append(Similarity(target=path, angle=tilt))
    else:
        steps.append(Similarity(target=(Signal(lead), Signal(lane))))
    base = Motion((*steps, view))
    return [Layer(part.texture, base.after(part.steps)) for part in parts]
