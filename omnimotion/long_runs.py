"""Runs of long clips: a folder of windows, each of them a run of its own.

``windows.json`` in the run's folder says how the clip is cut; it is written before the first
window is fitted, and marked complete after the last. ``window_0000`` and so on are runs as any. A
refit has ``pins.npz`` besides, with all pins of the clip.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from omnimotion.checkpoint import checkpoints, newest_checkpoint, run_name
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, ConfigError
from omnimotion.files import read_archive, read_json, write_json
from omnimotion.flow import SceneIndex, SceneStore, flow_path
from omnimotion.long_report import save_windows_report
from omnimotion.long_tracker import LongTracker
from omnimotion.matches import Matches
from omnimotion.pins import stored_pins
from omnimotion.report import REPORT_NAME
from omnimotion.resumed import FREE, check_budget
from omnimotion.runs import RUNS_NAME, open_run, open_tracker, warn_unrefined
from omnimotion.settings import parse_seconds
from omnimotion.tracker import Tracker
from omnimotion.window_store import WindowStore

log = logging.getLogger(__name__)

PLAN_NAME, PINS_NAME = "windows.json", "pins.npz"
KIND, FORMAT = "omnimotion-windows", 1


@dataclass(frozen=True)
class Plan:
    """How a run cuts a clip, and with what settings it fits the windows."""

    spans: list[list[int]]  # first frame and the one after the last, of each window
    fingerprint: str  # identity of the scene
    settings: dict[str, Any]  # of every window
    complete: bool = False  # all windows are fitted
    kind: str = KIND
    format: int = FORMAT

    @property
    def windows(self) -> list[range]:
        """The frames of each window."""
        return [range(*span) for span in self.spans]

    def save(self, run: Path) -> None:
        """Write ``windows.json``."""
        write_json(run / PLAN_NAME, asdict(self))

    @classmethod
    def load(cls, run: Path) -> "Plan":
        """Read it; CheckpointError when it is missing, damaged or of another format."""
        data = read_json(run / PLAN_NAME, CheckpointError)
        try:
            plan = cls(**data)
            if (plan.kind, plan.format) != (KIND, FORMAT) or not plan.windows:
                raise ValueError(f"kind {plan.kind!r}, format {plan.format!r}")
        except (TypeError, ValueError) as problem:
            raise CheckpointError(f"{run / PLAN_NAME} is damaged ({problem})") from problem
        return plan


class Part(NamedTuple):
    """A fit of a window, or of a whole clip."""

    store: SceneStore
    run: Path
    config: Config


def window_folder(run: Path, k: int) -> Path:
    """Where window k is fitted."""
    return run / f"window_{k:04d}"


def start_windows(
    store: SceneStore, run: Path, config: Config, windows: list[range],
    n_fitted: int | None = None,
) -> list[Part]:  # fmt: skip
    """What is left to fit of a clip in several windows; says how it is cut.

    ``n_fitted``: windows that share a budget, by default all; of a refit those with pins.
    ConfigError when the run was started with other windows or settings, CheckpointError when it
    is of another video, SceneError when files of what is left are missing.
    """
    if checkpoints(run):
        raise ConfigError(f"{run} fits one window, now {len(windows)}: choose another --run")
    plan = Plan([[each.start, each.stop] for each in windows], store.index.identity,
                config.values())  # fmt: skip
    before = Plan.load(run) if (run / PLAN_NAME).is_file() else plan
    _check_plan(run, before, plan, store.index)
    changed = [k for k, (old, new) in enumerate(zip(before.spans, plan.spans)) if old != new]
    todo = {k: WindowStore(store, window) for k, window in enumerate(windows)
            if k in changed or not is_fitted(window_folder(run, k))}  # fmt: skip
    for window in todo.values():
        window.require_files()
    _discard(run, changed, before, plan)
    if todo:  # what the run's report says is of another fit
        (run / REPORT_NAME).unlink(missing_ok=True)
    replace(plan, complete=not todo).save(run)
    if config.fit.budget:
        seconds = parse_seconds(config.fit.budget) / max(1, n_fitted or len(windows))
        config = config.replace(budget=f"{seconds:g}s")
    log.info("windows=%d of %d to %d frames, %d are fitted", len(windows),
             min(map(len, windows)), max(map(len, windows)), len(windows) - len(todo))  # fmt: skip
    return [Part(window, window_folder(run, k), config) for k, window in todo.items()]


def drop_flow(store: SceneStore, left: Sequence[Part]) -> None:
    """Delete the matches of a clip's frames but for those of the parts ``left`` to fit."""
    needed = {flow_path(store.folder, t) for part in left for t in part.store.span}
    gone = set((store.folder / "flow").glob("*.npz")) - needed
    for path in gone:
        path.unlink()
    if gone:
        log.info("matches of %d frames are deleted: queries will not refine tracks there",
                 len(gone))  # fmt: skip


