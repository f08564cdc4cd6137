"""Query points and their tracks.

Conventions. Everything is in pixels of the original video: ``xy`` is (x, y) with pixel centres at
integers, so the frame covers [-0.5, W - 0.5] x [-0.5, H - 0.5]. Frames are 0-based. Q queries, T
frames: those of the clip, or some of them, as ``frames`` says. ``confidence`` is the probability
that ``xy`` is within 4 px, at 256x256, of the truth (see `omnimotion.confidence`); ``occlusion``
is in [0, 1]; ``depth`` is a pseudo-depth, small in front.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from omnimotion.errors import InputError, PointsError

PER_FRAME = ("xy", "visible", "confidence", "occlusion", "depth")
"""What tracks hold for each frame."""

LEFT_OUT = np.zeros(0)
"""Stands for frames and times that are not given."""


def frame_rate(fps: float, frames: Sequence[int]) -> float:
    """Frames a second at which a video of some ``frames`` of a clip, increasing, keeps time."""
    span = frames[-1] - frames[0]
    return fps * (len(frames) - 1) / span if span else fps


@dataclass(frozen=True, eq=False)
class QueryPoints:
    """Points whose motion is asked: the frame, and the place in that frame.

    Raises `PointsError` where a shape or a type is wrong, a frame is negative, or a place is not
    finite. Whether the points lie in the clip is checked where the clip is known.
    """

    t: np.ndarray  # int64 (Q,) frame
    xy: np.ndarray  # float32 (Q, 2) original pixels

    def __post_init__(self) -> None:
        count = len(self.t) if np.ndim(self.t) else 0
        _check("query points: t", self.t, (count,), np.int64, PointsError)
        _check("query points: xy", self.xy, (count, 2), np.float32, PointsError)
        if count and self.t.min() < 0:
            raise PointsError(f"query points: frame {self.t.min()} is negative; frames start at 0")

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def from_array(cls, queries: np.ndarray) -> "QueryPoints":
        """From (Q, 3) rows of t, x, y."""
        if queries.ndim != 2 or queries.shape[1] != 3:
            raise PointsError(f"query points: shape {queries.shape}, expected (Q, 3): t, x, y")
        if not np.isfinite(queries).all() or (queries[:, 0] % 1).any():
            raise PointsError("query points: every value must be finite and every frame whole")
        return cls(queries[:, 0].astype(np.int64), queries[:, 1:].astype(np.float32))

    def as_array(self) -> np.ndarray:
        """float32 (Q, 3) rows of t, x, y."""
        return np.column_stack((self.t, self.xy)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Where each query point is in every frame, and whether it is seen there.

    Left out, ``frames`` are the first T of the clip and ``times`` go by ``fps``.
    Raises `InputError` where shapes, types or lengths disagree, or a value is not finite.
    """

    xy: np.ndarray  # float32 (Q, T, 2) original pixels
    visible: np.ndarray  # bool (Q, T)
    confidence: np.ndarray  # float32 (Q, T) in [0, 1]
    occlusion: np.ndarray  # float32 (Q, T) in [0, 1]
    depth: np.ndarray  # float32 (Q, T) pseudo-depth, small in front
    queries: np.ndarray  # float32 (Q, 3) t, x, y
    fps: float  # frames a second, to give frames a time
    size: tuple[int, int]  # (W, H) of the original video
    meta: Mapping[str, Any] = field(default_factory=dict)  # anything that JSON can hold
    frames: np.ndarray = field(default_factory=lambda: LEFT_OUT)  # int64 (T,), increasing
    times: np.ndarray = field(default_factory=lambda: LEFT_OUT)  # float64 (T,) s, increasing

    def __post_init__(self) -> None:
        if np.ndim(self.xy) != 3:
            raise InputError(f"tracks: xy has shape {np.shape(self.xy)}, expected (Q, T, 2)")
        count, n_frames = self.xy.shape[:2]
        self._check_clip()
        _check("tracks: xy", self.xy, (count, n_frames, 2), np.float32, InputError)
        _check("tracks: visible", self.visible, (count, n_frames), np.bool_, InputError)
        for name in ("confidence", "occlusion", "depth"):
            values = getattr(self, name)
            _check(f"tracks: {name}", values, (count, n_frames), np.float32, InputError)
        _check("tracks: queries", self.queries, (count, 3), np.float32, InputError)
        self._check_frames()

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def n_frames(self) -> int:
        """T."""
        return self.xy.shape[1]

    def at(self, frames: range | np.ndarray) -> "Tracks":
        """The same tracks in these frames of the clip only; `InputError` where one is absent."""
        wanted = np.asarray(frames, np.int64)
        if not np.isin(wanted, self.frames).all():
            raise InputError(f"tracks: frame {wanted[~np.isin(wanted, self.frames)][0]} is absent")
        kept = np.searchsorted(self.frames, wanted)
        arrays = {name: getattr(self, name)[:, kept] for name in PER_FRAME}
        return replace(self, **arrays, frames=wanted, times=self.times[kept])

    def _check_frames(self) -> None:
        t = self.queries[:, 0]
        if ((t < 0) | (t % 1 != 0)).any():
            raise InputError("tracks: a query's frame is not a whole number from 0")
        if self.frames is LEFT_OUT:
            if (t >= self.n_frames).any():
                raise InputError(f"tracks: a query's frame is not one of 0..{self.n_frames - 1}")
            object.__setattr__(self, "frames", np.arange(self.n_frames))
        if self.times is LEFT_OUT:
            object.__setattr__(self, "times", (self.frames / self.fps).round(6))
        _check("tracks: frames", self.frames, (self.n_frames,), np.int64, InputError)
        _check("tracks: times", self.times, (self.n_frames,), np.float64, InputError)
        if (np.diff(self.frames) < 1).any() or (self.frames < 0).any():
            raise InputError("tracks: frames do not increase from 0 or more")
        if (np.diff(self.times) <= 0).any():
            raise InputError("tracks: times do not increase")

    def _check_clip(self) -> None:
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise InputError(f"tracks: fps is {self.fps}, expected a positive number")
        if len(self.size) != 2 or min(self.size) < 1:
            raise InputError(f"tracks: size is {self.size}, expected (W, H) in pixels")
        try:
            json.dumps(dict(self.meta), allow_nan=False)
        except (TypeError, ValueError) as cause:
            raise InputError(f"tracks: meta cannot be written as JSON: {cause}") from None


def _check(
    name: str, values: Any, shape: tuple[int, ...], dtype: type, error: type[InputError]
) -> None:
    if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape != shape:
        found = f"{getattr(values, 'dtype', type(values).__name__)} {np.shape(values)}"
        raise error(f"{name}: {found}, expected {np.dtype(dtype).name} {shape}")
    if not np.isfinite(values).all():
        raise error(f"{name}: a value is not finite")
