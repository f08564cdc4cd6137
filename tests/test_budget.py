"""A budget: as many steps as fit into a time, with all that is not a step."""

from dataclasses import replace

import pytest
import torch

from omnimotion import budget
from omnimotion.budget import Cost, config_within, cost_of, steps_within
from omnimotion.config import Config
from omnimotion.errors import ConfigError


class Clock:
    """A clock that moves when something is done."""

    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now

    def spend(self, seconds):
        self.now += seconds


class Trial:
    """Stands for a fit whose steps take longer the farther it is."""

    def __init__(self, config, clock, early_s, late_s):
        self.config, self.clock, self.steps = config, clock, []
        self.early_s, self.late_s = early_s, late_s
        self.step, self.is_dark = 0, False

    def seconds(self, step):
        whole = self.early_s + (self.late_s - self.early_s) * step / self.config.fit.num_iters
        return whole * (0.4 + 0.6 * self.config.fit.pairs / 64)

    def darken(self):
        assert self.clock.now >= 103.0  # the report is made of the scene as it is
        assert self.is_dark or not self.steps
        self.is_dark = True

    def advance(self, then=None):
        self.steps.append(self.step)
        self.clock.spend(self.seconds(self.step))
        return None, torch.zeros(())


@pytest.fixture
def clock(monkeypatch):
    """The module's clock; a report takes 3 s of it."""
    made = Clock()
    monkeypatch.setattr(budget, "time", made)
    monkeypatch.setattr(budget, "make_report", lambda *_: made.spend(3.0))
    return made


def config_of(**changes):
    return Config().replace(num_iters=1000, preview_every=0, warmup=50, **changes)


@pytest.mark.parametrize("preview_every", [0, 100, 1000])
@pytest.mark.parametrize("restarts", [0, 2])
def test_all_that_a_fit_does_takes_the_time_and_no_more(preview_every, restarts):
    fit = replace(Config().fit, preview_every=preview_every, restarts=restarts)
    steps = steps_within(300.0, cost_of(fit, step_s=0.25, report_s=2.0, loading_s=5.0))

    def seconds(count):  # counted one by one
        previews = sum(1 for k in range(1, count) if preview_every and k % preview_every == 0)
        start = 5.0 + 0.25 * 0.3 * count
        chosen = 5.0 if restarts else 0.0  # is loaded once more
        return 0.25 * count + 2.0 * previews + 2.0 + restarts * start + chosen

    assert seconds(steps) <= 300.0
    assert seconds(steps) > 300.0 - 2.0 - 0.5


def test_there_is_no_less_than_no_step():
    assert steps_within(1.0, Cost(step=0.25, rest=2.0)) == 0


@pytest.mark.parametrize("late_s", [0.5, 0.7])
def test_the_fit_ends_when_the_time_does(clock, late_s):
    """Loading, trial, every step as long as it takes at its place, and the report."""
    began = clock.perf_counter()
    clock.spend(20.0)
    trial = Trial(config_of(budget="10m"), clock, 0.5, late_s)
    found = config_within(trial, None, began)
    assert trial.is_dark
    assert clock.perf_counter() - began < 0.1 * 600
    whole = Trial(found, clock, 0.5, late_s)
    for whole.step in range(found.fit.num_iters):
        whole.advance()
    clock.spend(3.0)
    assert clock.perf_counter() - began == pytest.approx(600, rel=0.03)


def test_nothing_but_the_number_of_steps_is_chosen(clock):
    config = config_of(budget="2m")
    found = config_within(Trial(config, clock, 0.1, 0.1), None, clock.perf_counter())
    assert found.fit.num_iters > 1000
    assert found == config.replace(num_iters=found.fit.num_iters)


