"""Refits of complete runs with pins, also of runs in windows.

Of a run in windows those are fitted on that hold two pins of a point or more, one of them seen:
one place tells no motion. The others are taken over as they are. All pins are kept with the run,
so that tracks of their points go through each of them, in whichever window (see
`omnimotion.long_tracker`).
"""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from omnimotion.checkpoint import newest_checkpoint
from omnimotion.errors import CheckpointError
from omnimotion.files import atomic_folder, read_archive, write_archive
from omnimotion.flow import SceneIndex
from omnimotion.geometry import PIXELS_PER_UNIT
from omnimotion.known import KnownTracks, known_within
from omnimotion.long_runs import PINS_NAME, PLAN_NAME, Part, Plan, window_folder
from omnimotion.pins import joined_pins, known_of, pins_of, stored_pins
from omnimotion.refit import refit_folder
from omnimotion.runs import check_refit
from omnimotion.supervision import Supervision
from omnimotion.temporary import remove_stale_temps
from omnimotion.window_store import WindowStore

log = logging.getLogger(__name__)

LOCK = "lock"  # of a run's folder, which a refit has one of its own of


def windows_of(run: Path, index: SceneIndex) -> list[range]:
    """The windows of a run, which its refits have too. Raises as `Plan.load` does."""
    return Plan.load(run).windows if (run / PLAN_NAME).is_file() else [range(index.n_frames)]


def with_earlier(pins: KnownTracks, run: Path, index: SceneIndex) -> KnownTracks:
    """Pins, and those that a run has been refitted with before: what was corrected stays so.

    CheckpointError where the run's are damaged.
    """
    if (run / PINS_NAME).is_file():
        arrays = read_archive(run / PINS_NAME, CheckpointError)[0]
    else:
        state = newest_checkpoint(run)
        arrays = state.arrays if state else {}
    earlier = stored_pins(arrays, index.n_frames)
    if earlier is None:
        return pins
    log.info("pins: %d points of %s hold on", len(earlier.known), run)
    size = index.original_size
    return joined_pins(known_of(earlier, size, index.size), pins, 2 * PIXELS_PER_UNIT / max(size))


class Refit:
    """A refit of a run, in a folder of its own."""

    def __init__(
        self, whole: Part, windows: Sequence[range], given: Supervision, pins: KnownTracks
    ) -> None:
        """``whole``: the store, the run to go on from, and the settings asked for.

        Raises as `check_refit` does, also where a window cannot be gone on from; nothing is made.
        """
        self._whole, self._windows, self._given, self._pins = whole, windows, given, pins
        self.run = refit_folder(whole.run, pins)
        self._pinned = {k: inside for k, window in enumerate(windows)
                        if (inside := known_within(pins, window)) is not None}  # fmt: skip
        if len(windows) > 1:
            self._check_plan()
        for part in self._parts():
            check_refit(part.store, self.of(part)[1], part.config, self.of(part)[0])

    @property
    def n_fitted(self) -> int:
        """How many windows are fitted on."""
        return len(self._parts())

    def of(self, part: Part) -> tuple[Supervision, Path]:
        """What a part, a window or the whole clip, is given, and the run that it goes on from."""
        if len(self._windows) == 1:
            return self._given, self._whole.run
        k = self._windows.index(part.store.span)
        return self._given._replace(pin=self._pinned[k]), window_folder(self._whole.run, k)

    def take_over(self) -> None:
        """Put the windows that hold no pins into the refit, where they are not yet, and all pins.

        Says which windows are fitted on. Raises like `atomic_folder`.
        """
        index = self._whole.store.index
        remove_stale_temps(self.run)
        kept = pins_of(self._pins, index.original_size, index.size)
        write_archive(self.run / PINS_NAME, kept.arrays(), {"kind": "omnimotion-pins"})
        for k in range(len(self._windows)):
            target = window_folder(self.run, k)
            if k not in self._pinned and not target.exists():
                with atomic_folder(target) as temp:
                    shutil.copytree(
                        window_folder(self._whole.run, k), temp, dirs_exist_ok=True,
                        copy_function=_link, ignore=shutil.ignore_patterns(LOCK),
                    )  # fmt: skip
        if self._pinned:
            log.info("pins: of %d windows these are fitted on: %s; the others stay as they are",
                     len(self._windows), ", ".join(map(str, self._pinned)))  # fmt: skip
        else:
            log.info("pins: no window holds two places of a point, so none is fitted on: tracks "
                     "of the points go through them, what is near stays")  # fmt: skip

    def _parts(self) -> list[Part]:
        """What is fitted on."""
        if len(self._windows) == 1:
            return [self._whole]
        store = self._whole.store
        return [self._whole._replace(store=WindowStore(store, self._windows[k]))
                for k in self._pinned]  # fmt: skip

    def _check_plan(self) -> None:
        base, plan = self._whole.run, Plan.load(self._whole.run)
        if plan.fingerprint != self._whole.store.index.identity:
            raise CheckpointError(
                f"{base} was fitted to another video or flow: choose another --run"
            )
        if not plan.complete:
            raise CheckpointError(f"{base} is not complete: train it to its end first")


def _link(source: str, target: str) -> None:
    """The same file where the disk can do that, else a copy: a fit's files are never changed."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
