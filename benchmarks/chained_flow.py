"""The baseline of all reports: OpenCV DIS flow chained from frame to frame.

Convention: queries and tracks are in original pixels, pixel centres at integers; flow is computed
on grey frames resized to at most ``side`` pixels on the longer side. A point is hidden, for good,
once a step fails the 1.5 px forward-backward check (in pixels of the flow) or leaves the frame;
its position goes on, by the flow at the nearest border pixel.

    python benchmarks/chained_flow.py ../shared/data/layers_0 ../shared/data/badja_camel
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from omnimotion.errors import InputError
from omnimotion.evaluation import Tracker, evaluate
from omnimotion.ground_truth import GroundTruth, read_ground_truth

CONSISTENT_PX = 1.5
SIDE_PX = 480


@dataclass(frozen=True)
class ChainedTracks:
    """Tracks of the baseline: xy (Q, T, 2) original pixels, visible (Q, T)."""

    xy: NDArray[np.float32]
    visible: NDArray[np.bool_]


class ChainedFlow:
    """Tracks points of one clip through chained DIS flow.

    ``frames`` (T, H, W) uint8 grey at flow size, ``size`` the original (W, H).
    """

    def __init__(self, frames: NDArray[np.uint8], size: tuple[int, int]) -> None:
        self._scale = np.array(frames.shape[:0:-1]) / np.array(size)  # flow px per original px
        dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(0)
        pairs = list(itertools.pairwise(frames))
        self._forward = [_dis_flow(dis, a, b) for a, b in pairs]
        self._backward = [_dis_flow(dis, b, a) for a, b in pairs]

    def track(self, queries: NDArray[np.float32]) -> ChainedTracks:
        """Tracks of queries (Q, 3) t, x, y in original pixels."""
        frame = queries[:, 0].astype(int)
        n_frames = len(self._forward) + 1
        xy = np.empty((len(queries), n_frames, 2))
        visible = np.ones(xy.shape[:2], bool)
        xy[np.arange(len(queries)), frame] = (queries[:, 1:] + 0.5) * self._scale - 0.5
        for t in range(1, n_frames):  # step from t - 1 to t
            going = frame < t
            flows = self._forward[t - 1], self._backward[t - 1]
            xy[going, t], kept = _step(xy[going, t - 1], *flows)
            visible[going, t] = visible[going, t - 1] & kept
        for t in range(n_frames - 2, -1, -1):  # step from t + 1 to t
            going = frame > t
            flows = self._backward[t], self._forward[t]
            xy[going, t], kept = _step(xy[going, t + 1], *flows)
            visible[going, t] = visible[going, t + 1] & kept
        original = (xy + 0.5) / self._scale - 0.5
        return ChainedTracks(original.astype(np.float32), visible)


def _step(
    xy: NDArray[np.float64], there: NDArray[np.float32], back: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    moved = xy + _sample(there, xy)
    returned = moved + _sample(back, moved)
    last = np.array(there.shape[1::-1]) - 1
    inside = np.all((moved >= 0) & (moved <= last), axis=-1)
    return moved, inside & (np.linalg.norm(returned - xy, axis=-1) <= CONSISTENT_PX)


def _dis_flow(
    dis: cv2.DISOpticalFlow, source: NDArray[np.uint8], target: NDArray[np.uint8]
) -> NDArray[np.float32]:
    no_start: Any = None  # zeros would be taken for a warm start, which changes the flow
    return np.asarray(dis.calc(source, target, no_start), np.float32)


def _sample(flow: NDArray[np.float32], xy: NDArray[np.float64]) -> NDArray[np.float32]:
    """Flow (N, 2) at points (N, 2), bilinear, the border continued outwards."""
    if not len(xy):
        return np.zeros((0, 2), np.float32)
    grid = xy.astype(np.float32)[:, None]
    sampled = cv2.remap(flow, grid, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32).reshape(-1, 2)


def read_grey_frames(folder: Path, side_px: int) -> NDArray[np.uint8]:
    """Frames of a test clip (T, H, W), at most ``side_px`` on the longer side."""
    frames = []
    for path in sorted((folder / "frames").iterdir()):
        frame = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
        if frame is None:
            raise InputError(f"{path}: not a readable image")
        height, width = frame.shape[:2]
        shrink = min(1.0, side_px / max(height, width))
        if shrink < 1:
            size = round(width * shrink), round(height * shrink)
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    return np.stack(frames).astype(np.uint8, copy=False)


def open_clip(folder: Path, side_px: int = SIDE_PX) -> tuple[Tracker, GroundTruth]:
    """The baseline tracker of a test clip's folder, and its ground truth."""
    truth = read_ground_truth(folder)
    return ChainedFlow(read_grey_frames(folder, side_px), truth.size), truth


def main() -> None:
    """Print the table of the given clips."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("clips", nargs="+", type=Path, help="folders with frames/ and gt.npz")
    parser.add_argument("--side", type=int, default=SIDE_PX, help="longer side of the flow, px")
    parser.add_argument("--mode", default="given", choices=["given", "strided", "first"])
    arguments = parser.parse_args()

    def clips() -> Iterator[tuple[Tracker, GroundTruth]]:
        for folder in arguments.clips:
            yield open_clip(folder, arguments.side)

    print(evaluate(clips(), arguments.mode).to_markdown())


if __name__ == "__main__":
    main()
