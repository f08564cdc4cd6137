"""How far a batch is, while it runs: a line for each change, and below them a table of now."""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from omnimotion.batch.summary import line_of, row_of
from omnimotion.batch.task import Record, Task
from omnimotion.errors import SceneError

log = logging.getLogger(__name__)

LOOK_S = 2.0  # between looks at the records of those at work
CLEAR = "\x1b[J"  # of a terminal: from here to its end


class Progress:
    """Shows the tasks of one process; what others do of the batch is theirs to show."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = {task.name: task for task in tasks}
        self.left = dict(self.tasks)
        self.failed = 0
        self.stages: dict[str, tuple[str, float]] = {}  # of those at work: stage, seen first at
        self.looked = 0.0
        self.is_terminal = sys.stderr.isatty()

    def __call__(self, ended: Sequence[Record]) -> None:
        """Say what has changed; ``ended`` are the records of all tasks that have ended."""
        fresh = [record for record in ended if record.name in self.left]
        if not fresh and time.monotonic() - self.looked < LOOK_S:
            return
        self._clear()
        for record in fresh:
            task = self.left.pop(record.name)
            self.stages.pop(record.name, None)
            self.failed += record.failure is not None
            done = len(self.tasks) - len(self.left)
            log.info("%d/%d %s", done, len(self.tasks), line_of(row_of(task, record)))
        self._look()
        self._draw()

    def _look(self) -> None:
        self.looked = time.monotonic()
        for name, task in self.left.items():
            with suppress(SceneError):  # damaged: whoever works on it says so
                record = Record.load(task)
                stage = record.begun if record else None
                if stage and self.stages.get(name, ("", 0.0))[0] != stage:
                    self.stages[name] = (stage, self.looked)
                    if not self.is_terminal:
                        log.info("%s: %s ...", name, stage)

    def _draw(self) -> None:
        """The table, left standing on the terminal with the cursor above it."""
        if not self.is_terminal or not self.left:
            return
        rows = [
            f"{name:<24.24} {stage:<10} {self.looked - since:6.0f} s"
            for name, (stage, since) in self.stages.items()
        ]
        done = len(self.tasks) - len(self.left) - self.failed
        waiting = len(self.left) - len(self.stages)
        rows.append(f"{done} done, {self.failed} failed, {len(self.stages)} at work, "
                    f"{waiting} waiting")  # fmt: skip
        sys.stderr.write("\n".join(rows) + f"\x1b[{len(rows) - 1}F" * (len(rows) > 1) + "\r")
        sys.stderr.flush()

    def _clear(self) -> None:
        if self.is_terminal:
            sys.stderr.write(f"\r{CLEAR}")
            sys.stderr.flush()
