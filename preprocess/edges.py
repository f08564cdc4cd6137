"""Flow at the edges of things, where that of a dense search bleeds from one surface to the next.

A search matches patches, and a patch across an edge holds two motions. Such flow fails the cycle
check, and a third of the points on a small object would have no match. What has the colour of a
place and lies close by is mostly on its surface, so where flow fails the check it is replaced by
the motion of such places, where they agree on one. The check is made anew afterwards: what was
put there counts when the other direction, mended by itself, leads back.

Only in large frames: in small ones 8 px are a good part of a thing, and nothing was gained.

Conventions. Flow (H, W, 2) float32 pixels, colours (H, W, 3) float32 in [0, 1].
"""

import importlib
import logging
from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

from preprocess.filter import leads_back

log = logging.getLogger(__name__)

LEAST_SIDE = 480  # px: the longer side of frames that are mended
RADIUS = 8  # px: as far as the patches of the search reach
PLACES = 40  # looked at around a pixel
GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
ALIKE = np.float32(0.006)  # squared distance of colours that are half alike
UNLIKE = np.float32(4)  # times ALIKE: of another surface
# px^2, of motions that are averaged, one after the other: a robust mean
SPREADS = np.float32(16), np.float32(4), np.float32(1)
SAME = np.float32(4)  # px^2: motions of one surface
LEAST = np.float32(2)  # of weight: two places or more that are close and alike
AGREE = np.float32(0.6)  # of the weight, for one motion
RULES = ALIKE, UNLIKE, SPREADS, SAME, LEAST, AGREE
AT_ONCE = 1 << 14  # pixels


def mended(
    forward: np.ndarray, backward: np.ndarray, image_i: np.ndarray, image_j: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Flow i -> j and j -> i between images uint8 (H, W, 3), with that of edges put right."""
    if max(forward.shape[:2]) < LEAST_SIDE:
        return forward, backward
    reliable = leads_back(forward, backward), leads_back(backward, forward)
    return (
        beside(forward, reliable[0], _colours(image_i)),
        beside(backward, reliable[1], _colours(image_j)),
    )


def beside(flow: np.ndarray, reliable: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Flow, where not ``reliable`` (H, W) that of places close by which look alike and are.

    Where there are none, or they do not agree, it stays as it is.
    """
    found = flow.copy()
    if fill := _compiled():
        fill((flow, reliable, colours), _places(), RULES, found)
        return found
    y, x = np.nonzero(~reliable)
    for first in range(0, len(y), AT_ONCE):
        part = slice(first, first + AT_ONCE)
        _fill(flow, reliable, colours, (y[part], x[part]), found)
    return found


def _fill(
    flow: np.ndarray, reliable: np.ndarray, colours: np.ndarray, at: tuple[np.ndarray, np.ndarray],
    found: np.ndarray,
) -> None:  # fmt: skip
    """What `edges_kernel.fill` does, at the pixels ``at``."""
    (y, x), (height, width) = at, reliable.shape
    weights, motions = [], []
    for (dx, dy), near in zip(*_places()):
        inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
        there = (y + dy).clip(0, height - 1), (x + dx).clip(0, width - 1)
        red, green, blue = (colours[there] - colours[y, x]).T
        off = (red * red + green * green + blue * blue) / ALIKE
        counts = inside & reliable[there] & (off <= UNLIKE)
        weights.append(np.where(counts, near / ((1 + off) * (1 + off)), np.float32(0)))
        motions.append(flow[there])
    total = _sum(weights)
    mean = _mean(weights, motions)
    for spread in SPREADS:
        closeness = [1 + _apart(motion, mean) / spread for motion in motions]
        mean = _mean([w / (c * c) for w, c in zip(weights, closeness)], motions)
    same = _sum([np.where(_apart(motion, mean) < SAME, weight, np.float32(0))
                 for weight, motion in zip(weights, motions)])  # fmt: skip
    agree = (total > LEAST) & (same > AGREE * total)
    found[y[agree], x[agree]] = mean[agree]


def _sum(parts: list[np.ndarray]) -> np.ndarray:
    """One after the other, as the kernel adds them up."""
    total = np.zeros_like(parts[0])
    for part in parts:
        total += part
    return total


def _mean(weights: list[np.ndarray], motions: list[np.ndarray]) -> np.ndarray:
    total = np.maximum(_sum(weights), np.float32(1e-20))
    summed = _sum([weight[:, None] * motion for weight, motion in zip(weights, motions)])
    return summed / total[:, None]


def _apart(motion: np.ndarray, mean: np.ndarray) -> np.ndarray:
    u, v = (motion - mean).T
    return u * u + v * v


def _colours(image: np.ndarray) -> np.ndarray:
    """Means over 3x3 pixels: a single one is noisy."""
    return cv2.blur(image, (3, 3)).astype(np.float32) / np.float32(255)


@cache
def _places() -> tuple[np.ndarray, np.ndarray]:
    """Places (P, 2) around a pixel, (dx, dy), evenly in a circle, and how much they count (P,)."""
    k = np.arange(PLACES) + 0.5
    radius, angle = RADIUS * np.sqrt(k / PLACES), k * GOLDEN_ANGLE
    around = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=-1)
    places = np.unique(np.rint(around).astype(np.int32), axis=0)
    places = places[places.any(axis=1)]
    squared = np.square(places).sum(axis=1)
    return places, np.exp(-2 * squared / RADIUS**2).astype(np.float32)


@cache
def _compiled() -> Callable[..., None] | None:
    """`edges_kernel.fill`, or None where numba does not run: its results are the same."""
    try:
        return importlib.import_module("preprocess.edges_kernel").fill
    except Exception as error:  # numba raises many things where it does not fit the machine
        reason = str(error).partition("\n")[0] or repr(error)
        log.info("edges: numba unavailable, so flow takes longer (%s)", reason)
        return None
