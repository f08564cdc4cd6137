"""A short fit that goes on from a complete run, to heed what a user has pinned.

It starts from the run's scene, at the rate of the middle of its fit, and draws from the pins
beside the flow's matches. It has a folder of its own, named after the run and the pins, so that
nothing is overwritten: other pins, another folder.
"""

import os
from pathlib import Path

from omnimotion.config import Config
from omnimotion.errors import ConfigError
from omnimotion.known import KnownTracks
from omnimotion.schedule import BUDGETED, learning_rate

OWN = ("pin_steps", "pin_share")
"""Settings of a refit itself."""


def refit_folder(run: Path, pins: KnownTracks) -> Path:
    """Where a run's refit with these pins lives."""
    run = run if run.name not in ("", "..") else Path(os.path.abspath(run))
    return run.with_name(f"{run.name}-pinned-{pins.fingerprint[:8]}")


def refit_config(run: Config, asked: Config, free: tuple[str, ...]) -> Config:
    """The settings of a refit: those of the run, with what is ``free`` to differ as ``asked``.

    ConfigError where another setting is asked for than the run has, but for what it chose itself
    where a budget or restarts are asked for again.
    """
    before, now, default = run.values(), asked.values(), Config().values()
    chosen: tuple[str, ...] = BUDGETED if run.fit.budget and asked.fit.budget else ()
    chosen += ("seed",) if run.fit.restarts and asked.fit.restarts else ()
    for name, value in now.items():
        if name not in (*free, *OWN, *chosen) and value not in (default[name], before[name]):
            raise ConfigError(
                f"{name} = {value}: with --pin the settings are the run's ({before[name]}), but "
                f"for {' and '.join(OWN)}"
            )
    steps = run.fit.num_iters
    at_once = {"gap_ramp": 0.0, "motion_start": 0.0, "motion_full": 0.0, "photometric_ramp": 0.0}
    return run.replace(
        **{name: now[name] for name in (*free, *OWN)}, **at_once, num_iters=now["pin_steps"],
        learning_rate=learning_rate(steps // 2, steps, run.fit), decay=before["decay"] ** 0.5,
        rate_bound=0.0, distortion_start=0.0,
    )  # fmt: skip
