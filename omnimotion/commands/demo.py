"""``omnimotion demo``: render the embedded example clip, with its exact ground truth."""

import logging
from argparse import Namespace
from pathlib import Path

from omnimotion.config import Parser

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
    if (args.folder / "gt.npz").is_file() and (args.folder / "frames").is_dir():
        log.info("clip=%s is there already", args.folder)
        return 0
    write_clip(film_clip(args.seed, args.length, (width, height)), args.folder)
    log.info("clip=%s frames=%d", args.folder, args.length)
    return 0
