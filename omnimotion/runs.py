"""Runs of a scene: where they live, how one is started or continued, and how one is opened."""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from omnimotion.budget import config_within
from omnimotion.cameras import IDENTITY, initial_cameras
from omnimotion.checkpoint import (
    Checkpoint,
    build_scene,
    checkpoints,
    newest_checkpoint,
    restore_scene,
    run_name,
)
from omnimotion.config import Config
from omnimotion.correspondences import CorrespondencePool, build_pool
from omnimotion.depth_maps import DepthLookup
from omnimotion.errors import CheckpointError, ConfigError, SceneError
from omnimotion.files import atomic_write
from omnimotion.fitting import Fit
from omnimotion.flow import SceneIndex, SceneStore
from omnimotion.geometry import Frame
from omnimotion.masked import MaskedStore
from omnimotion.memory import check_memory
from omnimotion.networks import choose_backend
from omnimotion.pins import Pins, pins_of, stored_pins
from omnimotion.refit import refit_config
from omnimotion.resolved import resolved_config
from omnimotion.resumed import FREE, check_given, resumed_config
from omnimotion.scene import Scene
from omnimotion.seeds import Purpose
from omnimotion.step_draws import Guided
from omnimotion.supervision import LICENCE, Supervision, build_guide
from omnimotion.tracker import Tracker

log = logging.getLogger(__name__)

RUNS_NAME, DEFAULT_RUN = "runs", "default"
NOTHING_GIVEN = Supervision()
MOST_THREADS = 1024


def choose_device(asked: str) -> torch.device:
    """The device of ``auto``, ``cpu`` or ``cuda``; ConfigError when there is no GPU."""
    if asked == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device = cuda: no CUDA device is available; use auto or cpu")
    use_gpu = asked != "cpu" and torch.cuda.is_available()
    return torch.device("cuda" if use_gpu else "cpu")


def set_threads(threads: int) -> None:
    """Use that many CPU threads; 0 is one for each core this process may use.

    ConfigError for a number below 0 or above `MOST_THREADS`.
    """
    if not 0 <= threads <= MOST_THREADS:
        raise ConfigError(f"threads: found {threads}, expected 0 to {MOST_THREADS}")
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(threads or usable or 1)


def run_folder(scene: Path, run: "str | Path | None") -> Path:
    """The folder of a run: a path, or a name in the scene; by default `DEFAULT_RUN`.

    ConfigError for no name, and for the folder that holds others.
    """
    run = DEFAULT_RUN if run is None else run
    if run in ("", ".", ".."):  # a shell's variable that is not set, say
        raise ConfigError(f"--run {run!r} names no run: expected a name, or a path with a slash")
    is_name = isinstance(run, str) and Path(run).name == run
    return scene / RUNS_NAME / run if is_name else Path(run)


def start_fit(
    store: SceneStore, run: Path, config: Config, supervision: Supervision = NOTHING_GIVEN,
    base: Path | None = None, began: float | None = None,
) -> Fit:  # fmt: skip
    """A fit at its first step, or where its newest checkpoint left it.

    ``base``: a complete run to go on from, for pins (see `omnimotion.refit`). ``began``:
    `time.perf_counter` when a budget's time started, by default now. ConfigError when the run was
    started with other settings or given other tracks, or a budget is too short; CheckpointError
    when it is of another video, or the base is not complete.
    """
    began = time.perf_counter() if began is None else began
    device = choose_device(config.fit.device)
    backend = choose_backend(config.fit.backend, device)
    state, index = newest_checkpoint(run), store.index
    origin = _origin(store, base, supervision) if base else None
    unset = _unset(config)
    config = (refit_config(origin.config, config, FREE) if origin
              else resolved_config(config, index.size, index.n_frames))  # fmt: skip
    if state is not None:
        config = resumed_config(run, state, index, config, supervision, unset)
    check_memory(index, config.fit, device.type == "cuda")
    matched = MaskedStore(store, supervision.masks) if supervision.masks else store
    cameras = _cameras(matched, config)
    pool = _pool(matched, cameras, config, device, backend)

    def scene() -> Scene:
        if origin:
            return restore_scene(origin, Frame(*index.size), index.n_frames, backend, device)
        return build_scene(Frame(*index.size), cameras, config, backend, device)

    fit = Fit(
        scene(), pool, config, run, index.identity, _guides(store, config, supervision, device),
        supervision.fingerprints, _pins(index, supervision), _depth(config, supervision, device),
    )  # fmt: skip
    log.info("matches=%d pairs=%d parameters=%d device=%s backend=%s", len(pool.xy_i), len(pool.i),
             sum(p.numel() for p in fit.scene.parameters()), device, backend)  # fmt: skip
    if fit.scene.fused:
        _compile()
    if isinstance(matched, MaskedStore):
        log.info("masks: %d of %d matches leave their object and are dropped", *matched.dropped)
    if state is not None:
        fit.restore(state)
        log.info("run=%s continues at step %d of %d", run, fit.step, config.fit.num_iters)
    elif config.fit.budget:
        fit = replace(fit, config=config_within(fit, store, began), scene=scene())
    run.mkdir(parents=True, exist_ok=True)
    atomic_write(run / "config.txt", fit.config.to_text().encode())
    return fit


def check_resumed(
    store: SceneStore, run: Path, config: Config, supervision: Supervision
) -> None:  # fmt: skip
    """Raise as `start_fit` does where a run was started with other settings than these."""
    state, index = newest_checkpoint(run), store.index
    if state is not None:
        asked = resolved_config(config, index.size, index.n_frames)
        resumed_config(run, state, index, asked, supervision, _unset(config))


