"""Masks carried through a clip: by its scene, by matches, and along the edges of its images.

A scene knows what is hidden, but it is coarser than flow, and may lose what moves by itself when
something passes in front of it. Matches are sharp, and those of frames far apart reach over what
hides; but at outlines they are few. Outlines are where the image's colour changes. So frames are
labelled one after the other, away from those whose masks are given. In each, the share of a label
``l`` at a place is

    P_j(l) = (SCENE S_j(l) + sum_s w_s P_s(l)) / (SCENE + sum_s w_s),

``S_j`` what the scene says there, and ``P_s`` what is at the other end of its match to a frame s
that has its labels. ``w_s`` is large where ``P_s`` rests on matches itself and is close to one
label. Places of one colour that are close share their votes.

Conventions. Shares are float32 (L, h, w) on the cells of a lattice; labels uint8 (H, W), original.
"""

import zlib
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from omnimotion.errors import ConfigError
from omnimotion.files import atomic_folder
from omnimotion.flow import SceneIndex
from omnimotion.geometry import resize_xy
from omnimotion.masks import Mask, save_mask
from omnimotion.refine import Refiner
from omnimotion.relay import Relay
from omnimotion.tracker import Tracker
from omnimotion.warps import Carrier, Windowed

Shares = NDArray[np.float32]

CELLS = 256  # along the longer side, at most
SCENE = 0.25  # what the scene counts, in matches
LEAST_KNOWN, LEAST_CERTAIN = 0.1, 0.1  # what counts a place at which few matches end, or undecided
REACH, STRIDE = 4, 2  # cells: how far votes are shared, and the steps in which
ALIKE = 0.003  # squared difference of colours, of 1, from which they are two
SHARPER = 0.5  # how much of the shares that go on is that after sharing


class Labelled(NamedTuple):
    """A frame that has its labels."""

    shares: Shares
    known: NDArray[np.float32]  # (h, w) how much of them rests on matches


class Propagation:
    """The labels of some frames carried to the others of a scene, as they are asked for."""

    def __init__(self, tracker: Tracker, given: Mapping[int, np.ndarray], step: int = 1) -> None:
        """``given``: labels (H, W) by frame, of one at least.

        Asked are the centres of cells of ``step`` px a side, or of larger ones where a frame has
        more than `CELLS`.
        """
        self._carrier, self._step, self._given = Carrier(tracker), step, dict(given)
        self._votes, self._done = None, dict[int, Labelled]()
        self._shown: dict[int, bytes] = {}  # labels, packed: a hundredth of the shares of many
        if tracker.refiner:
            self._votes = _Votes(tracker.index, tracker.refiner, given.values(), step)
            self._done = {t: self._votes.of(labels) for t, labels in given.items()}

    def at(self, j: int) -> np.ndarray:
        """The labels (H, W) of frame j: background where no frame given shows the surface.

        Frames on the way from the nearest one given are labelled first. Raises as reading the
        scene's flow and frames does.
        """
        if j in self._given:
            return self._given[j].copy()
        if self._votes is None:  # without flow the scene's own answer is all there is
            return self._scene(j, self._step)
        t = self._nearest(j)
        side = 1 if j > t else -1
        for frame in range(t + side, j + side, side):
            if frame not in self._done:
                self._label(self._votes, frame, t)
        labels = np.frombuffer(zlib.decompress(self._shown[j]), np.uint8)
        return labels.reshape(self._given[t].shape).copy()

    def _nearest(self, j: int) -> int:
        return min(self._given, key=lambda t: (abs(t - j), t))

    def _label(self, votes: "_Votes", j: int, t: int) -> None:
        """Label a frame that is next to one that has its labels, in the direction of ``t``."""
        known = {
            s: each for s, each in self._done.items()
            if s in self._given or (self._nearest(s) == t and (s - t) * (j - t) > 0)
        }  # fmt: skip
        scene = self._scene(j, votes.side)
        self._done[j], shown = votes.count(j, known, scene)
        self._shown[j] = zlib.compress(votes.decided(shown).tobytes())

    def _scene(self, j: int, step: int) -> np.ndarray:
        """What the scene says: of the nearest frames given before and behind, the nearer first."""
        before = [t for t in self._given if t < j]
        behind = [t for t in self._given if t > j]
        nearest = [*([max(before)] if before else []), *([min(behind)] if behind else [])]
        labels = [
            self._carrier.propagate(self._given[t], t, j, step)
            for t in sorted(nearest, key=lambda t: abs(t - j))
        ]
        return np.where(labels[0] > 0, labels[0], labels[-1])


Layers = Relay | Propagation
"""What has the labels of a frame: ``at(j)``."""


def propagated(tracker: Windowed, given: Mapping[int, np.ndarray], step: int = 1) -> Layers:
    """The labels ``given`` for some frames in the others of a clip.

    One frame's go from window to window of a clip that has several; asked for in the order of the
    frames, each window is opened twice at most. ConfigError for several frames' there. ``step`` as
    in `Propagation`.
    """
    if isinstance(tracker, Tracker):
        return Propagation(tracker, given, step)
    if len(given) > 1:
        raise ConfigError(
            f"masks of {len(given)} frames, and the run has {len(tracker.windows)} windows: give "
            "one mask, or fit part of the video"
        )
    newest: dict[int, Propagation] = {}

    def within(k: int, layer: np.ndarray, i: int, j: int) -> np.ndarray:
        start = tracker.windows[k].start
        if k not in newest:
            newest.clear()
            newest[k] = Propagation(tracker.window(k), {i - start: layer}, step)
        return newest[k].at(j - start)

    [(t, labels)] = given.items()
    return Relay(tracker.windows, within, labels, t)