def check_whole(run: Path) -> None:
    """ConfigError where a run that is to fit a clip in one window was begun in several."""
    if (run / PLAN_NAME).is_file():
        raise ConfigError(
            f"{run} was started with {len(Plan.load(run).spans)} windows, now one: give the same "
            "--window and --overlap, or another --run"
        )


def finish_windows(run: Path) -> bool:
    """Mark a run as complete where all its windows are fitted; whether they are."""
    plan = Plan.load(run)
    if not all(is_fitted(window_folder(run, k)) for k in range(len(plan.spans))):
        log.info("run=%s is complete when the windows of other shards are fitted", run)
        return False
    folders = [window_folder(run, k) for k in range(len(plan.spans))]
    save_windows_report(run, plan.windows, folders)
    replace(plan, complete=True).save(run)
    return True


def open_clip(
    folder: Path, run: Path | None = None, device: str = "auto", backend: str = "auto"
) -> Tracker | LongTracker:
    """The tracker of a fitted scene, whether in windows or not; raises as `open_tracker`."""
    run = run or _newest_in_windows(folder)
    if run is None or not (run / PLAN_NAME).is_file():
        return open_tracker(folder, run, device, backend)
    plan, store = Plan.load(run), SceneStore(folder, SceneIndex.load(folder))
    index, windows = store.index, plan.windows
    if plan.fingerprint != index.identity:
        raise CheckpointError(f"{run} was fitted to another video or flow than {folder}")
    if not plan.complete:
        raise CheckpointError(f"{run}: not all windows are fitted: give train the same command")

    warn_unrefined(store)

    @lru_cache(maxsize=1)
    def open_one(k: int) -> Tracker:
        return open_run(WindowStore(store, windows[k]), window_folder(run, k), device, backend)

    @lru_cache(maxsize=1)
    def matches(span: range) -> Matches:
        return Matches(WindowStore(store, span))

    meta = {
        "scene": index.name, "source": index.source, "run": run_name(run),
        "windows": len(windows),
        "flow": index.flow, "coord_convention": index.coord_convention,
    }  # fmt: skip
    pins = None
    if (run / PINS_NAME).is_file():
        pins = stored_pins(read_archive(run / PINS_NAME, CheckpointError)[0], index.n_frames)
    found = None if store.missing() else matches
    return LongTracker(index, windows, open_one, meta, matches=found, pins=pins)


def _newest_in_windows(folder: Path) -> Path | None:
    """The newest complete run in windows, where it is newer than any other run."""
    plans = [path for path in (folder / RUNS_NAME).glob(f"*/{PLAN_NAME}")]
    complete = [path for path in plans if Plan.load(path.parent).complete]
    others = list((folder / RUNS_NAME).glob("*/checkpoints/step_*.npz"))
    if not complete and (others or not plans):
        return None
    newest = max(complete or plans, key=_written)
    newer = {path.parents[1] for path in others if _written(path) > _written(newest)}
    return None if any(_is_complete(run) for run in newer) else newest.parent


def _written(path: Path) -> float:
    return path.stat().st_mtime


def _check_plan(run: Path, before: Plan, now: Plan, index: SceneIndex) -> None:
    """Raise unless a run is gone on with as it was begun, or with frames that were added."""
    earlier = [replace(index, fingerprint=known).identity for _, known in index.grown]
    if before.fingerprint not in (now.fingerprint, *earlier):
        raise CheckpointError(f"{run} was fitted to another video or flow: choose another --run")
    kept = len(before.spans) - (before.fingerprint in earlier)  # the last one may be longer now
    if before.spans[:kept] != now.spans[:kept] or (
        before.fingerprint == now.fingerprint and before.spans != now.spans
    ):
        raise ConfigError(
            f"{run} was started with {len(before.spans)} windows of {_length(before)} frames, now "
            f"{len(now.spans)} of {_length(now)}: give the same --window and --overlap, or "
            "another --run"
        )
    if budget := now.settings.get("budget"):
        check_budget(run, before.settings.get("budget", ""), budget)
    unknown = Config().values()  # a setting that the version it is of did not know
    for name, value in now.settings.items():
        if name not in FREE and before.settings.get(name, unknown.get(name)) != value:
            raise ConfigError(
                f"{run} was started with {name} = {before.settings.get(name)}, now {value}: "
                "use the same, or another --run"
            )


def _discard(run: Path, changed: list[int], before: Plan, now: Plan) -> None:
    """Remove the fit of a last window that is longer now; says so."""
    for k in changed:
        old, new = before.spans[k], now.spans[k]
        if window_folder(run, k).is_dir():
            log.info("window=%d is fitted again: its frames were %d to %d, now %d to %d", k,
                     old[0], old[1] - 1, new[0], new[1] - 1)  # fmt: skip
            shutil.rmtree(window_folder(run, k))


def _length(plan: Plan) -> int:
    return len(plan.windows[0])


def is_fitted(run: Path) -> bool:
    """Whether a fit has nothing left to do: its report comes after its last checkpoint."""
    return (run / REPORT_NAME).is_file() and _is_complete(run)


def _is_complete(run: Path) -> bool:
    state = newest_checkpoint(run)
    return state is not None and state.complete
