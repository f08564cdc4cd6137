"""Flow without weights: OpenCV's dense inverse search (Kroeger et al., ECCV 2016).

In small frames the parts of things are as small as the patches of a search. There flow over a
single frame is searched for in frames twice as large, and flow over more of them is made of steps:
put together, and drawn to the images by smaller patches.

Conventions. Frames are uint8 RGB (H, W, 3); flow is float32 (H, W, 2), (dx, dy) in pixels, from
the first frame to the second. Appearance is colour.
"""

import os
import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from preprocess.choice import better, spread
from preprocess.edges import LEAST_SIDE, mended
from preprocess.estimator import Frames, PairFlow
from preprocess.filter import Pixels, colour_distance, looks_alike, sample
from preprocess.pair_store import PairStore
from preprocess.starts import composed

COLOUR_LIMIT = 0.25  # RGB distance, channels in [0, 1]; measured on the rendered clips
ENLARGED = 2  # times, of small frames


@dataclass(frozen=True)
class Search:
    """How OpenCV searches, down to full resolution."""

    patch: int = 8  # px
    stride: int = 3  # px between patches
    descents: int = 25
    smoothness: float = 20.0  # weight in the variational refinement
    coarsest: int = -1  # scale it begins at; -1: by the frame's size
    # variational; the preset's 5 cost a sixth of the time and gain nothing
    refinements: int = 3

    def made(self) -> cv2.DISOpticalFlow:
        """As an object of OpenCV, which one thread may use at a time."""
        search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)
        search.setCoarsestScale(self.coarsest)
        search.setPatchSize(self.patch)
        search.setPatchStride(self.stride)
        search.setGradientDescentIterations(self.descents)
        search.setVariationalRefinementIterations(self.refinements)
        search.setVariationalRefinementAlpha(self.smoothness)
        return search


PLAIN = Search()
CLOSE = Search(descents=16, smoothness=10)  # of enlarged frames
FROM_STEPS = Search(patch=4, descents=12, smoothness=10, coarsest=0)


class DisEstimator:
    """Dense inverse search; safe to call from several threads.

    It fills hidden regions with the motion beside them: of the points it would call hidden, 4 in
    100 were within 3 px of the truth on the rendered clips, so it reports none.
    """

    finds_hidden = False

    def __init__(self, frames: Frames, why: str) -> None:
        self.frames = frames
        self.local = threading.local()  # a search is of one thread
        self.workers = os.cpu_count() or 1
        self.info: dict[str, Any] = {
            "method": "dis",
            "model": "medium, enlarged, steps, edges",
            "weights": None,
            "licence": "Apache-2.0 (OpenCV)",
            "why": why,
        }

    def start(self, store: PairStore, i: int, j: int, gaps: list[int]) -> np.ndarray | None:
        """Flow i -> j and j -> i (2, H, W, 2) of the steps between, in small frames.

        None over a single frame, and in large ones: there steps match far more, but fits gain
        nothing, and of a scene with reflections lose (`benchmarks/accuracy.md`).
        """
        if j - i == 1 or max(store.lattice.size) >= LEAST_SIDE:
            return None
        return np.stack((composed(store, i, j), composed(store, j, i)))

    def pair(self, i: int, j: int, start: np.ndarray | None) -> PairFlow:
        """Flow i -> j and j -> i: searched for, or of each pixel ``start`` or what it leads to.

        Flow of large frames is mended at edges; that of small ones spreads to where it does not
        lead back.
        """
        images = self.frames(i), self.frames(j)
        grey = _grey(images[0]), _grey(images[1])
        if max(images[0].shape) >= LEAST_SIDE:
            none = np.zeros((*grey[0].shape, 2), np.float32)
            ways = self._search(PLAIN, *grey, none), self._search(PLAIN, *grey[::-1], none)
            return PairFlow(*mended(*ways, *images))
        if start is None:
            return PairFlow(*spread((self._close(*grey), self._close(*grey[::-1])), images))
        steps = start[0], start[1]
        drawn = (
            self._search(FROM_STEPS, *grey, steps[0]),
            self._search(FROM_STEPS, *grey[::-1], steps[1]),
        )
        return PairFlow(*spread(better(drawn, steps, images), images))

    def alike(
        self,
        i: int,
        pixels_i: Pixels,
        j: int,
        xy_j: tuple[np.ndarray, np.ndarray],  # x and y, each (h, w)
        known: np.ndarray,  # (h, w) bool
    ) -> np.ndarray:  # (h, w) bool
        """Whether the colours of matched points agree, in small frames also those around them."""
        own = self.frames(i)[pixels_i]
        found = sample(self.frames(j), *xy_j)
        if max(self.frames(i).shape) < LEAST_SIDE:
            return looks_alike(own, found, known, COLOUR_LIMIT)
        return known & (colour_distance(own, found) < COLOUR_LIMIT)

    def _close(self, grey_i: np.ndarray, grey_j: np.ndarray) -> np.ndarray:
        """Flow, searched for in enlarged frames."""
        height, width = grey_i.shape
        large_i, large_j = _enlarged(grey_i), _enlarged(grey_j)
        none = np.zeros((*large_i.shape, 2), np.float32)
        flow = self._search(CLOSE, large_i, large_j, none)
        return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) / ENLARGED

    def _search(
        self, how: Search, grey_i: np.ndarray, grey_j: np.ndarray, start: np.ndarray
    ) -> np.ndarray:
        """Flow that ``start`` leads to; flow of zeros is a start like any other.

        Without one the search would go another way.
        """
        # kept, since a new one spends a fifth of its time on getting memory
        kept = vars(self.local).setdefault("searches", {})
        if how not in kept:
            kept[how] = how.made()
        return kept[how].calc(grey_i, grey_j, start.copy())


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def _enlarged(image: np.ndarray) -> np.ndarray:
    return cv2.resize(image, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