@pytest.mark.parametrize(("budget", "pairs"), [("10m", 64), ("3m", 64), ("2m", 32), ("60s", 32)])
def test_with_time_for_less_than_a_quarter_of_the_steps_each_draws_half(clock, budget, pairs):
    """1000 steps of 0.5 s by default, 0.35 s with half of the pairs."""
    config = config_of(budget=budget)
    found = config_within(Trial(config, clock, 0.5, 0.5), None, clock.perf_counter())
    assert found == config.replace(num_iters=found.fit.num_iters, pairs=pairs)
    step_s = 0.5 if pairs == 64 else 0.35
    left = clock.perf_counter() - 100.0 + step_s * found.fit.num_iters + 3.0
    assert left == pytest.approx({"10m": 600, "3m": 180, "2m": 120, "60s": 60}[budget], abs=0.5)


@pytest.mark.parametrize(("full_rate_steps", "pairs", "most"), [(400, 64, 1600), (800, 32, 3200)])
def test_what_is_few_and_what_is_most_go_by_the_steps_at_the_full_rate(
    clock, full_rate_steps, pairs, most
):
    """In 2 minutes there is time for some 180 steps: a quarter is 100, which is less, or 200."""
    short, long = (
        config_within(
            Trial(config_of(budget=budget, full_rate_steps=full_rate_steps), clock, 0.6, 0.6),
            None, clock.perf_counter(),
        ).fit
        for budget in ("2m", "1h")
    )  # fmt: skip
    assert 100 < short.num_iters * (0.4 + 0.6 * short.pairs / 64) < 200
    assert short.pairs == pairs
    assert (long.num_iters, long.pairs) == (most, 64)


def test_with_time_for_more_than_four_times_the_steps_it_ends_early(clock, caplog):
    caplog.set_level("INFO")
    found = config_within(Trial(config_of(budget="1h"), clock, 0.1, 0.1), None, 100.0)
    assert found.fit.num_iters == 4000
    assert "ends early" in caplog.text
    caplog.clear()
    found = config_within(Trial(config_of(budget="6m"), clock, 0.1, 0.1), None, clock.now)
    assert 3000 < found.fit.num_iters < 4000
    assert "ends early" not in caplog.text


def test_it_says_what_it_chose_and_why(clock, caplog):
    caplog.set_level("INFO")
    found = config_within(Trial(config_of(budget="2m"), clock, 0.1, 0.1), None, 100.0)
    said = caplog.text
    assert all(word in said for word in ("budget=2m", f"num_iters={found.fit.num_iters}",
                                         "without it 1000", "0.1000 s", "3.0 s"))  # fmt: skip


def test_a_slow_trial_takes_an_eighth_of_the_budget_at_most(clock):
    trial = Trial(config_of(budget="1h"), clock, 60.0, 60.0)
    config_within(trial, None, clock.perf_counter())
    assert 60 * len(trial.steps) <= 0.12 * 3600 + 4 * 60  # each part ends with the step beyond it


def test_a_budget_too_short_is_refused_with_what_would_do(clock):
    config = config_of(budget="20s")
    with pytest.raises(ConfigError, match=r"budget = 20s: too short.*50 steps.*give \d+s") as said:
        config_within(Trial(config, clock, 0.5, 0.5), None, 100.0)
    needed = float(str(said.value).partition("give ")[2].partition("s or")[0])
    clock.now = 100.0
    again = config.replace(budget=f"{needed:g}s")
    assert config_within(Trial(again, clock, 0.5, 0.5), None, 100.0).fit.num_iters >= 50


def test_cost_is_measured_on_the_fit_itself(tiny_store, tiny_config, tmp_path, monkeypatch):
    from omnimotion.runs import start_fit

    monkeypatch.setattr(budget, "TIMED", 10)
    made = start_fit(tiny_store, tmp_path, tiny_config)
    assert 0 < budget.step_seconds(made, 60.0) < 10
    assert 0 < budget.report_seconds(made, tiny_store) < 60
    assert not any(tmp_path.glob("report*"))


def test_a_report_that_compiles_its_loops_is_timed_again(clock, monkeypatch):
    """60 s the first time, 3 s from then on: a budget of 180 s has time for more."""
    taken = iter([60.0, 3.0])
    monkeypatch.setattr(budget, "make_report", lambda *_: clock.spend(next(taken)))
    config = config_of(budget="180s")
    found = budget.config_within(Trial(config, clock, 0.1, 0.1), None, clock.now)
    assert found.fit.num_iters > 1000
