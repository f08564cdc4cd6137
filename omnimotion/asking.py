"""What is asked of a scene: query points from other tracks, a mask or a grid, and which frames.

Conventions are those of `omnimotion.points`. ``size`` is (W, H) of the original video.
"""

from pathlib import Path

import numpy as np

from omnimotion.errors import ConfigError, InputError, PointsError
from omnimotion.export import load_tracks_of
from omnimotion.files import shown
from omnimotion.masks import Mask, load_mask, mask_points
from omnimotion.points import Size, check_frame, checked_points, grid_points
from omnimotion.video import parse_selection


def points_of_tracks(path: Path, n_frames: int, size: Size) -> np.ndarray:
    """The queries, float32 (Q, 3), of a file of tracks.

    Raises `InputError` where it is none, `PointsError` where it is of a video of another size or
    a point lies outside the clip.
    """
    others = load_tracks_of(path, size)
    return checked_points(f"{shown(path)}: queries", others.queries, n_frames, size)


def points_on_mask(path: Path, step: int, t: int, n_frames: int, size: Size) -> np.ndarray:
    """Points float32 (Q, 3) on the objects of a mask of frame ``t``, ``step`` px apart.

    Raises `InputError` as `load_mask` does, `PointsError` as `mask_points` does.
    """
    check_frame(t, n_frames)
    return mask_points(load_mask(path, size).labels, t, step)


def masks_of_frames(path: Path, t: int | None, n_frames: int, size: Size) -> dict[int, Mask]:
    """The mask of a file, of frame ``t`` or 0; or those of a folder, whose names are frames.

    Raises `InputError` as `load_mask` does, or where a folder holds no mask or something else than
    ``000007.png``; `PointsError` for a frame outside the clip, `ConfigError` for a ``t`` that goes
    with a folder.
    """
    if not path.is_dir():
        check_frame(t or 0, n_frames)
        return {t or 0: load_mask(path, size)}
    if t is not None:
        raise ConfigError(f"--frame {t}: the masks of a folder have their frames as names")
    found = {}
    for each in sorted(path.iterdir()):
        if each.name.startswith("."):
            continue
        if each.suffix.lower() != ".png" or not (each.stem.isascii() and each.stem.isdigit()):
            raise InputError(f"{shown(each)}: expected the mask of a frame, like 000007.png")
        frame = int(each.stem)
        if frame >= n_frames:
            raise PointsError(f"{shown(each)}: frame {frame}, expected 0 to {n_frames - 1}")
        if frame in found:
            raise InputError(f"{shown(each)}: a second mask of frame {frame}")
        found[frame] = load_mask(each, size, may_be_empty=True)
    if not any(mask.labels.any() for mask in found.values()):
        raise InputError(f"{shown(path)}: no mask of an object, expected some like 000007.png")
    return found


def points_on_grid(n: int, t: int, n_frames: int, size: Size) -> np.ndarray:
    """A grid of points float32 (Q, 3) in frame ``t``; raises as `grid_points` does."""
    check_frame(t, n_frames)
    return grid_points(n, t, size)


def selected_frames(spec: str | None, n_frames: int) -> range:
    """The frames of ``a:b:step``; `ConfigError` where there are none, or the clip has fewer."""
    wanted = parse_selection(spec)
    if not wanted:
        empty = f"is empty, its end {wanted.stop} is left out"
        raise ConfigError(f"--frames {spec} {empty}: the clip has frames 0 to {n_frames - 1}")
    frames = range(n_frames)[wanted.start : wanted.stop : wanted.step]
    has_end = (spec or ":").split(":")[1].strip() != ""
    if not frames or (has_end and wanted.stop > n_frames):
        raise ConfigError(f"--frames {spec}: the clip has frames 0 to {n_frames - 1}")
    return frames
