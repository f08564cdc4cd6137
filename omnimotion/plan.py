"""What fitting and asking a clip will take on this machine, measured on an excerpt of it.

Conventions. The excerpt is a preprocessed scene of the clip's first frames. Steps are timed with a
scene of the whole clip's length, whose matches are the excerpt's, spread over it. Seconds are of
the wall, sizes in bytes; a stage's seconds hold those that its process takes to start. Memory is
the peak of this process, and what a clip holds more than its excerpt.
"""

import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from omnimotion.budget import most_steps
from omnimotion.cameras import IDENTITY
from omnimotion.checkpoint import KEPT, build_scene
from omnimotion.config import Config, FitConfig
from omnimotion.errors import ConfigError
from omnimotion.fitting import Fit, run_fit
from omnimotion.flow import SceneIndex, SceneStore, frame_path
from omnimotion.geometry import Frame
from omnimotion.history import plot_history
from omnimotion.long_tracker import REACH
from omnimotion.matches import KEPT_BYTES
from omnimotion.memory import BYTES_PER_MATCH, forget_peak, peak_memory
from omnimotion.networks import choose_backend
from omnimotion.points import grid_points
from omnimotion.previews import COLUMNS, save_preview, shown_step
from omnimotion.report import save_report
from omnimotion.resolved import resolved_config
from omnimotion.runs import choose_device, open_tracker, run_folder, set_threads, start_fit
from omnimotion.schedule import START_SHARE
from omnimotion.settings import parse_seconds
from omnimotion.signals import StopSignal
from omnimotion.tracker import BYTES_PER_RAY, RAYS_AT_ONCE
from omnimotion.tracks import QueryPoints
from omnimotion.views import frame_bytes
from omnimotion.windows import plan_windows

EXCERPT_STEPS = 5  # of the excerpt's own fit: it must be complete, not good
STEPS, WARMUP = 40, 8  # timed with the whole clip's scene, and not
BYTES_PER_TRACK = 21  # of a query point and frame in .npz
IN_HTML = 4 / 3  # of a picture's bytes, as text
BYTES_PER_PLACE = 9  # of a lattice point and target, flow and state


