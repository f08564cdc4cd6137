"""``omnimotion demo``: render the embedded example clip, with its exact ground truth."""

import logging
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omnimotion.config import Parser

if TYPE_CHECKING:
    from omnimotion.synthetic import SyntheticClip

SUMMARY = "render the embedded example clip"
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("folder", type=Path, metavar="DIR", help="folder to write frames/ and gt.npz to")
    add("--seed", type=int, default=7, metavar="N", help="of the scene")
    add("--length", type=int, default=36, metavar="T", help="frames")
    add("--size", default="160x120", metavar="WxH", help="of the frames")


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from omnimotion.errors import ConfigError
    from omnimotion.synthetic import film_clip, write_clip
    from omnimotion.temporary import remove_stale_temps

    try:
        width, height = (int(side) for side in args.size.split("x"))
    except ValueError:
        raise ConfigError(f"--size {args.size!r}: expected WxH, e.g. 160x120") from None
    if args.folder.is_dir():
        remove_stale_temps(args.folder)  # of one that was killed
    clip = film_clip(args.seed, args.length, (width, height))
    if (args.folder / "gt.npz").is_file() and (args.folder / "frames").is_dir():
        _check_same(args.folder, clip, (width, height), args.seed)
        log.info("clip=%s is there already", args.folder)
        return 0
    write_clip(clip, args.folder)
    log.info("clip=%s frames=%d", args.folder, args.length)
    return 0


def _check_same(folder: Path, clip: "SyntheticClip", size: tuple[int, int], seed: int) -> None:
    """`InputError` where a folder holds another clip than the one asked for."""
    from omnimotion.errors import InputError
    from omnimotion.files import shown
    from omnimotion.ground_truth import read_ground_truth

    truth = read_ground_truth(folder)
    here, asked = (
        f"of {width}x{height} and {tracks.shape[1]} frames"
        for (width, height), tracks in ((truth.size, truth.tracks), (size, clip.tracks))
    )
    if here == asked and not _is_close(truth.tracks, clip.tracks):
        here, asked = "of another --seed, or another version's", f"of --seed {seed}"
    if here != asked:
        raise InputError(
            f"{shown(folder)} holds a clip {here}, asked for is one {asked}: choose another folder"
        )


def _is_close(found: np.ndarray, tracks: np.ndarray) -> bool:
    """Whether tracks are those of the same clip, whatever machine has computed them."""
    return found.shape == tracks.shape and np.allclose(found, tracks, atol=0.01)
