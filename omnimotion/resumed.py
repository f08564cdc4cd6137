"""Going on with a run: as it was begun, but for what does not alter what is fitted."""

import logging
from pathlib import Path

from omnimotion.checkpoint import Checkpoint
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, ConfigError
from omnimotion.flow import SceneIndex
from omnimotion.schedule import BUDGETED
from omnimotion.supervision import Supervision

log = logging.getLogger(__name__)

FREE = ("device", "backend", "threads", "preview_every", "budget")
"""Settings that may be others: they do not alter what is fitted."""


def resumed_config(
    run: Path, state: Checkpoint, index: SceneIndex, config: Config, supervision: Supervision,
    unset: dict[str, int],
) -> Config:  # fmt: skip
    """The config to continue with; it must agree with the run's on all that is fitted.

    ``unset``: settings that nobody asked for, which an earlier version may not have had. Raises
    CheckpointError for a run of another video, ConfigError for other settings.
    """
    if state.fingerprint != index.identity:
        raise CheckpointError(f"{run} was fitted to another video or flow: choose another --run")
    before, now = state.config.values(), config.values()
    unknown = {name: -1 for name in unset if before[name] == -1}  # to the version it is of
    now |= unknown
    if config.fit.budget:
        check_budget(run, before["budget"], now["budget"])
        now |= {name: before[name] for name in (*BUDGETED, "budget")}  # chosen at the start
    changed = [name for name in before if name not in FREE and before[name] != now[name]]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"{run} was started with {name} = {before[name]}, now {now[name]}: "
            "use the same, or another --run"
        )
    check_given(run, state.given, supervision.fingerprints)
    return config.replace(**{name: now[name] for name in (*BUDGETED, "budget", *unknown)})


def check_budget(run: Path, before: str, now: str) -> None:
    """A budget decides on steps when a run begins; ConfigError for one that comes later."""
    if not before:
        raise ConfigError(f"{run} was started without --budget: leave it out, or name another run")
    if before != now:
        log.warning("%s has the steps of its --budget %s: %s changes nothing", run, before, now)


def check_given(run: Path, before: dict[str, str], now: dict[str, str]) -> None:
    """ConfigError unless a run is continued with the same things given."""
    for name in sorted(before | now):
        if before.get(name) != now.get(name):
            how = "without" if name not in before else "with" if name not in now else "with other"
            raise ConfigError(f"{run} was started {how} --{name}: use the same, or another --run")
