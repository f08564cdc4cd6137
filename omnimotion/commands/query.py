"""``omnimotion query --scene DIR --points SPEC --out FILE``: tracks of points, as data or video.

Points come from a file, the command, stdin, a grid, a mask or other tracks. Tracks go to the
format that the name of --out ends in, or to all that --export names (see docs/formats.md).
"""

import logging
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omnimotion.commands.options import add_device
from omnimotion.commands.query_frames import answer_frames
from omnimotion.config import Parser
from omnimotion.errors import ConfigError

if TYPE_CHECKING:
    from omnimotion.flow import SceneIndex
    from omnimotion.formats import Format
    from omnimotion.long_tracker import LongTracker
    from omnimotion.tracker import Tracker
    from omnimotion.tracks import Tracks

SUMMARY = "track points"
log = logging.getLogger(__name__)

MASK_STEP = 8  # px between points on a mask
DEPTH_SIDE = 427  # rays along the longer side of a picture of depth


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--scene", type=Path, required=True, metavar="DIR", help="a preprocessed and fitted scene")
    add("--run", metavar="RUN",
        help="a run: its name in the scene, or its folder; default the newest complete one")
    _add_questions(parser)
    _add_answers(parser)
    add_device(parser)


def _add_questions(parser: Parser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    add = what.add_argument
    add("--points", metavar="SPEC",
        help='"t,x,y;t,x,y", a CSV with header t,x,y, .json, .npz, or - for CSV on stdin: frame '
             "from 0, pixels of the original video, pixel centres at integers")  # fmt: skip
    add("--grid", type=int, metavar="N", help="a grid of points, N along the longer side")
    add("--mask", type=Path, metavar="PNG",
        help="points on the objects of an indexed or black-and-white PNG")  # fmt: skip
    add("--from-tracks", type=Path, metavar="FILE",
        help="the points of tracks of this video: .npz, .csv or .json")  # fmt: skip
    add("--dense", action="store_true",
        help="every pixel of --frame: --out is then a .npy, an array (T, H, W) of fields xy, "
             "confidence, occlusion, depth, visible; [t, y, x] is what becomes of pixel (x, y) in "
             "frame t")  # fmt: skip
    add("--maps", action="store_true",
        help="every pixel of --frame, to and from each frame: --export stmap, exr, flo or more, "
             "and --out is a new folder")  # fmt: skip
    add("--propagate-mask", type=Path, metavar="PNG",
        help="the mask of --frame in every frame: --out is a new folder of PNGs; or a folder with "
             "the masks of several frames, like 000007.png")  # fmt: skip
    add("--edit", type=Path, metavar="PNG",
        help="what is drawn on --frame (RGBA, the video's size) in every frame: --out is a new "
             "folder of RGBA PNGs, --video the clip with it")  # fmt: skip
    add("--canonical", action="store_true",
        help="the canonical volume, as far as frames show it: --out is a point cloud, .ply; of a "
             "clip in windows, one for each, their numbers added to the name")  # fmt: skip
    add = parser.add_argument
    add("--frame", type=int, metavar="T", help="frame of what is asked, but points; default 0")
    add("--step", type=int, metavar="PX",
        help=f"grid inside the mask, default {MASK_STEP}; cells of a propagated mask, "
             "default 1; rays of a point cloud, default 2")  # fmt: skip


def _add_answers(parser: Parser) -> None:
    add = parser.add_argument
    add("--out", type=Path, metavar="FILE", help="tracks, in the format that its name ends in")
    add("--export", type=lambda text: text.split(","), metavar="FORMAT[,FORMAT...]",
        help="formats of --out: csv, json, npz, nuke, shake, 3de, syntheyes, pftrack, ae, "
             "blender, napari, deeplabcut, trc, tapvid, colmap, rerun; several add their "
             "endings to it")  # fmt: skip
    add("--frames", metavar="A:B:STEP", help="frames that come out; default all")
    add("--no-refine", dest="refine", action="store_false",
        help="the scene's own tracks, not drawn to the matches along them: faster, smoother")
    add("--start-frame", type=int, metavar="N",
        help="number of the clip's first frame in other programs; default theirs")  # fmt: skip
    add("--scale", metavar="LENGTH",
        help="length of a pixel, 0.5mm say: adds columns, and trc needs it")  # fmt: skip
    add("--motion", action="store_true", help="adds columns of speed and acceleration")
    add("--video", type=Path, metavar="FILE", help="overlay as .mp4, original size and rate")
    add("--sheet", type=Path, metavar="FILE", help="twelve frames with the tracks on a .png")
    add("--colour", default="place", choices=("place", "depth"),
        help="of the tracks in --video and --sheet: by the points' places, or by pseudo-depth, "
             "near is bright")  # fmt: skip
    add("--steady", action="store_true",
        help="trails in --video and --sheet without the camera's motion: what stands still in the "
             "world has none")  # fmt: skip
    add("--beside", action="store_true", help="the pseudo-depth beside the tracks in --video")
    add("--source", type=Path, metavar="VIDEO",
        help="the original video, for frames sharper than the stored ones")  # fmt: skip
    add("--overwrite", action="store_true", help="replace existing output files")


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from omnimotion.asking import selected_frames
    from omnimotion.export import check_output
    from omnimotion.formats import check_options, outputs
    from omnimotion.long_runs import open_clip
    from omnimotion.measure import check_motion
    from omnimotion.runs import run_folder, set_threads
    from omnimotion.temporary import remove_stale_temps

    if args.out is None and args.video is None and args.sheet is None:
        raise ConfigError("nothing to write: give --out FILE, --video FILE, --sheet FILE, or more")
    _check_pairs(args)
    args.run = None if args.run is None else run_folder(args.scene, args.run)
    for folder in {path.parent for path in (args.out, args.video, args.sheet) if path}:
        if folder.is_dir():
            remove_stale_temps(folder)
    if args.dense or args.maps or args.propagate_mask or args.edit or args.canonical:
        return answer_frames(args)
    files = outputs(args.out, args.export, args.overwrite) if args.out else []
    formats = [each for each, _ in files]
    check_options(formats, args.scale, args.motion, args.start_frame)
    if args.source and not (args.video or args.sheet or any(each.pictured for each in formats)):
        raise ConfigError("--source is of frames to draw on: give --video or --sheet")
    for picture, suffix in ((args.video, ".mp4"), (args.sheet, ".png")):
        if picture:
            check_output(picture, (suffix,), args.overwrite)
    set_threads(args.threads)
    tracker = open_clip(args.scene, args.run, args.device, args.backend)
    index = tracker.index
    frames = selected_frames(args.frames, index.n_frames)
    if args.motion:
        check_motion(index.n_frames)
    whole = tracker.track(_asked(args, index), args.refine)
    tracks = whole.at(frames)
    for each, path in files:
        _export(args, tracks, whole if args.motion else None, each, path, tracker)
        log.info("tracks=%d frames=%d format=%s out=%s", len(tracks), len(frames), each.name, path)
    _draw(args, tracks, tracker)
    return 0


def _check_pairs(args: Namespace) -> None:
    """Refuse options that would do nothing without another."""
    if args.frame is not None and (args.points is not None or args.from_tracks):
        raise ConfigError("--frame is of a grid, a mask or maps: points have their own frames")
    if args.frame is not None and args.canonical:
        raise ConfigError("--canonical is of all frames, or some: give --frames, not --frame")
    if args.step is not None and not (args.mask or args.propagate_mask or args.canonical):
        raise ConfigError("--step is of the grid inside a mask: give --mask PNG")
    if (args.steady or args.colour != "place") and not (args.video or args.sheet):
        raise ConfigError("--steady and --colour are of trails: give --video or --sheet")
    if args.beside and not args.video:
        raise ConfigError("--beside is of a video: give --video FILE")
    if args.export and not args.out:
        raise ConfigError("--export names the format of --out: give --out FILE")


def _asked(args: Namespace, index: "SceneIndex") -> np.ndarray:
    """The query points, float32 (Q, 3) rows of t, x, y."""
    from omnimotion.asking import points_of_tracks, points_on_grid, points_on_mask
    from omnimotion.points import parse_points

    clip, t = (index.n_frames, index.original_size), args.frame or 0
    if args.points is not None:
        return parse_points(args.points, *clip)
    if args.from_tracks is not None:
        return points_of_tracks(args.from_tracks, *clip)
    if args.mask is not None:
        return points_on_mask(args.mask, MASK_STEP if args.step is None else args.step, t, *clip)
    return points_on_grid(args.grid, t, *clip)


def _export(
    args: Namespace, tracks: "Tracks", whole: "Tracks | None", each: "Format", path: Path,
    tracker: "Tracker | LongTracker",
) -> None:  # fmt: skip
    from omnimotion.clouds import BESIDE_TRACKS, canonical_cloud
    from omnimotion.footage import images
    from omnimotion.formats import Sheet, save
    from omnimotion.measure import PIXELS, Scale
    from omnimotion.tracker import Tracker

    numbers, volume = tracks.frames.tolist(), None
    if isinstance(tracker, Tracker):  # windows have no volume of the whole clip
        volume = partial(canonical_cloud, tracker, numbers, BESIDE_TRACKS)
    first = each.first_frame if args.start_frame is None else args.start_frame
    sheet = Sheet(
        tracks=tracks,
        numbers=(tracks.frames + first).tolist(),
        scale=PIXELS if args.scale is None else Scale.parse(args.scale),
        whole=whole,
        images=images(args.scene, args.source, numbers),
        volume=volume,
    )
    save(each, path, sheet)


def _draw(args: Namespace, tracks: "Tracks", tracker: "Tracker | LongTracker") -> None:
    from omnimotion.depth_pictures import DepthPictures
    from omnimotion.files import make_folder
    from omnimotion.footage import enlarged, images
    from omnimotion.images import save_png
    from omnimotion.overlay import Style, overlay_video, spread, track_sheet
    from omnimotion.steady import Steady
    from omnimotion.tracks import frame_rate
    from omnimotion.video_writer import write_video

    steady = Steady(tracker) if args.steady else None
    style = Style(by_depth=args.colour == "depth", steady=steady)
    numbers = tracks.frames.tolist()
    if args.video:
        frames = enlarged(images(args.scene, args.source, numbers), tracks.size)
        rate = frame_rate(tracks.fps, numbers)
        pictures = overlay_video(frames, tracks, style)
        if args.beside:
            depths = DepthPictures(tracker, DEPTH_SIDE)
            pairs = zip(pictures, map(depths.full, numbers), strict=True)
            pictures = (np.hstack(pair) for pair in pairs)
        make_folder(args.video.parent)
        write_video(args.video, pictures, rate)
        log.info("video=%s", args.video)
    if args.sheet:
        shown = spread(tracks.n_frames)
        frames = images(args.scene, args.source, [numbers[t] for t in shown])
        make_folder(args.sheet.parent)
        save_png(args.sheet, track_sheet(frames, tracks, shown, style))
        log.info("sheet=%s", args.sheet)
