"""Whether probabilities are as often right as they say: tables, their error, and their picture.

Conventions. A table has a row of count, mean of what is said, and share that is right, for each of
some bins of equal width of what is said; the latter two are NaN where the count is 0.
"""

import io
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

INK = "#4a4a52"


def reliability(said: np.ndarray, right: np.ndarray, bins: int) -> np.ndarray:
    """The table (bins, 3) of probabilities (C,) in [0, 1] and of what is right, bool (C,)."""
    which = np.minimum((np.asarray(said) * bins).astype(np.int64), bins - 1)
    count = np.bincount(which, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean, share = (np.bincount(which, of, bins) / count for of in (said, right))
    return np.column_stack((count, mean, share))


def calibration_error(table: np.ndarray) -> float:
    """The expected calibration error: the mean distance of the means. NaN of an empty table."""
    count, mean, share = table[table[:, 0] > 0].T
    return float(np.sum(count * np.abs(mean - share)) / count.sum()) if len(count) else math.nan


def reliability_picture(tables: Mapping[str, np.ndarray]) -> bytes:
    """A PNG: share that is right against what is said, of tables by their names; below, counts."""
    figure = Figure(figsize=(5.2, 6.0), dpi=110, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--")
    for name, table in tables.items():
        count, mean, share = table[table[:, 0] > 0].T
        upper.plot(mean, share, "o-", linewidth=1.6, markersize=4, label=name)
        lower.plot(mean, 100 * count / count.sum(), "o-", linewidth=1.2, markersize=3)
    upper.set(xlim=(0, 1), ylim=(0, 1))
    lower.set_ylim(bottom=0)
    if tables:
        upper.legend(frameon=False, fontsize=8)
    title = "share of tracks within 4 px, by confidence; dashed: as it should be"
    upper.set_title(title, loc="left", fontsize=10, color=INK)
    lower.set_title("share of all tracks, %", loc="left", fontsize=10, color=INK)
    lower.set_xlabel("confidence", fontsize=9, color=INK)
    for axes in (upper, lower):
        axes.grid(color="#e4e4e8", linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(labelsize=8, colors=INK)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
