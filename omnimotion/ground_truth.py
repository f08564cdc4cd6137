"""Ground truth of point tracks: ``gt.npz`` of the test data, and TAP-Vid pickles.

Convention: tracks are (N, T, 2) x, y in pixel-centre coordinates of the clip's own frames (integer
= centre of a pixel), frames 0-based, visibility True = visible. TAP-Vid stores raster coordinates
divided by (W, H); a pixel centre is ``raster * (W, H) - 0.5``.

Query modes:
  given    the queries the file names; scored on every frame but the query's
  strided  every 5th frame asks for each track visible there; scored on every frame but the query's
  first    the first visible frame of each track; scored strictly after it
"""

import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from omnimotion.errors import ConfigError, InputError
from omnimotion.files import read_bytes, shown
from omnimotion.geometry import inside_frame
from omnimotion.restricted_pickle import load_plain_pickle

log = logging.getLogger(__name__)

QueryMode = Literal["given", "strided", "first"]
STRIDE_FRAMES = 5
MAX_BYTES = 4 << 30  # no ground truth is larger; guards against a zip bomb
MAX_IMAGE_BYTES = 512 << 20
_GT_KEYS = ("queries", "tracks", "visible", "known", "occlusion_labels")
_CLIP_NAME = re.compile(r"\w[\w .+-]{0,199}", re.ASCII)


@dataclass(frozen=True)
class QuerySet:
    """Queries of one clip, and what the truth says of each. Q queries, T frames."""

    queries: NDArray[np.float32]  # (Q, 3) t, x, y
    tracks: NDArray[np.float64]  # (Q, T, 2)
    visible: NDArray[np.bool_]  # (Q, T)
    known: NDArray[np.bool_]  # (Q, T)
    span: NDArray[np.bool_]  # (Q, T) frames the mode asks for

    @property
    def evaluated(self) -> NDArray[np.bool_]:
        """Cells that count: asked for, and known."""
        return self.span & self.known


