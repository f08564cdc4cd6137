"""The fit: draw matches, render them, step; log, preview, checkpoint, resume, stop on a signal."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from omnimotion.checkpoint import (
    Checkpoint,
    copy_arrays,
    named_tensors,
    newest_checkpoint,
    remove_old,
    save_checkpoint,
    to_arrays,
)
from omnimotion.compositing import FAINT, REFERENCE_SAMPLES
from omnimotion.config import Config
from omnimotion.correspondences import CorrespondencePool
from omnimotion.depth_maps import DepthLookup
from omnimotion.errors import FitDiverged, Interrupted
from omnimotion.guard import (
    ALARM_ABOVE,
    BROKEN_ABOVE,
    MAX_SKIPS,
    counted,
    round_trip,
    write_diagnosis,
)
from omnimotion.history import METRICS_NAME, History
from omnimotion.losses import LossTerms
from omnimotion.optimizer import FlooredAdam
from omnimotion.pins import Pins
from omnimotion.scene import Scene
from omnimotion.schedule import learning_rate, level_fade, loss_weights, robust_px
from omnimotion.signals import StopSignal
from omnimotion.step_draws import Ahead, Guided, Source
from omnimotion.step_loss import step_loss
from omnimotion.volume import GridVolume

log = logging.getLogger(__name__)

LIT = 2 / 3  # of a ray, where steps take as long as those of a fit, the first ones among them
MAX_HALVINGS = 3  # of the learning rate, when a fit runs away
ROUGH_RATE = 0.6  # of the rate: below it a fit that grows rough goes on, it may be the video
ERROR_MEMORY = 0.9  # of a pair's running error, per time it is drawn
LANDS_NEW = 0.05  # of a running mean, by each step
LOGGED = (
    "flow", "flow_gradient", "photometric", "photometric_gradient", "smoothness",
    "depth_consistency", "occlusion", "depth_range", "distortion",
)  # fmt: skip


class FitReport(NamedTuple):
    """How a fit ended."""

    step: int
    seconds: float  # of this call
    flow_error_px: float  # mean of the last lines of metrics, at a longer side of 256
    skipped: int  # steps of this call whose loss or gradient was not finite


@dataclass
class Fit:
    """A scene and everything its next step depends on."""

    scene: Scene
    pool: CorrespondencePool
    config: Config
    run: Path
    fingerprint: str
    guides: tuple[Guided, ...] = ()  # what steps are drawn from besides the pool
    given: dict[str, str] = field(default_factory=dict)  # see `Checkpoint.given`
    pins: Pins | None = None  # for whoever asks for tracks
    depth: DepthLookup | None = None

    def __post_init__(self) -> None:
        self.step = 0
        self.device = self.pool.i.device
        self.rate_factor = torch.ones(())  # halved when the fit runs away
        self.skips = torch.zeros((), device=self.device)  # see `guard.counted`
        self.skipped = torch.zeros((), device=self.device)
        self.pair_error = torch.ones(len(self.pool.i), device=self.device)
        self.lands = torch.full((), 0.5, device=self.device)  # see `LossTerms`, running mean
        self.loss = step_loss(self.scene, self.config.loss)
        self.optimizer = _optimizer(self.scene, self.config)
        self.ahead = Ahead(Source(self.pool, self.guides, self.depth, self.scene.n_frames))

    # one step ---------------------------------------------------------------------------------

    def advance(self, then: int | None = None) -> tuple[LossTerms, Tensor]:
        """Take one step; its terms and its weighted loss, still on the device.

        ``then``: the step to come, whose matches may be drawn meanwhile.
        """
        with self.scene.threads():
            return self._advance(then if self.scene.has_threads() else None)

    def _advance(self, then: int | None) -> tuple[LossTerms, Tensor]:
        fit, config = self.config.fit, self.config
        batch, depths, order = self.ahead.take(config, self.step, self.pair_error, then)
        progress = self.step / fit.num_iters
        weights, robust = loss_weights(progress, config.loss), robust_px(progress, config.loss)
        if not self.depth:
            weights["depth_order"] = 0.0
        loss, terms = self.loss(batch, weights, depths, self.lands, order, robust)
        is_sound = loss.isfinite()
        if self.device.type != "cpu" or is_sound:
            is_sound = is_sound & self._descend()
        if self.device.type != "cpu" or self.skips or not is_sound:
            self.skips = counted(self.skips, is_sound)
            self.skipped += ~is_sound
        if config.loss.occlusion:
            self.lands.lerp_(terms.lands, LANDS_NEW)
        if fit.mining:
            self._remember(batch.pair[: fit.pairs], terms.pair_px[: fit.pairs])
        self.step += 1
        return terms, loss

    def _remember(self, pair: Tensor, found: Tensor) -> None:
        """Move the running errors of some pairs of the pool to what was found of them."""
        error = self.pair_error[pair]
        found = torch.where(found.isfinite(), found, error)
        self.pair_error[pair] = error + (1 - ERROR_MEMORY) * (found - error)

    def _descend(self) -> Tensor:
        fit = self.config.fit
        rate = learning_rate(self.step, fit.num_iters, fit) * float(self.rate_factor)
        return self.optimizer.step(self.step, rate, level_fade(self.step / fit.num_iters, fit))

    def darken(self) -> None:
        """Be a fit whose steps take as long as they do on average; for timing: nothing moves.

        At the start light reaches all samples, and a step takes a third longer than later.
        """
        if isinstance(self.scene.volume, GridVolume):
            self.scene.volume.fill(-math.log(FAINT) / (LIT * REFERENCE_SAMPLES))
        self.rate_factor.zero_()

    # state ------------------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor the next step depends on, by name."""
        scene = named_tensors("scene", self.scene.state_dict())
        own = {"pair_error": self.pair_error, "rate_factor": self.rate_factor,
               "lands": self.lands}  # fmt: skip
        pins = self.pins.arrays() if self.pins else {}
        own |= {name: torch.from_numpy(array) for name, array in pins.items()}
        return scene | own | self.optimizer.tensors()

    def is_sound(self) -> bool:
        """Whether the state is finite and the map one that can be inverted; waits for a GPU."""
        if not all(torch.isfinite(tensor).all() for tensor in self.tensors().values()):
            return False
        error = round_trip(self.scene)
        if error > ALARM_ABOVE:
            log.warning("step=%d round_trip=%.2g, expected below %g: the map hardly inverts",
                        self.step, error, ALARM_ABOVE)  # fmt: skip
        return error <= BROKEN_ABOVE

    def save(self) -> Path:
        """Write a checkpoint of this step."""
        complete = self.step >= self.config.fit.num_iters
        arrays = to_arrays(self.tensors())
        state = Checkpoint(self.step, arrays, self.fingerprint, self.config, complete, self.given)
        return save_checkpoint(self.run, state)

    def restore(self, state: Checkpoint) -> None:
        """Continue from a checkpoint; CheckpointError when it does not fit."""
        first = {"lands": self.lands.cpu().numpy()}  # earlier versions did not keep it
        copy_arrays(self.tensors(), first | state.arrays)
        self.step = state.step
        self.skips = torch.zeros_like(self.skips)
        remove_old(self.run)


