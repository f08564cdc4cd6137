"""Cuts of a video, told by what its frames have in common: hardly anything across a cut.

A flash or a blink is not one, since pairs that skip it still match; a fade is found only if frames
before and after it are within the reach of a pair.
"""

from collections.abc import Sequence

import numpy as np

from omnimotion.flow import paired_frames

SHARED = 0.3  # of what pairs share in the middle of the clip; 0.1 at most was seen across cuts


def find_cuts(coverage: Sequence[float], n_frames: int, gaps: Sequence[int]) -> list[int]:
    """First frames of the shots after the first.

    ``coverage``: the share of points that have a match, of every pair (i, j), j by j of each i, as
    `SceneIndex.coverage` has them. A cut is where no pair across it shares much, see `SHARED`.
    """
    most = np.zeros(n_frames)  # that a pair across the border before a frame shares
    pairs = ((i, j) for i in range(n_frames) for j in paired_frames(i, gaps, n_frames))
    for (i, j), share in zip(pairs, coverage, strict=True):
        across = most[min(i, j) + 1 : max(i, j) + 1]
        np.maximum(across, share, out=across)
    few = SHARED * np.median(most[1:])
    return [t for t in range(1, n_frames) if most[t] < few]
