"""What is measured on tracks: places in the user's unit, speed, acceleration.

Conventions. A scale says how long one pixel of the original video is. Without one, lengths are in
px. Speed and acceleration are magnitudes, of the parabola through the places in a frame and in
the two nearest ones of the clip, by the frames' own times: which frames come out does not matter.
Nothing is smoothed; a hidden place counts too.
"""

import re
from dataclasses import dataclass

import numpy as np

from omnimotion.errors import ConfigError, InputError
from omnimotion.tracks import Tracks

MIN_FRAMES = 3  # a parabola needs them

LARGEST = 1e9  # of a unit, that a pixel may be long, or parts of it
_SCALE = re.compile(r"(\d*\.?\d+(?:[eE][+-]?\d+)?)\s*([A-Za-z]{1,8})", re.ASCII)


@dataclass(frozen=True)
class Scale:
    """The length of one pixel."""

    per_px: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Scale":
        """From a number and a unit, ``0.5mm``; `ConfigError` for anything else.

        And for lengths that no number of a table could hold.
        """
        match = _SCALE.fullmatch(text.strip())
        if match is None or not 1 / LARGEST <= float(match[1]) <= LARGEST:
            raise ConfigError(f"scale is {text!r}, expected the length of a pixel: 0.5mm, say")
        return cls(float(match[1]), match[2])


PIXELS = Scale(1.0, "px")


def measures(
    tracks: Tracks, scale: Scale = PIXELS, whole: Tracks | None = None
) -> dict[str, np.ndarray]:
    """Columns float32 (Q, T) by name: places where there is a scale, and motion if wanted.

    ``x_mm y_mm speed_mm_s acceleration_mm_s2`` where the unit is mm. ``whole``: the same tracks in
    all frames, where motion is wanted; `InputError` where these are fewer than 3.
    """
    columns: dict[str, np.ndarray] = {}
    if scale is not PIXELS:
        xy = tracks.xy.astype(np.float64) * scale.per_px
        columns |= {f"x_{scale.unit}": xy[..., 0], f"y_{scale.unit}": xy[..., 1]}
    if whole is not None:
        found = derivatives(whole.xy.astype(np.float64) * scale.per_px, whole.times)
        kept = np.searchsorted(whole.frames, tracks.frames)
        speed, acceleration = (np.linalg.norm(each[:, kept], axis=-1) for each in found)
        columns[f"speed_{scale.unit}_s"] = speed
        columns[f"acceleration_{scale.unit}_s2"] = acceleration
    return {name: values.astype(np.float32) for name, values in columns.items()}


def check_motion(n_frames: int) -> None:
    """Raise `InputError` where frames are too few for motion."""
    if n_frames < MIN_FRAMES:
        raise InputError(f"motion: {n_frames} frames, at least {MIN_FRAMES} are needed")


def derivatives(xy: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Velocity and acceleration (Q, T, 2) of places (Q, T, 2) at times (T,) in seconds."""
    check_motion(len(times))
    velocity = np.gradient(xy, times, axis=1, edge_order=2)
    step = np.diff(times)
    slope = np.diff(xy, axis=1) / step[:, None]
    inner = 2 * np.diff(slope, axis=1) / (step[1:] + step[:-1])[:, None]
    return velocity, np.concatenate((inner[:, :1], inner, inner[:, -1:]), axis=1)
