"""Ask a fitted scene where points go.

A query's surface is found once, on its own ray; that one canonical point is then carried to every
frame, so the scene's tracks are cycle-consistent by construction. The ray through the place where
it lands tells whether it is seen. Then what the video shows along a track refines it
(`omnimotion.refine`). How sure all that is (`omnimotion.confidence`) rests on what the scene
(`omnimotion.evidence`) and the video show. No track depends on other queries.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from omnimotion.confidence import REFINED, SCENE, SEEN
from omnimotion.errors import PointsError
from omnimotion.evidence import ALTERNATIVES, candidates, carried, evidence_of
from omnimotion.flow import SceneIndex, SceneStore
from omnimotion.geometry import Frame, inside_frame, resize_xy
from omnimotion.handover import Handed
from omnimotion.matches import Matches
from omnimotion.parts import in_parts
from omnimotion.patches import Patches
from omnimotion.pins import Pins
from omnimotion.pixels import Pixels
from omnimotion.points import check_frame
from omnimotion.rays import Surface, locate, surface_at
from omnimotion.refine import HIDDEN, HIDDEN_ABOVE, Asked, Found, Refiner, joined
from omnimotion.scene import Scene, Snapshot
from omnimotion.tracks import QueryPoints, Tracks
from omnimotion.views import Views
from omnimotion.windows import homes

log = logging.getLogger(__name__)

RAYS_AT_ONCE, BYTES_PER_RAY = 32768, 20_000  # bounds memory; the latter is about
DENSE_AT_ONCE = 1 << 20  # tracked places of a part of a dense query: about 100 bytes each


class Windowed(Protocol):
    """What answers for a clip, window by window: a `Tracker`, or a `LongTracker`."""

    index: SceneIndex

    @property
    def windows(self) -> Sequence[range]:
        """The frames of each window."""

    @property
    def window(self) -> Callable[[int], "Tracker"]:
        """The tracker of a window, by its number."""


def shown_by(tracker: Windowed, t: int) -> tuple["Tracker", int]:
    """The window that frame t is farthest from the ends of, and the frame's number in it."""
    k = int(homes(tracker.windows, np.array([t]))[0])
    return tracker.window(k), t - tracker.windows[k].start


