"""Motions that can be undone exactly: material coordinates to image pixels and back.

Conventions. Points are float64 arrays (..., 2) in (x, y) order, y downwards; time ``t`` is in
frames and may be fractional. Every step has a closed-form inverse: similarities, mirrorings, and
shears, in which one coordinate is moved by an amount that depends on the other one only (the
coupling layer of Dinh et al., 2017). Hence every motion here is a bijection of the plane, and the
ground truth is exact for hidden points too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (..., 2)


@dataclass(frozen=True)
class Signal:
    """A smooth function of time: ``offset + slope t + sum amplitude sin(2 pi (rate t + phase))``.

    ``waves`` holds (amplitude, rate in cycles per frame, phase in cycles).
    """

    offset: float = 0.0
    slope: float = 0.0
    waves: tuple[tuple[float, float, float], ...] = ()

    def __call__(self, t: float) -> float:
        """The value at time ``t`` in frames."""
        turns = ((a, rate * t + phase) for a, rate, phase in self.waves)
        swing = sum(a * math.sin(2 * math.pi * turn) for a, turn in turns)
        return self.offset + self.slope * t + swing

    def scaled(self, factor: float) -> "Signal":
        """The signal times ``factor``."""
        waves = tuple((factor * a, rate, phase) for a, rate, phase in self.waves)
        return Signal(factor * self.offset, factor * self.slope, waves)


ZERO = Signal()


class Step(Protocol):
    """An invertible map of the plane for each time."""

    def forward(self, points: Points, t: float) -> Points:
        """Map (..., 2) towards the image."""
        ...

    def inverse(self, points: Points, t: float) -> Points:
        """Undo `forward` at the same time."""
        ...


@dataclass(frozen=True)
class Similarity:
    """Turn by ``angle`` and scale by ``exp(log_scale)`` about ``pivot``; move it to ``target``.

    A camera has a moving pivot and a fixed target (the image centre); the pose of a sprite has a
    fixed pivot and a moving target; a hinge has the same fixed point for both.
    """

    pivot: tuple[Signal, Signal] = (ZERO, ZERO)
    target: tuple[Signal, Signal] = (ZERO, ZERO)
    angle: Signal = ZERO  # radians; positive is clockwise on the screen, as y points down
    log_scale: Signal = ZERO

    def _parts(self, t: float) -> tuple[Points, Points, Points]:
        pivot, target = (np.array([x(t), y(t)]) for x, y in (self.pivot, self.target))
        angle, scale = self.angle(t), math.exp(self.log_scale(t))
        c, s = scale * math.cos(angle), scale * math.sin(angle)
        return pivot, target, np.array([[c, -s], [s, c]])

    def forward(self, points: Points, t: float) -> Points:
        """Map (..., 2) towards the image."""
        pivot, target, matrix = self._parts(t)
        return (points - pivot) @ matrix.T + target

    def inverse(self, points: Points, t: float) -> Points:
        """Undo `forward` at the same time."""
        pivot, target, matrix = self._parts(t)
        return (points - target) @ np.linalg.inv(matrix).T + pivot


def hinge(x: float, y: float, angle: Signal) -> Similarity:
    """The rotation about the fixed point (x, y): the joint of an articulated part."""
    point = (Signal(x), Signal(y))
    return Similarity(pivot=point, target=point, angle=angle)


@dataclass(frozen=True)
class Stretch:
    """Multiply x and y by constants that are not zero; a negative one mirrors."""

    x: float
    y: float

    def forward(self, points: Points, t: float) -> Points:
        """Map (..., 2) towards the image."""
        return points * (self.x, self.y)

    def inverse(self, points: Points, t: float) -> Points:
        """Undo `forward` at the same time."""
        return points / (self.x, self.y)


@dataclass(frozen=True)
class Ripple:
    """A travelling wave: the other coordinate moves with the one along ``axis``, ``s``.

    ``other += (a0 + a1 s + a2 s^2) sin(2 pi (cycles s - rate t + phase))``, ``envelope`` being
    (a0, a1, a2), ``cycles`` per material unit and ``rate`` in cycles per frame. With
    ``axis = 0`` and an envelope that grows towards the tail this is how a fish swims.
    """

    axis: int
    envelope: tuple[float, float, float]
    cycles: float
    rate: float
    phase: float

    def _shift(self, s: Points, t: float) -> Points:
        a0, a1, a2 = self.envelope
        wave = np.sin(2 * math.pi * (self.cycles * s - self.rate * t + self.phase))
        return (a0 + s * (a1 + s * a2)) * wave

    def forward(self, points: Points, t: float) -> Points:
        """Map (..., 2) towards the image."""
        moved = np.array(points, dtype=np.float64)
        moved[..., 1 - self.axis] += self._shift(moved[..., self.axis], t)
        return moved

    def inverse(self, points: Points, t: float) -> Points:
        """Undo `forward` at the same time."""
        moved = np.array(points, dtype=np.float64)
        moved[..., 1 - self.axis] -= self._shift(moved[..., self.axis], t)
        return moved


@dataclass(frozen=True)
class Motion:
    """Steps in order from the material to the image."""

    steps: tuple[Step, ...]

    def to_image(self, material: Points, t: float) -> Points:
        """Material coordinates (..., 2) to pixels (..., 2) of frame ``t``."""
        for step in self.steps:
            material = step.forward(material, t)
        return material

    def to_material(self, xy: Points, t: float) -> Points:
        """Pixels (..., 2) of frame ``t`` to material coordinates (..., 2)."""
        for step in reversed(self.steps):
            xy = step.inverse(xy, t)
        return xy

    def after(self, steps: Sequence[Step]) -> "Motion":
        """This motion with ``steps`` done before it, nearer to the material."""
        return Motion((*steps, *self.steps))
