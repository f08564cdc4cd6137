"""The state of a fit on disk, and how a scene is built from it.

A checkpoint is an archive of arrays (no pickle) that holds everything the next step depends on:
parameters, Adam's moments, the pairs' running errors and the step. Random draws depend on seed
and step only, so there is no generator to save. Its meta ties it to a video and a config.
"""

import logging
import os
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnimotion.config import Config, config_from_values
from omnimotion.errors import CheckpointError, ConfigError
from omnimotion.files import read_archive, shown, write_archive
from omnimotion.geometry import Frame
from omnimotion.kinds import Kinds, check_kinds
from omnimotion.scene import Scene, grid_values
from omnimotion.seeds import Purpose, generator

log = logging.getLogger(__name__)

KIND, FORMAT = "omnimotion-checkpoint", 1
_KINDS: Kinds = {
    "step": (int,), "fingerprint": (str,), "config": (dict,), "complete": (bool,),
    "given": (dict,),
}  # fmt: skip
KEPT = 2  # newest checkpoints that stay


@dataclass(frozen=True)
class Checkpoint:
    """One state of a fit."""

    step: int
    arrays: dict[str, np.ndarray]
    fingerprint: str  # identity of the scene
    config: Config
    complete: bool  # the fit had reached its last step
    given: dict[str, str] = field(default_factory=dict)  # fingerprints of --tracks and the like


def build_scene(
    frame: Frame, cameras: Tensor, config: Config, backend: str, device: torch.device
) -> Scene:
    """A scene as it starts; the seed decides its random parameters."""
    random = generator(config.fit.seed, 0, Purpose.WEIGHTS)
    return Scene(frame, cameras, config.model, backend, random).to(device)


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the state after ``step`` steps is stored."""
    return run / "checkpoints" / f"step_{step:08d}.npz"


class NewerCheckpoint(CheckpointError):
    """Of a version that knows more settings: nothing is wrong with it."""


def save_checkpoint(run: Path, state: Checkpoint) -> Path:
    """Write the state and, once it is read back whole, remove all but the newest."""
    path = checkpoint_path(run, state.step)
    path.parent.mkdir(parents=True, exist_ok=True)
    meta: dict[str, Any] = {
        "kind": KIND, "format": FORMAT, "step": state.step, "fingerprint": state.fingerprint,
        "config": state.config.values(), "complete": state.complete,
    }  # fmt: skip
    if state.given:
        meta["given"] = state.given
    write_archive(path, state.arrays, meta)
    load_checkpoint(path)
    remove_old(run)
    return path


def remove_old(run: Path) -> None:
    """Remove all checkpoints but the newest (a kill may have come just before)."""
    for old in checkpoints(run)[:-KEPT]:
        old.unlink(missing_ok=True)


def checkpoints(run: Path) -> list[Path]:
    """Checkpoint files of a run, oldest first."""
    folder = run / "checkpoints"
    names = os.listdir(folder) if folder.is_dir() else []  # glob would hide that it cannot look
    return sorted(folder / name for name in names if fnmatchcase(name, "step_*.npz"))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint; CheckpointError naming the file when it is damaged or not one."""
    arrays, meta = read_archive(path, error=CheckpointError)
    if meta.get("kind") != KIND or meta.get("format") != FORMAT:
        raise CheckpointError(f"{shown(path)}: no omnimotion checkpoint of format {FORMAT}")
    meta = {"given": {}, **meta}
    try:
        check_kinds(meta, _KINDS)
        check_kinds(meta["given"], dict.fromkeys(meta["given"], (str,)))
        if meta["step"] < 0:
            raise ValueError(f"step {meta['step']}")
        if unknown := sorted(meta["config"].keys() - Config().values().keys()):
            raise NewerCheckpoint(
                f"{shown(path)}: of a newer version, with a setting {unknown[0]!r} that this "
                "one does not know: update omnimotion, or choose another --run"
            )
        config = config_from_values(meta["config"])
        return Checkpoint(meta["step"], arrays, meta["fingerprint"], config, meta["complete"],
                          meta["given"])  # fmt: skip
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{shown(path)}: damaged meta ({error})") from error


def run_name(run: Path) -> str:
    """The name of a run's folder, also where one is in it."""
    return Path(os.path.abspath(run)).name


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The newest sound checkpoint of a run, None where there is none.

    A damaged one is set aside as ``*.corrupt`` and said so; CheckpointError when all are damaged.
    `NewerCheckpoint` for one of a newer version, ResourceError when one cannot be read just now:
    it stays as it is.
    """
    found = checkpoints(run)
    for path in reversed(found):
        try:
            return load_checkpoint(path)
        except NewerCheckpoint:
            raise
        except CheckpointError as error:
            with suppress(OSError):  # the folder may be read-only
                path.rename(path.with_suffix(".corrupt"))
            log.warning("%s; set aside, trying the one before", error)
    if found:
        raise CheckpointError(f"{shown(run)}: all {len(found)} checkpoints are damaged: fit again")
    return None


def restore_scene(
    state: Checkpoint, frame: Frame, n_frames: int, backend: str, device: torch.device
) -> Scene:
    """The scene a checkpoint describes; CheckpointError where names or shapes differ."""
    start = state.arrays.get("scene.camera_start")
    if start is None or start.shape != (n_frames, 4) or start.dtype != np.float32:
        raise CheckpointError(f"checkpoint of step {state.step} is not of a {n_frames}-frame clip")
    cameras = torch.from_numpy(start)
    _check_grids(state, frame, cameras)
    scene = build_scene(frame, cameras, state.config, backend, device)
    copy_arrays(named_tensors("scene", scene.state_dict()), state.arrays)
    return scene


def _check_grids(state: Checkpoint, frame: Frame, cameras: Tensor) -> None:
    """CheckpointError where settings or cameras ask for larger grids than the file holds."""
    held = sum(array.size for array in state.arrays.values())
    try:
        asked = grid_values(frame, cameras, state.config.model)
    except (OverflowError, ValueError) as error:
        raise CheckpointError(f"checkpoint of step {state.step}: cameras ({error})") from error
    if asked > held:
        raise CheckpointError(
            f"checkpoint of step {state.step}: grids of {asked} numbers, {held} are there"
        )


def named_tensors(prefix: str, values: dict[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state dict under ``prefix.name``."""
    return {f"{prefix}.{key}": value for key, value in values.items() if torch.is_tensor(value)}


def to_arrays(tensors: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Copies of tensors as numpy arrays."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()}


def copy_arrays(targets: dict[str, Tensor], arrays: dict[str, np.ndarray]) -> None:
    """Copy arrays into live tensors of the same names; CheckpointError when any differs."""
    for name, target in targets.items():
        found = arrays.get(name)
        if found is None or found.shape != tuple(target.shape):
            shape = "nothing" if found is None else f"shape {found.shape}"
            raise CheckpointError(f"checkpoint: {name}: {shape}, expected {tuple(target.shape)}")
        if found.dtype.kind != torch.empty(0, dtype=target.dtype).numpy().dtype.kind:
            raise CheckpointError(f"checkpoint: {name}: {found.dtype}, expected {target.dtype}")
        with torch.no_grad():
            target.copy_(torch.from_numpy(found))
