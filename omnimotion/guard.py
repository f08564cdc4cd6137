"""What keeps a fit sound: steps that are not finite, a map that is no bijection, and a diagnosis.

Conventions. Points are normalised. Looking at a tensor's value waits for a GPU, so that only
`round_trip`, which is called where a checkpoint is due, does it.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from omnimotion.files import write_json
from omnimotion.scene import Scene

MAX_SKIPS = 10.0  # steps skipped in a row, or more than one in a hundred for long: no accident
FORGOTTEN = 0.01  # of a skipped step, by each sound one
ALARM_ABOVE, BROKEN_ABOVE = 1e-3, 1e-1  # round trip: said, and refused
DIAGNOSIS = "diagnosis.json"

_FRAMES, _SIDE = 8, 6  # where the round trip is measured: frames, and points along each axis


def counted(skips: Tensor, is_sound: Tensor) -> Tensor:
    """The running count () of skipped steps after one more step; stays on the device."""
    return torch.where(is_sound, (skips - FORGOTTEN).clamp(min=0), skips + 1)


@torch.no_grad()
def round_trip(scene: Scene) -> float:
    """How far points are, at most, that were mapped to the volume and back; inf for NaN."""
    device, n_frames = scene.camera_start.device, scene.n_frames
    frames = torch.linspace(0, n_frames - 1, min(_FRAMES, n_frames), device=device).round().long()
    sides = [torch.linspace(-side, side, _SIDE, device=device) for side in scene.frame.extent]
    depth = torch.linspace(-1, 1, _SIDE, device=device)
    local = torch.cartesian_prod(*sides, depth).expand(len(frames), -1, 3).contiguous()
    at = scene.at(frames)
    error = float((at.inverse(at.forward(local)) - local).abs().amax())
    return error if math.isfinite(error) else math.inf


def write_diagnosis(run: Path, values: Mapping[str, float]) -> Path:
    """Write ``diagnosis.json``, what was found when a fit was given up; numbers or words."""
    path = run / DIAGNOSIS
    plain = {name: value if math.isfinite(value) else str(value) for name, value in values.items()}
    write_json(path, plain)
    return path
