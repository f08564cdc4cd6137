"""Flow without weights: OpenCV's dense inverse search (Kroeger et al., ECCV 2016).

Conventions. Frames are uint8 RGB (H, W, 3); flow is float32 (H, W, 2), (dx, dy) in pixels, from
the first frame to the second. Appearance is colour.
"""

import os
import threading
from typing import Any

import cv2
import numpy as np

from preprocess.choice import better, spread
from preprocess.edges import LEAST_SIDE, mended
from preprocess.estimator import Frames, PairFlow
from preprocess.filter import Pixels, colour_distance, looks_alike, sample
from preprocess.pair_store import PairStore
from preprocess.pairs import LINK_GAPS
from preprocess.starts import composed

COLOUR_LIMIT = 0.25  # RGB distance, channels in [0, 1]; measured on the rendered clips
FULL, HALF = 0, 1  # finest scale
LEAST_HALVED = 48  # px of the longer side: below it a search at half resolution changes its scales
REFINEMENTS = 3  # variational; the preset's 5 cost a sixth of the time and gain nothing


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
            "model": "medium, steps, edges",
            "weights": None,
            "licence": "Apache-2.0 (OpenCV)",
            "why": why,
        }

    def start(self, store: PairStore, i: int, j: int, gaps: list[int]) -> np.ndarray | None:
        """Flow i -> j and j -> i (2, H, W, 2) of the steps between, in small frames.

        None over a single frame, and in large ones: there what is made up of steps, which leads
        back by itself, is trusted too much (`benchmarks/accuracy.md`).
        """
        if j - i == 1 or max(store.lattice.size) >= LEAST_SIDE:
            return None
        return np.stack((composed(store, i, j), composed(store, j, i)))

    def pair(self, i: int, j: int, start: np.ndarray | None) -> PairFlow:
        """Flow i -> j and j -> i; of each pixel the better one of the search's and ``start``.

        Where there are steps to start from, and nothing is chained of what is found, the search is
        for points that come out of hiding: half the resolution does, and takes a quarter of the
        time. Flow of large frames is mended at edges; that of small ones spreads to where it does
        not lead back.
        """
        images = self.frames(i), self.frames(j)
        grey = _grey(images[0]), _grey(images[1])
        is_fine = start is None or j - i in LINK_GAPS or max(images[0].shape) < LEAST_HALVED
        finest = FULL if is_fine else HALF
        flow = self._search(*grey, finest), self._search(*grey[::-1], finest)
        if max(images[0].shape) >= LEAST_SIDE:
            return PairFlow(*mended(*flow, *images))
        if start is not None:
            flow = better(flow, (start[0], start[1]), images)
        return PairFlow(*spread(flow, images))

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

    def _search(self, grey_i: np.ndarray, grey_j: np.ndarray, finest: int) -> np.ndarray:
        # kept, since a new one spends a fifth of its time on getting memory
        if not hasattr(self.local, "searches"):
            self.local.searches = {scale: _search(scale) for scale in (FULL, HALF)}
        search: cv2.DISOpticalFlow = self.local.searches[finest]
        # flow of zeros is a start like any other: without it the search goes another way
        return search.calc(grey_i, grey_j, np.zeros((*grey_i.shape, 2), np.float32))


def _search(finest: int) -> cv2.DISOpticalFlow:
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(finest)
    search.setVariationalRefinementIterations(REFINEMENTS)
    return search


def _grey(frame: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