class _Votes:
    """Counts what the cells of a lattice vote for."""

    def __init__(
        self, index: SceneIndex, refiner: Refiner, given: Iterable[np.ndarray], step: int
    ) -> None:
        self.matches, self.views = refiner.matches, refiner.patches.views
        self.size, self.stored = index.original_size, index.size
        self.side = max(step, -(-max(self.size) // CELLS))
        width, height = (-(-length // self.side) for length in self.size)
        self.cells = width, height  # the frame as an image of so few pixels
        self.shape = height, width
        places = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
        self.places = resize_xy(places.reshape(-1, 2).astype(float), self.cells, self.stored)
        self.names = np.unique(np.concatenate([[0], *map(np.unique, given)]))

    def of(self, labels: np.ndarray) -> Labelled:
        """A frame whose labels are given."""
        return Labelled(self.shares(labels), np.ones(self.shape, np.float32))

    def shares(self, labels: np.ndarray) -> Shares:
        """The share of each label in each cell."""
        found = [self.averaged((labels == name).astype(np.float32)) for name in self.names]
        return np.stack(found)

    def averaged(self, image: np.ndarray) -> np.ndarray:
        """An image float32 (H, W) or (H, W, C), averaged over cells."""
        mean: np.ndarray = cv2.resize(image, self.cells, interpolation=cv2.INTER_AREA)
        return mean

    def count(
        self, j: int, done: dict[int, Labelled], scene: np.ndarray
    ) -> tuple[Labelled, Shares]:
        """Frame j as it goes on, and the shares to be shown; ``scene``: labels (H, W)."""
        votes, number = SCENE * self.shares(scene), np.full(self.shape, SCENE, np.float32)
        targets, ends = self.matches.paired(j, self.places)
        for m in np.flatnonzero(np.isin(targets, list(done))):
            shares, weight = self.read(done[int(targets[m])], ends[:, m])
            votes, number = votes + weight * shares, number + weight
        shown = shared_alike(np.concatenate((votes, number[None])), self.colours(j))
        shown = shown[:-1] / shown[-1]
        own = votes / number
        known = np.maximum(LEAST_KNOWN, 1 - np.exp(-2 * (number - SCENE)))
        return Labelled(own + SHARPER * (shown - own), known), shown

    def read(self, frame: Labelled, ends: np.ndarray) -> tuple[Shares, NDArray[np.float32]]:
        """Shares at the ends (N, 2) of matches, one a cell, and how much they count (h, w)."""
        is_match = np.isfinite(ends[:, 0]).reshape(self.shape)
        cells = resize_xy(np.nan_to_num(ends), self.stored, self.cells)
        x, y = cells.astype(np.float32).T.reshape(2, *self.shape)
        *shares, known = (
            cv2.remap(each, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for each in (*frame.shares, frame.known)
        )
        certain = np.maximum(LEAST_CERTAIN, 2 * np.max(shares, axis=0) - 1)
        return np.stack(shares), is_match * known * certain

    def colours(self, j: int) -> np.ndarray:
        """Colours (h, w, 3) of a frame's cells, in [0, 1]."""
        return self.averaged(self.views.frame(j).astype(np.float32) / 255)

    def decided(self, shares: Shares) -> np.ndarray:
        """The label (H, W) of which each pixel has most."""
        large = [cv2.resize(each, self.size, interpolation=cv2.INTER_LINEAR) for each in shares]
        found: np.ndarray = self.names[np.argmax(large, axis=0)].astype(np.uint8)
        return found


def shared_alike(votes: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Votes (L, h, w) summed over the cells around, as far as ``colours`` (h, w, 3) are alike.

    A joint bilateral filter (Petschnigg et al., "Digital photography with flash and no-flash image
    pairs", 2004), not normalised.
    """
    height, width = colours.shape[:2]
    around = (REACH, REACH), (REACH, REACH)
    votes_around = np.pad(votes, ((0, 0), *around), mode="edge")
    colours_around = np.pad(colours, (*around, (0, 0)), mode="edge")
    total = np.zeros_like(votes)
    for dy, dx in product(range(-REACH, REACH + 1, STRIDE), repeat=2):
        rows = slice(REACH + dy, REACH + dy + height)
        columns = slice(REACH + dx, REACH + dx + width)
        off = np.square(colours_around[rows, columns] - colours).sum(-1)
        near = 2 * (dx * dx + dy * dy) / REACH**2
        total += np.exp(-off / ALIKE - near) * votes_around[:, rows, columns]
    return total


def write_masks(
    folder: Path, tracker: Windowed, given: Mapping[int, Mask], frames: Iterable[int], step: int
) -> None:
    """The masks ``given`` for some frames, in others: ``000007.png`` for frame 7, in a new folder.

    Indexed PNGs with the palette of the first mask. Raises as `atomic_folder`, `propagated` and
    `Propagation.at` do.
    """
    carried = propagated(tracker, {t: mask.labels for t, mask in given.items()}, step)
    palette = given[min(given)].palette
    with atomic_folder(folder) as temp:
        for j in frames:
            save_mask(temp / f"{j:06d}.png", Mask(carried.at(j), palette))
