"""Flow without weights: OpenCV's dense inverse search (Kroeger et al., ECCV 2016).

Conventions. Frames are uint8 RGB (H, W, 3); flow is float32 (H, W, 2), (dx, dy) in pixels, from
the first frame to the second. Appearance is colour.
"""

import os
import threading
from typing import Any

import cv2
import numpy as np

from preprocess.edges import mended
from preprocess.estimator import Frames, PairFlow
from preprocess.filter import Pixels, colour_distance, sample
from preprocess.pairs import is_log_gap

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
    uses_start = False

    def __init__(self, frames: Frames, why: str) -> None:
        self.frames = frames
        self.local = threading.local()  # a search is of one thread
        self.workers = os.cpu_count() or 1
        self.info: dict[str, Any] = {
            "method": "dis",
            "model": "medium, edges",
            "weights": None,
            "licence": "Apache-2.0 (OpenCV)",
            "why": why,
        }

    def pair(self, i: int, j: int, start: np.ndarray | None) -> PairFlow:
        """Flow i -> j and j -> i; no use is made of ``start``.

        Where all pairs are asked, those between the gaps of ``log`` are for points that come out
        of hiding just there: half the resolution does, and takes a third of the time.
        """
        images = self.frames(i), self.frames(j)
        is_fine = is_log_gap(abs(j - i)) or max(images[0].shape) < LEAST_HALVED
        finest = FULL if is_fine else HALF
        grey_i, grey_j = map(_grey, images)
        forward, backward = self._flow(grey_i, grey_j, finest), self._flow(grey_j, grey_i, finest)
        return PairFlow(*mended(forward, backward, *images))

    def alike(
        self,
        i: int,
        pixels_i: Pixels,
        j: int,
        xy_j: tuple[np.ndarray, np.ndarray],  # x and y, each (h, w)
    ) -> np.ndarray:  # (h, w) bool
        """Whether the colours of matched points agree."""
        colours_j = sample(self.frames(j), *xy_j)
        return colour_distance(self.frames(i)[pixels_i], colours_j) < COLOUR_LIMIT

    def _flow(self, grey_i: np.ndarray, grey_j: np.ndarray, finest: int) -> np.ndarray:
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
