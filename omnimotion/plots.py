"""The course of a fit as one picture.

Convention: a record is one line of ``metrics.jsonl``, a flat object with the key ``step``; every
other key that holds numbers becomes a curve. Losses share the first panel; each other quantity has
its own.
"""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from omnimotion.files import atomic_write

_SMOOTHING = 40  # the bold curve is smoothed over the count of records divided by this
_COLUMNS = 2
_MAX_PANELS = 12
_LOG_SPAN = 30  # positive values that span more than this factor get a logarithmic axis
_INK, _RAW_OPACITY = "#4a4a52", 0.22
_CURVES = ("#3b6fd4", "#e07b39", "#3d9a6b", "#c2445a", "#7d5cc6", "#8a6d3b", "#2fa3b5", "#b0508f")

Curve = tuple[np.ndarray, np.ndarray]  # steps and values, float64 (n,)


def plot_metrics(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the curves of the records as a PNG, written atomically.

    A record that lacks a key, or holds NaN or infinity there, leaves a gap. Without records the
    picture says so.
    """
    curves = _curves(records)
    losses = [name for name in curves if _is_loss(name)]
    panels = ([losses] if losses else []) + [[name] for name in curves if name not in losses]
    panels = panels[:_MAX_PANELS] or [[]]
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(6.4 * columns, 3.4 * rows), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for number, names in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_panel(axes, {name: curves[name] for name in names})
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    atomic_write(path, buffer.getvalue())


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """The finite values of every numeric key, in the order in which the keys first appear."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        step = record.get("step")
        if step is None or not _is_number(step):
            continue
        for name, value in record.items():
            if name != "step" and _is_number(value):
                points.setdefault(name, []).append((step, value))
    return {name: _sorted_curve(pairs) for name, pairs in points.items()}


def _sorted_curve(pairs: list[tuple[float, float]]) -> Curve:
    table = np.array(pairs, np.float64)
    table = table[np.argsort(table[:, 0], kind="stable")]  # a resumed run repeats steps
    return table[:, 0], table[:, 1]


def _is_number(value: Any) -> bool:
    is_real = isinstance(value, int | float) and not isinstance(value, bool)
    return is_real and math.isfinite(value)


def _is_loss(name: str) -> bool:
    return name.startswith("loss") or name.endswith("loss")


def _draw_panel(axes: Axes, curves: Mapping[str, Curve]) -> None:
    for number, (name, (steps, values)) in enumerate(curves.items()):
        colour = _CURVES[number % len(_CURVES)]
        axes.plot(steps, values, color=colour, linewidth=0.8, alpha=_RAW_OPACITY)
        axes.plot(steps, _smooth(values), color=colour, linewidth=1.6, label=name)
        if len(values) == 1:
            axes.plot(steps, values, "o", color=colour, markersize=4)
    if not curves:
        axes.text(0.5, 0.5, "no metrics yet", ha="center", va="center", color=_INK)
    if _needs_log_axis([values for _, values in curves.values()]):
        axes.set_yscale("log")
    _style(axes, curves)


def _needs_log_axis(curves: Sequence[np.ndarray]) -> bool:
    lows, highs = [c.min() for c in curves], [c.max() for c in curves]
    return bool(curves) and min(lows) > 0 and max(highs) > _LOG_SPAN * min(lows)


def _style(axes: Axes, curves: Mapping[str, Curve]) -> None:
    names = list(curves)
    title = names[0] if len(names) == 1 else ("losses" if names else "")
    axes.set_title(title.replace("_", " "), loc="left", fontsize=10, color=_INK)
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)
    axes.set_xlabel("step", fontsize=9, color=_INK)
    axes.grid(color="#e4e4e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=_INK, which="both")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b8b8c0")


def _smooth(values: np.ndarray) -> np.ndarray:
    """A smooth curve that single outliers do not move; short at the ends, never shifted."""
    half = len(values) // _SMOOTHING // 2
    if not half:
        return values
    for reduce in (np.median, np.mean):  # the median alone leaves steps
        padded = np.pad(values, half, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
        values = reduce(windows, axis=-1)
    return values
