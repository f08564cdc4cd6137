"""``omnimotion preprocess VIDEO``: frames, flow and matches of a video, in a scene folder."""

import logging
import os
import shlex
from argparse import Namespace
from pathlib import Path

from omnimotion.commands.options import add_flow
from omnimotion.config import Parser

SUMMARY = "compute the flow of a video"
IMAGE_FOLDERS = ("frames", "images", "color", "rgb")
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("video", type=Path, metavar="VIDEO", help="a video file, or a folder of images")
    add("--scene", type=Path, metavar="DIR", help="scene folder to write; default scenes/<name>")
    add_flow(
        parser,
        flow="auto takes RAFT when its weights are at hand, else DIS, and says which",
        weights="torchvision's RAFT weights, or a .npz of preprocess.train_raft",
        pairs="auto: matches of all pairs up to 48 frames, else gaps that grow with distance",
    )
    add("--raft-model", default="large", choices=("large", "small", "rendered"),
        help="RAFT network of torchvision; rendered is the one of this package, trained on "
        "rendered motion, where its weights have been added: none are shipped yet")  # fmt: skip
    add("--frames", metavar="A:B:STEP", help="frames to use, e.g. 0:90 or ::2; default all")
    add("--max-gap", type=int, metavar="N",
        help="frames between the two of a pair at most; default what windows of train can use: "
        "all of a short clip")  # fmt: skip
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where RAFT runs")
    add("--allow-truncated", action="store_true",
        help="keep the frames that can be read of a damaged video")  # fmt: skip
    add("--overwrite", action="store_true",
        help="discard what the scene folder holds of another video or other options")  # fmt: skip
    add(
        "--append",
        action="store_true",
        help="VIDEO goes on where that of the scene ends: keep what is there, add its new frames",
    )
    add("--repair", action="store_true",
        help="look through the files of a complete scene, make damaged ones again")  # fmt: skip


def scene_name(video: Path) -> str:
    """The scene's name: the clip's, also where its images lie in a folder ``frames``."""
    if not video.is_dir():
        return video.stem
    return video.parent.name if video.name in IMAGE_FOLDERS else video.name


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from preprocess.compute import preprocess
    from preprocess.options import PreprocessOptions

    scene = args.scene or Path("scenes") / scene_name(Path(os.path.realpath(args.video)))
    options = PreprocessOptions(
        video=args.video, scene=scene, flow=args.flow, raft_weights=args.raft_weights,
        raft_model=args.raft_model, max_side=args.max_side, frames=args.frames,
        pairs=args.pairs, max_gap=args.max_gap, device=args.device,
        overwrite=args.overwrite, allow_truncated=args.allow_truncated,
        append=args.append, repair=args.repair,
    )  # fmt: skip
    preprocess(options)
    log.info("scene=%s ready; next: train.py --scene %s", scene, shlex.quote(str(scene)))
    return 0
