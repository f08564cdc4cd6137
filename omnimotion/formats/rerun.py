"""A recording for Rerun's viewer: the frames, the tracks on them, and the canonical volume in 3-D.

Convention. Rerun's pictures begin at the corner of the upper left pixel, so that pixel centres are
at 0.5. Frames have the size of the original video, as JPEG. Needs the extra ``rerun``.
"""

import logging
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np

from omnimotion.colours import query_colours
from omnimotion.errors import ConfigError, InputError
from omnimotion.files import atomic_write
from omnimotion.formats.coordinates import corner_down
from omnimotion.formats.sheet import Sheet

log = logging.getLogger(__name__)

QUALITY = 90  # of JPEG, of 100
TRAIL = 16  # frames
SEEN, HIDDEN, THIN = -4.0, -2.5, -1.2  # radii; negative ones are points of the screen
FAINT = 110  # opacity of what is hidden and of trails, of 255


def import_rerun() -> ModuleType:
    """Rerun's own package; `ConfigError` where it is not installed."""
    try:
        import rerun
    except ImportError as problem:
        raise ConfigError(
            f'the format rerun needs {problem.name}: pip install "omnimotion[rerun]"'
        ) from problem
    module: ModuleType = rerun
    return module


def save_rerun(path: Path, sheet: Sheet) -> None:
    """A recording with the timelines ``frame``, as numbered, and ``time``, in seconds.

    In it: ``video/frame``; ``video/seen`` and ``video/hidden``, the tracks' points with their
    ``track``, ``confidence``, ``occlusion`` and ``depth``; ``video/trails``; ``canonical/volume``,
    where there is one; ``origin``, the metadata as JSON. It is made in memory. `InputError` where
    images are missing, `ConfigError` where Rerun is not installed.
    """
    rr, tracks = import_rerun(), sheet.tracks
    recording = rr.RecordingStream("omnimotion")
    stream = recording.binary_stream()
    recording.send_blueprint(_views(rr))
    recording.log("origin", rr.TextDocument(sheet.origin()), static=True)
    if sheet.volume is None:
        log.info("rerun: without a canonical volume, since these tracks have none of the clip")
    else:
        cloud = sheet.volume()
        recording.log("canonical", rr.ViewCoordinates.RIGHT_HAND_Y_UP, static=True)
        points = rr.Points3D(cloud["xyz"], colors=cloud["rgb"], radii=THIN)
        recording.log("canonical/volume", points, static=True)
    count = 0
    for t, image in enumerate(sheet.images):
        recording.set_time("frame", sequence=sheet.numbers[t])
        recording.set_time("time", duration=float(tracks.times[t]))
        whole = cv2.resize(image, tracks.size, interpolation=cv2.INTER_CUBIC)
        recording.log("video/frame", rr.Image(whole).compress(jpeg_quality=QUALITY))
        for name, rows in (("seen", tracks.visible[:, t]), ("hidden", ~tracks.visible[:, t])):
            recording.log(f"video/{name}", *_points(rr, sheet, np.flatnonzero(rows), t))
        recording.log("video/trails", _trails(rr, sheet, t))
        count += 1
    if count != tracks.n_frames:
        raise InputError(f"rerun: {count} images for {tracks.n_frames} frames")
    data = stream.read()  # once: each reading ends with a table of contents
    if not data:
        raise InputError("rerun: Rerun has written nothing")
    atomic_write(path, data)


def _points(rr: ModuleType, sheet: Sheet, rows: np.ndarray, t: int) -> tuple[object, object]:
    """Points of some tracks in a frame, and what is known of them."""
    tracks, names = sheet.tracks, list(sheet.names())
    colours = np.full((len(rows), 4), 255, np.uint8)
    colours[:, :3] = query_colours(tracks.queries)[rows]
    colours[~tracks.visible[rows, t], 3] = FAINT
    radii = np.where(tracks.visible[rows, t], SEEN, HIDDEN)
    points = rr.Points2D(
        corner_down(tracks.xy[rows, t]), radii=radii, colors=colours,
        labels=[names[q] for q in rows], show_labels=False,
    )  # fmt: skip
    return points, rr.AnyValues(
        track=rows.astype(np.int64), confidence=tracks.confidence[rows, t],
        occlusion=tracks.occlusion[rows, t], depth=tracks.depth[rows, t],
    )  # fmt: skip


def _trails(rr: ModuleType, sheet: Sheet, t: int) -> object:
    """Where the points that are seen in a frame came from."""
    tracks, rows = sheet.tracks, np.flatnonzero(sheet.tracks.visible[:, t])
    strips = corner_down(tracks.xy[rows, max(0, t - TRAIL) : t + 1])
    colours = np.full((len(rows), 4), FAINT, np.uint8)
    colours[:, :3] = query_colours(tracks.queries)[rows]
    return rr.LineStrips2D(list(strips), radii=THIN, colors=colours)


def _views(rr: ModuleType) -> object:
    """The video beside the volume."""
    parts = rr.blueprint
    return parts.Blueprint(
        parts.Horizontal(
            parts.Spatial2DView(origin="video", name="video"),
            parts.Spatial3DView(origin="canonical", name="canonical volume"),
        ),
        collapse_panels=True,
    )