def _unset(config: Config) -> dict[str, int]:
    """Settings that nobody asked for."""
    return {name: -1 for name, value in config.values().items() if value == -1}


def _compile() -> None:
    """Have the loop of a step compiled, where it is not yet."""
    from omnimotion.kernels import ahead, cells, step

    if not cells.is_kept(step.run):
        log.info("the loops of a step are compiled for this machine, once: half a minute or so")
        if problem := ahead.compile_apart():
            log.info("not in a process of its own, so by this one: %s", problem)


def check_refit(store: SceneStore, base: Path, config: Config, supervision: Supervision) -> None:
    """Raise as `start_fit` does where a base cannot be gone on from, before anything exists."""
    refit_config(_origin(store, base, supervision).config, config, FREE)


def open_tracker(
    folder: Path, run: Path | None = None, device: str = "auto", backend: str = "auto"
) -> Tracker:
    """The tracker of a preprocessed and fitted scene.

    ``run``: a run's folder; by default the scene's newest complete one. SceneError when the scene
    has no run, CheckpointError when the run has no complete checkpoint.
    """
    store = SceneStore(folder, SceneIndex.load(folder))
    warn_unrefined(store)
    return open_run(store, run, device, backend)


def open_run(
    store: SceneStore, run: Path | None, device: str = "auto", backend: str = "auto"
) -> Tracker:
    """`open_tracker` of a store that is open, or of a window of one; it warns of nothing."""
    index = store.index
    state, run = _complete_run(store.folder, run)
    if state.fingerprint != index.identity:
        raise CheckpointError(f"{run} was fitted to another video or flow than {store.folder}")
    where = choose_device(device)
    scene = restore_scene(
        state, Frame(*index.size), index.n_frames, choose_backend(backend, where), where
    )
    meta = {
        "scene": index.name, "source": index.source, "run": run_name(run),
        "step": state.step,
        "flow": index.flow, "coord_convention": index.coord_convention,
    }  # fmt: skip
    if "tracks" in state.given:
        meta["tracks"] = {"licence": state.given.get(LICENCE, "not said")}
    whole = None if store.missing() else store
    return Tracker(scene, index, meta, whole, stored_pins(state.arrays, index.n_frames))


def warn_unrefined(store: SceneStore) -> None:
    """Say in one line that queries will be answered by the scene alone where files are missing."""
    try:
        store.require_files()
    except SceneError as problem:
        log.warning("tracks are not refined where files are missing: %s", problem)


def _complete_run(folder: Path, run: Path | None) -> tuple[Checkpoint, Path]:
    """The newest complete state, of the given run or of any of the scene's."""
    if run is None:
        runs = [path.parent for path in (folder / RUNS_NAME).glob("*/checkpoints")]
        if not runs:
            raise SceneError(f"{folder} has no run yet: train first (train.py --scene {folder})")
    else:
        runs = [run]
        if not run.is_dir():
            known = sorted(path.parent.name for path in (folder / RUNS_NAME).glob("*/checkpoints"))
            there = f"there are {', '.join(known)}" if known else "it has none yet"
            name = run.name if run.parent == folder / RUNS_NAME else run
            raise CheckpointError(f"{folder} has no run {name}: {there}")
    runs = [path for path in runs if checkpoints(path)]
    for path in sorted(runs, key=lambda path: checkpoints(path)[-1].stat().st_mtime, reverse=True):
        state = newest_checkpoint(path)
        if state is not None and state.complete:
            return state, path
    raise CheckpointError(f"no complete checkpoint in {run or folder}: train it to its end first")


def _origin(store: SceneStore, base: Path, supervision: Supervision) -> Checkpoint:
    """The complete state of the run to go on from, given the same things but for pins."""
    state, _ = _complete_run(store.folder, base)
    if state.fingerprint != store.index.identity:
        raise CheckpointError(f"{base} was fitted to another video or flow: choose another --run")
    before, now = ({**given, "pin": ""} for given in (state.given, supervision.fingerprints))
    check_given(base, before, now)
    return state


def _pins(index: SceneIndex, supervision: Supervision) -> Pins | None:
    if supervision.pin is None:
        return None
    return pins_of(supervision.pin, index.original_size, index.size)


def _depth(config: Config, supervision: Supervision, device: torch.device) -> DepthLookup | None:
    if supervision.depth is None:
        return None
    return DepthLookup(supervision.depth, config.loss.inverse_depth, device)


def _guides(
    store: SceneStore, config: Config, supervision: Supervision, device: torch.device
) -> tuple[Guided, ...]:
    """What steps are drawn from besides the flow."""
    given = (
        (supervision.tracks, config.fit.tracks_share, Purpose.TRACKS),
        (supervision.pin, config.fit.pin_share, Purpose.PINS),
    )
    return tuple(
        Guided(build_guide(store, known, device), share, purpose)
        for known, share, purpose in given
        if known is not None
    )


def _pool(
    store: SceneStore, cameras: torch.Tensor, config: Config, device: torch.device, backend: str
) -> CorrespondencePool:
    fit = config.fit
    pool = build_pool(store, cameras, fit.pool, fit.seed, device, config.loss.texture)
    return replace(pool, fused=backend == "numba")


def _cameras(store: SceneStore, config: Config) -> torch.Tensor:
    if config.model.camera:
        return initial_cameras(store)
    return torch.tensor(IDENTITY).repeat(store.index.n_frames, 1)
