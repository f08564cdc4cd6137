"""A time to fit in, turned into a number of steps by measuring a few of them on this machine.

The time counts from when the command began until its report is written. The number is chosen once,
at the start, and kept by the run: a resumed fit takes the same steps, whatever the clock says.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from omnimotion.config import Config, FitConfig
from omnimotion.errors import ConfigError
from omnimotion.fitting import Fit
from omnimotion.flow import SceneStore
from omnimotion.report import make_report
from omnimotion.schedule import START_SHARE
from omnimotion.settings import parse_seconds

log = logging.getLogger(__name__)

WARMUP, TIMED = 4, 100  # steps of a trial: the first ones compile and allocate
GOLDEN = 0.6180339887  # its multiples, less their whole part, spread evenly however many
TRIAL_SHARE = 0.03  # of the budget, at most, for each of the two
REPORT_SHARE = 0.1  # of the budget: a report that takes more is timed again
FEW = 0.25  # of the steps at the full rate: with time for less, steps are made cheaper
MOST = 4  # times those: with time for more, the fit ends early


class BudgetTooShort(ConfigError):
    """There is no time for the warm-up; ``needed`` seconds there would be."""

    def __init__(self, budget: str, needed: float, least: int, default: int) -> None:
        super().__init__(
            f"budget = {budget}: too short on this machine for a fit of {least} steps (warmup): "
            f"give {needed:.0f}s or more, or leave it out for {default} steps"
        )
        self.needed, self.least, self.default = needed, least, default


@contextmanager
def shared_budget(budget: str, n_windows: int) -> Iterator[None]:
    """Have a refused share of a budget say what ``n_windows`` windows together need."""
    try:
        yield
    except BudgetTooShort as problem:
        whole = f"{budget} for {n_windows} windows"
        raise BudgetTooShort(whole, problem.needed * n_windows, problem.least, problem.default) \
            from None


class Cost(NamedTuple):
    """Seconds that a fit takes on this machine."""

    step: float  # of one more step, with its part of restarts and previews
    rest: float  # of what does not grow with the steps


def config_within(trial: Fit, store: SceneStore, began: float) -> Config:
    """The config of a new fit with as many steps as fit into its budget.

    Where there is time for few steps, a step draws half as many pairs: more and cheaper steps
    take a short fit farther. With time for more than `most_steps` the fit ends early. ``trial``
    takes some steps and is spoiled.
    ``began``: `time.perf_counter` when the budget's time started. ConfigError when the time is too
    short for the warm-up.
    """
    config, loading_s = trial.config, time.perf_counter() - began
    budget, default = parse_seconds(config.fit.budget), config.fit.num_iters
    pairs = config.fit.pairs
    report_s = report_seconds(trial, store)
    if report_s > REPORT_SHARE * budget:  # the first one may have compiled its loops
        report_s = min(report_s, report_seconds(trial, store))
    trial.darken()

    def choice(pairs: int) -> tuple[int, float, Cost]:
        trial.config = config.replace(pairs=pairs)
        step_s = step_seconds(trial, TRIAL_SHARE * budget)
        cost = cost_of(config.fit, step_s, report_s, loading_s)
        return steps_within(began + budget - time.perf_counter(), cost), step_s, cost

    steps, step_s, cost = choice(pairs)
    if steps < FEW * _usual_steps(config.fit) and pairs > 1:
        pairs //= 2
        steps, step_s, cost = choice(pairs)
    spent, least = time.perf_counter() - began, max(1, config.fit.warmup)
    if steps < least:
        needed = spent + cost.rest + least * cost.step
        raise BudgetTooShort(config.fit.budget, needed + 1, least, default)
    most = most_steps(config.fit)
    if steps > most:
        log.info("budget=%s has time for %d steps: the fit ends early, at %d (without it %d); "
                 "more gains nothing", config.fit.budget, steps, most, default)  # fmt: skip
        steps = most
    log.info("budget=%s num_iters=%d (without it %d) pairs=%d: a step takes %.4f s, a report or "
             "preview %.1f s, and %.1f s have gone by", config.fit.budget, steps, default, pairs,
             step_s, report_s, spent)  # fmt: skip
    return config.replace(num_iters=steps, pairs=pairs)


def most_steps(fit: FitConfig) -> int:
    """At how many steps a fit ends, whatever time it has."""
    return max(fit.num_iters, MOST * _usual_steps(fit))


def _usual_steps(fit: FitConfig) -> int:
    """Those at the full rate, or all where none go at a lower one."""
    return fit.full_rate_steps if fit.full_rate_steps > 0 else fit.num_iters


def cost_of(fit: FitConfig, step_s: float, report_s: float, loading_s: float) -> Cost:
    """The cost of a fit whose parts take this long; a preview takes about as long as a report."""
    preview_s = report_s / fit.preview_every if fit.preview_every else 0.0
    starts = 1 + fit.restarts * START_SHARE
    again = fit.restarts + 1 if fit.restarts else 0  # each start, and the one that goes on
    return Cost(step_s * starts + preview_s, report_s + again * loading_s)


def steps_within(seconds: float, cost: Cost) -> int:
    """How many steps there is time for."""
    return max(0, int((seconds - cost.rest) / cost.step))


def report_seconds(trial: Fit, store: SceneStore) -> float:
    """Seconds that a report takes."""
    began = time.perf_counter()
    make_report(trial, store)
    return time.perf_counter() - began


def step_seconds(trial: Fit, limit_s: float) -> float:
    """Seconds that a step takes; measured for about ``2 * limit_s`` at most."""
    _timed_step(trial, WARMUP, limit_s)
    return _timed_step(trial, TIMED, limit_s)


def _timed_step(trial: Fit, count: int, limit_s: float) -> float:
    """The mean of up to ``count`` steps, spread over the fit: how long they take changes in it."""
    began, steps = time.perf_counter(), trial.config.fit.num_iters
    places = [int(k * GOLDEN % 1 * steps) for k in range(count + 2)]
    for done in range(1, count + 1):
        trial.step = places[done]
        _, loss = trial.advance(then=places[done + 1])
        if time.perf_counter() - began > limit_s:
            break
    float(loss)  # waits for the device
    return (time.perf_counter() - began) / done
