"""The summary of a batch: ``summary.json``, ``summary.html``, and a table for the terminal.

Conventions. Status: ``done``; ``failed``; ``begun`` (a stage was started and has not ended, or not
been told yet); ``waiting``. Links are relative to the batch's folder. Videos come by name, so that
whoever writes the summary of a folder writes the same.
"""

import logging
import os
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from omnimotion.batch.task import STAGES, Record, Task
from omnimotion.batch.work import found_record, waiting_lock
from omnimotion.errors import CheckpointError, OmniMotionError, SceneError
from omnimotion.files import atomic_write, read_json, shown, write_json
from omnimotion.kinds import NONE, NUMBER, check_kinds
from omnimotion.report_page import STYLE, shown_value
from omnimotion.temporary import is_temp

log = logging.getLogger(__name__)

KIND, FORMAT = "omnimotion-batch", 1
STATES = ("done", "failed", "begun", "waiting")
FIGURES = ("held_out_under_2_px", "moving_under_2_px", "coverage_lowest")
"""Of the report of a fit: those that tell most about a video among many."""
TITLES = ("flow < 2 px", "moving < 2 px", "coverage")
_MARKS = {"done": "good", "failed": "poor", "begun": "fair", "waiting": "fair"}


def save_summary(folder: Path, tasks: Sequence[Task], ended: Sequence[Record]) -> dict[str, Any]:
    """Write the summary of all tasks, of every shard and of earlier calls; what it says.

    ``ended``: records of this process, which may know of an error that could not be written.
    """
    own = {record.name: record for record in ended}
    with waiting_lock(folder / "summary.lock"):  # so that the last to write has read everything
        found = {task.name: row_of(task, own.get(task.name) or found_record(task))
                 for task in tasks}  # fmt: skip
        for task, record in _of_earlier_calls(folder.absolute(), found):
            found[task.name] = row_of(task, record, is_asked=False)
        rows = [found[name] for name in sorted(found)]
        counts = Counter(row["status"] for row in rows)
        content = {
            "kind": KIND, "format": FORMAT,
            "counts": {name: counts[name] for name in STATES}, "videos": rows,
        }  # fmt: skip
        write_json(folder / "summary.json", content)
        atomic_write(folder / "summary.html", page(content).encode("utf-8", "replace"))
    return content


def row_of(task: Task, record: Record, is_asked: bool = True) -> dict[str, Any]:
    """What the summary says of one video; one that is not asked for now is as it was left."""
    status = state_of(task, record, is_asked)
    failure, report = record.failure, _report(task)
    links = {"tracks": task.tracks, "report": task.report.with_suffix(".html"), "log": task.log}
    return {
        "name": shown(task.name), "video": shown(task.video), "status": status,
        "stage": failure.stage if failure else record.begun,
        "exit_code": failure.exit_code if failure else None,
        "error": failure.error if failure else None,
        "seconds": {name: made["s"] for name, made in record.stages.items()},
        "peak_mb": max((made["mb"] for made in record.stages.values()), default=None),
        "n_frames": report.get("n_frames"), "size": report.get("size"),
        "figures": {name: report.get("figures", {}).get(name) for name in FIGURES},
        "links": {
            name: quote(os.fsencode(path.relative_to(task.folder)))
            for name, path in links.items() if path.is_file()
        },
    }  # fmt: skip


def state_of(task: Task, record: Record, is_asked: bool = True) -> str:
    """One of `STATES`."""
    if record.failure:
        return "failed"
    if record.is_done(task) if is_asked else record.is_whole(task):
        return "done"
    return "begun" if record.begun or record.stages else "waiting"


def _of_earlier_calls(folder: Path, known: Container[str]) -> Iterator[tuple[Task, Record]]:
    """Videos that are not among the known ones, as their records tell of them."""
    for path in sorted((folder / "results").glob("*.json")):
        if path.stem in known or is_temp(path):
            continue
        task = Task(path.stem, Path(), folder, {}, {})
        try:
            record = Record.load(task)
        except SceneError as problem:
            log.warning("%s; the summary leaves it out", problem)
            continue
        if record:
            yield replace(task, video=Path(record.video)), record


