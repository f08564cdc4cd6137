"""Ask a fitted scene where points go.

A query's surface is found once, on its own ray; that one canonical point is then carried to every
frame, so tracks of a point are cycle-consistent by construction and do not depend on other
queries. Whether it is seen there is read from the ray through the place it lands on. How sure all
that is (`omnimotion.confidence`) is read from where other depths of the query's ray land, and from
where the surface that is seen there comes from.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor

from omnimotion.compositing import stratified_depths
from omnimotion.confidence import Evidence, probability
from omnimotion.errors import PointsError
from omnimotion.flow import SceneIndex
from omnimotion.geometry import PIXELS_PER_UNIT, Frame, apply_similarity, resize_xy
from omnimotion.rays import Located, locate, surface_at
from omnimotion.scene import Scene, Snapshot, lift
from omnimotion.tracks import QueryPoints, Tracks
from omnimotion.volume import GridVolume

HIDDEN_ABOVE = 0.5  # share of the weight in front of a point from which it is hidden
RAYS_AT_ONCE = 32768  # bounds memory: about 20 kB a ray
DENSE_AT_ONCE = 1 << 20  # tracked places of a part of a dense query: about 100 bytes each
ALTERNATIVES = 8  # depths of a query's ray that are carried along, at equal steps of its weight


class Tracker:
    """A fitted scene that answers queries in pixels of the original video."""

    def __init__(self, scene: Scene, index: SceneIndex, meta: dict | None = None) -> None:
        self.scene = scene.eval()
        self.index = index
        self.meta = meta or {}
        self.frame = Frame(*index.size)
        self.device = scene.camera_start.device

    @torch.no_grad()
    def track(self, points: "QueryPoints | np.ndarray") -> Tracks:
        """Tracks of query points, (Q, 3) rows of t, x, y or `QueryPoints`, in their order.

        The track passes through its query point. PointsError for a point outside the clip.
        """
        return self.track_with_evidence(points)[0]

    @torch.no_grad()
    def track_with_evidence(self, points: "QueryPoints | np.ndarray") -> tuple[Tracks, np.ndarray]:
        """`track`, and what its confidence rests on: (Q, T, F), F the fields of `Evidence`."""
        queries = points if isinstance(points, QueryPoints) else QueryPoints.from_array(
            _rows(points))  # fmt: skip
        self._check(queries)
        at_once = max(1, RAYS_AT_ONCE // self.scene.n_frames)
        with self._threads():
            now = self.scene.snapshot()
            parts = [
                self._track(queries.t[k : k + at_once], queries.xy[k : k + at_once], now)
                for k in range(0, len(queries), at_once)
            ]
        shapes = ((2,), (), (), (), (len(Evidence._fields),))
        empty = [np.zeros((0, self.scene.n_frames, *shape), np.float32) for shape in shapes]
        *fields, evidence = (np.concatenate(field) for field in zip(empty, *parts))
        return self._tracks(queries, *fields), evidence

    def dense(self, t: int) -> Iterator[Tracks]:
        """Tracks of every pixel of frame t of the original video, some rows of it at a time.

        Pixel (x, y) comes as number ``y * W + x``; see `omnimotion.dense` for a file of them.
        PointsError for a frame outside the clip.
        """
        width, height = self.index.original_size
        if not 0 <= t < self.scene.n_frames:
            raise PointsError(f"frame {t}: expected 0 to {self.scene.n_frames - 1}")
        at_once = max(1, DENSE_AT_ONCE // (width * self.scene.n_frames))
        parts = (
            np.mgrid[y : min(y + at_once, height), :width].reshape(2, -1)
            for y in range(0, height, at_once)
        )
        return (
            self.track_with_evidence(np.column_stack((np.full(len(x), t), x, y)))[0]
            for y, x in parts
        )

    @torch.no_grad()
    def surface(self, t: int, step: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Depth (h, w), colour uint8 (h, w, 3) and settledness (h, w) of frame t as rendered.

        Every ``step``-th pixel of the working size in x and y.
        """
        width, height = self.index.size
        y, x = torch.meshgrid(
            torch.arange(0, height, step), torch.arange(0, width, step), indexing="ij"
        )
        xy = self.frame.normalise(torch.stack((x, y), dim=-1).float().view(-1, 2)).to(self.device)
        now, depths, colours, shares = self.scene.snapshot(), [], [], []
        frame_map = now.at(torch.tensor([t], device=self.device))
        for part in xy.split(RAYS_AT_ONCE):
            seen = surface_at(now, frame_map, part[None])
            depths.append(seen.depth[0])
            colours.append(seen.rgb[0])
            shares.append(seen.settled[0])
        shape = x.shape
        rgb = (torch.cat(colours).view(*shape, 3).clamp(0, 1) * 255).round().to(torch.uint8)
        return (torch.cat(depths).view(shape).cpu().numpy(), rgb.cpu().numpy(),
                torch.cat(shares).view(shape).cpu().numpy())  # fmt: skip

    def _threads(self) -> AbstractContextManager[None]:
        """How the threads of a CPU are used while queries are answered."""
        if not (self.scene.fused and isinstance(self.scene.volume, GridVolume)):
            return nullcontext()  # the work is torch's
        from omnimotion.fused import loop_threads

        return loop_threads()

    def _check(self, queries: QueryPoints) -> None:
        width, height = self.index.original_size
        late = np.flatnonzero(queries.t >= self.scene.n_frames)
        if len(late):
            raise PointsError(
                f"point {late[0]}: frame {queries.t[late[0]]}, expected 0 to "
                f"{self.scene.n_frames - 1}"
            )
        outside = np.flatnonzero(
            ~((queries.xy >= -0.5) & (queries.xy <= (width - 0.5, height - 0.5))).all(-1)
        )
        if len(outside):
            x, y = queries.xy[outside[0]]
            raise PointsError(
                f"point {outside[0]}: ({x:g}, {y:g}) lies outside the {width}x{height} frame"
            )

    def _track(self, t: np.ndarray, xy: np.ndarray, now: Snapshot) -> tuple[np.ndarray, ...]:
        """Original pixels (q, T, 2), depth, occlusion, confidence (q, T), evidence (q, T, F)."""
        frames = torch.from_numpy(t).to(self.device)
        own = resize_xy(torch.from_numpy(xy), self.index.original_size, self.index.size)
        own = self.frame.normalise(own).to(self.device)
        seen = surface_at(now, now.at(frames), own[:, None])
        every = torch.arange(self.scene.n_frames, device=self.device)
        u = seen.u[:, 0].expand(len(every), len(own), 3).contiguous()  # (T, q, 3)
        there = locate(now, now.at(every), u)
        xy_there = resize_xy(
            self.frame.to_pixels(there.xy), self.index.size, self.index.original_size
        )
        evidence = _evidence(now, frames, own, seen.weights[:, 0], there)
        fields = (xy_there, there.depth, there.occlusion, probability(evidence),
                  torch.stack(evidence, dim=-1))  # fmt: skip
        return tuple(field.transpose(0, 1).float().cpu().numpy() for field in fields)

    def _tracks(
        self, queries: QueryPoints, xy: np.ndarray, depth: np.ndarray, occlusion: np.ndarray,
        confidence: np.ndarray,
    ) -> Tracks:  # fmt: skip
        width, height = self.index.original_size
        inside = ((xy >= -0.5) & (xy <= np.array([width - 0.5, height - 0.5]))).all(-1)
        visible = (occlusion < HIDDEN_ABOVE) & inside
        own = np.arange(len(queries))
        xy[own, queries.t] = queries.xy
        visible[own, queries.t] = True
        confidence[own, queries.t] = 1
        return Tracks(
            xy=xy, visible=visible, confidence=confidence.clip(0, 1), depth=depth,
            occlusion=occlusion.clip(0, 1), queries=queries.as_array(), fps=self.index.fps,
            size=self.index.original_size, meta=self.meta,
        )  # fmt: skip


