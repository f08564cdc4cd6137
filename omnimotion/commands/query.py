"""``omnimotion query --scene DIR --points SPEC``: tracks of points, as data and as a video."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from omnimotion.config import Parser
from omnimotion.errors import ConfigError, PointsError

SUMMARY = "track points"
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--scene", type=Path, required=True, metavar="DIR", help="a preprocessed and fitted scene")
    add("--run", type=Path, metavar="DIR", help="a run; default the scene's newest complete one")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--points", metavar="SPEC",
                      help='a CSV with header t,x,y, or "t,x,y;t,x,y": frame from 0, pixels of '
                           "the original video, pixel centres at integers")  # fmt: skip
    what.add_argument("--grid", type=int, metavar="N",
                      help="a grid of points, N along the longer side")  # fmt: skip
    what.add_argument("--dense", action="store_true",
                      help="every pixel of a frame: --out is then a .npy, an array (T, H, W) of "
                           "fields xy, confidence, occlusion, depth, visible; [t, y, x] is what "
                           "becomes of pixel (x, y) in frame t")  # fmt: skip
    add("--frame", type=int, default=0, metavar="T", help="frame of the grid, or of --dense")
    add("--out", type=Path, metavar="FILE", help="tracks as .npz, .csv or .json")
    add("--video", type=Path, metavar="FILE", help="overlay as .mp4, original size and rate")
    add("--source", type=Path, metavar="VIDEO",
        help="the original video, for an overlay sharper than the stored frames")  # fmt: skip
    add("--overwrite", action="store_true", help="replace existing output files")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")
    add("--backend", default="auto", choices=("auto", "torch", "numba", "tcnn"),
        help="see train --help")  # fmt: skip
    add("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 is one for each core")


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from omnimotion.export import TRACK_SUFFIXES, check_output, save_tracks
    from omnimotion.points import parse_points
    from omnimotion.runs import open_tracker, set_threads
    from omnimotion.video_writer import write_video

    if args.dense:
        return _dense(args)
    if args.out is None and args.video is None:
        raise ConfigError("nothing to write: give --out FILE, --video FILE, or both")
    if args.out:
        check_output(args.out, TRACK_SUFFIXES, args.overwrite)
    if args.video:
        check_output(args.video, (".mp4",), args.overwrite)
    set_threads(args.threads)
    tracker = open_tracker(args.scene, args.run, args.device, args.backend)
    n_frames, size = tracker.index.n_frames, tracker.index.original_size
    points = (parse_points(args.points, n_frames, size) if args.points is not None
              else _grid(args.grid, args.frame, n_frames, size))  # fmt: skip
    tracks = tracker.track(points)
    if args.out:
        save_tracks(args.out, tracks, args.overwrite)
        log.info("tracks=%d frames=%d out=%s", len(tracks), n_frames, args.out)
    if args.video:
        from omnimotion.overlay import overlay_video

        frames = _frames(args.scene, args.source)
        write_video(args.video, overlay_video(frames, tracks), tracker.index.fps)
        log.info("video=%s", args.video)
    return 0


def _dense(args: Namespace) -> int:
    from omnimotion.dense import DENSE_SUFFIXES, write_dense
    from omnimotion.export import check_output
    from omnimotion.runs import open_tracker, set_threads

    if args.video or not args.out:
        raise ConfigError("--dense writes one file of data: give --out FILE.npy, and no --video")
    check_output(args.out, DENSE_SUFFIXES, args.overwrite)
    set_threads(args.threads)
    tracker = open_tracker(args.scene, args.run, args.device, args.backend)
    n_frames, size = tracker.index.n_frames, tracker.index.original_size
    write_dense(args.out, tracker.dense(args.frame), n_frames, size)
    log.info("tracks=%d frames=%d out=%s", size[0] * size[1], n_frames, args.out)
    return 0


def _grid(n: int, t: int, n_frames: int, size: tuple[int, int]) -> np.ndarray:
    from omnimotion.points import grid_points

    if not 0 <= t < n_frames:
        raise PointsError(f"--frame {t}: expected 0 to {n_frames - 1}")
    return grid_points(n, t, size)


def _frames(scene: Path, source: Path | None) -> Iterator[np.ndarray]:
    """Frames of the original size: the source video's, else the stored ones, enlarged."""
    import cv2

    from omnimotion.errors import VideoError
    from omnimotion.flow import SceneStore
    from omnimotion.video import open_video

    store = SceneStore.open(scene)
    index = store.index
    if source is not None:
        video = open_video(source, index.settings.get("frames"))
        if video.fingerprint != index.fingerprint:
            raise VideoError(f"--source {source} is not the video of {scene}: fingerprints differ")
        yield from video
        return
    if index.size != index.original_size:
        log.warning("overlay: frames are stored at %dx%d and enlarged to %dx%d; --source VIDEO "
                    "draws on the original", *index.size, *index.original_size)  # fmt: skip
    for t in range(index.n_frames):
        frame = store.frame(t)
        if index.size != index.original_size:
            frame = cv2.resize(frame, index.original_size, interpolation=cv2.INTER_CUBIC)
        yield frame
