"""The scene that the page shows, and the tools that go with it. Another can take its place."""

from pathlib import Path
from threading import Lock
from typing import TypeVar

from omnimotion.errors import InputError
from omnimotion.fitted import open_fitted
from omnimotion.runs import RUNS_NAME
from omnimotion.viewer.answers import Answers, open_answers
from omnimotion.viewer.downloads import Downloads
from omnimotion.viewer.refits import Refits

T = TypeVar("T")

class Shown:
    """What is open, if anything: its ``answers``, its ``refits`` and its ``downloads``."""

    def __init__(
        self, answers: Answers | None = None, refits: Refits | None = None,
        device: str = "auto", backend: str = "auto", threads: int = 0,
        downloads: Downloads | None = None,
    ) -> None:  # fmt: skip
        """``device``, ``backend`` and ``threads`` as the commands have them, for `open`."""
        self._answers, self._refits, self._downloads = answers, refits, downloads
        self._lock = Lock()
        self._where = {"device": device, "backend": backend}
        self.words = [f"--{name}={value}" for name, value in self._where.items()]
        self.words.append(f"--threads={threads}")

    @property
    def is_open(self) -> bool:
        """Whether a scene is shown."""
        return self._answers is not None

    @property
    def answers(self) -> Answers:
        """Of the scene that is shown; `InputError` where none is."""
        return _open(self._answers)

    @property
    def refits(self) -> Refits:
        """Of the scene that is shown; `InputError` where none is."""
        return _open(self._refits)

    @property
    def downloads(self) -> Downloads:
        """Of the scene that is shown; `InputError` where none is."""
        return _open(self._downloads)

    def open(self, folder: Path, run: Path | None = None) -> None:
        """Show a fitted scene, its newest complete run or ``run``, from now on.

        Raises as `open_fitted` does; what was shown before stays then.
        """
        answers = open_answers(open_fitted(folder, run, **self._where), folder)
        answers.warm()
        base = run or folder / RUNS_NAME / str(answers.scene.meta["run"])
        refits = Refits(
            folder, base, lambda made: answers.adopt(open_fitted(folder, made, **self._where)),
            self.words,
        )  # fmt: skip
        downloads = Downloads(
            folder, lambda: base.with_name(str(answers.scene.meta["run"])), answers, self.words
        )
        with self._lock:
            before = self._refits, self._downloads
            self._answers, self._refits, self._downloads = answers, refits, downloads
        for each in before:
            if each:
                each.close()

    def close(self) -> None:
        """Stop what is going."""
        with self._lock:
            for each in (self._refits, self._downloads):
                if each:
                    each.close()


def _open(part: T | None) -> T:
    if part is None:
        raise InputError("no scene is open: add a video first, or open one that is there")
    return part
