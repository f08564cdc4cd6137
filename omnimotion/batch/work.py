"""The work on one video of a batch: its stages in order, those that are done left out."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from omnimotion.batch.stage import LOOK_S, Ended, Place, last_words, run_stage
from omnimotion.batch.task import STAGES, Failure, Record, Task
from omnimotion.errors import ConfigError, OmniMotionError, ResourceError, SceneError
from omnimotion.files import lock, make_folder
from omnimotion.flow import SceneIndex
from omnimotion.signals import StopSignal
from omnimotion.windows import plan_windows

log = logging.getLogger(__name__)

ANYWHERE = Place()
PATIENCE_S = 90.0  # for a lock: what a killed worker has begun saves its work first


def work(
    task: Task, place: Place = ANYWHERE, stop: StopSignal | None = None, spreads: bool = False
) -> Record:
    """Do what is left of a task; the record, also on disk, says how far it came.

    An error ends this task only: it is the record's failure. A stop leaves a stage ``begun``, and
    so is the fit of a clip in several windows left where that ``spreads``: see `fit_window`.
    """
    record = Record(task.name, str(task.video))
    try:
        for path in (task.log, task.result, task.tracks):
            make_folder(path.parent)
        with waiting_lock(task.lock) as held:
            record = found_record(task)
            _stages(task, record, place, stop or StopSignal(), held, spreads)
    except OmniMotionError as error:
        record.failure = Failure(record.begun or STAGES[0], error.exit_code, str(error))
    except OSError as error:
        record.failure = Failure(
            record.begun or STAGES[0], ResourceError.exit_code, error.strerror or str(error)
        )
    return record


def n_windows(task: Task) -> int:
    """In how many windows a task's clip is fitted; SceneError where it is not preprocessed."""
    return len(plan_windows(SceneIndex.load(task.scene).n_frames))


def fit_window(task: Task, shard: str) -> Ended:
    """Fit the windows ``I/N`` of a task's clip; what is not done is left to the task's own fit."""
    said = task.log.with_name(f"{task.name}.{shard.replace('/', '_of_')}.log")
    return run_stage([*task.command("train"), "--shard", shard], said, ANYWHERE, StopSignal())


@contextmanager
def waiting_lock(path: Path, patience_s: float = PATIENCE_S) -> Iterator[int]:
    """Hold the lock file, a descriptor, waiting for it; ConfigError when it stays held."""
    until = time.monotonic() + patience_s
    with ExitStack() as held:
        while True:
            try:
                handle = held.enter_context(lock(path))
                break
            except ConfigError as problem:
                if not isinstance(problem.__cause__, BlockingIOError) or time.monotonic() > until:
                    raise
                time.sleep(LOOK_S)
        yield handle


def found_record(task: Task) -> Record:
    """The record on disk, or a new one where there is none, or a damaged one."""
    try:
        record = Record.load(task)
    except SceneError as problem:  # what it says can be found out again
        log.warning("%s; the stages are looked through", problem)
        record = None
    return record or Record(task.name, str(task.video))


def _stages(
    task: Task, record: Record, place: Place, stop: StopSignal, held: int, spreads: bool
) -> None:
    for stage in STAGES:
        if record.has(task, stage):
            continue
        if stop.number:
            return
        record.begin(task, stage)
        if stage == "train" and spreads and n_windows(task) > 1:
            return
        ended = run_stage(task.command(stage), task.log, place, stop, held)
        if ended.code and stop.number:
            return
        record.begun = None
        if ended.code:
            record.failure = Failure(stage, ended.code, last_words(task.log, ended.code))
            record.save(task)
            return
        made = {"key": task.key(stage), "s": round(ended.seconds, 1), "mb": round(ended.mb)}
        record.stages[stage] = made
        record.save(task)
