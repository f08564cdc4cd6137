"""What the video shows along the tracks of a scene: matches, images, and a user's pins.

Conventions. q queries, T frames; places are in pixels of the store's frames.
"""

from typing import NamedTuple

import numpy as np
import torch

from omnimotion.confidence import Evidence
from omnimotion.evidence import warps
from omnimotion.geometry import Frame, inside_frame
from omnimotion.matches import Matches
from omnimotion.parts import in_parts
from omnimotion.past import Past
from omnimotion.patches import Around, Patches
from omnimotion.pins import Pins
from omnimotion.pixels import Pixels
from omnimotion.pose_graph import refine
from omnimotion.scene import Snapshot

HIDDEN_ABOVE = 0.5  # occlusion from which a point counts as hidden
HIDDEN, UNMATCHED, ELSEWHERE, UNLIKE, COLOUR = map(
    Evidence._fields.index, ("hidden", "unmatched", "elsewhere", "unlike", "colour")
)
COLOURS = slice(COLOUR, COLOUR + 2)  # and contrast
PASSED = [ELSEWHERE, UNLIKE, COLOUR]  # what is asked of the way, too
WAY = slice(Evidence._fields.index("way_elsewhere"), None)
AT_ONCE = 8_000_000  # bytes of one array (q, T, T)
FAR_PX = 16.0  # what is farther from a candidate tells no more against it
APART_PX = 2.0  # followed matches lead elsewhere than the scene
UNSURE = 0.5  # confidence below which they are likelier right, where both look the same
LOOKS = 2.0  # of confidence, for each by which the scene's place looks less like the query
AGAIN = 0.5  # of confidence: places found again after they were lost are less sure
PX_PER_COLOUR = 80.0  # a candidate of another colour, RGB in [0, 1], is as if so far off
NEAR_FRAMES = 16  # from the query: beyond it light and shape are others
CLEARLY_PX = 1.0  # by so much another candidate must be better than the first


class Found(NamedTuple):
    """Tracks of q queries."""

    xy: np.ndarray  # (q, T, 2) pixels of the stored frames
    depth: np.ndarray  # (q, T)
    evidence: np.ndarray  # (q, T, F), the fields of `Evidence`


class Asked(NamedTuple):
    """Where q tracks begin."""

    frames: np.ndarray  # (q,) int64
    seen: np.ndarray  # (q,) bool: whether the point is seen there, as that of a query is


