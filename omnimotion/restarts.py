"""Several begun fits, of which the best goes on: where luck decides the order of surfaces.

A start is a fit with a seed of its own, up to a share of its steps. The one that maps best what
moves, by the matches that it never drew, becomes the run, and goes on to the same bytes as if it
had been begun alone, with its seed; the others are removed. Starts lie in ``<run>/starts`` until
then, and what was compared in ``<run>/restarts.json``, so that a killed command goes on.
"""

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from omnimotion.checkpoint import checkpoints, newest_checkpoint, save_checkpoint
from omnimotion.config import Config
from omnimotion.errors import CheckpointError, ConfigError, FitDiverged
from omnimotion.files import atomic_write, make_folder, read_bytes, read_json, write_json
from omnimotion.fitting import Fit, run_fit
from omnimotion.flow import SceneStore
from omnimotion.health import measure
from omnimotion.history import METRICS_NAME
from omnimotion.kinds import NONE, NUMBER, Kinds, check_kinds
from omnimotion.resumed import FREE
from omnimotion.schedule import BUDGETED, START_SHARE
from omnimotion.signals import StopSignal

log = logging.getLogger(__name__)

KIND, FORMAT = "omnimotion-restarts", 1
STARTS, RECORD = "starts", "restarts.json"
COMPARED = ("moving_under_2_px", "held_out_under_2_px")
"""Figures of `health` that starts are compared by: the second where nothing moves, or they tie."""
_RECORD: Kinds = {
    "kind": (str,), "format": (int,), "seed": (int,), "restarts": (int,), "fit": (dict,),
    "starts": (list,), "chosen": (int, NONE),
}  # fmt: skip


def best_start(
    begin: Callable[[Path, Config], Fit], store: SceneStore, run: Path, config: Config,
    stop: StopSignal,
) -> Fit:  # fmt: skip
    """The best of ``restarts + 1`` starts, as the fit of ``run``, at the step where it was chosen.

    ``begin`` opens the fit of a folder, new or where it was left. Of a run that has chosen, the
    fit that was chosen. Raises `Interrupted` as `run_fit` does, ConfigError where another seed or
    number of restarts was begun with.
    """
    record = _record(run, config)
    if record["chosen"] is None and checkpoints(run):  # begun without, and refused as such
        return begin(run, config)
    while record["chosen"] is None:
        done = record["starts"]
        if len(done) <= config.fit.restarts:
            done.append(_start(begin, store, run, config, record, stop))
        else:
            record["chosen"] = max(done, key=_rank)["seed"]
            log.info("restarts: seed %d goes on", record["chosen"])
        write_json(run / RECORD, record)
    _settle(run, record["chosen"])
    return begin(run, _config_of(config, record["chosen"], record))


def chosen_config(run: Path, config: Config) -> Config:
    """The config that a run with restarts went on with; raises as `best_start` does."""
    record = _record(run, config)
    if record["chosen"] is None:
        return config
    return _config_of(config, record["chosen"], record)


def check_none_begun(run: Path) -> None:
    """ConfigError for a run that begins without restarts where some have been begun."""
    if (run / RECORD).is_file() and not checkpoints(run):
        record = _read_record(run / RECORD)
        _check_same(run, {"restarts": record["restarts"]}, {"restarts": 0})


def restarts_report(run: Path) -> dict[str, Any] | None:
    """What a run's report says of its restarts: its starts, and the seed that went on.

    None for a run without any.
    """
    if not (run / RECORD).is_file():
        return None
    record = _read_record(run / RECORD)
    return {name: record[name] for name in ("starts", "chosen")} | {"compared": list(COMPARED)}


def _record(run: Path, config: Config) -> dict[str, Any]:
    """What has been compared so far."""
    begun = {"seed": config.fit.seed, "restarts": config.fit.restarts}
    new: dict[str, Any] = {"kind": KIND, "format": FORMAT, **begun, "fit": {}, "starts": [],
                           "chosen": None}  # fmt: skip
    path = run / RECORD
    if not path.is_file():
        return new
    record = _read_record(path)
    _check_same(run, {name: record[name] for name in begun}, begun)
    return record


