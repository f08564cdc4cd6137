"""Cuts of a video, told by what its frames have in common: hardly anything across a cut.

A flash or a blink is not one, since pairs that skip it still match; a fade is found only if frames
before and after it are within the reach of a pair.
"""

from collections.abc import Iterator, Sequence

import numpy as np

SHARED = 0.3  # of what frames of the clip share in the middle: 0.1 by chance, more with black bars


def find_cuts(coverage: Sequence[float], n_frames: int, gaps: Sequence[int]) -> list[int]:
    """First frames of the shots after the first.

    ``coverage``: the share of points that have a match, of every pair (i, j), j by j of each i, as
    `SceneIndex.coverage` has them. A cut is where no pair across it shares much, see `SHARED`.
    """
    most = np.zeros(n_frames)  # that a pair across the border before a frame shares
    for (i, j), share in zip(_pairs(n_frames, gaps), coverage, strict=True):
        across = most[min(i, j) + 1 : max(i, j) + 1]
        np.maximum(across, share, out=across)
    few = SHARED * np.median(most[1:])
    return [t for t in range(1, n_frames) if most[t] < few]


def _pairs(n_frames: int, gaps: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The pairs in the order in which their coverage is kept."""
    for i in range(n_frames):
        targets = (j for gap in gaps for j in (i - gap, i + gap) if 0 <= j < n_frames)
        yield from ((i, j) for j in sorted(targets))