class Tracker:
    """A fitted scene that answers queries in pixels of the original video.

    Without ``store`` its tracks are the scene's own; with it, they are drawn to the matches and
    images that it holds, and go through ``pins`` too.
    """

    def __init__(
        self, scene: Scene, index: SceneIndex, meta: dict | None = None,
        store: SceneStore | None = None, pins: Pins | None = None,
    ) -> None:  # fmt: skip
        self.scene = scene.eval()
        self.index = index
        self.refiner = _refiner(store, pins) if store else None
        self.meta = meta or {}
        self.frame = Frame(*index.size)
        self.device = scene.camera_start.device

    def track(self, points: "QueryPoints | np.ndarray", refine: bool = True) -> Tracks:
        """Tracks of query points, (Q, 3) rows of t, x, y or `QueryPoints`, in their order.

        The track passes through its query point. ``refine``: use the matches, where there are
        any. PointsError for a point outside the clip.
        """
        return self.track_with_evidence(points, refine)[0]

    def track_with_evidence(
        self, points: "QueryPoints | np.ndarray", refine: bool = True
    ) -> tuple[Tracks, np.ndarray]:
        """`track`, and what its confidence rests on: (Q, T, F), F the fields of `Evidence`."""
        return self.follow(checked_queries(points, self.index), refine)

    @torch.no_grad()
    def follow(
        self, queries: QueryPoints, refine: bool, handed: Handed | None = None
    ) -> tuple[Tracks, np.ndarray]:
        """`track_with_evidence` of checked queries, or of places that tracks are ``handed`` at.

        The latter may be hidden or outside the frame.
        """
        refiner = self.refiner if refine else None
        found = self.found(queries, refiner, handed)
        confidence = SCENE.probability(found.evidence)
        occlusion = found.evidence[..., HIDDEN]
        seen = np.ones(len(queries), bool) if handed is None else handed.seen
        if refiner is not None:
            with self.scene.threads():
                now = self.scene.snapshot()
            past = handed and handed.past
            found = refiner.refined(now, Asked(queries.t, seen), found, confidence, past)
            confidence = REFINED.probability(found.evidence)
            occlusion = 1 - SEEN.probability(found.evidence)
            if handed is None:
                found = refiner.moved_onto(queries.t, found, occlusion < HIDDEN_ABOVE)
        size = self.index.original_size
        xy = resize_xy(found.xy, self.index.size, size)
        visible = (occlusion < HIDDEN_ABOVE) & inside_frame(xy, size)
        fixed = seen & (handed is None or handed.past is None)  # else it is drawn to its past
        own = np.flatnonzero(fixed), queries.t[fixed]
        occlusion = occlusion.copy()  # not of the evidence
        xy[own], visible[own], confidence[own], occlusion[own] = queries.xy[fixed], True, 1, 0
        tracks = Tracks(
            xy=xy, visible=visible, confidence=confidence, depth=found.depth, occlusion=occlusion,
            queries=queries.as_array(), fps=self.index.fps, size=size, meta=self.meta,
            times=np.round(self.index.times, 6),
        )  # fmt: skip
        return tracks, found.evidence

    def dense(self, t: int) -> Iterator[Tracks]:
        """Tracks of every pixel of frame t of the original video, some rows of it at a time.

        Pixel (x, y) comes as number ``y * W + x``; see `omnimotion.dense` for a file of them.
        The tracks are the scene's own: refining some would take much longer than finding them.
        PointsError for a frame outside the clip.
        """
        return (self.track(part, refine=False) for part in rows_of_pixels(t, self.index))

    @property
    def windows(self) -> list[range]:
        """The frames of the one window of this clip."""
        return [range(self.index.n_frames)]

    def window(self, k: int) -> "Tracker":
        """The tracker of window ``k``: this one. See `LongTracker`."""
        return self

    def surface(self, t: int, step: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Depth (h, w) and colour uint8 (h, w, 3) of frame t as rendered.

        Every ``step``-th pixel of the working size in x and y.
        """
        xy = every_pixel(self.index.size, step)
        found = list(self.surfaces(t, xy.view(-1, 2)))
        depth = torch.cat([each.depth[0] for each in found]).view(xy.shape[:2])
        rgb = torch.cat([each.rgb[0] for each in found]).view(*xy.shape[:2], 3)
        return depth.cpu().numpy(), to_uint8(rgb)

    @torch.no_grad()
    def surfaces(self, t: int, xy: torch.Tensor) -> Iterator[Surface]:
        """What is seen in frame t at ``xy`` (N, 2), pixels of the working size, a part at a time.

        Each as of one frame, (1, n).
        """
        now = self.scene.snapshot()
        frame_map = now.at(torch.tensor([t], device=self.device))
        for part in xy.split(RAYS_AT_ONCE):
            yield surface_at(now, frame_map, self.frame.normalise(part).to(self.device)[None])

    @torch.no_grad()
    def found(
        self, queries: QueryPoints, refiner: Refiner | None, handed: Handed | None = None
    ) -> Found:
        """What the scene says of queries, of the surfaces that the refiner chooses."""
        n_frames = self.scene.n_frames
        xy = resize_xy(queries.xy, self.index.original_size, self.index.size)
        at_once = max(1, RAYS_AT_ONCE // n_frames)
        with self.scene.threads():
            now = self.scene.snapshot()
            parts = in_parts(
                lambda part: self._found_at_once(
                    queries.t[part], xy[part], now, refiner, handed and handed.part(part)
                ),
                len(queries),
                at_once,
            )
        return joined(parts, n_frames)

    def _found_at_once(
        self, t: np.ndarray, xy: np.ndarray, now: Snapshot, refiner: Refiner | None,
        handed: Handed | None = None,
    ) -> Found:  # fmt: skip
        """Of queries at ``xy`` (q, 2), pixels of the stored frames, in frames t (q,)."""
        frames = torch.from_numpy(t).to(self.device)
        own = self.frame.normalise(torch.from_numpy(xy)).to(self.device)
        is_chosen = refiner is not None and handed is None
        look = surface_at if handed is None else handed.surface_at
        u, off = candidates(now, frames, own, look(now, now.at(frames), own[:, None]), is_chosen)
        where = carried(now, u.to(own.dtype))  # (T, q, 1 + K, 2)
        chosen = torch.zeros_like(frames)
        if refiner is not None and is_chosen:
            px = self.frame.to_pixels(where + off).permute(1, 2, 0, 3).cpu().numpy()
            chosen = torch.from_numpy(refiner.choose(t, xy, px)).to(self.device)
        every_query = torch.arange(len(u), device=self.device)
        point, off = u[every_query, chosen], off[every_query, chosen]
        every = torch.arange(self.scene.n_frames, device=self.device)
        there = locate(now, now.at(every), point.expand(len(every), -1, 3).contiguous())
        others = where[:, :, 1 : 1 + ALTERNATIVES] - off[:, None]  # seen from what it moves with
        evidence = torch.stack(evidence_of(now, frames, own - off, others, there), dim=-1)
        fields = self.frame.to_pixels(there.xy + off), there.depth, evidence
        return Found(*(field.transpose(0, 1).float().cpu().numpy() for field in fields))


def _refiner(store: SceneStore, pins: Pins | None) -> Refiner:
    views = Views(store)
    return Refiner(Matches(store), Patches(views), Pixels(views), pins)


def checked_queries(points: "QueryPoints | np.ndarray", index: SceneIndex) -> QueryPoints:
    """Rows (Q, 3) of t, x, y as query points of a clip; PointsError for one outside it.

    None are an answer without tracks: a program may ask so, but a person has hardly meant it.
    """
    queries = points if isinstance(points, QueryPoints) else QueryPoints.from_array(_rows(points))
    if not len(queries):
        log.warning("no points are asked for: there will be no tracks")
    width, height = index.original_size
    late = np.flatnonzero(queries.t >= index.n_frames)
    if len(late):
        raise PointsError(
            f"point {late[0]}: frame {queries.t[late[0]]}, expected 0 to {index.n_frames - 1}"
        )
    outside = np.flatnonzero(~inside_frame(queries.xy, index.original_size))
    if len(outside):
        x, y = queries.xy[outside[0]]
        raise PointsError(
            f"point {outside[0]}: ({x:g}, {y:g}) lies outside the {width}x{height} frame"
        )
    return queries


def rows_of_pixels(t: int, index: SceneIndex) -> Iterator[np.ndarray]:
    """All pixels of frame t of the original video, (q, 3) rows of t, x, y, in parts.

    PointsError for a frame outside the clip.
    """
    width, height = index.original_size
    check_frame(t, index.n_frames)
    at_once = max(1, DENSE_AT_ONCE // (width * index.n_frames))
    parts = (
        np.mgrid[y : min(y + at_once, height), :width].reshape(2, -1)
        for y in range(0, height, at_once)
    )
    return (np.column_stack((np.full(len(x), t), x, y)) for y, x in parts)


def _rows(points: "np.ndarray | list") -> np.ndarray:
    """Points as (Q, 3); an empty list is no points. PointsError for what are no numbers."""
    try:
        given = np.asarray(points)
        if np.iscomplexobj(given):
            raise ValueError("complex numbers")
        rows = given.astype(np.float32, copy=False)
    except (TypeError, ValueError) as problem:
        raise PointsError(f"points: {problem}; expected rows of numbers t, x, y") from problem
    return rows.reshape(0, 3) if rows.size == 0 else rows


def every_pixel(size: tuple[int, int], step: int) -> torch.Tensor:
    """Every ``step``-th pixel of a frame (W, H), in x and y: float32 (h, w, 2)."""
    x, y = (torch.arange(0, side, step, dtype=torch.float32) for side in size)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)


def to_uint8(rgb: torch.Tensor) -> np.ndarray:
    """Colours in [0, 1], which may lie beyond, as uint8."""
    levels: np.ndarray = (255 * rgb.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()
    return levels
