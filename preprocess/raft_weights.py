"""Weights of torchvision's RAFT: a file of the user's, the torch hub cache, or one download.

Conventions. Weights are read with ``weights_only=True``, so a file cannot execute code, and cached
ones are checked against the hash that torchvision writes into their name. Every failure is a
FlowError that names the place.
"""

import hashlib
import io
import logging
import os
import re
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

from omnimotion.errors import FlowError, OmniMotionError
from omnimotion.files import atomic_write, read_bytes

log = logging.getLogger(__name__)

DEFAULT_WEIGHTS = {"large": Raft_Large_Weights.DEFAULT, "small": Raft_Small_Weights.DEFAULT}
MAX_BYTES = 256 << 20  # the large network's have 21 MB
REQUIRED_TIMEOUT_S, OPTIONAL_TIMEOUT_S = 30.0, 3.0


@dataclass(frozen=True)
class RaftWeights:
    """The state of a RAFT network and where it comes from."""

    model: str  # large or small
    state: dict[str, Tensor]
    source: str  # file name and hash, goes to scene.json
    why: str  # how it was found


def find_weights(model: str, path: Path | None, is_required: bool) -> RaftWeights:
    """Weights from ``path``, else the torch hub cache, else torchvision's server, tried once.

    The server is given `REQUIRED_TIMEOUT_S`, or `OPTIONAL_TIMEOUT_S` where there is a substitute.
    """
    if path is not None:
        return _loaded(model, read_bytes(path, FlowError, MAX_BYTES), path, "file given")
    url = DEFAULT_WEIGHTS[model].url
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    if cached.is_file():
        data, why = read_bytes(cached, FlowError, MAX_BYTES), "torch hub cache"
        _check_hash(data, cached.name, cached)
    else:
        data, why = _download(url, is_required), "downloaded"
        _check_hash(data, cached.name, url)
        _keep(cached, data)
    return _loaded(model, data, cached, why)


def _download(url: str, is_required: bool) -> bytes:
    timeout_s = REQUIRED_TIMEOUT_S if is_required else OPTIONAL_TIMEOUT_S
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            data = response.read(MAX_BYTES)
    except (OSError, ValueError, HTTPException) as error:
        raise FlowError(
            f"cannot download RAFT weights from {url} ({error}): give a file with --raft-weights, "
            "or use flow = dis"
        ) from error
    return data


def _keep(path: Path, data: bytes) -> None:
    """Cache a download; where that is impossible, the next run downloads again."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, data)
    except (OSError, OmniMotionError) as error:
        log.info("RAFT weights not cached: %s", error)


def _check_hash(data: bytes, name: str, place: Path | str) -> None:
    match = re.search(r"-([0-9a-f]{8,})\.pth$", name)
    found = hashlib.sha256(data).hexdigest()
    if match is None or not found.startswith(match[1]):
        raise FlowError(
            f"RAFT weights {place} are damaged: sha256 {found[:8]}, expected "
            f"{match[1] if match else 'a hash in the name'}: delete them and run it again"
        )


def _loaded(model: str, data: bytes, path: Path, why: str) -> RaftWeights:
    hint = f"expected a file of torchvision's raft_{model} weights"
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own for a damaged file
        raise FlowError(
            f"cannot read RAFT weights {path} ({type(error).__name__}): damaged or of another "
            f"format; {hint}"
        ) from error
    is_state = isinstance(state, dict) and all(isinstance(v, Tensor) for v in state.values())
    if not is_state or not state:
        raise FlowError(f"{path} holds {type(state).__name__}, no network's weights; {hint}")
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise FlowError(f"RAFT weights {path} are not finite; {hint}")
    digest = hashlib.sha256(data).hexdigest()
    return RaftWeights(model, state, f"{os.path.basename(path)} sha256 {digest}", why)