def run_fit(
    fit: Fit,
    stop: StopSignal,
    preview: Callable[[Scene, int], None] | None = None,
    progress: Callable[[int, dict[str, float]], None] | None = None,
    until: int | None = None,
) -> FitReport:
    """Step until ``num_iters``, or only ``until`` a step before, saving as the config says.

    A fit that runs away goes back to its last checkpoint and on at half the rate. Raises
    `Interrupted` after saving when ``stop`` was set, `FitDiverged` when it runs away for good.
    """
    config, began, first = fit.config.fit, time.perf_counter(), fit.step
    metrics = History(fit.run / METRICS_NAME, fit.step)
    end = config.num_iters if until is None else min(until, config.num_iters)
    if fit.step == 0:
        fit.save()  # something to go back to
    while fit.step < end:
        terms, loss = fit.advance(then=fit.step + 1 if fit.step + 1 < end else None)
        stopping, last = stop.number, fit.step == end
        due = last or bool(stopping) or fit.step % config.checkpoint_every == 0
        logs = last or fit.step % config.log_every == 0
        # looking at the loss waits for a GPU
        skips = float(fit.skips) if due or logs or fit.device.type == "cpu" else 0.0
        is_sound = math.isfinite(float(loss)) if skips else True
        if not is_sound:
            log.warning("step=%d skipped: its loss is not finite", fit.step)
        if skips >= MAX_SKIPS or (due and not fit.is_sound()):
            _go_back(fit, metrics, terms)
            continue
        if logs and is_sound:
            seconds = time.perf_counter() - began
            metrics.add(_line(fit, terms, loss, seconds / max(1, fit.step - first)))
            if metrics.ran_away() or (fit.rate_factor > ROUGH_RATE and metrics.grew_rough()):
                _go_back(fit, metrics, terms)
                continue
            if progress:
                progress(fit.step, metrics.lines[-1])
        if due and (last or stopping or metrics.is_sound()):
            metrics.save()
            fit.save()
        if preview and config.preview_every and (last or fit.step % config.preview_every == 0):
            preview(fit.scene, fit.step)
        if stopping and not last:
            raise Interrupted(
                f"stopped at step {fit.step} of {config.num_iters}; saved in {fit.run}; "
                "give the same command again to go on", stopping,
            )  # fmt: skip
    seconds = time.perf_counter() - began
    return FitReport(fit.step, seconds, metrics.recent("flow_px"), int(fit.skipped))


