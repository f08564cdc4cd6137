"""Refits that the page asks for, one at a time: processes of ``omnimotion train --pin``."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from omnimotion.errors import CheckpointError, ConfigError
from omnimotion.files import shown
from omnimotion.flow import SceneIndex
from omnimotion.history import METRICS_NAME, read_metrics
from omnimotion.known import read_known
from omnimotion.long_refits import with_earlier
from omnimotion.refit import refit_folder
from omnimotion.report import REPORT_NAME

HEADER = "track,t,x,y,visible"
STOP_SECONDS = 20  # in which a fit that is told to stop has saved


class Going(NamedTuple):
    """A refit that was started."""

    run: Path
    process: subprocess.Popen


class Refits:
    """Refits of one run of a scene, with all pins that the page has."""

    def __init__(
        self, scene: Path, base: Path, finished: Callable[[Path], None], words: Sequence[str] = ()
    ) -> None:
        """``finished`` is called with the run of each that succeeds; ``words``: more options."""
        self.scene, self.base, self.finished, self.words = scene, base, finished, tuple(words)
        self._folder = tempfile.TemporaryDirectory(prefix="omnimotion-")
        self._said = Path(self._folder.name) / "said.txt"  # by the process
        self._lock = Lock()
        self._going: Going | None = None
        self._last: dict[str, Any] = {"state": "none"}

    def start(self, pins: Sequence[Sequence[float]]) -> dict[str, Any]:
        """Start one with rows of track, t, x, y, visible; see `progress`.

        Raises `ConfigError` while another one is going, and as `read_known` does.
        """
        with self._lock:
            self._look()
            if self._going:
                raise ConfigError("a refit is going: wait for it, or stop it")
            path = Path(self._folder.name) / "pins.csv"
            rows = (",".join(map(str, row)) for row in pins)
            path.write_text("\n".join((HEADER, *rows, "")), encoding="ascii")
            index = SceneIndex.load(self.scene)
            known = read_known(path, index.n_frames, index.original_size, pins=True)
            known = with_earlier(known, self.base, index)
            with self._said.open("wb") as said:
                process = subprocess.Popen(
                    [sys.executable, "-m", "omnimotion", "train", f"--scene={self.scene}",
                     f"--run={self.base}", f"--pin={path}", *self.words],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
                    start_new_session=True,  # Ctrl-C is for the server, which then stops this
                )  # fmt: skip
            self._going = Going(refit_folder(self.base, known), process)
            return self._state()

    def progress(self) -> dict[str, Any]:
        """Of the newest: ``state`` none, running, done or failed; ``step``; what it ``said``."""
        with self._lock:
            self._look()
            return self._state()

    def stop(self) -> None:
        """End the one that is going; it saves what it did, and the same pins go on from there."""
        with self._lock:
            if self._going:
                self._going.process.terminate()
                try:
                    self._going.process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    self._going.process.kill()
                self._look()

    def close(self) -> None:
        """`stop`, and forget the pins."""
        self.stop()
        self._folder.cleanup()

    def _state(self) -> dict[str, Any]:
        if self._going is None:
            return self._last
        return {"state": "running", "step": _step(self._going.run)}

    def _look(self) -> None:
        """See whether the one that was going has ended, and how."""
        if self._going is None or (code := self._going.process.poll()) is None:
            return
        going, self._going = self._going, None
        lines = self._said.read_text(encoding="utf-8", errors="replace").splitlines()
        if code == 0:
            self.finished(going.run)
            pins = [line for line in lines if line.startswith("pins: ")]  # of windows: which are
            said = "".join(pins[-1:])
            self._last = {"state": "done", "run": shown(going.run.name), "said": said}
        else:
            last = lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
            self._last = {"state": "failed", "said": last}


def _step(run: Path) -> int:
    """The last step that a run, or the window that it is at, has told of; 0 before."""
    begun = [each for each in sorted(run.glob("window_*")) if not (each / REPORT_NAME).is_file()]
    try:
        lines = read_metrics((begun[-1] if begun else run) / METRICS_NAME)
    except CheckpointError:
        return 0
    return int(lines[-1]["step"]) if lines else 0
