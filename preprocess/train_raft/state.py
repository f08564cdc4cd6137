"""The state of a training on disk: an archive of arrays, without pickles.

It holds all that the next step depends on: weights, AdamW's moments and counts, and the best score
so far. It is written whole over the one before.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnimotion.errors import CheckpointError, ConfigError
from omnimotion.files import read_archive, write_archive
from omnimotion.kinds import NUMBER, check_kinds
from preprocess.raft_weights import save_weights
from preprocess.train_raft.settings import RaftSettings
from preprocess.train_raft.training import Training

KIND, FORMAT = "omnimotion-raft-training", 1
STATE, BEST = "state.npz", "best.npz"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter
MAX_BYTES = 256 << 20
LICENCE = "Apache-2.0 (omnimotion)"


def save_state(run: Path, training: Training) -> None:
    """Write ``run/state.npz``; equal trainings give equal bytes."""
    meta: dict[str, Any] = {
        "kind": KIND, "format": FORMAT, "step": training.step, "skipped": training.skipped,
        "settings": training.settings.decisive(),
    }  # fmt: skip
    if math.isfinite(training.best_px):
        meta["best_px"] = training.best_px
    arrays = {name: each.detach().cpu().numpy() for name, each in tensors(training).items()}
    write_archive(run / STATE, arrays, meta)


def restore(run: Path, training: Training) -> None:
    """Go on from ``run/state.npz``, where there is one.

    Raises CheckpointError where it is damaged, ConfigError where it is of other settings.
    """
    path = run / STATE
    if not path.exists():
        return
    arrays, meta = read_archive(path, CheckpointError, MAX_BYTES)
    if meta.get("kind") != KIND or meta.get("format") != FORMAT:
        raise CheckpointError(f"{path}: no training of RAFT of format {FORMAT}")
    _check_settings(path, meta.get("settings"), training.settings)
    targets = tensors(training)
    if set(targets) != set(arrays):
        raise CheckpointError(f"{path}: {len(arrays)} arrays, expected {len(targets)}")
    for name, target in targets.items():
        found = arrays[name]
        if found.shape != tuple(target.shape) or found.dtype != np.float32:
            raise CheckpointError(f"{path}: {name}: {found.dtype} {found.shape}, expected float32 "
                                  f"{tuple(target.shape)}")  # fmt: skip
        if not np.isfinite(found).all():
            raise CheckpointError(f"{path}: {name}: a value is not finite")
        with torch.no_grad():
            target.copy_(torch.from_numpy(found))
    training.step, training.skipped, training.best_px = _progress(path, meta)


def save_best(run: Path, training: Training) -> None:
    """Write the weights as ``run/best.npz``, a file for ``--raft-weights``."""
    meta = {"step": training.step, "held_out_px": training.best_px, "licence": LICENCE}
    save_weights(run / BEST, "small", training.module.state_dict(), meta)


def tensors(training: Training) -> dict[str, Tensor]:
    """The live tensors of weights and moments by name."""
    found: dict[str, Tensor] = {}
    for name, parameter in training.module.named_parameters():
        found[f"weights.{name}"] = parameter
        moments = training.optimizer.state[parameter]
        found |= {f"{moment}.{name}": moments[moment] for moment in MOMENTS}
    return found


def _progress(path: Path, meta: dict[str, Any]) -> tuple[int, int, float]:
    """Steps done, of them skipped last, and the best score; CheckpointError where damaged."""
    told = {"best_px": math.inf, **meta}
    try:
        check_kinds(told, {"step": (int,), "skipped": (int,), "best_px": NUMBER})
        if min(told["step"], told["skipped"], told["best_px"]) < 0:
            raise ValueError("a number below 0")
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged meta ({error})") from error
    return told["step"], told["skipped"], float(told["best_px"])


def _check_settings(path: Path, found: Any, settings: RaftSettings) -> None:
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: damaged meta (settings)")
    for name, value in settings.decisive().items():
        if found.get(name) != value:
            raise ConfigError(
                f"{path} was trained with {name} = {found.get(name)}, not {value}: give the same "
                "settings, or another --run"
            )
