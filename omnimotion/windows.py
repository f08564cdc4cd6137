"""Long clips in windows: spans of frames that overlap, each fitted by itself.

One canonical volume holds some 100 frames, so a longer clip is cut in windows.
"""

from collections.abc import Sequence

import numpy as np

from omnimotion.errors import ConfigError

WINDOW, OVERLAP = 100, 16  # frames
MOST = 1.5  # windows that the last one may be long; a clip of no more is not cut
MIN_OVERLAP = 2  # frames, in which tracks are compared


def plan_windows(n_frames: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[range]:
    """The windows of a clip: window k begins at frame ``k (window - overlap)``.

    All have ``window`` frames but the last, which takes what is left, up to half a window more.
    So frames that are added to a clip change its last windows only. ConfigError where an overlap
    is too short to compare tracks in, or so long that three windows would meet.
    """
    if overlap < MIN_OVERLAP:
        raise ConfigError(f"overlap: {overlap}, expected {MIN_OVERLAP} frames or more")
    if window < 2 * overlap:
        raise ConfigError(
            f"window: {window}, expected {2 * overlap} frames or more, twice the overlap of "
            f"{overlap}: take larger windows, or a smaller overlap"
        )
    start, windows = 0, []
    while n_frames - start > MOST * window:
        windows.append(range(start, start + window))
        start += window - overlap
    return [*windows, range(start, n_frames)]


def homes(windows: Sequence[range], t: np.ndarray) -> np.ndarray:
    """The windows (Q,) in which frames t (Q,) are farthest from the ends."""
    within = [np.minimum(t - each.start, each.stop - 1 - t) for each in windows]
    return np.argmax(within, axis=0)


def longest_gap(n_frames: int) -> int:
    """Frames between the two of a pair that some window can use, for windows as they are planned.

    Such a bound makes the flow of a long clip cost the same for each frame.
    """
    return n_frames - 1 if n_frames <= MOST * WINDOW else WINDOW - 1
