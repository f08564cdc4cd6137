"""From a video to a fitted scene, as the page asks for it: one job at a time.

A job is the commands ``preprocess`` and ``train``, each a process of its own. What is cancelled
before the scene was ever fitted is removed if the page had sent it; what ends otherwise stays, and
can be gone on with.
"""

import re
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from omnimotion.batch.stage import Place as Anywhere
from omnimotion.batch.stage import last_words, run_stage, warned
from omnimotion.config import load_config
from omnimotion.errors import CheckpointError, ConfigError, InputError, OmniMotionError
from omnimotion.files import atomic_write, shown
from omnimotion.flow import INDEX_NAME, frame_path
from omnimotion.history import METRICS_NAME, read_metrics
from omnimotion.runs import run_folder
from omnimotion.signals import StopSignal
from omnimotion.viewer.shelf import Place

BUDGETS = ("", "2m", "10m", "30m")
"""Times that the page offers for the fit; the first is all the steps that it needs."""
TRAIN_WORDS = ("--checkpoint_every=100", "--preview_every=200")  # for a page that shows progress
_COUNTS = re.compile(r"^frames=(\d+) size=\S+ pairs=(\d+) ", re.MULTILINE)


class Job:
    """A video on its way to a fitted scene."""

    def __init__(self, place: Place, log: Path, is_new: bool) -> None:
        self.place, self.log, self.is_new = place, log, is_new
        self.stop, self.stage, self.is_cancelled = StopSignal(), "preprocess", False

    def progress(self) -> dict[str, Any]:
        """``name``, ``stage``, what is ``done`` ``of`` how many ``units``, 0 while unknown; what
        it ``warned`` of; and the mark of the newest ``picture``, another one for each.
        """
        done, of, units = self._trained() if self.stage == "train" else self._preprocessed()
        picture = self.picture()
        return {"name": shown(self.place.folder.name), "stage": self.stage, "units": units,
                "done": min(done, of), "of": of,
                "warned": [_told(self.place, line) for line in warned(self.log)],
                "picture": f"{picture.parent.name}/{picture.name}" if picture else ""}  # fmt: skip

    def picture(self) -> Path | None:
        """The newest picture of what is being made, if there is one."""
        if previews := sorted(self._run.glob("**/previews/step_*.png"), key=_newest):
            return previews[-1]
        done, of, _ = self._preprocessed()
        count = _count(self.place.folder / "frames", ".png")
        at = count - 1 if done < count or not of else (count - 1) * done // of
        return frame_path(self.place.folder, at) if count else None

    @property
    def _run(self) -> Path:
        return run_folder(self.place.folder, None)

    def _preprocessed(self) -> tuple[int, int, str]:
        """Frames while they are stored, then pairs, of a long clip frames again."""
        counts = _COUNTS.search(self.log.read_text(encoding="utf-8", errors="replace"))
        if counts is None:
            return 0, 0, "frames"
        n_frames, n_pairs = map(int, counts.groups())
        stored, flow = (_count(self.place.folder / name, "") for name in ("frames", "flow"))
        if stored < n_frames:
            return stored, n_frames, "frames"
        if flow:
            return flow, n_frames, "frames of flow"
        both_ways = n_pairs // 2  # a file holds a pair forward and backward
        return _count(self.place.folder / "pairs", ".npz", "merged"), both_ways, "pairs"

    def _trained(self) -> tuple[int, int, str]:
        """Steps; of a long clip those of the window that is being fitted."""
        windows = sorted(self._run.glob("window_*"))
        run = windows[-1] if windows else self._run
        units = f"steps of window {len(windows)}" if windows else "steps"
        try:
            steps = load_config(run / "config.txt").fit.num_iters
            lines = read_metrics(run / METRICS_NAME)
        except (CheckpointError, ConfigError, InputError):
            return 0, 0, units  # nothing is written yet
        return int(lines[-1]["step"]) if lines else 0, max(0, steps), units


