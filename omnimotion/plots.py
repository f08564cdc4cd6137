"""Pictures of a fit in numbers: its course, and where and how far it is off.

Conventions: a record is one line of ``metrics.jsonl``, a flat object with the key ``step``; every
other key that holds numbers becomes a curve. Losses share the first panel; each other quantity has
its own. Errors are in pixels of a frame whose longer side is 256. A picture is a PNG, and equal
numbers give equal bytes.
"""

import io
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from omnimotion.files import atomic_write

if TYPE_CHECKING:  # else only where a picture is made: a query makes none, and would wait for it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SMOOTHING = 40  # the bold curve is smoothed over the count of records divided by this
_COLUMNS = 2
_MAX_PANELS = 12
_LOG_SPAN = 30  # positive values that span more than this factor get a logarithmic axis
_INK, _RAW_OPACITY = "#4a4a52", 0.22
_CURVES = ("#3b6fd4", "#e07b39", "#3d9a6b", "#c2445a", "#7d5cc6", "#8a6d3b", "#2fa3b5", "#b0508f")

_BAR, _MARKED, _EMPTY = "#9db4e3", "#c2445a", "#ececf0"
_ERROR_MARKS = (1, 2, 4)  # px, drawn into the histogram
_ERROR_RANGE = (1e-2, 1e2)  # px, what lies beyond is counted at the ends
_SEEN_OFF = 2.0  # px, the least that the strongest colour of a map stands for

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
    figure = _figure(6.4 * columns, 3.4 * rows)
    for number, names in enumerate(panels, start=1):
        axes = figure.add_subplot(rows, columns, number)
        _draw_panel(axes, {name: curves[name] for name in names})
    atomic_write(path, _png(figure))


def frame_errors_picture(
    error_px: Sequence[float | None], coverage: Sequence[float], marked: Collection[int]
) -> bytes:
    """Bars: the error of each frame, some of them ``marked``, and the share with a match below."""
    figure = _figure(12.8, 4.4)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    heights = np.array([0.0 if value is None else value for value in error_px])
    _bars(upper, heights, [_MARKED if t in marked else _BAR for t in range(len(heights))])
    _bars(lower, 100 * np.asarray(coverage), [_BAR] * len(coverage))
    upper.set_ylim(0, 1.05 * max(heights, default=0) or 1)
    lower.set_ylim(0, 100)
    lower.set_xlim(-0.6, max(1, len(heights)) - 0.4)
    _label(upper, "mean error of held-out matches by frame, px", "")
    _label(lower, "share of the frame with a match, %", "frame")
    return _png(figure)


def _bars(axes: "Axes", heights: np.ndarray, colours: Sequence[str]) -> None:
    """A bar at each of 0, 1, 2 ...; one object, where ``axes.bar`` is slow for long clips."""
    from matplotlib.collections import PolyCollection

    corners = np.zeros((len(heights), 4, 2))
    corners[..., 0] = np.arange(len(heights))[:, None] + [-0.43, -0.43, 0.43, 0.43]
    corners[:, 1:3, 1] = heights[:, None]
    axes.add_collection(PolyCollection(list(corners), facecolors=list(colours), linewidths=0))


def error_histogram(error_px: np.ndarray) -> bytes:
    """How many errors (H,) there are of which size, and which share is below 1, 2 and 4 px."""
    figure = _figure(6.4, 3.8)
    axes = figure.add_subplot()
    low, high = _ERROR_RANGE
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    if len(error_px):
        axes.hist(error_px.clip(low, high), bins=np.geomspace(low, high, 61).tolist(), color=_BAR)
        axes.set_ylim(top=1.15 * axes.get_ylim()[1])  # room for the words
    for mark in _ERROR_MARKS if len(error_px) else ():
        axes.axvline(mark, color=_MARKED, linewidth=1)
        axes.text(mark, 0.99, f" {100 * np.mean(error_px < mark):.0f} %", rotation=90, fontsize=7,
                  ha="right", va="top", color=_MARKED, transform=axes.get_xaxis_transform())
    title = "held-out matches by error, px" if len(error_px) else "no held-out matches"
    _label(axes, title, "error, px; lines: share below 1, 2 and 4 px")
    return _png(figure)


def error_map_picture(error_px: np.ndarray) -> bytes:
    """Mean error (rows, columns) by place in the frame as colour; grey where it is NaN."""
    rows, columns = error_px.shape
    longer = max(rows, columns)
    figure = _figure(max(2.5, 1.2 + 5.2 * columns / longer), 0.8 + 5.2 * rows / longer)
    axes = figure.add_subplot()
    known = error_px[np.isfinite(error_px)]
    top = max(_SEEN_OFF, float(np.quantile(known, 0.98))) if len(known) else _SEEN_OFF
    axes.set_facecolor(_EMPTY)
    shown = np.ma.masked_invalid(error_px)
    colours = axes.imshow(shown, cmap="YlOrRd", vmin=0, vmax=top, interpolation="nearest")
    figure.colorbar(colours, ax=axes, shrink=0.8).ax.tick_params(labelsize=8, colors=_INK)
    _label(axes, "mean error of held-out matches by place in the frame, px", "")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[])
    return _png(figure)


def _figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that knows how to draw itself."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


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


def _draw_panel(axes: "Axes", curves: Mapping[str, Curve]) -> None:
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


def _style(axes: "Axes", curves: Mapping[str, Curve]) -> None:
    names = list(curves)
    title = names[0] if len(names) == 1 else ("losses" if names else "")
    if len(names) > 1:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)
    _label(axes, title.replace("_", " "), "step")


def _label(axes: "Axes", title: str, label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK)
    axes.set_xlabel(label, fontsize=9, color=_INK)
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
