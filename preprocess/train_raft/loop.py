"""The run of a training: step, log, look at held-out pairs, save, stop when asked."""

import logging
import time
from pathlib import Path

import torch

from omnimotion.errors import Interrupted
from omnimotion.history import METRICS_NAME, PICTURE_NAME, History
from omnimotion.plots import plot_metrics
from omnimotion.settings import parse_seconds
from omnimotion.signals import StopSignal
from omnimotion.synthetic.pairs import Pairs
from preprocess.train_raft.held_out import held_out_pairs, score
from preprocess.train_raft.pictures import save_flow_picture
from preprocess.train_raft.settings import RaftSettings, rate
from preprocess.train_raft.state import restore, save_best, save_state
from preprocess.train_raft.training import Training

log = logging.getLogger(__name__)


def train(run: Path, settings: RaftSettings, device: torch.device, stop: StopSignal,
          began: float) -> Training:  # fmt: skip
    """Begin a training in the folder ``run``, or go on, until it is done or its time is over.

    ``began``: `time.perf_counter` when the budget's time started. Raises Interrupted, once all is
    saved, after a signal.
    """
    training = Training(settings, device)
    restore(run, training)
    history = History(run / METRICS_NAME, training.step)
    batches = held_out_pairs(settings, device)
    limit = began + parse_seconds(settings.budget) if settings.budget else float("inf")
    if training.step == 0:
        _validate(run, training, history, batches, {})
    first, started, saved = training.step, time.perf_counter(), time.perf_counter()
    while training.step < settings.steps and not stop.number and time.perf_counter() < limit:
        line = training.advance() | {"rate": rate(settings, training.step - 1)}
        is_last = training.step == settings.steps
        if training.step % settings.validate_every == 0 or is_last:
            _validate(run, training, history, batches, line)
        elif training.step % settings.log_every == 0:
            history.add({"step": training.step, **line})
        if time.perf_counter() - saved > 60 * settings.checkpoint_minutes:
            _save(run, training, history)
            saved = time.perf_counter()
    seconds = time.perf_counter() - started
    _save(run, training, history)
    speed = (training.step - first) * settings.batch / max(seconds, 1e-9)
    log.info("step=%d of %d best_held_out_px=%.3f pairs_per_s=%.2f", training.step,
             settings.steps, training.best_px, speed)  # fmt: skip
    if stop.number:
        raise Interrupted(f"saved at step {training.step}; the same command goes on", stop.number)
    if training.step < settings.steps:
        log.info("budget=%s is over; the same command goes on", settings.budget)
    return training


def _validate(run: Path, training: Training, history: History, batches: list[Pairs],
              line: dict[str, float]) -> None:  # fmt: skip
    """Score the held-out pairs, keep the best weights, draw."""
    found = score(training, batches)
    if line:
        history.add({"step": training.step, **line, **found.line()})
    if found.all_px < training.best_px:
        training.best_px = found.all_px
        save_best(run, training)
    save_flow_picture(run, training, batches)
    log.info("step=%d held_out_px=%.3f visible_px=%.3f without_flow_px=%.3f", training.step,
             found.all_px, found.visible_px, found.still_px)  # fmt: skip


def _save(run: Path, training: Training, history: History) -> None:
    save_state(run, training)
    history.save()
    plot_metrics(history.lines, run / PICTURE_NAME)
