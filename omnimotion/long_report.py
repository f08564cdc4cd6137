"""What the fits of a clip's windows say together: ``report.json`` of a run in windows.

Each window has a report of its own (`omnimotion.report`). A clip is as good as its worst window,
for tracks pass through all: of each figure it gives the worst value, and the window it is of.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omnimotion.errors import CheckpointError
from omnimotion.files import read_json, shown, write_json
from omnimotion.kinds import NONE, NUMBER, Kinds, check_kinds
from omnimotion.report import FIGURES, REPORT_NAME
from omnimotion.report_page import shown_value

log = logging.getLogger(__name__)

KIND, FORMAT = "omnimotion-windows-report", 1
_KINDS: Kinds = {
    "convention": (str,), "scene": (str,), "source": (str,), "flow": (dict,), "size": (list,),
    "figures": (dict,),
}
TOLD = "held_out_under_2_px"  # in the log


def save_windows_report(run: Path, windows: Sequence[range], folders: Sequence[Path]) -> None:
    """Write the report of a run from those of its windows, in their ``folders``.

    CheckpointError where one of these is missing or damaged.
    """
    reports = [_read(folder / REPORT_NAME) for folder in folders]
    figures = {name: found for name in FIGURES if (found := _worst(name, reports)) is not None}
    write_json(run / REPORT_NAME, {
        "kind": KIND, "format": FORMAT, "convention": reports[0]["convention"],
        "scene": reports[0]["scene"], "source": reports[0]["source"], "run": run.name,
        "flow": reports[0]["flow"], "n_frames": windows[-1].stop, "size": reports[0]["size"],
        "figures": figures,
        "windows": [
            {
                "frames": [window.start, window.stop - 1], "run": folder.name,
                "figures": {name: each["value"] for name, each in report["figures"].items()},
            }
            for window, folder, report in zip(windows, folders, reports)
        ],
    })  # fmt: skip
    if TOLD in figures:
        worst = figures[TOLD]
        log.info("report=%s worst window=%d: %s %s", run / REPORT_NAME, worst["window"],
                 worst["title"], shown_value(worst))  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    """The report of a window."""
    report = read_json(path, CheckpointError)
    try:
        check_kinds(report, _KINDS)
        for figure in report["figures"].values():
            check_kinds(figure, {"value": (*NUMBER, NONE), "unit": (str,), "title": (str,)})
    except ValueError as problem:
        raise CheckpointError(f"{shown(path)} is damaged: {problem}") from problem
    return report


def _worst(name: str, reports: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """A figure of the window where it is worst, and that window; None where none has it."""
    figure = FIGURES[name]
    less = figure.good is None or figure.fair is None or figure.good < figure.fair  # lengths: yes
    found = [{**report["figures"][name], "window": k} for k, report in enumerate(reports)
             if name in report["figures"]]  # fmt: skip
    found = [each for each in found if each["value"] is not None]
    return (max if less else min)(found, key=lambda each: each["value"], default=None)
