"""Places in the coordinates of other programs: the only module that converts them.

All take ``xy`` (..., 2) in pixels of the original video, (x, y) with y down and pixel centres at
integers, and the video's ``size`` (W, H); all return float64 (..., 2). A "corner" convention has
its origin on the corner of the outermost pixel, whose centre is at 0.5.
"""

import numpy as np

from omnimotion.geometry import to_raster
from omnimotion.points import Size


def corner_down(xy: np.ndarray) -> np.ndarray:
    """Pixels from the upper left corner (After Effects, COLMAP)."""
    return to_raster(xy.astype(np.float64))


def corner_up(xy: np.ndarray, size: Size) -> np.ndarray:
    """Pixels from the lower left corner (Nuke, Shake, 3DEqualizer)."""
    return corner_down(xy) * (1, -1) + (0, size[1])


def centre_up(xy: np.ndarray, size: Size) -> np.ndarray:
    """Pixels from the centre of the lower left pixel (PFTrack)."""
    return corner_up(xy, size) - 0.5


def share_down(xy: np.ndarray, size: Size) -> np.ndarray:
    """Shares of width and height from the upper left corner (TAP-Vid)."""
    return corner_down(xy) / size


def share_up(xy: np.ndarray, size: Size) -> np.ndarray:
    """Shares of width and height from the lower left corner (Blender, ST maps)."""
    return corner_up(xy, size) / size


def centres_at_one(xy: np.ndarray, size: Size) -> np.ndarray:
    """-1 to 1 from the centre of the first pixel to that of the last, y down (SynthEyes)."""
    return 2 * xy.astype(np.float64) / (np.asarray(size) - 1) - 1
