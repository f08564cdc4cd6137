"""What the job asks of a flow method.

Conventions. Frames are uint8 RGB (H, W, 3) of the working size; flow is float32 (H, W, 2), pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from omnimotion.flow import frame_path
from omnimotion.images import load_image
from preprocess.filter import Pixels
from preprocess.pair_store import PairStore

Frames = Callable[[int], np.ndarray]
FRAME_CACHE_BYTES = 512 << 20
FRAME_CACHE = 512  # frames: what a section reaches for


@dataclass(frozen=True)
class PairFlow:
    """Flow of a pair in both directions."""

    forward: np.ndarray  # (H, W, 2), i -> j
    backward: np.ndarray  # (H, W, 2), j -> i
    coarse: np.ndarray | None = None  # (2, 2, H/8, W/8): starts the same frames' next gap


class FlowEstimator(Protocol):
    """A method of optical flow."""

    info: dict[str, Any]  # method, model, weights, licence, why: goes to scene.json
    workers: int  # pairs that may be computed at once
    finds_hidden: bool  # whether flow says where a point goes that becomes hidden

    def start(self, store: PairStore, i: int, j: int, gaps: list[int]) -> np.ndarray | None:
        """What `pair` starts from, of what is stored of smaller gaps; None where nothing is."""

    def pair(self, i: int, j: int, start: np.ndarray | None) -> PairFlow:
        """Flow between two frames, i < j."""

    def alike(
        self,
        i: int,
        pixels_i: Pixels,
        j: int,
        xy_j: tuple[np.ndarray, np.ndarray],
        known: np.ndarray,
    ) -> np.ndarray:
        """Whether pixels of i are ``known`` and look like their matches in j, (h, w) bool."""


def cached_frames(folder: Path, size: tuple[int, int]) -> Frames:
    """Access to a scene's frames that keeps the recent ones in memory."""
    count = min(FRAME_CACHE, max(4, FRAME_CACHE_BYTES // (size[0] * size[1] * 3)))
    return lru_cache(maxsize=count)(lambda t: load_image(frame_path(folder, t)))
