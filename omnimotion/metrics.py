"""Scores of point tracks against ground truth, in plain numpy.

Convention: arrays are ``(Q, T)`` over queries and frames, points ``(Q, T, 2)`` x, y. ``evaluated``
marks the (query, frame) cells that count. Fractions are in 0..1, errors in pixels of whatever
scale the points are given in; TAP-Vid scores want points at 256x256 (`to_scale`). A score whose
denominator is empty is NaN. A prediction that is not finite is never within a threshold.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

SCALE_PX = 256  # TAP-Vid scores every clip as if it were 256x256
THRESHOLDS_PX = (1.0, 2.0, 4.0, 8.0, 16.0)
PCK_RADIUS = 0.2  # BADJA: a joint is right within 0.2 sqrt(mask area)


def to_scale(xy: Floats, size: tuple[int, int], scale_px: int = SCALE_PX) -> NDArray[np.float64]:
    """Pixel-centre points (..., 2) of a (W, H) clip as raster points of a square clip.

    Raster: (0, 0) is the outer corner of the first pixel: ``(xy + 0.5) * scale / size``.
    """
    return (np.asarray(xy, np.float64) + 0.5) * scale_px / np.asarray(size, np.float64)


def squared_error(xy: Floats, true_xy: Floats) -> NDArray[np.float64]:
    """Squared distance (Q, T); infinite where the prediction is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        squared = np.sum(np.square(np.asarray(xy, np.float64) - true_xy), axis=-1)
    return np.where(np.isfinite(squared), squared, np.inf)


def tapvid_scores(
    evaluated: Bools,  # (Q, T)
    true_visible: Bools,  # (Q, T)
    true_xy: Floats,  # (Q, T, 2) at 256x256
    visible: Bools,  # (Q, T)
    xy: Floats,  # (Q, T, 2) at 256x256
) -> dict[str, float]:
    """The TAP-Vid scores of one clip (Doersch et al. 2022), as fractions.

    Keys: ``OA``; ``delta_1`` .. ``delta_16`` and their mean ``delta_avg`` (over visible points,
    whatever visibility is predicted); ``jaccard_1`` .. ``jaccard_16`` and their mean ``AJ``.
    Thresholds are strict and compared squared, as in the reference implementation.
    """
    error = squared_error(xy, true_xy)
    seen = evaluated & true_visible
    claimed = evaluated & visible
    scores = {"OA": _share(visible == true_visible, evaluated)}
    n_seen = int(seen.sum())
    for threshold in THRESHOLDS_PX:
        within = error < threshold**2
        true_positives = int((seen & visible & within).sum())
        false_positives = int((claimed & ~(true_visible & within)).sum())
        scores[f"delta_{threshold:g}"] = _share(within, seen)
        scores[f"jaccard_{threshold:g}"] = _ratio(true_positives, n_seen + false_positives)
    for mean, part in (("delta_avg", "delta"), ("AJ", "jaccard")):
        scores[mean] = float(np.mean([scores[f"{part}_{t:g}"] for t in THRESHOLDS_PX]))
    return scores


def temporal_coherence(true_visible: Bools, true_xy: Floats, xy: Floats) -> float:
    """Mean error of the acceleration (OmniMotion's TC), in the points' pixels; lower is better.

    Over triplets of successive frames that are all visible in the ground truth, the query's frame
    included. NaN if there is none: the published code says 0, a perfect score for no data.
    """
    triplets = true_visible[:, :-2] & true_visible[:, 1:-1] & true_visible[:, 2:]
    if not triplets.any():
        return float("nan")
    bend = np.diff(np.asarray(xy, np.float64), n=2, axis=1)
    true_bend = np.diff(np.asarray(true_xy, np.float64), n=2, axis=1)
    return float(np.mean(np.sqrt(squared_error(bend, true_bend)[triplets])))


def median_error(cells: Bools, true_xy: Floats, xy: Floats) -> float:
    """Median distance over the chosen cells; NaN if there are none."""
    chosen = np.sqrt(squared_error(xy, true_xy)[cells])
    return float(np.median(chosen)) if chosen.size else float("nan")


def median_trajectory_error(evaluated: Bools, true_xy: Floats, xy: Floats) -> float:
    """PointOdyssey's MTE: mean over trajectories of the median distance over evaluated cells."""
    error = np.sqrt(squared_error(xy, true_xy))
    medians = [np.median(row[cells]) for row, cells in zip(error, evaluated) if cells.any()]
    return float(np.mean(medians)) if medians else float("nan")


def share_within(cells: Bools, true_xy: Floats, xy: Floats, radius: float | Floats) -> float:
    """Share of the chosen cells with distance < radius (a number, or one per frame (T,))."""
    return _share(squared_error(xy, true_xy) < np.square(radius), cells)


def badja_pck(cells: Bools, true_xy: Floats, xy: Floats, mask_areas: Floats) -> float:
    """BADJA's PCK-T: share within 0.2 sqrt(mask area of the target frame), all in native pixels.

    ``mask_areas`` (T,) counts foreground pixels; a frame with an empty mask is left out.
    """
    radius = PCK_RADIUS * np.sqrt(mask_areas)
    return share_within(cells & (radius > 0), true_xy, xy, radius)


def survival(
    query_frames: NDArray[np.integer],  # (Q,)
    span: Bools,  # (Q, T) frames asked for
    evaluated: Bools,  # (Q, T) those where the truth is known
    true_xy: Floats,
    xy: Floats,
    threshold: float,
) -> float:
    """Share of the asked frames that a track reaches before its first error above the threshold.

    PointOdyssey's survival, counted from the query outwards in both directions; with the query at
    frame 0 the two are one. A frame of unknown truth cannot fail.
    """
    alive = ~(evaluated & (squared_error(xy, true_xy) > threshold**2))
    frames = np.arange(alive.shape[1])
    after = frames >= query_frames[:, None]
    forward = np.logical_and.accumulate(alive | ~after, axis=1)
    backward = np.logical_and.accumulate((alive | after)[:, ::-1], axis=1)[:, ::-1]
    return _share(np.where(after, forward, backward), span)


def _share(hits: Bools, cells: Bools) -> float:
    return _ratio(int((hits & cells).sum()), int(cells.sum()))


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
