"""What a fit says about itself, in its run's folder: ``report.json`` and ``report.html``.

Conventions are those of `omnimotion.health`. A verdict is good, fair or poor by two bounds of the
figure; a figure that says little by itself, or whose bounds depend on the video, has none. The
bounds are a judgement. Those of the flow errors were held against fits of two rendered clips at
several steps: with both good or fair AJ was above 75, with under a tenth of what moves below 65.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omnimotion.errors import CheckpointError
from omnimotion.files import atomic_write, read_bytes, write_json
from omnimotion.fitting import Fit
from omnimotion.flow import SceneStore
from omnimotion.health import MOVING_PX, SETTLED, Health, measure
from omnimotion.history import PICTURE_NAME
from omnimotion.images import encode_png
from omnimotion.plots import error_histogram, error_map_picture, frame_errors_picture
from omnimotion.previews import preview_path, preview_picture
from omnimotion.report_page import Picture, page, shown_value

log = logging.getLogger(__name__)

REPORT_NAME = "report.json"
KIND, FORMAT = "omnimotion-report", 1
CONVENTION = (
    "lengths in pixels of a frame whose longer side is 256, Euclidean; shares in 0..1; null where "
    "there is nothing to measure"
)


@dataclass(frozen=True)
class Figure:
    """What a figure means, and from where it is good or fair.

    ``good`` below ``fair`` means that less is better, and the figure must be below; the other way
    round it must be at least that.
    """

    title: str
    unit: str  # px, share or levels (of 255)
    meaning: str
    good: float | None = None
    fair: float | None = None

    def verdict(self, value: float | None) -> str | None:
        """Good, fair or poor; None without a value or without bounds."""
        if value is None or self.good is None or self.fair is None:
            return None
        less = self.good < self.fair
        for name, bound in (("good", self.good), ("fair", self.fair)):
            if value < bound if less else value >= bound:
                return name
        return "poor"


FIGURES = {
    "held_out_median_px": Figure(
        "flow error, median", "px",
        "Half of the matches that the fit never drew are mapped closer than this to the place "
        "where flow saw them. In most videos these are of the background, and soon right.",
    ),
    "held_out_under_2_px": Figure(
        "flow error below 2 px", "share",
        "Share of the matches never drawn that are mapped to within 2 px of where flow saw them.",
        0.95, 0.85,
    ),
    "moving_under_2_px": Figure(
        "flow error below 2 px, of what moves", "share",
        f"The same, of matches that move by more than {MOVING_PX:g} px against the camera: small "
        "and fast things, which the background outvotes above; flow itself is often wrong there.",
        0.9, 0.7,
    ),
    "order_conflicts": Figure(
        "order conflicts", "share",
        "Share of the points seen in two frames, by their flow, that the fit takes for hidden in "
        "the second: it has put another surface in front.", 0.03, 0.1,
    ),
    "cycle_median_px": Figure(
        "cycle error, median", "px",
        "How far from its start a point comes back that is tracked to another frame, and whose "
        "place there is then tracked back.",
    ),
    "cycle_under_2_px": Figure(
        "cycle error below 2 px", "share",
        "Share of those points that come back to within 2 px: the others met another surface.",
        0.97, 0.9,
    ),
    "photometric_rms": Figure(
        "colour error", "levels",
        "Root mean square difference of rendered and true colour, of 255 levels; fine texture "
        "makes it large and harms no track.",
    ),
    "settled": Figure(
        "settled surface", "share",
        f"Share of the pixels whose ray has {SETTLED:g} of its weight at one depth; elsewhere the "
        "fit has found no surface, which matters where something passes in front.", 0.6, 0.3,
    ),
    "coverage_lowest": Figure(
        "coverage of the worst frame", "share",
        "Share of the frame with the fewest matches that has a match to any other frame; where "
        "there is none, tracks rest on what is around.", 0.8, 0.5,
    ),
}  # fmt: skip


def save_report(fit: Fit, store: SceneStore, restarts: dict[str, Any] | None = None) -> Path:
    """Measure a fit and write its report; the path of ``report.html``.

    ``restarts``: what was compared, if anything was (see `omnimotion.restarts`).
    """
    content, html = make_report(fit, store, restarts)
    write_json(fit.run / REPORT_NAME, content)
    path = fit.run / "report.html"
    atomic_write(path, html.encode())
    log.info("report=%s %s", path, headline(content))
    return path


def make_report(
    fit: Fit, store: SceneStore, restarts: dict[str, Any] | None = None
) -> tuple[dict[str, Any], str]:
    """Measure a fit: what ``report.json`` holds, and the page ``report.html``."""
    health = measure(fit.scene, fit.pool, store, fit.config.fit.seed)
    content = report_content(health, fit, store) | ({"restarts": restarts} if restarts else {})
    return content, page(content, _pictures(health, fit, store))


def report_content(health: Health, fit: Fit, store: SceneStore) -> dict[str, Any]:
    """What ``report.json`` holds."""
    index, values = store.index, health.figures
    return {
        "kind": KIND, "format": FORMAT, "convention": CONVENTION,
        "scene": index.name, "source": index.source, "run": fit.run.name,
        "step": fit.step, "seed": fit.config.fit.seed, "flow": index.flow,
        "n_frames": index.n_frames, "size": list(index.size),
        "figures": {
            name: {"value": values[name], "verdict": figure.verdict(values[name])} | asdict(figure)
            for name, figure in FIGURES.items()
        },
        "held_out": {
            "all": asdict(health.held_out), "moving": asdict(health.moving),
            "by_gap": {name: asdict(each) for name, each in health.by_gap.items()},
            "by_frame": [asdict(each) for each in health.by_frame],
        },
        "cycle": asdict(health.cycle), "coverage": health.coverage,
        "worst_frames": health.worst_frames,
    }  # fmt: skip


def headline(content: dict[str, Any]) -> str:
    """The figures in one line."""
    return " ".join(
        f"{name}={shown_value(figure).replace(' ', '')}"
        + (f"({figure['verdict']})" if figure["verdict"] else "")
        for name, figure in content["figures"].items()
    )


def _pictures(health: Health, fit: Fit, store: SceneStore) -> list[Picture]:
    means = [each.mean_px for each in health.by_frame]
    pictures = [
        Picture(_preview(fit, store), "The fit at its end: tracks of one grid of points, "
                "pseudo-depth (small in front) and rendered colour."),
        Picture(frame_errors_picture(means, health.coverage, health.worst_frames),
                "Held-out matches that start or end in each frame; red: the worst frames. Below: "
                "how much of the frame has flow at all."),
        Picture(error_histogram(health.error_px),
                "How many held-out matches are how far off."),
        Picture(error_map_picture(health.error_map),
                "Where in the frame, over all frames, held-out matches are off."),
    ]  # fmt: skip
    loss = fit.run / PICTURE_NAME
    if loss.is_file():
        data = read_bytes(loss, CheckpointError)
        pictures.append(Picture(data, "The course of the fit: terms of the loss by step."))
    return pictures


def _preview(fit: Fit, store: SceneStore) -> bytes:
    """The last preview, made now where the fit made none."""
    path = preview_path(fit.run, fit.step)
    if fit.config.fit.preview_every and path.is_file():
        return read_bytes(path, CheckpointError)
    return encode_png(preview_picture(store, fit.scene))
