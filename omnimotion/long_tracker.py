"""Ask a scene that is fitted in windows where points go.

A query is answered by the window in which its frame is farthest from the ends, and the answer is
handed on from window to window, both ways. It goes over where the point is best seen in the
overlap. There both windows answer; their answers are weighed by their confidence, and by how near
the frame is to the end of either window. A track that comes over is drawn to what is known of it
beside the window too (`omnimotion.past`): else every border would add to how far off it is. Memory
is that of one window, of as much of the matches beside it, and of the answer.

Confidence is a probability, and a chain of handovers multiplies it: by the confidence where a
track went over, and by how well both windows agree. Depth has no scale that windows share: it is
that of the window whose middle is nearer.

Conventions. Q queries, N frames of the clip, O frames of an overlap.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from omnimotion.confidence import WITHIN_PX
from omnimotion.flow import SceneIndex
from omnimotion.geometry import PIXELS_PER_UNIT, inside_frame, resize_xy
from omnimotion.handover import Handed
from omnimotion.matches import Matches
from omnimotion.parts import in_parts
from omnimotion.past import Looks, Past
from omnimotion.pins import Pins
from omnimotion.refine import warps_at
from omnimotion.tracker import (
    HIDDEN_ABOVE,
    RAYS_AT_ONCE,
    Tracker,
    checked_queries,
    rows_of_pixels,
)
from omnimotion.tracks import QueryPoints, Tracks
from omnimotion.windows import homes

UNSEEN = 0.1  # what a frame in which the point is hidden counts against one in which it is seen
AT_AN_END = 0.5  # what the ends of an overlap count against its middle
REACH = 50  # frames beside a window whose matches with it count
LEAST_CONFIDENCE = 1e-3  # so that there is always a weight


class Answer:
    """The tracks of Q points, filled in window by window."""

    def __init__(self, count: int, n_frames: int, size: tuple[int, int], refine: bool) -> None:
        self.size = size
        self.xy = np.zeros((count, n_frames, 2), np.float32)
        self.confidence, self.depth = np.zeros((2, count, n_frames), np.float32)
        self.occlusion = np.ones((count, n_frames), np.float32)  # what is not answered is not seen
        self.looks = Looks(count, n_frames) if refine else None

    def visible(self, rows: np.ndarray | slice, frames: slice) -> np.ndarray:
        """Whether points are seen, bool (rows, frames)."""
        inside = inside_frame(self.xy[rows, frames], self.size)
        return np.logical_and(inside, self.occlusion[rows, frames] < HIDDEN_ABOVE)

    def put(self, rows: np.ndarray, window: range, found: Tracks, weights: "Weights") -> None:
        """Put in what a window has found, beside what is there already."""
        frames = slice(window.start, window.stop)
        for name in ("xy", "occlusion", "confidence", "depth"):
            mine, new = getattr(self, name), getattr(found, name)
            share = weights.is_nearer if name == "depth" else weights.share
            share = share[..., None] if name == "xy" else share
            mine[rows, frames] += share * (new - mine[rows, frames])


class Weights(NamedTuple):
    """What a window's answer counts in its T frames beside another window's."""

    share: np.ndarray  # float32 (q, T) in [0, 1]
    is_nearer: np.ndarray  # bool (T,), where its middle is nearer than the other's


class LongTracker:
    """A scene fitted in windows that answers queries in pixels of the original video."""

    def __init__(
        self, index: SceneIndex, windows: Sequence[range], window: Callable[[int], Tracker],
        meta: dict[str, Any] | None = None, matches: Callable[[range], Matches] | None = None,
        pins: Pins | None = None,
    ) -> None:  # fmt: skip
        """``window`` gives the tracker of a window, by its number, ``matches`` those of a span.

        Without ``matches`` tracks are not refined. ``pins`` are of all windows.
        """
        self.index = index
        self.matches = matches
        self.pins = pins
        self.windows = windows
        self.meta = meta or {}
        self.window = window

    def track(self, points: "QueryPoints | np.ndarray", refine: bool = True) -> Tracks:
        """Tracks over the whole clip, in the order of the points; see `Tracker.track`."""
        queries, index = checked_queries(points, self.index), self.index
        refine = refine and self.matches is not None
        answer = Answer(len(queries), index.n_frames, index.original_size, refine)
        home = homes(self.windows, queries.t)
        for k in range(home.min(initial=len(self.windows)), len(self.windows)):
            tracker = self.window(k)
            self._answer(answer, queries, np.flatnonzero(home == k), k, tracker, refine)
            self._take(answer, np.flatnonzero(home < k), k - 1, k, tracker, refine)
        for k in range(home.max(initial=0) - 1, -1, -1):
            self._take(answer, np.flatnonzero(home > k), k + 1, k, self.window(k), refine)
        if refine and self.pins:
            answer.xy = self._pulled(self.pins, answer.xy, queries.t)
        visible = answer.visible(slice(None), slice(None))
        own = np.arange(len(queries)), queries.t
        answer.xy[own], visible[own] = queries.xy, True
        answer.confidence[own], answer.occlusion[own] = 1, 0
        return Tracks(
            xy=answer.xy, visible=visible, confidence=answer.confidence, depth=answer.depth,
            occlusion=answer.occlusion, queries=queries.as_array(), fps=index.fps,
            size=index.original_size, meta=self.meta, times=np.round(index.times, 6),
        )  # fmt: skip

    def dense(self, t: int) -> Iterator[Tracks]:
        """Tracks of every pixel of frame t, some rows of it at a time; see `Tracker.dense`."""
        return (self.track(part, refine=False) for part in rows_of_pixels(t, self.index))

    def _pulled(self, pins: Pins, xy: np.ndarray, t: np.ndarray) -> np.ndarray:
        """Tracks (Q, N, 2) through the pins of all windows: each window knows its own only."""
        stored, own = self.index.size, self.index.original_size
        moved, _ = pins.pull(resize_xy(xy, own, stored), t, 2 * PIXELS_PER_UNIT / max(stored))
        return resize_xy(moved, stored, own).astype(np.float32)

    def _answer(
        self, answer: Answer, queries: QueryPoints, rows: np.ndarray, k: int, tracker: Tracker,
        refine: bool,
    ) -> None:  # fmt: skip
        """Put in the answer of a window to its own queries."""
        if not len(rows):
            return
        window = self.windows[k]
        own = QueryPoints(queries.t[rows] - window.start, queries.xy[rows])
        found, _ = tracker.follow(own, refine)
        alone = Weights(np.ones(found.depth.shape, np.float32), np.ones(len(window), bool))
        answer.put(rows, window, found, alone)
        if answer.looks and tracker.refiner:
            xy = resize_xy(own.xy, tracker.index.original_size, tracker.index.size)
            look = tracker.refiner.patches.template(own.t, xy)
            answer.looks.begin(rows, queries.t[rows], look)
            answer.looks.go_on(rows, queries.t[rows], window, _warps(tracker, own, found.depth))

    def _take(
        self, answer: Answer, rows: np.ndarray, source: int, target: int, tracker: Tracker,
        refine: bool,
    ) -> None:  # fmt: skip
        """Hand tracks over from one window to the next one or the one before."""
        if not len(rows):
            return
        old, new = self.windows[source], self.windows[target]
        both = range(max(old.start, new.start), min(old.stop, new.stop))
        here, first = slice(both.start, both.stop), both.start - new.start
        there = slice(first, first + len(both))
        known, sure, seen = answer.xy[rows, here], answer.confidence[rows, here], answer.visible(
            rows, here)  # fmt: skip
        weight = _least(sure) * np.where(seen, 1, UNSEEN)
        best = (weight * _hump(len(both))).argmax(axis=1)
        each = np.arange(len(rows))
        handed = _handed(known, weight, seen[each, best], first, tracker)
        begin = QueryPoints(first + best, known[each, best])
        past = self._past(answer, rows, new, target > source, both.start + best)
        found, _ = tracker.follow(begin, refine, handed._replace(past=past))
        if answer.looks:
            warp = _warps(tracker, begin, found.depth)
            answer.looks.go_on(rows, both.start + best, new, warp)
        agree = _agreement(known, found.xy[:, there], weight, found.size)
        found.confidence[:] *= (sure[each, best] * agree)[:, None]
        ramp = (np.arange(len(both)) + 0.5) / len(both)
        ramp = ramp if target > source else ramp[::-1]
        weights = Weights(np.ones(found.depth.shape, np.float32), np.ones(len(new), bool))
        mine, other = ramp * _least(found.confidence[:, there]), (1 - ramp) * _least(sure)
        weights.share[:, there] = mine / (mine + other)
        weights.is_nearer[there] = ramp > 0.5
        answer.put(rows, new, found, weights)

    def _past(
        self, answer: Answer, rows: np.ndarray, window: range, is_before: bool, t: np.ndarray
    ) -> Past | None:
        """What tracks are drawn to in a window to which they go over in frames t (q,)."""
        if not (answer.looks and self.matches):
            return None
        if is_before:
            beside = range(max(0, window.start - REACH), window.start)
        else:
            beside = range(window.stop, min(self.index.n_frames, window.stop + REACH))
        span = range(min(beside.start, window.start), max(beside.stop, window.stop))
        frames = slice(beside.start, beside.stop)
        xy = resize_xy(answer.xy[rows, frames], self.index.original_size, self.index.size)
        return Past(
            self.matches(span), is_before, xy, answer.visible(rows, frames),
            answer.confidence[rows, t],
            answer.looks.template.part(rows), answer.looks.at(rows, t),
        )  # fmt: skip


@torch.no_grad()
def _warps(tracker: Tracker, begin: QueryPoints, depth: np.ndarray) -> np.ndarray:
    """How a window's frames turn what is near points, (q, T, 2, 2); ``depth`` (q, T) of tracks."""
    now, size = tracker.scene.snapshot(), tracker.index.size
    xy = resize_xy(begin.xy, tracker.index.original_size, size)
    own = depth[np.arange(len(begin)), begin.t]

    def work(part: slice) -> np.ndarray:
        return warps_at(now, tracker.frame, begin.t[part], xy[part], own[part])

    return np.concatenate(in_parts(work, len(begin), max(1, RAYS_AT_ONCE // now.n_frames)))


def _agreement(
    known: np.ndarray, found: np.ndarray, weight: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """How well two windows agree on tracks (q, O, 2), in [0, 1]: 1/2 at `WITHIN_PX` of 256x256."""
    off = np.linalg.norm((found - known) * (256 / np.array(size)), axis=-1)
    mean = (weight * off).sum(axis=1) / weight.sum(axis=1)
    return 1 / (1 + (mean / WITHIN_PX) ** 2)


def _least(confidence: np.ndarray) -> np.ndarray:
    return np.maximum(confidence, LEAST_CONFIDENCE)


def _hump(count: int) -> np.ndarray:
    """What the frames of an overlap count for their place in it, (count,)."""
    side = np.abs(np.arange(count) - (count - 1) / 2) / (count / 2)
    return 1 - (1 - AT_AN_END) * side


def _handed(
    known: np.ndarray, weight: np.ndarray, seen: np.ndarray, first: int, tracker: Tracker
) -> Handed:
    """What is known of tracks, (q, O, 2) original pixels, as the next window takes it."""
    stored = torch.from_numpy(resize_xy(known, tracker.index.original_size, tracker.index.size))
    xy = tracker.frame.normalise(stored).to(tracker.device)
    return Handed(first, xy, torch.from_numpy(weight).float().to(tracker.device), seen)
