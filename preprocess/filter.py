"""Which flow can be trusted: cycle check, second cycle for hidden points, appearance.

Conventions. Flow is (H, W, 2) of the working size. Maps are (h, w), of all pixels of frame i or of
those ``at`` some rows and columns. The cycle error at a pixel p of frame i is
``|flow_ij(p) + flow_ji(p + flow_ij(p))|`` in pixels (forward-backward check). `UNRELIABLE` stands
for the error of a match that must not be used.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

Pixels = tuple[slice, slice]  # rows and columns of a frame, (h, w) of them
EVERY: Pixels = np.s_[:, :]
UNRELIABLE = np.float32(1e5)  # px; no blend with a neighbour passes, which has 1/1024 or more
CYCLE_PX = 1.5  # up to a longer side of 480 px; measured on the rendered clips
CYCLE_SIDE = 480
AROUND = (3, 3)  # lattice points whose difference is held against the contrast there
LIGHT = (25, 25)  # lattice points whose mean difference is that of the light
DIFFERENCE = np.float32(1.0)  # of that contrast: more is another thing; see benchmarks/accuracy.md
LEAST_CONTRAST = np.float32(3 * (8 / 255) ** 2)  # of RGB: noise of 8 grey levels is no contrast
UNITS = np.full((1, 3), 1 / 255**2, np.float32)  # sums squares of RGB, channels then in [0, 1]
TINY = np.float32(1e-3)  # of a share: less is none
HIDDEN_GAP = 2  # frames; the paper's bound, beyond it the guess is worthless
HIDDEN_FIRST, HIDDEN_SECOND = 3.0, 2.0  # times the cycle limit: the paper's 4.5 and 3 px at 480


@dataclass(frozen=True)
class CheckedFlow:
    """Flow from one frame to another with what the checks say of it."""

    flow: np.ndarray  # (h, w, 2) float32 px
    error: np.ndarray  # (h, w) float32 px, UNRELIABLE where a check failed
    hidden: np.ndarray  # (h, w) bool: reliable, but hidden in the other frame


def cycle_limit(size: tuple[int, int]) -> float:
    """Largest accepted cycle error in pixels for frames of size (W, H)."""
    return CYCLE_PX * max(1.0, max(size) / CYCLE_SIDE)


def sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values of (H, W[, C]) at coordinates (h, w); clamped at the border."""
    return cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def inside(x: np.ndarray, y: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """True where (x, y) lies between the centres of the outermost pixels."""
    return (x >= 0) & (y >= 0) & (x <= size[0] - 1) & (y <= size[1] - 1)


def length(flow: np.ndarray) -> np.ndarray:
    """Euclidean length of vectors (..., 2); many times faster than ``np.linalg.norm``."""
    return np.sqrt(np.square(flow[..., 0]) + np.square(flow[..., 1]))


def targets(flow: np.ndarray, at: Pixels = EVERY) -> tuple[np.ndarray, np.ndarray]:
    """x and y of where flow (H, W, 2) leads from pixels, each (h, w)."""
    height, width = (np.arange(n, dtype=np.float32) for n in flow.shape[:2])
    here = flow[at]
    return width[at[1]] + here[..., 0], height[at[0], None] + here[..., 1]


def cycle_error(flow_ij: np.ndarray, flow_ji: np.ndarray, at: Pixels = EVERY) -> np.ndarray:
    """Forward-backward error in pixels, (h, w); UNRELIABLE where the target leaves the frame."""
    x, y = targets(flow_ij, at)
    return _unless_outside(length(flow_ij[at] + sample(flow_ji, x, y)), x, y, flow_ij)


def leads_back(flow_ij: np.ndarray, flow_ji: np.ndarray) -> np.ndarray:
    """Whether flow (H, W, 2) passes the cycle check, (H, W) bool."""
    return cycle_error(flow_ij, flow_ji) < cycle_limit((flow_ij.shape[1], flow_ij.shape[0]))


def second_cycle_error(
    flow_ij: np.ndarray, flow_ji: np.ndarray, at: Pixels = EVERY
) -> np.ndarray:  # fmt: skip
    """How far i -> j -> i -> j lands from i -> j, in pixels, (h, w).

    Small where the first cycle fails means that the flow leads behind an occluder whose own
    motion is well known: the match is a guess of a hidden position, not a failure.
    """
    x, y = targets(flow_ij, at)
    back = sample(flow_ji, x, y)
    again = sample(flow_ij, x + back[..., 0], y + back[..., 1])
    return _unless_outside(length(back + again), x, y, flow_ij)


def _unless_outside(
    error: np.ndarray, x: np.ndarray, y: np.ndarray, flow: np.ndarray
) -> np.ndarray:  # fmt: skip
    """Errors, but UNRELIABLE where they are not finite, or (x, y) lies outside the frame."""
    size = (flow.shape[1], flow.shape[0])
    return np.where(inside(x, y, size) & np.isfinite(error), error, UNRELIABLE).astype(np.float32)


def colour_distance(colours_i: np.ndarray, colours_j: np.ndarray) -> np.ndarray:
    """Euclidean distance of uint8 RGB, divided by 255; (h, w, 3) to (h, w)."""
    difference = cv2.absdiff(np.ascontiguousarray(colours_i), colours_j)
    squares = cv2.multiply(difference, difference, dtype=cv2.CV_32F)
    return np.sqrt(cv2.transform(squares, np.ones((1, 3), np.float32))) / np.float32(255)


def looks_alike(own: np.ndarray, found: np.ndarray, known: np.ndarray, limit: float) -> np.ndarray:
    """Whether uint8 RGB ``own`` and ``found`` (h, w, 3) agree, at each place and around it.

    Colours differ by less than ``limit``; and those of the places around that are ``known`` (h, w)
    differ by less, squared and averaged, than they vary there: another thing rarely has the same
    pattern. Light that changes over a wide area is no difference. False where nothing is known.
    """
    close = known & (colour_distance(own, found) < limit)
    weight = close.astype(np.float32)
    difference = np.subtract(own, found, dtype=np.float32) * weight[..., None]
    light = cv2.blur(difference, LIGHT) / np.maximum(cv2.blur(weight, LIGHT), TINY)[..., None]
    squares = cv2.transform(np.square(difference - light), UNITS) * weight
    most = DIFFERENCE * (_contrast(own) + LEAST_CONTRAST)
    return close & (cv2.blur(squares, AROUND) <= most * cv2.blur(weight, AROUND))


def _contrast(colours: np.ndarray) -> np.ndarray:
    """Variance of uint8 RGB (h, w, 3) around each place, channels in [0, 1] summed."""
    colours = np.ascontiguousarray(colours)
    mean = cv2.boxFilter(colours, cv2.CV_32F, AROUND)
    of_squares = cv2.sqrBoxFilter(colours, cv2.CV_32F, AROUND)
    variance = cv2.subtract(of_squares, cv2.multiply(mean, mean))
    return cv2.transform(variance, UNITS)


def check_flow(
    flow_ij: np.ndarray,  # (H, W, 2)
    flow_ji: np.ndarray,  # (H, W, 2)
    alike: Callable[[np.ndarray], np.ndarray],  # of known points: i and j look the same; (h, w)
    finds_hidden: bool,  # whether the flow of points that become hidden means anything
    at: Pixels = EVERY,
) -> CheckedFlow:
    """Cycle, appearance and hidden checks of the flow i -> j at pixels of i."""
    limit = cycle_limit((flow_ij.shape[1], flow_ij.shape[0]))
    error = cycle_error(flow_ij, flow_ji, at)
    hidden = np.zeros(error.shape, bool)
    if finds_hidden:
        second = second_cycle_error(flow_ij, flow_ji, at)
        hidden = (error > HIDDEN_FIRST * limit) & (second < HIDDEN_SECOND * limit)
    error = np.where(alike(error < limit), error, UNRELIABLE)
    return CheckedFlow(flow_ij[at], error, hidden & (error == UNRELIABLE))
