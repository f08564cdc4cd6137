"""What the viewer's page can ask of a fitted scene, one question at a time.

Places are in pixels of the original video. Pictures are PNG files.
"""

import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from omnimotion.clouds import BESIDE_TRACKS, canonical_cloud
from omnimotion.depth_pictures import DepthPictures
from omnimotion.errors import ConfigError, InputError, PointsError
from omnimotion.files import read_bytes, shown
from omnimotion.fitted import FittedScene
from omnimotion.flow import SceneStore, frame_path
from omnimotion.footage import images
from omnimotion.formats import FORMATS, Sheet, check_options, save
from omnimotion.images import encode_png
from omnimotion.long_tracker import LongTracker
from omnimotion.measure import PIXELS, Scale
from omnimotion.points import check_frame, checked_points
from omnimotion.relay import Relay
from omnimotion.tracker import Tracker, shown_by
from omnimotion.tracks import Tracks
from omnimotion.warps import carried_labels, relay

MAX_POINTS = 500
LAYERS = ("video", "colour", "depth")
LAYER_SIDE = 320  # px of the longer side of a rendered layer: rays are cast for this many
MASK_SIDE = 144  # cells of a propagated mask along the longer side, for an answer in time
MASK_INK = (255, 80, 170, 150)  # RGBA
MAX_KEPT = 64 << 20  # bytes of pictures


class Kept:
    """Pictures that were made; the least recently asked go when they become too many."""

    def __init__(self) -> None:
        self._data: OrderedDict[tuple, bytes] = OrderedDict()

    def get(self, key: tuple, make: Callable[[], bytes]) -> bytes:
        """What was made before, or now."""
        data = self._data.pop(key, None) or make()
        self._data[key] = data
        while sum(map(len, self._data.values())) > MAX_KEPT and len(self._data) > 1:
            self._data.popitem(last=False)
        return data


