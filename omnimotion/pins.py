"""Pins: places that a user has set, and how tracks of the same points go through them.

A track is of a pinned point when it is near its pins: at the one nearest in time to the query,
where the track is surest, and at another, unless the query itself is at that pin; a track that
only crosses the place of a pin is of something else. It is then moved through all of the point's
pins, each shifted by how far the track is from the first, because what is near moves alike.

Conventions. Q queries, T frames, M pinned points. Places are in pixels of the store's frames.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from omnimotion.errors import CheckpointError
from omnimotion.geometry import resize_xy
from omnimotion.known import KnownTracks

NEAR_PX, ALSO_NEAR_PX = 2.0, 8.0  # at the first pin and at another, of a frame of 256
PIN_PX, SHARE_OFF = 1e-3, 0.5  # how sure a place is: a pin itself, and the more, the farther off


class Pins(NamedTuple):
    """Pinned points."""

    xy: np.ndarray  # float32 (M, T, 2), 0 where unknown
    known: np.ndarray  # bool (M, T)
    seen: np.ndarray  # bool (M, T), False where hidden or unknown

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds of them."""
        return {f"pins.{name}": array for name, array in self._asdict().items()}

    def pull(
        self, xy: np.ndarray, query_frames: np.ndarray, px: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Tracks (Q, T, 2) moved through their pins, and how sure their places are, (Q, T) px.

        Between pins the offset goes evenly from one to the next. ``px``: pixels of a frame whose
        longer side is 256 in one of the store's; sureness is in these, and inf where nothing is
        pinned. Tracks of other points stay as they are.
        """
        moved, sure = xy.copy(), np.full(xy.shape[:2], np.inf)
        point, shift = self._points(xy, query_frames, px)
        for q in np.flatnonzero(point >= 0):
            m, t = point[q], query_frames[q]
            pinned = np.flatnonzero(self.known[m])
            at = np.union1d(pinned, t)
            offset = np.zeros((len(at), 2))
            off = self.xy[m, pinned] + shift[q] - xy[q, pinned]
            offset[np.searchsorted(at, pinned)] = off
            offset[at == t] = 0  # the query stays
            for axis in range(2):
                moved[q, :, axis] += np.interp(np.arange(xy.shape[1]), at, offset[:, axis])
            sure[q, pinned] = PIN_PX + SHARE_OFF * px * np.linalg.norm(shift[q])
        return moved, sure

    def _points(
        self, xy: np.ndarray, query_frames: np.ndarray, px: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which pinned point each track is of, (Q,), -1 for none; its way from the pin, (Q, 2)."""
        every = np.arange(len(xy))
        point, nearest = np.full(len(xy), -1), np.full(len(xy), NEAR_PX)
        shift = np.zeros((len(xy), 2))
        for m, known in enumerate(self.known):
            pinned = np.flatnonzero(known)
            off = xy[:, pinned] - self.xy[m, pinned]  # (Q, n, 2)
            distance = px * np.linalg.norm(off, axis=-1)
            first = np.abs(pinned - query_frames[:, None]).argmin(axis=1)
            one = distance[every, first]
            distance[every, first] = np.inf
            also = (pinned[first] == query_frames) | (distance.min(axis=1) <= ALSO_NEAR_PX)
            is_it = also & (one <= nearest)
            point[is_it], nearest[is_it] = m, one[is_it]
            shift[is_it] = off[every, first][is_it]
        return point, shift


def pins_of(known: KnownTracks, original_size: tuple[int, int], size: tuple[int, int]) -> Pins:
    """The pins of a file, in pixels of frames stored at ``size`` (W, H)."""
    where = known.weight > 0
    xy = resize_xy(known.xy, original_size, size) * where[..., None]
    return Pins(xy.astype(np.float32), where, known.visible & where)


def known_of(pins: Pins, original_size: tuple[int, int], size: tuple[int, int]) -> KnownTracks:
    """The way back from `pins_of`."""
    xy = resize_xy(pins.xy, size, original_size) * pins.known[..., None]
    return KnownTracks(xy, pins.known.astype(np.float32), pins.seen)


def joined_pins(earlier: KnownTracks, pins: KnownTracks, px: float) -> KnownTracks:
    """Pins with earlier ones, which hold on; where both set a place, the later one holds.

    Points that have a place in common, to `NEAR_PX`, are one. ``px``: pixels of a frame whose
    longer side is 256 in one of the original video's.
    """
    xy, weight, visible = pins.xy.copy(), pins.weight.copy(), pins.visible.copy()
    others = []
    for m in range(len(earlier.xy)):
        off = px * np.linalg.norm(pins.xy - earlier.xy[m], axis=-1)  # (Q, T)
        same = ((pins.weight > 0) & (earlier.weight[m] > 0) & (off <= NEAR_PX)).any(axis=1)
        if not same.any():
            others.append(m)
            continue
        q = same.argmax()
        free = (weight[q] == 0) & (earlier.weight[m] > 0)
        for mine, old in ((xy, earlier.xy), (weight, earlier.weight), (visible, earlier.visible)):
            mine[q, free] = old[m, free]
    return KnownTracks(
        np.concatenate((xy, earlier.xy[others])), np.concatenate((weight, earlier.weight[others])),
        np.concatenate((visible, earlier.visible[others])), pins.licence,
    )  # fmt: skip


def stored_pins(arrays: Mapping[str, np.ndarray], n_frames: int) -> Pins | None:
    """The pins of a checkpoint, None where it has none; CheckpointError where they are damaged."""
    if "pins.xy" not in arrays or "pins.known" not in arrays:
        return None
    xy, known = arrays["pins.xy"], arrays["pins.known"]
    shape = (len(known) if known.ndim else 0, n_frames)
    if (known.dtype, known.shape, xy.dtype, xy.shape) != (bool, shape, np.float32, (*shape, 2)):
        found = f"{known.dtype} {known.shape}, {xy.dtype} {xy.shape}"
        raise CheckpointError(f"checkpoint: pins: {found}, expected those of {n_frames} frames")
    if not (known.any(axis=1).all() and np.isfinite(xy).all()):
        raise CheckpointError("checkpoint: pins: a point is pinned nowhere, or not at a place")
    seen = arrays.get("pins.seen", known)  # earlier versions did not keep it
    if (seen.dtype, seen.shape) != (bool, known.shape) or (seen & ~known).any():
        raise CheckpointError("checkpoint: pins: seen where nothing is pinned")
    return Pins(xy, known, seen)
