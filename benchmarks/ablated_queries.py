"""Queries with a part left out, for `ablation.py`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from omnimotion import patches, refine, tracker
from omnimotion.confidence import Evidence, Logistic
from omnimotion.patches import Around
from omnimotion.pose_graph import Refined
from omnimotion.pose_graph import refine as drawn
from omnimotion.refine import Found, Refiner
from omnimotion.tracker import Tracker
from omnimotion.tracks import Tracks

RAY_ONLY = Logistic(7.0, (14.0, *(0.0,) * (len(Evidence._fields) - 1)))
"""Seen where less than half of the ray ends in front."""


class Asked:
    """A tracker that refines or does not."""

    def __init__(self, asked: Tracker, refine: bool) -> None:
        self.tracker, self.refine = asked, refine

    def track(self, queries: np.ndarray) -> Tracks:
        """As `Tracker.track`."""
        return self.tracker.track(queries, self.refine)


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """A module or class with another value of a name."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _no_choice(refiner: Refiner, frames: np.ndarray, *_: np.ndarray) -> np.ndarray:
    """The surface that the scene shows, always."""
    return np.zeros(len(frames), np.int64)


def _no_following(refiner: Refiner, asked: refine.Asked, found: Found, *_: Any) -> Found:
    """The scene's own tracks, always."""
    return found._replace(evidence=found.evidence.copy())


def _no_offsets(*arguments: Any, **more: Any) -> Refined:
    """What matches say, without moving the track."""
    found = drawn(*arguments, **more)
    return found._replace(offset=np.zeros_like(found.offset))


def _no_patches(around: Around, xy: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """No patch is found."""
    return np.full_like(xy, np.nan)


def _not_moved(refiner: Refiner, frames: np.ndarray, found: Found, visible: np.ndarray) -> Found:
    """Tracks end where they end."""
    return found


ALONE = "the scene's own tracks"
QUERIES: dict[str, Callable] = {
    "the scene's own surface, not chosen": lambda: replaced(Refiner, "choose", _no_choice),
    "matches never followed": lambda: replaced(Refiner, "_followed", _no_following),
    "followed whatever it looks like": lambda: replaced(refine, "LOOKS", 0.0),
    "not drawn to matches and patches": lambda: replaced(refine, "refine", _no_offsets),
    "not drawn to patches": lambda: replaced(Around, "find", _no_patches),
    "all of a patch counts": lambda: replaced(patches, "COLOUR_OFF", 1e9),
    "not moved onto its pixel": lambda: replaced(Refiner, "moved_onto", _not_moved),
    "visibility by the ray only": lambda: replaced(tracker, "SEEN", RAY_ONLY),
    ALONE: nullcontext,
}
