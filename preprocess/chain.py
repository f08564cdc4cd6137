"""Matches over long gaps: chains of short flows, merged with direct flow.

Conventions. A source frame's lattice points are followed in one direction, from one stop to the
next (`pairs.chain_stops`): near the source, each frame. In each frame j every candidate is one
known position in an earlier frame k (the source itself, or where the chain has been) moved by the
flow k -> j. A candidate's variance, px^2, is that at k plus the squared cycle error of the step
and a floor; the smallest wins (after MFT: Neoral et al., WACV 2024, with the cycle error in place
of a learned uncertainty). A point that is unreliable in j can come back through a longer step,
which bridges short occlusions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from omnimotion.flow import CHAINED, DIRECT, HIDDEN, NONE
from preprocess.filter import CheckedFlow, inside, sample

STEP_VARIANCE = 0.05**2  # px^2 that a step adds even when its cycle closes

Alike = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Reached:
    """Where the lattice points of a source frame are in another frame; all maps are (h, w)."""

    x: np.ndarray  # float32 px
    y: np.ndarray
    variance: np.ndarray  # float32 px^2, inf where nothing reliable is known
    state: np.ndarray  # uint8: DIRECT, CHAINED, HIDDEN or NONE

    @property
    def is_lost(self) -> bool:
        """True when no point is reliable."""
        return not np.isfinite(self.variance).any()


@dataclass(frozen=True)
class Step:
    """What is known of a target frame j, shared by all source frames."""

    j: int
    links: dict[int, np.ndarray]  # k -> (H, W, 3): dx, dy, cycle error or UNRELIABLE
    limit: float  # px: larger cycle errors are unreliable
    size: tuple[int, int]  # W, H


def start(origin: tuple[int, int], stride: int, shape: tuple[int, int]) -> Reached:
    """The lattice points in their own frame."""
    x, y = np.meshgrid(
        origin[0] + stride * np.arange(shape[1], dtype=np.float32),
        origin[1] + stride * np.arange(shape[0], dtype=np.float32),
    )
    return Reached(x, y, np.zeros(shape, np.float32), np.full(shape, DIRECT, np.uint8))


def extend(
    history: dict[int, Reached],  # by frame; holds the source frame i
    i: int,
    step: Step,
    direct: CheckedFlow | None,  # flow i -> j on the lattice, where it was computed
    alike: Alike,  # (x, y) in frame j, which are known -> bool (h, w): look like the source point
) -> Reached:
    """Positions in frame ``step.j``: the best of direct flow and all chains."""
    source = history[i]
    x, y = source.x.copy(), source.y.copy()
    variance = np.full(x.shape, np.inf, np.float32)
    state = np.full(x.shape, NONE, np.uint8)
    for known, (dx, dy, error), code in _candidates(history, i, step, direct):
        candidate = known.variance + error * error + np.float32(STEP_VARIANCE)
        use = ((candidate < variance) & (error < step.limit)).view(np.uint8)
        _put(known.x + dx, use, x)
        _put(known.y + dy, use, y)
        _put(candidate, use, variance)
        _put(np.full_like(state, code), use, state)
    lost = ~alike(x, y, (state != NONE) & inside(x, y, step.size))
    variance[lost] = np.inf
    state[lost] = NONE
    return Reached(x, y, variance, state)


def _put(values: np.ndarray, use: np.ndarray, target: np.ndarray) -> None:
    """`np.copyto` with a mask uint8, several times as fast; of one dtype and shape."""
    if cv2.copyTo(values, use, target) is not target:
        raise TypeError(f"{values.dtype} {values.shape} into {target.dtype} {target.shape}")


def with_hidden(reached: Reached, source: Reached, direct: CheckedFlow | None) -> Reached:
    """Fill points that are lost in j with flow that passed the second cycle check."""
    if direct is None or not direct.hidden.any():
        return reached
    use = direct.hidden & (reached.state == NONE)
    return replace(
        reached,
        x=np.where(use, source.x + direct.flow[..., 0], reached.x),
        y=np.where(use, source.y + direct.flow[..., 1], reached.y),
        state=np.where(use, HIDDEN, reached.state).astype(np.uint8),
    )


def _candidates(
    history: dict[int, Reached], i: int, step: Step, direct: CheckedFlow | None
) -> Iterator[tuple[Reached, tuple[np.ndarray, ...], int]]:
    """A known position, the flow from there with its cycle error, each (h, w), and the state."""
    if direct is not None:
        yield history[i], (*cv2.split(direct.flow), direct.error), DIRECT
    for k, link in step.links.items():
        # the single step from the source is the direct flow
        if k == i or k not in history:
            continue
        moved = sample(link, history[k].x, history[k].y)
        yield history[k], tuple(cv2.split(moved)), CHAINED