def _read_record(path: Path) -> dict[str, Any]:
    """What ``restarts.json`` holds; CheckpointError where it is damaged, or something else."""
    record = read_json(path, CheckpointError)
    try:
        check_kinds(record, _RECORD)
        if (record["kind"], record["format"]) != (KIND, FORMAT):
            raise ValueError("of another kind")
        for start in record["starts"]:
            check_kinds(start, {"seed": (int,), "step": (int,), "figures": (dict, NONE)})
            figures = start["figures"] or {}
            check_kinds(figures, {name: (*NUMBER, NONE) for name in COMPARED if name in figures})
    except ValueError as problem:
        raise CheckpointError(f"{path} is no record of restarts ({problem}): use another --run") \
            from problem
    return record


def _check_same(run: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """ConfigError unless a run is continued as it was begun."""
    for name in sorted(before | now):
        if before.get(name) != now.get(name):
            raise ConfigError(
                f"{run} was started with {name} = {before.get(name)}, now {now.get(name)}: "
                "use the same, or another --run"
            )


def _start(
    begin: Callable[[Path, Config], Fit], store: SceneStore, run: Path, config: Config,
    record: dict[str, Any], stop: StopSignal,
) -> dict[str, Any]:  # fmt: skip
    """Fit the next seed up to where starts are compared, and measure it."""
    seed = config.fit.seed + len(record["starts"])
    folder = _folder(run, seed)
    make_folder(folder)
    fit = begin(folder, _config_of(config, seed, record))
    record["fit"] = record["fit"] or _identity(fit)
    _check_same(run, record["fit"], _identity(fit))
    steps = fit.config.fit.num_iters
    try:
        run_fit(fit, stop, until=max(1, round(START_SHARE * steps)))
    except FitDiverged as problem:
        others = [start["figures"] for start in record["starts"]]
        if len(others) == config.fit.restarts and not any(others):
            raise
        log.warning("start with seed %d is given up: %s", seed, problem)
        return {"seed": seed, "step": fit.step, "figures": None}
    figures = measure(fit.scene, fit.pool, store, seed).figures
    log.info("start with seed %d: after %d of %d steps %s", seed, fit.step, steps,
             " ".join(f"{name}={figures[name]}" for name in COMPARED))  # fmt: skip
    return {"seed": seed, "step": fit.step, "figures": figures}


def _identity(fit: Fit) -> dict[str, Any]:
    """What all starts of a run have in common."""
    settings = fit.config.values()
    own = {name: settings[name] for name in settings if name not in (*FREE, "seed")}
    return own | {"scene": fit.fingerprint} | {f"--{name}": fit.given[name] for name in fit.given}


def _config_of(config: Config, seed: int, record: Mapping[str, Any]) -> Config:
    """The config of a start; all take the steps of the first: a budget is measured once."""
    known = {}
    if config.fit.budget and record["fit"]:
        known = {name: record["fit"][name] for name in BUDGETED} | {"budget": ""}
    return config.replace(seed=seed, **known)


def _rank(start: Mapping[str, Any]) -> list[float]:
    """Larger is better; a start that was given up, or cannot be measured, is worse than any."""
    figures = start["figures"] or {}
    values = [figures.get(name) for name in COMPARED]
    return [float(bool(figures)), *(-1.0 if value is None else value for value in values)]


def _folder(run: Path, seed: int) -> Path:
    return run / STARTS / f"seed_{seed}"


def _settle(run: Path, seed: int) -> None:
    """Make the start with a seed the run itself, and remove all of them; may be done again."""
    if not checkpoints(run):
        state = newest_checkpoint(_folder(run, seed))
        if state is None:
            raise CheckpointError(f"{_folder(run, seed)}: no checkpoint: use another --run")
        lines = read_bytes(_folder(run, seed) / METRICS_NAME, CheckpointError)
        atomic_write(run / METRICS_NAME, lines)
        save_checkpoint(run, state)  # the last thing: from here on the run stands by itself
    shutil.rmtree(run / STARTS, ignore_errors=True)