class Answers:
    """A fitted scene and its frames. Threads may ask; they are answered one after the other."""

    def __init__(self, scene: FittedScene, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._masks, self._drawn = 0, (0, np.zeros((0, 0), np.uint8))  # so many, the newest one
        self._take(scene)

    def about(self) -> dict[str, Any]:
        """What the page needs to know of the clip."""
        index = self._tracker.index
        return {
            "name": shown(index.name), "run": shown(self.scene.meta.get("run", "")),
            "fps": index.fps, "size": self.scene.size, "frames": self.scene.n_frames,
            "layers": LAYERS, "mask_step": self._mask_step, "formats": _formats(),
        }  # fmt: skip

    def warm(self) -> None:
        """Compile and read what the first click would wait for."""
        width, height = self.scene.size
        self.tracks([[0, width // 2, height // 2]], refine=True)

    def adopt(self, scene: FittedScene) -> None:
        """Answer from another fit of the same clip from now on."""
        with self._lock:
            self._take(scene)

    def _take(self, scene: FittedScene) -> None:
        self.scene, self._kept, self._tracker = scene, Kept(), scene.tracker
        self._mask: Relay | None = None  # the newest one
        if self._masks:
            self._mask = self._carried()
        self._depths = DepthPictures(scene.tracker, LAYER_SIDE)

    def tracks(self, points: list[list[float]], refine: bool) -> Tracks:
        """Tracks of rows of t, x, y; raises as `checked`."""
        asked = self.checked(points)
        with self._lock:
            return self.scene.track(asked, refine)

    def checked(self, points: Sequence[Sequence[float]]) -> np.ndarray:
        """Rows of t, x, y, float32 (Q, 3). `PointsError` for too many, or one outside the clip."""
        if len(points) > MAX_POINTS:
            raise PointsError(f"{len(points)} points, expected at most {MAX_POINTS}")
        asked = np.array(points, np.float64).reshape(-1, 3)
        return checked_points("points", asked, self.scene.n_frames, self.scene.size)

    def picture(self, layer: str, t: int) -> bytes:
        """A frame: of the video as it is stored, or rendered, in colour or as pseudo-depth.

        `PointsError` for a frame outside the clip, `InputError` for another layer.
        """
        if layer not in LAYERS:
            raise InputError(f"layer {layer!r}: expected {', '.join(LAYERS)}")
        self.check_frame(t)
        if layer == "video":
            return read_bytes(frame_path(self.folder, t), InputError)
        with self._lock:
            return self._kept.get((layer, t), lambda: self._rendered(layer, t))

    def set_mask(self, t: int, bits: bytes) -> int:
        """The number of a new mask of frame ``t``, eight pixels to a byte, row after row.

        `PointsError` for a frame outside the clip, `InputError` for another number of bytes or no
        pixel at all.
        """
        self.check_frame(t)
        width, height = self.scene.size
        if len(bits) != -(-width * height // 8):
            raise InputError(f"mask: {len(bits)} bytes, expected a bit for each of "
                             f"{width}x{height} pixels")  # fmt: skip
        labels = np.unpackbits(np.frombuffer(bits, np.uint8), count=width * height)
        if not labels.any():
            raise InputError("the mask is empty: draw on the object first")
        with self._lock:
            self._drawn = t, labels.reshape(height, width)
            self._mask = self._carried()
            self._masks += 1
            return self._masks

    def _carried(self) -> Relay:
        """What is drawn, in all frames."""
        t, labels = self._drawn
        return relay(self._tracker, carried_labels(self._mask_step), labels, t)

    def drawn(self, number: int) -> tuple[int, np.ndarray]:
        """The frame of the newest mask, and its labels (H, W); `InputError` for an older one."""
        with self._lock:
            self._check_mask(number)
            return self._drawn

    def mask(self, number: int, j: int) -> bytes:
        """The newest mask in frame j, as ink on nothing: a PNG of small size, by its cells.

        `InputError` for an older one, `PointsError` for a frame outside the clip.
        """
        self.check_frame(j)
        with self._lock:
            shown = self._check_mask(number)
            return self._kept.get(("mask", number, j), lambda: _inked(shown, j, self._mask_step))

    def export(
        self, points: list[list[float]], name: str, start_frame: int | None, scale: str | None
    ) -> tuple[str, bytes]:
        """A file of refined tracks, its name and its bytes; raises as ``query --export`` does."""
        if name not in FORMATS:
            raise ConfigError(f"unknown format {name!r}: expected {', '.join(FORMATS)}")
        each = FORMATS[name]
        check_options([each], scale, False, start_frame)
        tracks = self.tracks(points, refine=True)
        first = each.first_frame if start_frame is None else start_frame
        sheet = Sheet(
            tracks=tracks, numbers=(tracks.frames + first).tolist(),
            scale=PIXELS if scale is None else Scale.parse(scale),
            images=images(self.folder, None, tracks.frames.tolist()),
            volume=_volume(self._tracker, self._lock),
        )  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="omnimotion-") as folder:
            path = Path(folder) / f"tracks{each.ending}"
            save(each, path, sheet)
            return path.name, path.read_bytes()

    def check_frame(self, t: int) -> None:
        """Raise `PointsError` unless the clip has frame ``t``."""
        check_frame(t, self.scene.n_frames)

    def _check_mask(self, number: int) -> Relay:
        if self._mask is None or number != self._masks:
            raise InputError(f"mask {number} has been replaced: ask for mask {self._masks}")
        return self._mask

    def _rendered(self, layer: str, t: int) -> bytes:
        if layer == "depth":
            return encode_png(self._depths.small(t))
        tracker, own = shown_by(self._tracker, t)
        return encode_png(tracker.surface(own, -(-max(tracker.index.size) // LAYER_SIDE))[1])

    @property
    def _mask_step(self) -> int:
        return -(-max(self.scene.size) // MASK_SIDE)


def _volume(tracker: Tracker | LongTracker, lock: Lock) -> Callable[[], np.ndarray] | None:
    """What makes the canonical volume; windows have none of the whole clip."""
    if not isinstance(tracker, Tracker):
        return None

    def volume() -> np.ndarray:
        with lock:
            return canonical_cloud(tracker, range(tracker.index.n_frames), BESIDE_TRACKS)

    return volume


def _formats() -> list[dict[str, Any]]:
    """What the page needs to know of each format of tracks."""
    return [
        {"name": each.name, "program": each.program, "units": each.units,
         "first": each.first_frame if each.numbered else None}
        for each in FORMATS.values()
    ]  # fmt: skip


def _inked(mask: Relay, j: int, step: int) -> bytes:
    """A PNG of a mask's cells in frame j, of ``step`` px each; as drawn in its own frame."""
    step = 1 if j == mask.t else step
    cells = mask.at(j)[::step, ::step]
    layer = np.zeros((*cells.shape, 4), np.uint8)
    layer[cells > 0] = MASK_INK
    return encode_png(layer)


def open_answers(scene: FittedScene, folder: Path) -> Answers:
    """`Answers` of a scene whose frames are all there; raises as `SceneStore.open` does."""
    return Answers(scene, SceneStore.open(folder, matches=False).folder)


def as_json(tracks: Tracks) -> dict[str, Any]:
    """Tracks as the page takes them: a list for each, places to a hundredth of a pixel."""
    return {
        "tracks": [
            {
                "query": tracks.queries[q].tolist(),
                "xy": tracks.xy[q].round(2).tolist(),
                "visible": tracks.visible[q].tolist(),
                "confidence": tracks.confidence[q].round(3).tolist(),
            }
            for q in range(len(tracks))
        ]
    }
