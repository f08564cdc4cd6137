"""The product of preprocessing: frames, matches from every frame, and their index.

Conventions. Everything here is in pixels of the working size, (x, y), centres at integers. The
matches of a source frame i are sampled on a lattice: column c, row r is the pixel
``(x0 + stride * c, y0 + stride * r)``; the origin (x0, y0) may differ from target to target.
Files are uncompressed archives without pickles. Displacements are stored as int16 in a
power-of-two quantum, the state in two bits.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from omnimotion.errors import FlowError, SceneError
from omnimotion.files import read_archive, read_json, write_archive, write_json
from omnimotion.images import load_image
from omnimotion.kinds import NUMBER, check_kinds
from omnimotion.scene_index import INDEX_FORMAT, checked_index

NONE, DIRECT, CHAINED, HIDDEN = 0, 1, 2, 3
"""State of a lattice point: no reliable match; matched by flow i -> j; matched through frames
between; matched by flow i -> j to a place where it is hidden in j."""

FORMAT = 1
INDEX_NAME = "scene.json"
FLOW_KIND = "omnimotion-flow"
COORD_CONVENTION = "pixel_center"
WriteArchive = Callable[[Path, dict[str, np.ndarray], dict[str, Any]], None]
FINEST_QUANTUM_SIDE = 500  # up to this longer side, 1/64 px reaches across the frame


@dataclass(frozen=True)
class FrameFlow:
    """All matches of one source frame with the M frames it is paired with."""

    i: int
    targets: np.ndarray  # (M,) int32, increasing
    origin: np.ndarray  # (M, 2) int32, x0, y0
    stride: int
    flow: np.ndarray  # (M, h, w, 2) float32 px, zero where the state is NONE
    state: np.ndarray  # (M, h, w) uint8: NONE, DIRECT, CHAINED or HIDDEN

    def __post_init__(self) -> None:
        count = len(self.targets)
        if self.flow.shape != (*self.state.shape, 2) or self.state.shape[0] != count:
            raise FlowError(
                f"flow of frame {self.i}: shapes {self.flow.shape}, {self.state.shape} "
                f"do not fit {count} targets"
            )
        if self.origin.shape != (count, 2) or self.stride < 1:
            raise FlowError(f"flow of frame {self.i}: bad lattice {self.origin.shape}")

    def fits(self, n_frames: int, size: tuple[int, int]) -> bool:
        """Whether these can be matches of a clip: with other frames of it, and within them."""
        targets, (rows, columns) = self.targets, self.state.shape[1:]
        if max(rows * self.stride, columns * self.stride) > 2 * max(size):  # may be any numbers
            return False
        last = self.origin + self.stride * np.array([columns - 1, rows - 1])
        return bool(
            np.all((targets >= 0) & (targets < n_frames) & (targets != self.i))
            and np.all(np.diff(targets) > 0)
            and np.all((self.origin >= 0) & (last < size))
        )

    def matches(self, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Reliable matches with target m: xy in i (N, 2), xy in j (N, 2), state (N,)."""
        rows, columns = np.nonzero(self.state[m])
        xy = (np.stack((columns, rows), axis=-1) * self.stride + self.origin[m]).astype(np.float32)
        return xy, xy + self.flow[m, rows, columns], self.state[m, rows, columns]


def paired_frames(i: int, gaps: Sequence[int], n_frames: int) -> list[int]:
    """The frames that frame i is paired with, increasing, as are the ``gaps`` between them."""
    before = [i - gap for gap in reversed(gaps) if gap <= i]
    return before + [i + gap for gap in gaps if i + gap < n_frames]