class Jobs:
    """The job that is going, and how the last one ended."""

    def __init__(self, words: Sequence[str] = ()) -> None:
        """``words``: options of train."""
        self._words = tuple(words)
        self._folder = tempfile.TemporaryDirectory(prefix="omnimotion-")
        self._lock = Lock()
        self._job: Job | None = None
        self._thread: Thread | None = None
        self._last: dict[str, Any] = {"state": "none"}

    def check(self, budget: str) -> None:
        """`ConfigError` while a job is going, `InputError` for another budget than `BUDGETS`."""
        if self._job is not None:
            raise ConfigError("a video is being worked on: wait for it, or cancel it")
        if budget not in BUDGETS:
            raise InputError(f"budget {budget[:20]!r}: expected one of {', '.join(BUDGETS[1:])}")

    def start(self, place: Place, budget: str, is_new: bool) -> dict[str, Any]:
        """Make and fit the scene of a place, or go on with it; see `progress`. Raises as `check`.

        ``is_new``: whether its video was sent for this job, and goes if it is cancelled. What is
        gone on with keeps the budget that it was begun with, unless another is given.
        """
        with self._lock:
            self.check(budget)
            if is_new:
                _keep_budget(place, budget)
            elif not budget:
                budget = _begun_with(place)
            log = Path(self._folder.name) / "log.txt"
            log.write_bytes(b"")
            self._job = Job(place, log, is_new)
            self._thread = Thread(target=self._work, args=(self._job, self._stages(place, budget)))
            self._thread.start()
        return self.progress()

    def progress(self) -> dict[str, Any]:
        """``state`` none, running, done, failed (with what it ``said``) or cancelled; `Job`'s."""
        job = self._job
        return self._last if job is None else {"state": "running", **job.progress()}

    def picture(self) -> Path:
        """The newest picture of the job that is going; `InputError` where there is none."""
        job = self._job
        found = job.picture() if job else None
        if found is None:
            raise InputError("there is no picture yet")
        return found

    def cancel(self) -> None:
        """End the job that is going; returns when it has ended."""
        job, thread = self._job, self._thread
        if job and thread:
            job.is_cancelled = True
            job.stop.number = signal.SIGTERM
            thread.join()

    def close(self) -> None:
        """End the job that is going, but leave what it has done: it can be gone on with."""
        job, thread = self._job, self._thread
        if job and thread:
            job.stop.number = signal.SIGTERM
            thread.join()
        self._folder.cleanup()

    def _stages(self, place: Place, budget: str) -> list[list[str]]:
        scene = f"--scene={place.folder}"
        fit = ["train", scene, *TRAIN_WORDS, *self._words]
        if budget:
            fit.append(f"--budget={budget}")
        if (place.folder / INDEX_NAME).is_file():
            return [fit]
        return [["preprocess", str(place.video), scene], fit]

    def _work(self, job: Job, stages: list[list[str]]) -> None:
        """Runs in a thread of its own."""
        try:
            ended = self._ended(job, stages)
        except (OmniMotionError, OSError) as problem:
            ended = {"state": "failed", "said": shown(" ".join(str(problem).split()))}
        with self._lock:
            self._last, self._job = ended | {"name": shown(job.place.folder.name)}, None

    def _ended(self, job: Job, stages: list[list[str]]) -> dict[str, Any]:
        for words in stages:
            job.stage = words[0]
            code = run_stage(words, job.log, Anywhere(), job.stop).code
            if job.is_cancelled:
                _discard(job)
                return {"state": "cancelled"}
            if code:
                said = _told(job.place, last_words(job.log, code))
                if job.stage == "preprocess" and not job.stop.number:
                    _discard(job)
                return {"state": "failed", "said": said}
        return {"state": "done"}


def _told(place: Place, line: str) -> str:
    """A line of a stage, for the page, which does not know what its video is called here."""
    return line.replace(str(place.video), "the video")


def _discard(job: Job) -> None:
    """Remove what a job has made of a video that was sent for it, and the video."""
    if not job.is_new or job.place.video is None:
        return
    shutil.rmtree(job.place.folder, ignore_errors=True)
    job.place.video.unlink(missing_ok=True)
    _budget_file(job.place).unlink(missing_ok=True)


def _budget_file(place: Place) -> Path:
    """Where the budget that a new scene was asked for with is kept."""
    return place.folder.with_name(f".{place.folder.name}.budget")


def _keep_budget(place: Place, budget: str) -> None:
    """For who goes on with it; of another scene that had the name nothing is left."""
    if budget:
        atomic_write(_budget_file(place), budget.encode())
    else:
        _budget_file(place).unlink(missing_ok=True)


def _begun_with(place: Place) -> str:
    """The budget of a job that is gone on with, nothing where it had none."""
    with suppress(OSError, ValueError):
        kept = _budget_file(place).read_text("utf-8")
        return kept if kept in BUDGETS else ""
    with suppress(OmniMotionError):
        return load_config(run_folder(place.folder, None) / "config.txt").fit.budget
    return ""


def _count(folder: Path, ending: str, without: str = "\0") -> int:
    """How many files a folder holds, temporary ones aside."""
    with suppress(FileNotFoundError):
        return sum(
            path.name.endswith(ending) and not path.name.startswith((".", without))
            for path in folder.iterdir()
        )
    return 0


def _newest(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
