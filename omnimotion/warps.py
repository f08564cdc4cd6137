"""Whole frames carried to other frames by a scene: places of pixels, and the labels of masks.

Conventions are those of `omnimotion.tracks`; arrays are of the original size (W, H).
"""

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
import torch

from omnimotion.errors import ConfigError
from omnimotion.geometry import inside_frame, resize_xy
from omnimotion.images import MAX_SIDE
from omnimotion.rays import locate, surface_at
from omnimotion.relay import Relay
from omnimotion.tracker import HIDDEN_ABOVE, RAYS_AT_ONCE, Tracker, Windowed, to_uint8

NEAR_CELLS = 200  # cells along the longer side in which `Carrier.near` thinks
NEAR = 8  # cells: with 4, 2 of 3,400 pixels were lost on a rendered clip; with 8, none on any


class Carrier:
    """Carries places of one frame to another one, whatever lies between."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker
        self.now = tracker.scene.snapshot()

    @torch.no_grad()
    def carry(self, xy: np.ndarray, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the surfaces seen at ``xy`` float32 (N, 2) in frame i are in frame j.

        float32 (N, 2), and whether they are seen there, bool (N,). From a frame to itself nothing
        moves.
        """
        if i == j or not len(xy):
            return xy.copy(), np.ones(len(xy), bool)
        parts = torch.from_numpy(xy).split(RAYS_AT_ONCE)
        found = [self._carry(part, i, j) for part in parts]
        places, hidden = (torch.cat(each).cpu().numpy() for each in zip(*found))
        inside = inside_frame(places, self.tracker.index.original_size)
        return places, inside & (hidden < HIDDEN_ABOVE)

    def _carry(self, xy: torch.Tensor, i: int, j: int) -> tuple[torch.Tensor, torch.Tensor]:
        index, frame, device = self.tracker.index, self.tracker.frame, self.tracker.device
        maps = (self.now.at(torch.tensor([t], device=device)) for t in (i, j))
        own = frame.normalise(self._stored(xy)).to(device)
        seen = surface_at(self.now, next(maps), own[None])
        there = locate(self.now, next(maps), seen.u)
        places = resize_xy(frame.to_pixels(there.xy[0]), index.size, index.original_size)
        return places.float(), there.occlusion[0]

    def _stored(self, xy: torch.Tensor) -> torch.Tensor:
        """Original pixels (N, 2) to those of the stored frames."""
        return resize_xy(xy, self.tracker.index.original_size, self.tracker.index.size)

    def map(self, i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        """`carry` of every pixel of frame i: (H, W, 2) and (H, W)."""
        width, height = self.tracker.index.original_size
        places, visible = self.carry(lattice((width, height)), i, j)
        return places.reshape(height, width, 2), visible.reshape(height, width)

    def seen(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        """What each pixel of frame t shows: pseudo-depth float32 (H, W), RGB uint8 (H, W, 3)."""
        width, height = self.tracker.index.original_size
        places = torch.from_numpy(lattice((width, height)))
        found = list(self.tracker.surfaces(t, self._stored(places)))
        depth = torch.cat([each.depth[0] for each in found]).view(height, width)
        rgb = torch.cat([each.rgb[0] for each in found]).view(height, width, 3)
        return depth.float().cpu().numpy(), to_uint8(rgb)

    def near(self, drawn: np.ndarray, t: int, j: int) -> np.ndarray:
        """Pixels of frame j, bool (H, W), that may show what is drawn on frame t, bool (H, W).

        What is drawn is carried to frame j, some pixels apart, and all that is close to it may
        show it: asking each pixel of these only is several times as fast as asking all.
        """
        height, width = drawn.shape
        side = max(1, round(max(width, height) / NEAR_CELLS))
        rows, columns = -(-height // side), -(-width // side)
        padded = np.pad(drawn, ((0, rows * side - height), (0, columns * side - width)))
        y, x = np.nonzero(padded.reshape(rows, side, columns, side).any(axis=(1, 3)))
        centres = (np.stack((x, y), axis=-1) + 0.5) * side - 0.5
        last = width - 1, height - 1
        places, _ = self.carry(centres.clip(0, last).astype(np.float32), t, j)
        cells = np.floor((places.astype(np.float64) + 0.5) / side)
        within = (cells > -1 - NEAR) & (cells < (columns + NEAR, rows + NEAR))
        x, y = cells[within.all(axis=-1)].clip(0, (columns - 1, rows - 1)).astype(np.int64).T
        landed = np.zeros((rows, columns), np.uint8)
        landed[y, x] = 1
        found = cv2.dilate(landed, np.ones((2 * NEAR + 1, 2 * NEAR + 1), np.uint8))
        return found.repeat(side, axis=0).repeat(side, axis=1)[:height, :width] > 0

    def propagate(self, labels: np.ndarray, t: int, j: int, step: int = 1) -> np.ndarray:
        """The labels (H, W) of frame j, of those of frame t: each pixel has its surface's.

        Background where the surface is hidden in frame t, or outside it. Cells of ``step`` px a
        side are decided by their centres.
        """
        if t == j:
            return labels.copy()
        height, width = labels.shape
        centres = lattice((width, height), step)
        asked = np.flatnonzero(_at(self.near(labels > 0, t, j), centres))
        places, visible = self.carry(centres[asked], j, t)
        found = np.zeros(len(centres), np.uint8)
        found[asked] = np.where(visible, _at(labels, places), 0)
        cells = found.reshape(-(-height // step), -(-width // step))
        return cells.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]


def relay(
    tracker: Windowed, carry: Callable[[Carrier, np.ndarray, int, int], np.ndarray],
    layer: np.ndarray, t: int,
) -> Relay:  # fmt: skip
    """The layer of frame t in the other frames, as ``carry`` carries it within a window."""

    @lru_cache(maxsize=1)
    def carrier(k: int) -> Carrier:
        return Carrier(tracker.window(k))

    def within(k: int, layer: np.ndarray, i: int, j: int) -> np.ndarray:
        start = tracker.windows[k].start
        return carry(carrier(k), layer, i - start, j - start)

    return Relay(tracker.windows, within, layer, t)


def carried_labels(step: int) -> Callable[[Carrier, np.ndarray, int, int], np.ndarray]:
    """`Carrier.propagate` by cells of ``step`` px, for `relay`."""
    return lambda carrier, labels, i, j: carrier.propagate(labels, i, j, step)


def check_step(step: int | None) -> None:
    """Raise `ConfigError` unless a step is 1 px to `MAX_SIDE`, or not given."""
    if step is not None and not 1 <= step <= MAX_SIDE:
        raise ConfigError(f"--step {step}: expected 1 to {MAX_SIDE}")


def _at(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The pixels (N,) of an image (H, W) that places (N, 2) are nearest to."""
    height, width = image.shape
    x, y = np.rint(places).clip(0, (width - 1, height - 1)).astype(np.int64).T
    found: np.ndarray = image[y, x]
    return found


def lattice(size: tuple[int, int], step: int = 1) -> np.ndarray:
    """The centres (N, 2) of cells of ``step`` px a side, row by row; the last may be cut off."""
    x, y = (
        ((first := np.arange(0, side, step)) + np.minimum(first + step, side) - 1) / 2
        for side in size
    )
    return np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2).astype(np.float32)
