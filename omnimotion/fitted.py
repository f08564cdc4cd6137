"""A fitted scene, as Python sees it: tracks, masks, colour and depth of any frame.

Conventions are those of `omnimotion.tracks`; arrays are of the original size (W, H).
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from omnimotion.errors import ConfigError, InputError
from omnimotion.long_runs import open_clip
from omnimotion.long_tracker import LongTracker
from omnimotion.masks import load_mask
from omnimotion.points import check_frame
from omnimotion.propagation import propagated
from omnimotion.runs import run_folder
from omnimotion.tracker import Tracker, shown_by
from omnimotion.tracks import QueryPoints, Tracks
from omnimotion.warps import Carrier

AnyMask = np.ndarray | str | Path


class FittedScene:
    """The answers of one fitted video. `omnimotion.load` and `omnimotion.fit` give one."""

    def __init__(self, tracker: Tracker | LongTracker) -> None:
        self.tracker = tracker

    @property
    def n_frames(self) -> int:
        """T."""
        return self.tracker.index.n_frames

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the original video."""
        return self.tracker.index.original_size

    @property
    def meta(self) -> Mapping[str, Any]:
        """Where the answers come from: scene, run, step, flow and its licence."""
        return self.tracker.meta

    def track(self, points: "QueryPoints | np.ndarray", refine: bool = True) -> Tracks:
        """Tracks of points, (Q, 3) rows of t, x, y, in their order, through every frame.

        ``refine``: draw them to the matches along them. `PointsError` for one outside the clip.
        """
        return self.tracker.track(points, refine)

    def dense(self, frame: int) -> Iterator[Tracks]:
        """Tracks of every pixel of a frame, not refined, some rows of it at a time.

        Pixel (x, y) comes as number ``y * W + x``. `PointsError` for a frame outside the clip.
        """
        return self.tracker.dense(check_frame(frame, self.n_frames))

    def propagate(
        self, mask: "AnyMask | Mapping[int, AnyMask]", frame: int = 0, step: int = 1
    ) -> np.ndarray:
        """The mask of a frame in every frame: labels uint8 (T, H, W), hidden parts left out.

        ``mask``: bool or integers (H, W), an object each and 0 for background, or a PNG; or those
        of several frames, by frame. Asked are the centres of cells of ``step`` px a side.
        `InputError` for what is no mask, `ConfigError` for a step below 1 or several masks of a
        clip in several windows, `PointsError` for a frame outside the clip.
        """
        masks = mask if isinstance(mask, Mapping) else {frame: mask}
        if not masks:
            raise InputError("no mask is given")
        if step < 1:
            raise ConfigError(f"step {step}: expected 1 or more")
        given = {check_frame(t, self.n_frames): self._labels(each) for t, each in masks.items()}
        carried = propagated(self.tracker, given, step)
        return np.stack([carried.at(j) for j in range(self.n_frames)])

    def render(self, frame: int) -> np.ndarray:
        """A frame in the colours that the model has learned: uint8 RGB (H, W, 3).

        `PointsError` for a frame outside the clip.
        """
        return self._seen(check_frame(frame, self.n_frames))[1]

    def depth(self, frame: int) -> np.ndarray:
        """Pseudo-depth of what a frame shows: float32 (H, W), small in front.

        `PointsError` for a frame outside the clip.
        """
        return self._seen(check_frame(frame, self.n_frames))[0]

    def _seen(self, frame: int) -> tuple[np.ndarray, np.ndarray]:
        """As the window shows it in which the frame is farthest from the ends."""
        tracker, t = shown_by(self.tracker, frame)
        return Carrier(tracker).seen(t)

    def _labels(self, mask: AnyMask) -> np.ndarray:
        if isinstance(mask, str | Path):
            return load_mask(Path(mask), self.size).labels
        labels, (width, height) = np.asarray(mask), self.size
        if labels.dtype.kind not in "bui" or labels.shape != (height, width):
            raise InputError(
                f"mask: {labels.dtype} {labels.shape}, expected bool or integers "
                f"{(height, width)}, the video's (H, W)"
            )
        if labels.min() < 0 or labels.max() > 255:
            raise InputError(f"mask: labels {labels.min()} to {labels.max()}, expected 0 to 255")
        return labels.astype(np.uint8)


def open_fitted(folder: Path, run: str | Path | None = None, **options: Any) -> FittedScene:
    """The fitted scene of a folder; see `run_folder`; raises as `open_clip` does."""
    where = run_folder(folder, run) if run is not None else None
    return FittedScene(open_clip(folder, where, **options))