@dataclass(frozen=True)
class SceneIndex:
    """What ``scene.json`` says; it is written last, so its presence means "complete"."""

    name: str
    source: str  # file name of the video, no folders
    fingerprint: str  # of the decoded frames, see `omnimotion.video`
    original_size: tuple[int, int]  # W, H
    size: tuple[int, int]  # W, H at which frames and flow are stored
    n_frames: int
    fps: float
    times: list[float]  # seconds, one per frame
    source_indices: list[int]  # of the frames in the video
    flow: dict[str, Any]  # method, model, weights, licence, why
    stride: int
    gaps: list[int]  # between the frames of a pair, increasing; all pairs of a gap are there
    coverage: list[float]  # share of lattice points with a match, by i, then by j
    settings: dict[str, Any]  # the options that shaped the result
    grown: list[tuple[int, str]]  # earlier lengths of the video, and its fingerprints then
    coord_convention: str = COORD_CONVENTION
    format: int = INDEX_FORMAT

    def targets(self, i: int) -> list[int]:
        """The frames that frame i is paired with, increasing."""
        return paired_frames(i, self.gaps, self.n_frames)

    @property
    def identity(self) -> str:
        """What a fit depends on: the video, and how its matches were made."""
        made = json.dumps([self.fingerprint, self.size, self.settings, self.flow], sort_keys=True)
        return hashlib.sha256(made.encode()).hexdigest()

    def fingerprint_to(self, stop: int) -> str:
        """Of the video when it first had the frames before ``stop``."""
        return next((known for count, known in self.grown if count >= stop), self.fingerprint)

    def save(self, folder: Path) -> None:
        """Write ``scene.json``, the mark of a complete scene."""
        write_json(folder / INDEX_NAME, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read ``scene.json``; SceneError when it is missing, damaged or of another format."""
        path = folder / INDEX_NAME
        if not folder.is_dir():
            raise SceneError(f"no such scene folder: {folder}")
        if not path.is_file():
            raise SceneError(f"{folder} holds no {INDEX_NAME}: run preprocess first, or again")
        data = read_json(path, SceneError)
        if data.get("format") not in (1, INDEX_FORMAT):
            raise SceneError(f"{path}: format {data.get('format')!r}, expected {INDEX_FORMAT}")
        return cls(**checked_index(path, data, {f.name for f in fields(cls)}))


class SceneStore:
    """Read access to a preprocessed scene folder; nothing is cached."""

    def __init__(self, folder: Path, index: SceneIndex) -> None:
        self.folder = folder
        self.index = index

    @classmethod
    def open(cls, folder: Path, matches: bool = True) -> Self:
        """Open a complete scene folder; raises as `require_files`."""
        store = cls(folder, SceneIndex.load(folder))
        store.require_files(matches)
        return store

    @property
    def span(self) -> range:
        """The numbers that the store's frames have in the names of files."""
        return range(self.index.n_frames)

    def missing(self, matches: bool = True) -> list[Path]:
        """Files that are not there: frames, and their ``matches``."""
        kinds = (frame_path, flow_path) if matches else (frame_path,)
        paths = (where(self.folder, t) for t in self.span for where in kinds)
        return [path for path in paths if not path.is_file()]

    def require_files(self, matches: bool = True) -> None:
        """SceneError where a frame is missing, or its ``matches``."""
        missing = self.missing(matches)
        if missing:
            raise SceneError(
                f"{missing[0]} is missing ({len(missing)} of {(1 + matches) * len(self.span)} "
                "files): preprocess the video with --repair"
                + " (train --keep-flow no deletes matches)"
                * (missing[-1].suffix == ".npz")
            )

    def frame(self, t: int) -> np.ndarray:
        """Frame t, uint8 RGB (H, W, 3) at the working size."""
        path = frame_path(self.folder, t)
        frame = load_image(path)
        width, height = self.index.size
        if frame.shape != (height, width, 3):
            raise SceneError(f"{path}: size {frame.shape[1::-1]}, expected {self.index.size}")
        return frame

    def flow(self, i: int) -> FrameFlow:
        """Matches from frame i; FlowError when the file is damaged or of another frame."""
        path = flow_path(self.folder, i)
        found = read_flow(path)
        if found.i != i or not found.fits(self.index.n_frames, self.index.size):
            raise FlowError(
                f"{path}: holds frame {found.i} of another scene: preprocess with --repair"
            )
        return found


def frame_path(folder: Path, t: int) -> Path:
    """Where frame t of a scene is stored."""
    return folder / "frames" / f"{t:06d}.png"


def flow_path(folder: Path, i: int) -> Path:
    """Where the matches of frame i are stored."""
    return folder / "flow" / f"{i:06d}.npz"


def flow_quantum(longer_side: int) -> float:
    """Pixels per stored unit: the finest power of two, at most 1/64, that spans the frame."""
    if longer_side <= FINEST_QUANTUM_SIDE:
        return 1 / 64
    return 2.0 ** math.ceil(math.log2(longer_side / 32767))


def zero_outside(flow: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of vectors (..., 2) float32 that is zero where the mask (...) is false.

    As complex numbers, since numpy is slow in loops over two components.
    """
    vectors = np.ascontiguousarray(flow).view(np.complex64)[..., 0]
    return np.where(mask, vectors, np.complex64(0))[..., None].view(np.float32)


def write_flow(
    path: Path, frame: FrameFlow, longer_side: int, write: WriteArchive = write_archive
) -> None:
    """Store the matches of one frame; FlowError when a reliable one is not finite or too large."""
    quantum = flow_quantum(longer_side)
    units = zero_outside(frame.flow, frame.state != NONE)
    units *= np.float32(1 / quantum)
    # a comparison with NaN, which the extremes hand on, is false
    if not (units.min(initial=0) >= -32767 and units.max(initial=0) <= 32767):
        raise FlowError(f"flow of frame {frame.i} is not finite or leaves the frame by far")
    low, high = frame.state & 1, frame.state >> 1
    arrays: dict[str, np.ndarray] = {
        "targets": frame.targets.astype(np.int32),
        "origin": frame.origin.astype(np.int32),
        "flow": np.rint(units, out=units).astype(np.int16),
        "state": np.stack([np.packbits(low), np.packbits(high)]),
    }
    meta: dict[str, Any] = {"kind": FLOW_KIND, "format": FORMAT, "quantum": quantum}
    write(path, arrays, meta | {"i": frame.i, "stride": frame.stride})


def read_flow(path: Path) -> FrameFlow:
    """Read what `write_flow` wrote; FlowError naming the file when it is damaged."""
    arrays, meta = read_archive(path, error=FlowError)
    if meta.get("kind") != FLOW_KIND or meta.get("format") != FORMAT:
        raise FlowError(f"{path} is no flow file of format {FORMAT}: preprocess with --repair")
    try:
        check_kinds(meta, {"quantum": NUMBER, "i": (int,), "stride": (int,)})
        if not 0 < meta["quantum"] <= 1:
            raise ValueError(f"a quantum of {meta['quantum']} px")
        shape = arrays["flow"].shape[:-1]
        _check_arrays(arrays, shape)
        bits = np.unpackbits(arrays["state"], axis=1, count=math.prod(shape)).reshape(2, *shape)
        return FrameFlow(
            i=meta["i"],
            targets=arrays["targets"],
            origin=arrays["origin"],
            stride=meta["stride"],
            flow=arrays["flow"].astype(np.float32) * np.float32(meta["quantum"]),
            state=(bits[0] | bits[1] << 1).astype(np.uint8),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FlowError(f"{path} is damaged ({error}): preprocess with --repair") from error


def _check_arrays(arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> None:
    """ValueError unless these are as `write_flow` makes them for states of a shape (M, h, w)."""
    expected: dict[str, tuple[type, tuple[int, ...]]] = {
        "targets": (np.int32, shape[:1]), "origin": (np.int32, (*shape[:1], 2)),
        "flow": (np.int16, (*shape, 2)), "state": (np.uint8, (2, -(-math.prod(shape) // 8))),
    }  # fmt: skip
    for name, (dtype, size) in expected.items():
        array = arrays[name]
        if len(shape) != 3 or array.dtype != dtype or array.shape != size:
            raise ValueError(f"{name} is {array.dtype} {array.shape}")


def is_flow(path: Path) -> bool:
    """True when the file is there, complete and undamaged."""
    try:
        read_flow(path)
    except FlowError:
        return False
    return True
