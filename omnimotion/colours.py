"""Colours of tracks, by the place of their queries or by depth, and of flow. All uint8 RGB."""

import cv2
import numpy as np

_FAR_LEVEL = 70  # of 255: what lies farthest must still be seen on a dark frame


def query_colours(queries: np.ndarray) -> np.ndarray:
    """A colour for each query from its place: uint8 (Q, 3) RGB for queries (Q, 3) of t, x, y.

    Hue runs along the direction in which the queries spread most, lightness along the other, both
    by rank, so that points crowded on one object still differ. Equal lightness steps look equal
    (OKLCH, Ottosson 2020).
    """
    if not len(queries):
        return np.zeros((0, 3), np.uint8)
    along, across = np.argsort(-np.ptp(queries[:, 1:], axis=0), kind="stable")
    hue = np.radians(25 + 305 * _rank(queries[:, 1 + along]))
    lightness = 0.83 - 0.15 * _rank(queries[:, 1 + across])
    return _oklch(lightness, np.full_like(lightness, 0.17), hue)


def depth_colours(depth: np.ndarray) -> np.ndarray:
    """A colour for each place from its pseudo-depth: (Q, T, 3) for (Q, T); near is bright.

    The range is that of all places, but for a hundredth at either end.
    """
    if not depth.size:
        return np.zeros((*depth.shape, 3), np.uint8)
    near, far = np.percentile(depth, (1, 99))
    nearness = ((far - depth) / max(far - near, 1e-6)).clip(0, 1)
    level = np.rint(_FAR_LEVEL + (255 - _FAR_LEVEL) * nearness).astype(np.uint8)
    return cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1]


def flow_colours(flow: np.ndarray, full_px: float) -> np.ndarray:
    """A colour for each motion: uint8 (..., 3) for (..., 2) in pixels.

    Hue is the direction, colourfulness grows with the length, up to ``full_px``; rest is white.
    """
    share = (np.hypot(flow[..., 0], flow[..., 1]) / full_px).clip(0, 1)
    return _oklch(1 - 0.3 * share, 0.17 * share, np.arctan2(flow[..., 1], flow[..., 0]))


def _rank(values: np.ndarray) -> np.ndarray:
    """The place of each value among the distinct ones, in [0, 1]."""
    distinct, place = np.unique(values, return_inverse=True)
    return place / max(len(distinct) - 1, 1)


def _oklch(lightness: np.ndarray, chroma: np.ndarray, hue: np.ndarray) -> np.ndarray:
    """OKLCH (...,), hue in radians, to uint8 sRGB (..., 3), clipped to the gamut."""
    a, b = chroma * np.cos(hue), chroma * np.sin(hue)
    lms = np.stack(
        (
            lightness + 0.3963377774 * a + 0.2158037573 * b,
            lightness - 0.1055613458 * a - 0.0638541728 * b,
            lightness - 0.0894841775 * a - 1.2914855480 * b,
        ),
        axis=-1,
    )
    to_linear = np.array(
        (
            (4.0767416621, -3.3077115913, 0.2309699292),
            (-1.2684380046, 2.6097574011, -0.3413193965),
            (-0.0041960863, -0.7034186147, 1.7076147010),
        )
    )
    linear = ((lms**3) @ to_linear.T).clip(0, 1)
    encoded = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