def _go_back(fit: Fit, metrics: History, terms: LossTerms) -> None:
    """Return to the last checkpoint, at half the rate; FitDiverged after too many times."""
    values = {name: float(getattr(terms, name)) for name in (*LOGGED, "flow_px")}
    found = ", ".join(f"{name}={value:.3g}" for name, value in values.items())
    state = newest_checkpoint(fit.run)
    if state is None or float(fit.rate_factor) <= 0.5**MAX_HALVINGS:
        rate = float(fit.rate_factor)
        path = write_diagnosis(fit.run, {
            "step": fit.step, "rate_factor": rate, "skipped": int(fit.skipped),
            "round_trip": round_trip(fit.scene), **values,
        })  # fmt: skip
        raise FitDiverged(
            f"the fit ran away at step {fit.step} at {rate:.3g} of its rate ({found}); "
            f"lower learning_rate (now {fit.config.fit.learning_rate}); see {path}"
        )
    factor = float(fit.rate_factor) / 2
    log.warning("fit ran away at step %d (%s); back to step %d at %.3g of the rate",
                fit.step, found, state.step, factor)  # fmt: skip
    fit.restore(state)
    fit.rate_factor.fill_(factor)
    metrics.cut(fit.step)
    fit.save()


def _line(fit: Fit, terms: LossTerms, loss: Tensor, seconds: float) -> dict[str, float]:
    """One line of metrics."""
    names = (*LOGGED, "depth_order", "flow_px") if fit.depth else (*LOGGED, "flow_px")
    values = {name: round(float(getattr(terms, name)), 6) for name in names}
    return {"step": fit.step, "loss": round(float(loss), 6), **values, "step_s": round(seconds, 5)}


def _optimizer(scene: Scene, config: Config) -> FlooredAdam:
    fit = config.fit
    codes: dict[str, nn.Parameter] = {}
    layers: dict[str, nn.Parameter] = {}
    for name, parameter in scene.bijection.named_parameters():
        (codes if name.startswith("code.") else layers)[f"bijection.{name}"] = parameter
    volume = {f"volume.{name}": parameter for name, parameter in scene.volume.named_parameters()}
    groups = [(layers, 1.0), (volume, fit.volume_rate), (codes, fit.code_rate)]
    if config.model.camera:
        groups.append(({"camera_shift": scene.camera_shift}, fit.camera_rate))
    fading = frozenset(f"bijection.{name}" for name in scene.bijection.fading)
    if scene.fused:
        from omnimotion.fused.adam import FusedAdam  # needs numba

        return FusedAdam(groups, fit.adam_floor, fit.clip, fading)
    return FlooredAdam(groups, fit.adam_floor, fit.clip, fading)
