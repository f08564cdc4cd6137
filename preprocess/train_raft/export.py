"""The best weights of a training as a small file to ship: half precision, with a checksum."""

import logging
from pathlib import Path

from omnimotion.files import make_folder
from preprocess.raft_weights import load_archive, save_weights, write_checksum
from preprocess.train_raft.state import BEST

log = logging.getLogger(__name__)


def export(run: Path, target: Path) -> None:
    """Write ``target`` and ``target.sha256`` from ``run/best.npz``.

    Raises FlowError where there are no weights, ConfigError where they cannot be written.
    """
    weights, meta = load_archive(run / BEST)
    state = {name: each.half() for name, each in weights.state.items()}
    make_folder(target.parent)
    save_weights(target, weights.model, state, meta)
    write_checksum(target)
    log.info("weights=%s bytes=%d step=%s held_out_px=%s", target, target.stat().st_size,
             meta.get("step"), meta.get("held_out_px"))  # fmt: skip
