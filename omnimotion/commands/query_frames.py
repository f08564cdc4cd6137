"""Questions of ``omnimotion query`` about whole frames: pixels, maps, masks, edits, the volume."""

import logging
from argparse import Namespace

from omnimotion.errors import ConfigError

CLOUD_STEP = 2  # px between rays
PICTURES = ("sheet", "steady", "beside")
log = logging.getLogger(__name__)


def answer_frames(args: Namespace) -> int:
    """Answer the question that was asked; raises `OmniMotionError`."""
    if args.colour != "place":
        raise ConfigError("--colour is of the trails of points")
    if args.dense:
        return _dense(args)
    if args.canonical:
        return _canonical(args)
    return _edit(args) if args.edit else _whole_frames(args)


def _check_alone(args: Namespace, what: str) -> None:
    """Refuse options that whole frames do not go with."""
    if not args.out:
        raise ConfigError(f"{what} data: give --out")
    _check_without(args, f"{what} data to --out", "video", "source", "scale", "motion",
                   "start_frame", *PICTURES)  # fmt: skip


def _check_without(args: Namespace, what: str, *names: str) -> None:
    """Refuse options that do not go with what is asked."""
    for name in names:
        if getattr(args, name) not in (None, False):
            raise ConfigError(f"{what}: no --{name.replace('_', '-')} goes with it")


def _dense(args: Namespace) -> int:
    from omnimotion.dense import DENSE_SUFFIXES, write_dense
    from omnimotion.export import check_output
    from omnimotion.long_runs import open_clip
    from omnimotion.points import check_frame
    from omnimotion.runs import set_threads

    _check_alone(args, "--dense writes")
    if args.export or args.frames:
        raise ConfigError("--dense writes all frames to one .npy: no --export, no --frames")
    check_output(args.out, DENSE_SUFFIXES, args.overwrite)
    set_threads(args.threads)
    tracker, t = open_clip(args.scene, args.run, args.device, args.backend), args.frame or 0
    n_frames, size = tracker.index.n_frames, tracker.index.original_size
    check_frame(t, n_frames)
    write_dense(args.out, tracker.dense(t), n_frames, size)
    log.info("tracks=%d frames=%d out=%s", size[0] * size[1], n_frames, args.out)
    return 0


def _canonical(args: Namespace) -> int:
    from omnimotion.asking import selected_frames
    from omnimotion.clouds import volumes, write_volumes
    from omnimotion.export import check_output
    from omnimotion.long_runs import open_clip
    from omnimotion.runs import set_threads
    from omnimotion.warps import check_step

    _check_alone(args, "--canonical writes")
    if args.export and args.export != ["ply"]:
        raise ConfigError("the canonical volume is a .ply: no --export goes with it")
    check_output(args.out, (".ply",), args.overwrite)
    check_step(args.step)
    set_threads(args.threads)
    tracker = open_clip(args.scene, args.run, args.device, args.backend)
    frames = selected_frames(args.frames, tracker.index.n_frames)
    files = volumes(args.out, tracker.windows, frames)
    for path, _ in files.values():
        check_output(path, (".ply",), args.overwrite)
    for path, count in write_volumes(tracker, files, args.step or CLOUD_STEP):
        log.info("points=%d out=%s", count, path)
    return 0


def _whole_frames(args: Namespace) -> int:
    """Maps of a frame, or its mask in others: a folder of files, one or more for each frame."""
    from omnimotion.asking import masks_of_frames, selected_frames
    from omnimotion.files import check_new_folder
    from omnimotion.long_runs import open_clip
    from omnimotion.maps import check_kinds, write_maps
    from omnimotion.points import check_frame
    from omnimotion.propagation import write_masks
    from omnimotion.runs import set_threads
    from omnimotion.warps import check_step

    _check_alone(args, "--maps and --propagate-mask write")
    if args.propagate_mask and args.export:
        raise ConfigError("a propagated mask is PNGs: give --out FOLDER, not --export")
    check_new_folder(args.out)
    check_step(args.step)
    if args.maps:
        check_kinds(args.export or [])
    set_threads(args.threads)
    tracker, t = open_clip(args.scene, args.run, args.device, args.backend), args.frame or 0
    index, frames = tracker.index, selected_frames(args.frames, tracker.index.n_frames)
    check_frame(t, index.n_frames)
    if args.maps:
        write_maps(args.out, tracker, t, frames, args.export)
    else:
        clip = index.n_frames, index.original_size
        given = masks_of_frames(args.propagate_mask, args.frame, *clip)
        write_masks(args.out, tracker, given, frames, args.step or 1)
    log.info("frames=%d out=%s", len(frames), args.out)
    return 0


def _edit(args: Namespace) -> int:
    """What is drawn on a frame, in others: a folder of layers, the video with them, or both."""
    from omnimotion.asking import selected_frames
    from omnimotion.edits import load_edit, write_edit
    from omnimotion.export import check_output
    from omnimotion.files import check_new_folder, make_folder
    from omnimotion.footage import enlarged, images
    from omnimotion.long_runs import open_clip
    from omnimotion.points import check_frame
    from omnimotion.runs import set_threads
    from omnimotion.tracks import frame_rate

    _check_without(args, "--edit", "export", "scale", "motion", "start_frame", *PICTURES)
    if args.out:
        check_new_folder(args.out)
    if args.video:
        check_output(args.video, (".mp4",), args.overwrite)
    set_threads(args.threads)
    tracker, t = open_clip(args.scene, args.run, args.device, args.backend), args.frame or 0
    index, frames = tracker.index, selected_frames(args.frames, tracker.index.n_frames)
    check_frame(t, index.n_frames)
    layer, video = load_edit(args.edit, index.original_size), None
    if args.video:
        pictures = enlarged(images(args.scene, args.source, frames), index.original_size)
        make_folder(args.video.parent)
        video = args.video, pictures, frame_rate(index.fps, frames)
    write_edit(tracker, layer, t, frames, args.out, video)
    outs = " ".join(f"{name}={path}" for name in ("out", "video") if (path := getattr(args, name)))
    log.info("frames=%d %s", len(frames), outs)
    return 0