def _evidence(
    now: Snapshot, frames: Tensor, xy: Tensor, weights: Tensor, there: Located
) -> Evidence:
    """What speaks against the tracks ``there`` (T, q) of queries at ``xy`` (q, 2) in ``frames``.

    ``weights`` (q, S) are those of the queries' rays.
    """
    home, (count, n_queries) = now.at(frames), there.depth.shape
    others = home.forward(lift(xy[:, None], _alternatives(weights)[:, None]))  # (q, 1, K, 3)
    every = torch.arange(count, device=frames.device)
    carried = now.at(every).inverse(others.view(1, -1, 3).expand(count, -1, 3).contiguous())
    away = carried.view(count, n_queries, -1, 3)[..., :2] - there.xy.unsqueeze(-2)  # (T, q, K, 2)
    back = home.inverse(there.seen.transpose(0, 1).contiguous()).transpose(0, 1)
    inside = (there.xy.abs() <= away.new_tensor(now.scene.frame.extent)).all(-1)
    shown = (1 - there.occlusion).clamp(0, 1) * inside
    return Evidence(
        hidden=there.occlusion.clamp(0, 1),
        cycle=shown * _log_px((back[..., :2] - xy).norm(dim=-1)),
        spread=_log_px(away.norm(dim=-1).mean(-1)),
        path=_log_px(_path(now, frames, there.xy)),
    )


def _log_px(length: Tensor) -> Tensor:
    """log(1 + px) of normalised lengths."""
    return (PIXELS_PER_UNIT * length).log1p()


def _alternatives(weights: Tensor) -> Tensor:
    """Depths (..., K) of the samples at equal steps of a ray's weights (..., S)."""
    z = stratified_depths((), weights.shape[-1], None, weights)
    level = (torch.arange(ALTERNATIVES, device=z.device) + 0.5) / ALTERNATIVES
    below = (weights.cumsum(-1).unsqueeze(-2) < level.unsqueeze(-1)).sum(-1)
    return z[below.clamp(max=len(z) - 1)]


def _path(now: Snapshot, frames: Tensor, xy: Tensor) -> Tensor:
    """Length (T, q) of the way that tracks ``xy`` (T, q, 2) go from ``frames``, in the panorama.

    A point that rests while the camera moves goes no way.
    """
    place = apply_similarity(now.cameras[:, None], xy)
    length = torch.zeros_like(xy[..., 0])
    length[1:] = (place[1:] - place[:-1]).norm(dim=-1).cumsum(0)
    return (length - length.gather(0, frames[None])).abs()


def _rows(points: "np.ndarray | list") -> np.ndarray:
    """Points as (Q, 3); an empty list is no points."""
    rows = np.asarray(points, dtype=np.float32)
    return rows.reshape(0, 3) if rows.size == 0 else rows
