"""Weights of RAFT: a file of the user's, the package's own, the torch hub cache, or one download.

Conventions. torchvision's weights are read with ``weights_only=True``, so a file cannot execute
code, and cached ones are checked against the hash that torchvision writes into their name. Those
of `preprocess.train_raft` are archives of arrays (``.npz``, see `omnimotion.archive`), which say
which network they are of; the package's own have their SHA-256 in a file beside them. Every
failure is a FlowError that names the place.
"""

import hashlib
import io
import logging
import os
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.optical_flow import Raft_Large_Weights, Raft_Small_Weights

from omnimotion.archive import read_members
from omnimotion.errors import FlowError, OmniMotionError
from omnimotion.files import atomic_write, read_bytes, write_archive

log = logging.getLogger(__name__)

DEFAULT_WEIGHTS = {"large": Raft_Large_Weights.DEFAULT, "small": Raft_Small_Weights.DEFAULT}
MAX_BYTES = 256 << 20  # the large network's have 21 MB
REQUIRED_TIMEOUT_S, OPTIONAL_TIMEOUT_S = 30.0, 3.0
RENDERED = "rendered"  # raft_small, trained on rendered motion
RENDERED_PATH = Path(__file__).parent / "weights" / "raft_rendered.npz"
KIND, FORMAT = "omnimotion-raft", 1  # of our own archives


@dataclass(frozen=True)
class RaftWeights:
    """The state of a RAFT network and where it comes from."""

    model: str  # large or small
    state: dict[str, Tensor]
    source: str  # file name and hash, goes to scene.json
    why: str  # how it was found
    licence: str = "BSD-3-Clause (torchvision)"


def find_weights(model: str, path: Path | None, is_required: bool) -> RaftWeights:
    """Weights from ``path``, else the torch hub cache, else torchvision's server, tried once.

    ``model`` is large, small, or rendered: those of the package. The server is given
    `REQUIRED_TIMEOUT_S`, or `OPTIONAL_TIMEOUT_S` where there is a substitute.
    """
    if path is not None and path.suffix == ".npz":
        return load_archive(path)[0]
    if model == RENDERED:
        return _packaged(RENDERED_PATH)
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


def save_weights(
    path: Path, model: str, state: Mapping[str, Tensor], meta: Mapping[str, Any]
) -> None:
    """Write the weights of a network and what is known of them; raises as `write_archive` does."""
    arrays = {name: each.detach().cpu().numpy() for name, each in state.items()}
    write_archive(path, arrays, {**meta, "kind": KIND, "format": FORMAT, "model": model})


def load_archive(path: Path) -> tuple[RaftWeights, dict[str, Any]]:
    """What `save_weights` wrote, in float32, and its meta."""
    return _from_archive(path, read_bytes(path, FlowError, MAX_BYTES), "file given")


def checksum_path(path: Path) -> Path:
    """The file that holds the SHA-256 of another, as ``sha256sum`` writes it."""
    return path.with_name(f"{path.name}.sha256")


def write_checksum(path: Path) -> None:
    """Write the checksum of a file beside it."""
    digest = hashlib.sha256(read_bytes(path, FlowError, MAX_BYTES)).hexdigest()
    atomic_write(checksum_path(path), f"{digest}  {path.name}\n".encode("ascii"))


def _packaged(path: Path) -> RaftWeights:
    """The package's own weights, checked."""
    if not path.is_file():
        raise FlowError(
            f"no RAFT weights trained on rendered motion in this version ({path} is missing): "
            "give a file of train_raft with --raft-weights, or --raft-model large or small, or "
            "--flow dis"
        )
    data = read_bytes(path, FlowError, MAX_BYTES)
    found = hashlib.sha256(data).hexdigest()
    expected = read_bytes(checksum_path(path), FlowError, 1000).decode("ascii", "replace")[:64]
    if found != expected:
        raise FlowError(f"RAFT weights {path} are damaged: sha256 {found[:8]}, expected "
                        f"{expected[:8]}: install the package again")  # fmt: skip
    return _from_archive(path, data, "comes with the package")[0]


def _from_archive(path: Path, data: bytes, why: str) -> tuple[RaftWeights, dict[str, Any]]:
    try:
        arrays, meta = read_members(io.BytesIO(data), len(data))
    except Exception as error:  # whatever a damaged or hostile file makes the parsers raise
        raise FlowError(f"RAFT weights {path} are damaged ({type(error).__name__}); expected a "
                        "file of preprocess.train_raft") from error  # fmt: skip
    if meta.get("kind") != KIND or meta.get("format") != FORMAT or meta.get("model") != "small":
        raise FlowError(f"{path}: no RAFT weights of format {FORMAT}; expected a file of "
                        "preprocess.train_raft")  # fmt: skip
    if not all(each.dtype.kind == "f" and np.isfinite(each).all() for each in arrays.values()):
        raise FlowError(f"RAFT weights {path} are not finite; expected a file of "
                        "preprocess.train_raft")  # fmt: skip
    state = {name: torch.from_numpy(each.astype(np.float32)) for name, each in arrays.items()}
    source = f"{path.name} sha256 {hashlib.sha256(data).hexdigest()}"
    licence = str(meta.get("licence", "not said"))
    return RaftWeights(str(meta["model"]), state, source, why, licence), meta


def _download(url: str, is_required: bool) -> bytes:
    timeout_s = REQUIRED_TIMEOUT_S if is_required else OPTIONAL_TIMEOUT_S
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as response:
            data = response.read(MAX_BYTES)
    except (OSError, ValueError, HTTPException) as error:
        raise FlowError(
            f"cannot download RAFT weights from {url} ({error}): give a file with --raft-weights, "
            "or use --flow dis"
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


def _is_weight(name: Any, value: Any) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor) and value.layout == torch.strided


def _loaded(model: str, data: bytes, path: Path, why: str) -> RaftWeights:
    hint = f"expected a file of torchvision's raft_{model} weights"
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and torch each have their own for a damaged file
        raise FlowError(
            f"cannot read RAFT weights {path} ({type(error).__name__}): damaged or of another "
            f"format; {hint}"
        ) from error
    is_state = isinstance(state, dict) and all(map(_is_weight, state, state.values()))
    if not is_state or not state:
        raise FlowError(f"{path} holds {type(state).__name__}, no network's weights; {hint}")
    if not all(torch.isfinite(value).all() for value in state.values()):
        raise FlowError(f"RAFT weights {path} are not finite; {hint}")
    digest = hashlib.sha256(data).hexdigest()
    return RaftWeights(model, state, f"{os.path.basename(path)} sha256 {digest}", why)