def _report(task: Task) -> dict[str, Any]:
    """The report of the fit, empty where there is none yet."""
    if not task.report.is_file():
        return {}
    try:
        report = read_json(task.report, CheckpointError)
        check_kinds(report, {"figures": (dict,)})
        for name in FIGURES:
            if name in report["figures"]:
                check_kinds(report["figures"][name], {"value": (*NUMBER, NONE), "unit": (str,)})
        return report
    except (OmniMotionError, ValueError):  # the summary tells what it can; `train` what is wrong
        return {}


# for the terminal -------------------------------------------------------------------------------


def line_of(row: dict[str, Any]) -> str:
    """A video that has ended, in a line."""
    if row["status"] == "failed":
        return f"{row['name']}: failed in {row['stage']} ({row['exit_code']}): {row['error']}"
    times = " ".join(f"{stage}={row['seconds'].get(stage, 0):.0f}s" for stage in STAGES)
    return f"{row['name']}: {row['status']} {times}"


def table(content: dict[str, Any]) -> str:
    """All videos, a line each, and their number by status."""
    head = ["video", "status", *STAGES, "MB", *TITLES, "error"]
    lines = [head, *(_cells(row) for row in content["videos"])]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)) for line in lines]
    return "\n".join([*(line.rstrip() for line in text), "", counted(content["counts"])])


def counted(counts: dict[str, int]) -> str:
    """Numbers by status, in words."""
    total = sum(counts.values())
    return f"{total} videos: " + ", ".join(f"{counts[name]} {name}" for name in STATES)


def _cells(row: dict[str, Any]) -> list[str]:
    times = [f"{row['seconds'][stage]:.1f} s" if stage in row["seconds"] else "-"
             for stage in STAGES]  # fmt: skip
    memory = "-" if row["peak_mb"] is None else str(row["peak_mb"])
    status = row["status"] if row["stage"] is None else f"{row['status']}: {row['stage']}"
    return [row["name"], status, *times, memory, *_figures(row), row["error"] or ""]


def _figures(row: dict[str, Any]) -> list[str]:
    return [shown_value(each) if each else "-" for each in row["figures"].values()]


# for a browser ----------------------------------------------------------------------------------


def page(content: dict[str, Any]) -> str:
    """``summary.html``: no script, no request; links to each video's report, tracks and log."""
    head = ["video", "status", "frames", *STAGES, "MB", *TITLES, "", "error"]
    cells = "".join(f"<th>{escape(each)}</th>" for each in head)
    rows = "\n".join(_row(row) for row in content["videos"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>omnimotion batch</title>
<style>{STYLE} body {{ max-width: none; }}</style>
</head>
<body>
<h1>{escape(counted(content["counts"]))}</h1>
<table>
<tr>{cells}</tr>
{rows}
</table>
<p class="note">Figures are those of each fit's report, which explains them: shares of held-out
matches within 2 px, of all and of those that move; coverage by matches of the worst frame.</p>
</body>
</html>
"""


def _row(row: dict[str, Any]) -> str:
    name, status, *numbers, error = _cells(row)
    frames = "-" if row["n_frames"] is None else str(row["n_frames"])
    links = " ".join(
        f'<a href="{escape(target)}">{escape(kind)}</a>' for kind, target in row["links"].items()
    )
    cells = "".join(f'<td class="number">{escape(each)}</td>' for each in [frames, *numbers])
    mark = f'<span class="verdict {_MARKS[row["status"]]}">{escape(status)}</span>'
    return (f'<tr><td title="{escape(row["video"])}">{escape(name)}</td><td>{mark}</td>{cells}'
            f"<td>{links}</td><td>{escape(error)}</td></tr>")  # fmt: skip
