"""Files that are made for the page, one order at a time, by processes of ``omnimotion query``.

What is made lies in a folder of the server's own until the next order. One file is sent as it is,
several as a ZIP that is packed while it is sent: it takes no room on the disk, nor in memory.
"""

import io
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread, Timer
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from omnimotion.batch.stage import Place, last_words, run_stage
from omnimotion.errors import ConfigError, InputError, OmniMotionError
from omnimotion.files import require_free
from omnimotion.signals import StopSignal
from omnimotion.viewer.answers import Answers
from omnimotion.viewer.orders import Asked, Order, order

MAX_SECONDS = 3600.0
PIECE_BYTES = 1 << 20


class Downloads:
    """The order that is carried out, or was last."""

    def __init__(
        self, scene: Path, run: Callable[[], Path], answers: Answers, words: Sequence[str] = ()
    ) -> None:
        """``run``: the one that is shown now; ``words``: more options of ``query``."""
        self._scene, self._run, self._answers, self._words = scene, run, answers, tuple(words)
        self._root = tempfile.TemporaryDirectory(prefix="omnimotion-")
        self._folder = Path(self._root.name)
        self._made, self._log = self._folder / "made", self._folder / "log.txt"
        self._lock = Lock()
        self._stop: StopSignal | None = None  # of the one that is going
        self._thread: Thread | None = None
        self._sending = 0
        self._state: dict[str, Any] = {"state": "none"}
        self._of, self._since = 0, 0.0

    def start(self, asked: Asked) -> dict[str, Any]:
        """Begin one; see `progress`. What was made before goes.

        Raises `ConfigError` while another one is made or sent, `ResourceError` where the disk is
        short, and as `order` does.
        """
        with self._lock:
            if self._stop or self._sending:
                raise ConfigError("a download is being made or sent: wait for it, or stop it")
            found = order(asked, self._answers, self._folder)
            require_free(self._folder, found.size, asked.what)
            shutil.rmtree(self._made, ignore_errors=True)
            self._made.mkdir()
            self._log.write_bytes(b"")
            self._of, self._since = found.files, time.monotonic()
            self._state = {"state": "running", "what": asked.what}
            self._stop = StopSignal()
            self._thread = Thread(target=self._work, args=(found, self._stop))
            self._thread.start()
        return self.progress()

    def progress(self) -> dict[str, Any]:
        """``state`` none, running, done, stopped or failed (with what it ``said``); of ``what``.

        While it runs: the ``seconds`` since it began, and how many files are ``done`` ``of`` how
        many, 0 where that says nothing. When done: ``name`` and ``bytes``, before packing.
        """
        state = self._state
        if state["state"] != "running":
            return state
        done = len(self._files()) if self._of else 0
        seconds = round(time.monotonic() - self._since, 1)
        return {**state, "done": min(done, self._of), "of": self._of, "seconds": seconds}

    def stop(self) -> None:
        """End the one that is going; returns when it has ended."""
        stop, thread = self._stop, self._thread
        if stop and thread:
            stop.number = signal.SIGINT
            thread.join()

    def close(self) -> None:
        """`stop`, and remove what was made."""
        self.stop()
        self._root.cleanup()

    def send(self) -> tuple[str, Iterator[bytes]]:
        """The name of what was made, and its bytes; `InputError` where there is none."""
        with self._lock:
            if self._state["state"] != "done":
                raise InputError("nothing is made yet: ask for it first")
            return self._state["name"], self._sent(self._files())

    def _sent(self, files: list[Path]) -> Iterator[bytes]:
        with self._lock:  # when the first piece is asked for: it may never be
            self._sending += 1
        try:
            yield from (pieces(files[0]) if len(files) == 1 else zipped(files))
        finally:
            with self._lock:
                self._sending -= 1

    def _files(self) -> list[Path]:
        """What there is, also while it is made: it lies in a folder of another name then.

        Nothing where it is just being removed.
        """
        with suppress(FileNotFoundError):
            return sorted(path for path in self._made.rglob("*") if path.is_file())
        return []

    def _work(self, found: Order, stop: StopSignal) -> None:
        """Runs in a thread of its own."""
        timer = Timer(MAX_SECONDS, setattr, (stop, "number", signal.SIGTERM))
        timer.start()
        option, _, name = found.out.partition("=")
        words = ["query", f"--scene={self._scene}", f"--run={self._run()}", *self._words,
                 *found.words, f"{option}={self._made / name}"]  # fmt: skip
        try:
            code = run_stage(words, self._log, Place(), stop).code
            ended = self._ended(code, stop, name)
        except (OmniMotionError, OSError) as problem:
            ended = {"state": "failed", "said": " ".join(str(problem).split())}
        timer.cancel()
        with self._lock:
            self._state, self._stop = {**ended, "what": self._state["what"]}, None

    def _ended(self, code: int, stop: StopSignal, name: str) -> dict[str, Any]:
        files = self._files()
        if code == 0 and files:
            names = files[0].name if len(files) == 1 else f"{Path(name).stem}.zip"
            return {"state": "done", "name": names,
                    "bytes": sum(path.stat().st_size for path in files)}  # fmt: skip
        shutil.rmtree(self._made, ignore_errors=True)
        if stop.number == signal.SIGINT:
            return {"state": "stopped"}
        if stop.number:
            return {"state": "failed", "said": f"it took over {MAX_SECONDS / 60:g} minutes: ask "
                    "for fewer frames, or use query.py"}  # fmt: skip
        return {"state": "failed", "said": last_words(self._log, code)}


def pieces(path: Path) -> Iterator[bytes]:
    """A file, bit by bit."""
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def zipped(files: Sequence[Path]) -> Iterator[bytes]:
    """Files of different names as a ZIP, in pieces that are forgotten as they are sent."""
    packed = _Forgetful()
    with ZipFile(packed, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for path in files:
            info = ZipInfo.from_file(path, path.name)
            info.compress_type = ZIP_DEFLATED
            with archive.open(info, "w") as member:
                for piece in pieces(path):
                    member.write(piece)
                    yield packed.taken()
    yield packed.taken()


class _Forgetful(io.RawIOBase):
    """Keeps what is written until it is taken. It has no places to go back to."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        """It is for that."""
        return True

    def write(self, data: Any) -> int:
        """Keep some bytes."""
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