@dataclass(frozen=True)
class GroundTruth:
    """Annotated tracks of one clip. N tracks, T frames."""

    name: str
    size: tuple[int, int]  # (W, H)
    tracks: NDArray[np.float64]  # (N, T, 2)
    visible: NDArray[np.bool_]  # (N, T)
    known: NDArray[np.bool_]  # (N, T)
    occlusion_labels: bool  # False: visibility must not be scored
    queries: NDArray[np.float32] | None = None  # (N, 3) t, x, y; None: mode `given` is refused
    mask_areas: NDArray[np.float64] | None = None  # (T,) foreground pixels, where there are masks

    def select(self, mode: QueryMode) -> QuerySet:
        """The queries of a mode, on the frame, with the truth repeated for each.

        Raises ConfigError for an unknown mode, or `given` where the file names no queries.
        """
        if mode == "given":
            if self.queries is None:
                raise ConfigError(f"{self.name}: names no queries; use mode strided or first")
            return self._query_set(np.arange(len(self.tracks)), self.queries, mode)
        if mode not in get_args(QueryMode):
            raise ConfigError(f"query mode {mode!r} is unknown; use given, strided or first")
        seen = self.visible & self.known
        if mode == "strided":
            frame, track = np.nonzero(seen.T[::STRIDE_FRAMES])
            frame = frame * STRIDE_FRAMES
        else:
            track = np.nonzero(seen.any(axis=1))[0]
            frame = seen[track].argmax(axis=1)
        queries = np.column_stack([frame, self.tracks[track, frame]]).astype(np.float32)
        return self._query_set(track, queries, mode)

    def _query_set(
        self, track: NDArray[np.int64], queries: NDArray[np.float32], mode: QueryMode
    ) -> QuerySet:
        frames = np.arange(self.tracks.shape[1])
        asked, queries = queries[:, :1], self._on_the_frame(queries)
        span = frames > asked if mode == "first" else frames != asked
        return QuerySet(queries, self.tracks[track], self.visible[track], self.known[track], span)

    def _on_the_frame(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """Queries (Q, 3), those beside the frame at its border: a click may slip over it."""
        outside = np.count_nonzero(~inside_frame(queries[:, 1:], self.size))
        if outside:
            log.warning("%s: %d of %d queries lie beside the frame and are asked at its border",
                        shown(self.name), outside, len(queries))  # fmt: skip
        xy = np.clip(queries[:, 1:], -0.5, np.asarray(self.size, np.float32) - 0.5)
        return np.column_stack((queries[:, 0], xy))


@dataclass(frozen=True)
class TapVidClip:
    """One clip of a TAP-Vid pickle: its frames, uint8 RGB (T, H, W, 3), and its annotation."""

    frames: NDArray[np.uint8]
    truth: GroundTruth


def raster_to_pixel(points: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float64]:
    """Normalised raster points (..., 2) in 0..1 as pixel centres of a (W, H) clip."""
    return np.asarray(points, np.float64) * np.asarray(size, np.float64) - 0.5


def read_ground_truth(folder: Path) -> GroundTruth:
    """Read ``gt.npz`` of a test clip's folder, and the areas of ``masks/`` if it is there.

    The frame size is that of the first file of ``frames/``.
    Raises InputError naming the file and what is wrong with it.
    """
    if not folder.is_dir():
        expected = "one with gt.npz and frames/, or a .pkl file of TAP-Vid"
        raise InputError(f"no such folder: {shown(folder)}; expected {expected}")
    path = folder / "gt.npz"
    arrays = _read_npz(path)
    queries, tracks = arrays["queries"], arrays["tracks"]
    if tracks.ndim != 3 or tracks.shape[2] != 2 or queries.shape != (len(tracks), 3):
        raise InputError(
            f"{path}: queries {queries.shape} and tracks {tracks.shape}, "
            "expected (Q, 3) and (Q, T, 2)"
        )
    for key in ("visible", "known"):
        if arrays[key].shape != tracks.shape[:2]:
            raise InputError(f"{path}: {key} {arrays[key].shape}, expected {tracks.shape[:2]}")
    known = arrays["known"].astype(bool)
    return GroundTruth(
        name=folder.name,
        size=_frame_size(folder),
        tracks=tracks.astype(np.float64),
        visible=arrays["visible"].astype(bool) & known,
        known=known,
        occlusion_labels=bool(arrays["occlusion_labels"]),
        queries=queries.astype(np.float32),
        mask_areas=_mask_areas(folder / "masks", tracks.shape[1]),
    )


def read_tapvid(path: Path) -> Iterator[TapVidClip]:
    """Clips of a TAP-Vid pickle: DAVIS and RoboTAP (a dict), RGB-stacking and kinetics (a list).

    The file is read by an unpickler that cannot run code (`restricted_pickle`).
    Raises InputError naming the file, the clip and what is wrong with it.
    """
    content = load_plain_pickle(path)
    if isinstance(content, dict):
        named = [(_clip_name(path, str(name)), clip) for name, clip in content.items()]
    elif isinstance(content, list):
        named = [(f"{path.stem}_{number:04d}", clip) for number, clip in enumerate(content)]
    else:
        raise InputError(
            f"{path}: holds {type(content).__name__}, expected a dict or list of clips"
        )
    for name, clip in named:
        yield _tapvid_clip(f"{path}: clip {name}", name, clip)


def _clip_name(path: Path, name: str) -> str:
    """The name, which becomes that of a folder; InputError where it could lead out of it."""
    if not _CLIP_NAME.fullmatch(name):
        raise InputError(f"{path}: clip {name[:99]!r}: expected letters, digits, and _.+- in it")
    return name


def _tapvid_clip(where: str, name: str, clip: object) -> TapVidClip:
    if not isinstance(clip, dict) or not {"video", "points", "occluded"} <= clip.keys():
        raise InputError(f"{where}: expected a dict with video, points and occluded")
    frames = _decode_video(where, clip["video"])
    points, occluded = (_numbers(f"{where}: {key}", clip[key]) for key in ("points", "occluded"))
    shape = (*occluded.shape, 2)
    if occluded.ndim != 2 or points.shape != shape or len(frames) != occluded.shape[1]:
        raise InputError(
            f"{where}: video of {len(frames)} frames, points {points.shape}, occluded "
            f"{occluded.shape}; expected points (N, T, 2) and occluded (N, T)"
        )
    size = (frames.shape[2], frames.shape[1])
    truth = GroundTruth(
        name=name,
        size=size,
        tracks=raster_to_pixel(points, size),
        visible=~occluded.astype(bool),
        known=np.ones(occluded.shape, bool),
        occlusion_labels=True,
    )
    return TapVidClip(frames, truth)


def _decode_video(where: str, video: object) -> NDArray[np.uint8]:
    """A (T, H, W, 3) array as it is; a list of JPEG bytes (kinetics) decoded."""
    if isinstance(video, list) and video and all(isinstance(item, bytes) for item in video):
        decoded = [_decode(np.frombuffer(item, np.uint8)) for item in video]
        frames = [frame[..., ::-1] for frame in decoded if frame is not None]
        if len(frames) != len(video) or len({frame.shape for frame in frames}) != 1:
            raise InputError(f"{where}: JPEG frames are damaged or of several sizes")
        return np.stack(frames)
    if not isinstance(video, np.ndarray) or video.ndim != 4 or video.shape[3] != 3:
        raise InputError(f"{where}: video is not (T, H, W, 3), nor a list of JPEG frames")
    if video.dtype != np.uint8:
        raise InputError(f"{where}: video of {video.dtype}, expected uint8, 0 to 255")
    return video


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            total = sum(member.file_size for member in archive.infolist())
        if total > MAX_BYTES:
            raise InputError(f"{path}: {total} bytes unpacked, expected at most {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in _GT_KEYS}
    except InputError:
        raise
    except Exception as error:  # whatever a damaged or hostile file makes the parsers raise
        raise InputError(
            f"{path}: cannot be read as ground truth ({shown(str(error))})"
        ) from error
    if arrays["occlusion_labels"].size != 1:
        shape = arrays["occlusion_labels"].shape
        raise InputError(f"{path}: occlusion_labels {shape}, expected one value")
    return {key: _numbers(f"{path}: {key}", array) for key, array in arrays.items()}


def _numbers(where: str, values: Any) -> NDArray[Any]:
    """The values as an array of numbers or truths; InputError where they are no such thing."""
    try:
        array = np.asarray(values)
    except ValueError as problem:  # lists of several lengths
        raise InputError(f"{where}: {problem}") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{where}: is made of {array.dtype}, expected numbers")
    return array


def _frame_size(folder: Path) -> tuple[int, int]:
    paths = (path for path in (folder / "frames").glob("*.*") if not path.name.startswith("."))
    first = min(paths, default=None)
    frame = _read_image(first) if first is not None else None
    if frame is None:
        raise InputError(f"{folder / 'frames'}: no readable frame, needed for the frame size")
    return frame.shape[1], frame.shape[0]


def _mask_areas(folder: Path, n_frames: int) -> NDArray[np.float64] | None:
    paths = sorted(folder.glob("*.png"))
    if not paths:
        return None
    masks = [_read_image(path) for path in paths]
    if len(masks) != n_frames or any(mask is None for mask in masks):
        raise InputError(f"{folder}: {len(paths)} masks, expected {n_frames} readable ones")
    return np.array([np.count_nonzero(m.any(axis=-1)) for m in masks if m is not None], np.float64)


def _read_image(path: Path) -> NDArray[np.uint8] | None:
    return _decode(np.frombuffer(read_bytes(path, InputError, MAX_IMAGE_BYTES), np.uint8))


def _decode(data: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    """An encoded image as BGR (H, W, 3), or None if it is damaged."""
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error:  # a header that claims more pixels than OpenCV takes
        return None
    return None if image is None else np.asarray(image, np.uint8)