def _mean(off: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Means (q, K) of px (q, K, T), each `FAR_PX` at most, where they are known; 0 without any."""
    total = np.where(known, np.minimum(off, FAR_PX), 0).sum(-1)
    return total / np.maximum(known.sum(-1), 1)


def _recoloured(
    pixels: Pixels, frames: np.ndarray, xy: np.ndarray, carried: np.ndarray
) -> np.ndarray:
    """How unlike the query its candidates look in frames near its own: px, (q, K)."""
    t = np.arange(carried.shape[2])
    near = (np.abs(t - frames[:, None]) <= NEAR_FRAMES) & (t != frames[:, None])  # (q, T)
    q, at = np.nonzero(near)
    colours = pixels.colours(frames, xy)[:, :1]  # as they are: light is the same yet
    off = np.full((*near.shape, carried.shape[1]), np.nan)
    places = carried.transpose(0, 2, 1, 3)[near]
    off[near] = pixels.recoloured(colours[q], at, places)[..., 0]
    off = PX_PER_COLOUR * off.transpose(0, 2, 1)
    return _mean(off, np.isfinite(off))


def joined(parts: list[Found], n_frames: int) -> Found:
    """Tracks of all parts, which may be none."""
    none = (
        np.zeros((0, n_frames, *more), np.float32) for more in ((2,), (), (len(Evidence._fields),))
    )
    return Found(*(np.concatenate(field) for field in zip(none, *parts)))


class Refiner:
    """Reads the video of a scene along tracks; tracks of pinned points go through their pins."""

    def __init__(
        self, matches: Matches, patches: Patches, pixels: Pixels, pins: Pins | None = None
    ) -> None:
        self.matches, self.patches, self.pixels = matches, patches, pixels
        self.pins = pins
        self.size = patches.size
        self.frame = Frame(*self.size)

    def choose(self, frames: np.ndarray, xy: np.ndarray, carried: np.ndarray) -> np.ndarray:
        """Which of the points that queries may move with agrees with the video: (q,) numbers.

        ``xy`` (q, 2) are the queries in ``frames`` (q,), ``carried`` (q, K, T, 2) where their K
        candidates take them in every frame, all in pixels of the store's frames. The first, the
        surface that the scene shows there, stands unless another is clearly better: at an edge
        there is more than one surface, and which of them the query is on shows in how its pixel
        moves, and in whether its colour goes along.
        """
        ends = self.matches.by_one(frames, xy)
        off = self.matches.px * np.linalg.norm(carried - ends[:, None], axis=-1)  # (q, K, T)
        error = _mean(off, np.isfinite(off)) + _recoloured(self.pixels, frames, xy, carried)
        best = error.argmin(-1)
        better = error[:, 0] - error[np.arange(len(error)), best] > CLEARLY_PX
        return np.where(better, best, 0)

    def refined(
        self, now: Snapshot, asked: Asked, found: Found, confidence: np.ndarray,
        past: Past | None = None,
    ) -> Found:  # fmt: skip
        """Tracks moved to what the video shows, with that evidence.

        ``confidence`` (q, T) of the scene; ``past``: where they come from another window.
        """
        n_frames = now.n_frames

        def work(part: slice) -> Found:
            some = Asked(*(field[part] for field in asked)), Found(*(each[part] for each in found))
            return self._at_once(now, *some, confidence[part], past and past.part(part))

        n_nodes = n_frames + (past.n_frames if past else 0)
        at_once = max(1, AT_ONCE // (8 * n_nodes**2))
        return joined(in_parts(work, len(confidence), at_once), n_frames)

    def moved_onto(self, frames: np.ndarray, found: Found, visible: np.ndarray) -> Found:
        """Tracks that end on the pixels of their queries where they are ``visible`` (q, T).

        Queries are in ``frames`` (q,), where they stay, as they do at pins. The better a patch
        fits the more surely it is in its place, and far from the query light and shape are others.
        """
        xy, where = found.xy.copy(), visible & inside_frame(found.xy, self.size)
        every = np.arange(len(frames))
        where[every, frames] = False
        if self.pins:
            where &= np.isinf(self.pins.pull(xy, frames, self.matches.px)[1])
        colours = self.pixels.colours(frames, xy[every, frames])[:, 0]
        q, t = np.nonzero(where)
        near = NEAR_FRAMES / (NEAR_FRAMES + np.abs(t - frames[q]))
        doubt = found.evidence[q, t, UNLIKE] * near.astype(np.float32)
        xy[q, t] = self.pixels.moved_onto(colours[q], t, xy[q, t], doubt)
        return found._replace(xy=xy)

    def _at_once(
        self, now: Snapshot, asked: Asked, found: Found, confidence: np.ndarray,
        past: Past | None,
    ) -> Found:  # fmt: skip
        t, own = asked.frames, (np.arange(len(confidence)), asked.frames)
        warp = warps_at(now, self.frame, t, found.xy[own], found.depth[own])
        if past:
            around, known = past.around(self.patches, warp), np.ones_like(asked.seen)
        else:
            around, known = self.patches.around(t, found.xy[own], warp), asked.seen
        found = self._followed(asked, found, confidence, past or self.matches, around)
        evidence = found.evidence
        shown = (evidence[..., HIDDEN] < HIDDEN_ABOVE) & inside_frame(found.xy, self.size)
        shown[own] |= asked.seen
        xy, sure = self.pins.pull(found.xy, t, self.matches.px) if self.pins else (found.xy, None)

        def find(xy: np.ndarray, shown: np.ndarray) -> np.ndarray:
            return around.find(xy, shown & known[:, None])

        if past:
            refined = past.refine(xy, shown, confidence, find, sure)
        else:
            refined = refine(self.matches, xy, shown, confidence, t, sure=sure, find=find)
        xy = (xy + refined.offset).astype(np.float32)
        evidence[..., UNMATCHED], evidence[..., ELSEWHERE] = refined.unmatched, refined.elsewhere
        inside = inside_frame(xy, self.size)
        unlike = 1 - around.likeness(xy, inside).clip(0, 1)
        evidence[..., UNLIKE] = np.where(known[:, None], unlike, 0)
        evidence[..., COLOURS] = self._colours(t, found.xy[own], xy) * asked.seen[:, None, None]
        shown = (evidence[..., HIDDEN] < HIDDEN_ABOVE) & inside
        evidence[..., WAY] = on_the_way(evidence[..., PASSED], shown, t)
        return Found(xy, found.depth, evidence)

    def _colours(self, t: np.ndarray, own: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """Roots (q, T, 2) of how far colours at tracks ``xy`` (q, T, 2) are from the queries'.

        As they are, and less the mean of what is around. Queries are at ``own`` (q, 2) in frames
        t (q,).
        """
        count, n_frames = xy.shape[:2]
        colours = self.pixels.colours(t, own).repeat_interleave(n_frames, 0)
        every = np.tile(np.arange(n_frames), count)
        off = self.pixels.recoloured(colours, every, xy.reshape(-1, 1, 2))
        return np.sqrt(off).reshape(count, n_frames, 2)

    def _followed(
        self, asked: Asked, found: Found, confidence: np.ndarray, matches: Matches | Past,
        around: Around,
    ) -> Found:  # fmt: skip
        """Tracks that follow matches where the scene is unsure of its own, or looks unlike them.

        Thin parts that move fast may have no surface in the scene; while they are seen, flow
        knows better. Judged over all frames in which the two are apart: one surface or the other.
        """
        own = found.xy[np.arange(len(asked.frames)), asked.frames]
        way, again = matches.follow(asked.frames, own)
        apart = self.matches.px * np.linalg.norm(way - found.xy, axis=-1) > APART_PX
        apart &= asked.seen[:, None]
        both = np.stack((found.xy, way.astype(np.float32)), axis=2)
        looks = self._unlike_at(asked.frames, own, both, apart, around)
        worse = looks[..., 0] - looks[..., 1]
        worse[found.evidence[..., HIDDEN] >= HIDDEN_ABOVE] = 0  # something else is seen there
        sure = ((confidence - LOOKS * worse + AGAIN * again) * apart).sum(1)
        follows = apart & (sure < UNSURE * apart.sum(1))[:, None]
        xy, evidence = found.xy.copy(), found.evidence.copy()
        xy[follows], evidence[follows, HIDDEN] = way[follows], 0  # what is followed is seen
        return Found(xy, found.depth, evidence)

    def _unlike_at(
        self, t: np.ndarray, own: np.ndarray, places: np.ndarray, where: np.ndarray, around: Around
    ) -> np.ndarray:
        """How unlike the queries K places (q, T, K, 2) look, patch and colour: (q, T, K).

        Only ``where`` (q, T); elsewhere 0. Queries are at ``own`` (q, 2) in frames t (q,).
        """
        off = np.zeros(places.shape[:-1])
        q, at = np.nonzero(where)
        colours = self.pixels.colours(t, own)[q, :1]
        off[where] = np.sqrt(self.pixels.recoloured(colours, at, places[where])[..., 0])
        for k in range(places.shape[2]):
            xy = places[:, :, k]
            alike = around.likeness(xy, where & inside_frame(xy, self.size))
            off[..., k] += where * (1 - alike.clip(0, 1))
        return off


def on_the_way(values: np.ndarray, counts: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Root mean squares of ``values`` (q, T, F) from frames (q,) to each, of those that count.

    Frames where ``counts`` (q, T) is false do not, nor those of the queries; 0 where none does.
    """
    rows, t = np.arange(len(frames))[:, None], np.arange(counts.shape[1])
    own, weight = frames[:, None], counts.astype(np.float64)
    weight[rows, own] = 0
    terms = np.concatenate((np.square(values), np.ones_like(values[..., :1])), axis=-1)
    sums = np.pad((terms * weight[..., None]).cumsum(axis=1), ((0, 0), (1, 0), (0, 0)))
    total = sums[rows, np.maximum(t, own) + 1] - sums[rows, np.minimum(t, own)]
    mean: np.ndarray = total[..., :-1] / np.maximum(total[..., -1:], 1)
    return np.sqrt(mean.clip(0))  # rounding may leave less than nothing


@torch.no_grad()
def warps_at(
    now: Snapshot, frame: Frame, t: np.ndarray, xy: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """How frames turn and stretch what is near places of frames t (q,): (q, T, 2, 2).

    ``xy`` (q, 2) in pixels of the store's frames, ``depth`` (q,) of the surfaces there.
    """
    device = now.cameras.device
    place = frame.normalise(torch.from_numpy(xy)).to(device)
    warp = warps(now, torch.from_numpy(t).to(device), place, torch.from_numpy(depth).to(device))
    return warp.transpose(0, 1).float().cpu().numpy()
