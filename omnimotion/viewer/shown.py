"""The scene that the page shows, and the tools that go with it. Another can take its place."""

from pathlib import Path
from threading import Lock

from omnimotion.errors import InputError
from omnimotion.fitted import open_fitted
from omnimotion.viewer.answers import Answers, open_answers
from omnimotion.viewer.refits import Refits


class Shown:
    """What is open, if anything: its ``answers`` and its ``refits``."""

    def __init__(
        self, answers: Answers | None = None, refits: Refits | None = None,
        device: str = "auto", backend: str = "auto", threads: int = 0,
    ) -> None:  # fmt: skip
        """``device``, ``backend`` and ``threads`` as the commands have them, for `open`."""
        self._answers, self._refits, self._lock = answers, refits, Lock()
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
        if self._answers is None:
            raise InputError("no scene is open: add a video first, or open one that is there")
        return self._answers

    @property
    def refits(self) -> Refits:
        """Of the scene that is shown; `InputError` where none is."""
        if self._refits is None:
            raise InputError("no scene is open: add a video first, or open one that is there")
        return self._refits

    def open(self, folder: Path, run: Path | None = None) -> None:
        """Show a fitted scene, its newest complete run or ``run``, from now on.

        Raises as `open_fitted` does; what was shown before stays then.
        """
        answers = open_answers(open_fitted(folder, run, **self._where), folder)
        answers.warm()
        base = run or folder / "runs" / str(answers.scene.meta["run"])
        refits = Refits(
            folder, base, lambda made: answers.adopt(open_fitted(folder, made, **self._where)),
            self.words,
        )  # fmt: skip
        with self._lock:
            before, self._answers, self._refits = self._refits, answers, refits
        if before:
            before.close()

    def close(self) -> None:
        """Stop what is going."""
        with self._lock:
            if self._refits:
                self._refits.close()
