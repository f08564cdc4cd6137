"""A time to fit in, turned into a number of steps by measuring a few of them on this machine.

The time counts from when the command began until its report is written. The number is chosen once,
at the start, and kept by the run: a resumed fit takes the same steps, whatever the clock says.
"""

import logging
import time
from typing import NamedTuple

from omnimotion.config import Config, FitConfig
from omnimotion.errors import ConfigError
from omnimotion.fit import Fit
from omnimotion.flow import SceneStore
from omnimotion.report import make_report
from omnimotion.settings import parse_seconds

log = logging.getLogger(__name__)

WARMUP, TIMED = 4, 24  # steps of a trial: the first ones compile and allocate
TRIAL_SHARE = 0.05  # of the budget, at most, for each of the two


class Cost(NamedTuple):
    """Seconds that the parts of a fit take."""

    step: float
    report: float  # and about as much a preview, most of which is the same pictures


def config_within(trial: Fit, store: SceneStore, began: float) -> Config:
    """The config of a new fit with as many steps as fit into its budget.

    ``trial`` takes some steps and is spoiled by them. ``began``: `time.perf_counter` when the
    budget's time started. ConfigError when the time is too short for the warm-up.
    """
    config = trial.config
    budget, default = parse_seconds(config.fit.budget), config.fit.num_iters
    cost = measure_cost(trial, store, TRIAL_SHARE * budget)
    spent = time.perf_counter() - began
    steps, least = steps_within(budget - spent, cost, config.fit), max(1, config.fit.warmup)
    if steps < least:
        needed = spent + cost.report + least * (cost.step + _preview_share(cost, config.fit))
        raise ConfigError(
            f"budget = {config.fit.budget}: too short on this machine for a fit of {least} steps "
            f"(warmup): give {needed + 1:.0f}s or more, or leave it out for {default} steps"
        )
    log.info("budget=%s num_iters=%d (default %d): a step takes %.4f s; %.1f s have gone by, "
             "%.1f s are kept for each report or preview", config.fit.budget, steps, default,
             cost.step, spent, cost.report)  # fmt: skip
    return config.replace(num_iters=steps)


def steps_within(seconds: float, cost: Cost, fit: FitConfig) -> int:
    """How many steps, the previews among them and the report after them take ``seconds``."""
    return max(0, int((seconds - cost.report) / (cost.step + _preview_share(cost, fit))))


def measure_cost(trial: Fit, store: SceneStore, limit_s: float) -> Cost:
    """What a step and the report of a fit cost; steps are timed for about ``2 * limit_s``."""
    _seconds_a_step(trial, WARMUP, limit_s)
    step = _seconds_a_step(trial, TIMED, limit_s)
    began = time.perf_counter()
    make_report(trial, store)
    return Cost(step, time.perf_counter() - began)


def _preview_share(cost: Cost, fit: FitConfig) -> float:
    """Seconds of each step that go into previews; the last one is the report's."""
    return cost.report / fit.preview_every if fit.preview_every else 0.0


def _seconds_a_step(trial: Fit, count: int, limit_s: float) -> float:
    """The mean of up to ``count`` steps, spread over the whole fit: later ones take longer."""
    began, steps = time.perf_counter(), trial.config.fit.num_iters
    for done in range(1, count + 1):
        trial.step = (done - 1) * steps // count
        _, loss = trial.advance()
        if time.perf_counter() - began > limit_s:
            break
    float(loss)  # waits for the device
    return (time.perf_counter() - began) / done