@dataclass(frozen=True)
class Clip:
    """What the plan needs to know of a clip."""

    n_frames: int
    size: tuple[int, int]  # W, H at which flow is computed
    pairs: int  # ordered
    excerpt_pairs: int  # likewise, of the excerpt

    def part(self, n_frames: int) -> "Clip":
        """Some frames of it."""
        return replace(self, n_frames=n_frames, pairs=self.pairs * n_frames // self.n_frames)


@dataclass(frozen=True)
class Stage:
    """What a stage takes."""

    seconds: float
    bytes: float  # on disk, that stay
    memory: float | None  # bytes at its peak, None where the system does not tell


@dataclass(frozen=True)
class FitPlan:
    """What `train` takes."""

    stage: Stage
    windows: int
    steps: int  # of each window
    step_s: float


def plan_fit(folder: Path, clip: Clip, config: Config, start_s: float) -> FitPlan:
    """The fit of a clip with a config, from a few steps; leaves a complete run in the excerpt.

    A long clip is fitted in windows, each as expensive as the longest.
    ``folder``: the excerpt. ``start_s``: what a process takes to import what it needs. Raises as
    `start_fit` does.
    """
    set_threads(config.fit.threads)
    windows = plan_windows(clip.n_frames)
    clip = clip.part(max(map(len, windows)))
    forget_peak()
    store, run = SceneStore.open(folder), run_folder(folder, None)
    short = config.replace(num_iters=EXCERPT_STEPS, preview_every=0, budget="")
    fit, read_s, compile_s = _timed_twice(lambda: start_fit(store, run, short))
    compile_s += _timed(fit.advance)[1]  # what the start has not compiled
    run_fit(fit, StopSignal())
    _, preview_s, _ = _timed_twice(lambda: save_preview(store, fit.scene, run, fit.step))
    plot_history(run)
    _, report_s, _ = _timed_twice(lambda: save_report(fit, store))
    whole = _whole(fit, clip, resolved_config(config, clip.size, clip.n_frames))
    step_s = _step_seconds(whole)
    path, save_s = _timed(whole.save)
    settings = whole.config.fit
    steps = settings.num_iters
    loading_s = read_s * clip.pairs / clip.excerpt_pairs
    starts, loads = 1 + settings.restarts * START_SHARE, 1.0
    if settings.restarts:  # each start reads the matches, and the one that goes on once more
        loads += settings.restarts + 1
    budget = parse_seconds(settings.budget) if settings.budget else math.inf
    if settings.budget:
        steps = int(min(max(1, budget / len(windows) / (step_s * starts)), most_steps(settings)))
    previews = math.ceil(steps / settings.preview_every) if settings.preview_every else 0
    saves = math.ceil(steps / settings.checkpoint_every) + 1
    seconds = start_s + compile_s + len(windows) * (
        loads * loading_s + step_s * steps * starts + previews * preview_s + saves * save_s
        + report_s
    )  # fmt: skip
    seconds = min(seconds, budget)
    richer = _richer(store)
    kept = KEPT * path.stat().st_size + (_bytes_in(run / "previews") + richer) * previews
    kept += _bytes_of(run) + richer * IN_HTML
    own = len(fit.pool.xy_i)
    matches = min(settings.pool, own * clip.pairs // clip.excerpt_pairs)
    stage = Stage(seconds, len(windows) * kept, _peak(BYTES_PER_MATCH * (matches - own)))
    return FitPlan(stage, len(windows), steps, step_s)


def plan_query(folder: Path, clip: Clip, config: Config, grid: int) -> Stage:
    """A query for a grid of points, from one of the excerpt; see `plan_fit`, which comes first.

    What a longer clip adds to the command: every window finds surfaces, and tracks are refined
    frame by frame, those that come over a border beside the window too. Choosing among surfaces
    adds nothing: it looks at what is near the query's frame.
    """
    fit = config.fit
    forget_peak()
    run = run_folder(folder, None)  # not the one that steps were timed with
    tracker = open_tracker(folder, run, fit.device, fit.backend)
    points = grid_points(grid, 0, tracker.index.original_size)
    queries = QueryPoints.from_array(points)
    _, own_s, _ = _timed_twice(lambda: tracker.track(points, refine=False))
    _, chosen_s, _ = _timed_twice(lambda: tracker.found(queries, tracker.refiner))
    _, refined_s, _ = _timed_twice(lambda: tracker.track(points))
    _, command_s = _timed(lambda: _query(folder, fit, grid))
    windows = plan_windows(clip.n_frames)
    borders = len(windows) - 1
    more_frames = (clip.n_frames + borders * REACH) / tracker.index.n_frames - 1
    seconds = command_s + borders * own_s + max(0.0, refined_s - chosen_s) * more_frames
    answer = len(points) * clip.n_frames * BYTES_PER_TRACK
    window = clip.part(max(map(len, windows)))
    more = _query_bytes(tracker.index, len(points), window.n_frames, window.pairs)
    more -= _query_bytes(tracker.index, len(points), tracker.index.n_frames, clip.excerpt_pairs)
    return Stage(seconds, answer, _peak(answer + more))


def _query(folder: Path, fit: FitConfig, grid: int) -> None:
    """Run the command itself, with all that a process takes; ConfigError where it fails."""
    with TemporaryDirectory(dir=folder) as temp:
        done = subprocess.run(
            [sys.executable, "-m", "omnimotion", "query", "--scene", folder, "--run",
             run_folder(folder, None), "--grid", str(grid),
             "--out", Path(temp) / "tracks.npz", "--threads", str(fit.threads),
             "--device", fit.device, "--backend", fit.backend],
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise ConfigError(f"a query of the clip's first frames failed: {said or done.returncode}")


def _query_bytes(index: SceneIndex, n_points: int, n_frames: int, n_pairs: int) -> int:
    """What of a query's memory grows with the clip: rays, images, matches that it has read."""
    width, height = (side // index.stride for side in index.size)
    rays = min(RAYS_AT_ONCE, n_points * n_frames) * BYTES_PER_RAY
    images = n_frames * frame_bytes(index.size)
    return rays + images + min(KEPT_BYTES, n_pairs * width * height * BYTES_PER_PLACE)


def _peak(more: int) -> int | None:
    """The peak of this process since it was last forgotten, and more."""
    peak = peak_memory()
    return None if peak is None else peak + more


def _whole(fit: Fit, clip: Clip, config: Config) -> Fit:
    """A fit as long as the clip, with the matches of the excerpt's fit."""
    device = choose_device(config.fit.device)
    backend = choose_backend(config.fit.backend, device)
    cameras = torch.tensor(IDENTITY).repeat(clip.n_frames, 1)
    scene = build_scene(Frame(*clip.size), cameras, config, backend, device)
    last, whole = max(1, fit.scene.n_frames - 1), clip.n_frames - 1

    def spread(frames: torch.Tensor) -> torch.Tensor:
        return torch.div(frames * whole, last, rounding_mode="floor")

    pool = replace(fit.pool, i=spread(fit.pool.i), j=spread(fit.pool.j))
    return Fit(scene, pool, config, fit.run.with_name("whole"), fit.fingerprint)


def _step_seconds(fit: Fit) -> float:
    """The mean time of a step; a median would leave out what now and then takes longer."""
    fit.darken()

    def take(count: int) -> None:
        for _ in range(count):
            _, loss = fit.advance(then=fit.step + 1)
            float(loss)  # waits for the device

    take(WARMUP)
    return _timed(lambda: take(STEPS))[1] / STEPS


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def _timed_twice(function: Callable[[], Any]) -> tuple[Any, float, float]:
    """The second result, the lesser of two times, and how much longer the first took.

    The first time may compile loops, once: that must not be multiplied for a longer clip.
    """
    _, first_s = _timed(function)
    result, again_s = _timed(function)
    return result, min(first_s, again_s), max(0.0, first_s - again_s)


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _richer(store: SceneStore) -> float:
    """What a preview holds more once the scene is fitted: it shows frames, with their texture."""
    count = store.index.n_frames
    frames = sum(frame_path(store.folder, t).stat().st_size for t in range(count)) / count
    return COLUMNS * frames / shown_step(store.index.size) ** 2


def _bytes_of(run: Path) -> int:
    """Of the files that a run has once: report, pictures."""
    return sum(path.stat().st_size for path in run.iterdir() if path.is_file())
