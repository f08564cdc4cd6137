"""Ask a fitted scene where points go.

A query's surface is found once, on its own ray; that one canonical point is then carried to every
frame, so tracks of a point are cycle-consistent by construction and do not depend on other
queries. Whether it is seen there is read from the ray through the place it lands on.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.compositing import stratified_depths
from omnimotion.errors import PointsError
from omnimotion.flow import SceneIndex
from omnimotion.geometry import Frame, resize_xy
from omnimotion.scene import FrameMap, Scene, Snapshot, lift
from omnimotion.tracks import QueryPoints, Tracks

RAY_SAMPLES = 64
SURFACE_REACH = 2.5  # samples around the median depth that belong to the surface
HIDDEN_ABOVE = 0.5  # share of the weight in front of a point from which it is hidden
RAYS_AT_ONCE = 32768  # bounds memory: about 20 kB a ray


class Surface(NamedTuple):
    """What is seen on rays."""

    depth: Tensor  # (P, N)
    u: Tensor  # (P, N, 3) canonical
    rgb: Tensor  # (P, N, 3)
    settled: Tensor  # (P, N) share of the ray's weight close to the surface
    weights: Tensor  # (P, N, S) of the ray's samples, front to back


class Located(NamedTuple):
    """Where canonical points are in frames, and whether they are seen there."""

    xy: Tensor  # (..., 2) normalised
    depth: Tensor  # (...)
    occlusion: Tensor  # (...) share of the ray's weight in front of the point
    settled: Tensor  # (...) share of the ray's weight close to the point or in front of it


def surface_at(now: Snapshot, frame_map: FrameMap, xy: Tensor) -> Surface:
    """The surfaces seen at ``xy`` (P, N, 2), normalised, in the frames of ``frame_map``."""
    z = stratified_depths(xy.shape[:2], RAY_SAMPLES, None, xy)
    seen = now.render(frame_map, xy, z)
    depth, share = _surface(seen.weights, z)
    u = frame_map.forward(lift(xy, depth[..., None]))[..., 0, :]
    return Surface(depth, u, seen.rgb, share, seen.weights)


def locate(now: Snapshot, frame_map: FrameMap, u: Tensor) -> Located:
    """Where canonical points ``u`` (P, N, 3) are in the frames of ``frame_map``."""
    local = frame_map.inverse(u)
    z = stratified_depths(local.shape[:2], RAY_SAMPLES, None, local)
    seen = now.render(frame_map, local[..., :2], z)
    reach = SURFACE_REACH * 2 / RAY_SAMPLES
    behind = z - local[..., 2:]  # (P, N, S)
    front = (seen.weights * (behind < -reach)).sum(-1)
    near = (seen.weights * (behind.abs() <= reach)).sum(-1)
    return Located(local[..., :2], local[..., 2], front, (front + near).clamp(max=1))


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
        queries = points if isinstance(points, QueryPoints) else QueryPoints.from_array(
            _rows(points))  # fmt: skip
        self._check(queries)
        n_frames = self.scene.n_frames
        at_once = max(1, RAYS_AT_ONCE // n_frames)
        now = self.scene.snapshot()
        parts = [
            self._track(queries.t[k : k + at_once], queries.xy[k : k + at_once], now)
            for k in range(0, len(queries), at_once)
        ]
        return self._tracks(queries, parts)

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
        """Original pixels (q, T, 2), depth, occlusion, confidence (q, T) of q queries."""
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
        decided = (2 * (there.occlusion - HIDDEN_ABOVE)).abs()
        confidence = seen.settled[:, 0] * (there.settled * decided)
        fields = (xy_there, there.depth, there.occlusion, confidence)
        return tuple(field.transpose(0, 1).float().cpu().numpy() for field in fields)

    def _tracks(self, queries: QueryPoints, parts: list[tuple[np.ndarray, ...]]) -> Tracks:
        n_frames, (width, height) = self.scene.n_frames, self.index.original_size
        if parts:
            xy, depth, occlusion, confidence = (np.concatenate(field) for field in zip(*parts))
        else:
            xy = np.zeros((0, n_frames, 2), np.float32)
            depth = occlusion = confidence = np.zeros((0, n_frames), np.float32)
        inside = ((xy >= -0.5) & (xy <= np.array([width - 0.5, height - 0.5]))).all(-1)
        visible = (occlusion < HIDDEN_ABOVE) & inside
        own = np.arange(len(queries))
        xy[own, queries.t] = queries.xy
        visible[own, queries.t] = True
        return Tracks(
            xy=xy, visible=visible, confidence=confidence.clip(0, 1), depth=depth,
            occlusion=occlusion.clip(0, 1), queries=queries.as_array(), fps=self.index.fps,
            size=self.index.original_size, meta=self.meta,
        )  # fmt: skip


def _rows(points: "np.ndarray | list") -> np.ndarray:
    """Points as (Q, 3); an empty list is no points."""
    rows = np.asarray(points, dtype=np.float32)
    return rows.reshape(0, 3) if rows.size == 0 else rows


def _surface(weights: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Depth of the surface on rays (..., S), and the share of weight that is close to it.

    The mean of the weight near the median: the plain mean lies between two surfaces where the
    ray sees two.
    """
    median = (weights.cumsum(-1) < 0.5).sum(-1, keepdim=True).clamp(max=z.shape[-1] - 1)
    reach = SURFACE_REACH * 2 / z.shape[-1]
    near = weights * ((z - z.gather(-1, median)).abs() <= reach)
    share = near.sum(-1)
    return (near * z).sum(-1) / share.clamp(min=1e-6), share
