"""Rays cast into a fitted scene: the surfaces that are seen, and what lies in front of a point.

Conventions. P frames, N rays each, S samples a ray, front to back; coordinates are normalised. A
sample's weight is the share of the ray that ends there.
"""

from typing import NamedTuple

from torch import Tensor

from omnimotion.compositing import REFERENCE_SAMPLES, render_weights, stratified_depths
from omnimotion.scene import FrameMap, FusedFrameMap, Snapshot, lift
from omnimotion.volume import VolumeTable

RAY_SAMPLES = 64
SURFACE_REACH = 2.5  # samples around the median depth that belong to the surface


class Surface(NamedTuple):
    """What is seen on rays."""

    depth: Tensor  # (P, N)
    u: Tensor  # (P, N, 3) canonical, float64: a track from it is as exact
    rgb: Tensor  # (P, N, 3)
    weights: Tensor  # (P, N, S) of the ray's samples, front to back


class Located(NamedTuple):
    """Where canonical points are in frames, and whether they are seen there."""

    xy: Tensor  # (..., 2) normalised
    depth: Tensor  # (...)
    occlusion: Tensor  # (...) share of the ray's weight in front of the point
    seen: Tensor  # (..., 3) canonical, the surface that is seen there


def surface_at(now: Snapshot, frame_map: FrameMap, xy: Tensor) -> Surface:
    """The surfaces seen at ``xy`` (P, N, 2), normalised, in the frames of ``frame_map``."""
    ray = xy.float()  # as precise as the volume
    z = stratified_depths(xy.shape[:2], RAY_SAMPLES, None, ray)
    seen = now.render(frame_map, ray, z)
    depth = settle(seen.weights, z)
    u = frame_map.forward(lift(xy, depth[..., None]).double())[..., 0, :]
    return Surface(depth, u, seen.rgb, seen.weights)


def locate(now: Snapshot, frame_map: FrameMap, u: Tensor) -> Located:
    """Where canonical points ``u`` (P, N, 3) are in the frames of ``frame_map``."""
    exact = frame_map.inverse(u)
    local = exact.float()
    if isinstance(frame_map, FusedFrameMap) and isinstance(now.volume, VolumeTable):
        front, depth = look_fused(frame_map, now.volume, local)
    else:
        front, depth = look(now, frame_map, local)
    seen = frame_map.forward(lift(local[..., :2], depth[..., None]))[..., 0, :]
    return Located(exact[..., :2], exact[..., 2], front, seen)


def look(now: Snapshot, frame_map: FrameMap, local: Tensor) -> tuple[Tensor, Tensor]:
    """What lies along the rays through local points (P, N, 3).

    `Located`'s occlusion, and the depth of the surface that is seen, each (P, N).
    """
    z = stratified_depths(local.shape[:2], RAY_SAMPLES, None, local)
    weights = render_weights(now.volume(frame_map.forward(lift(local[..., :2], z))).density)
    reach = SURFACE_REACH * 2 / RAY_SAMPLES
    behind = z - local[..., 2:]  # (P, N, S)
    front = (weights * (behind < -reach)).sum(-1)
    return front, settle(weights, z)


def look_fused(
    frame_map: FusedFrameMap, volume: VolumeTable, local: Tensor
) -> tuple[Tensor, Tensor]:
    """`look` in one compiled loop, on a CPU, without gradients."""
    from omnimotion.fused.queries import look as look_along

    tables = (*frame_map.tables, volume.density_table())
    sampling = RAY_SAMPLES, SURFACE_REACH, REFERENCE_SAMPLES / RAY_SAMPLES
    front, depth = look_along(local, frame_map.frames, tables, sampling).unbind(-1)
    return front, depth


def settle(weights: Tensor, z: Tensor) -> Tensor:
    """Depth (...) of the surface on rays (..., S).

    The mean of the weight near the median: the plain mean lies between two surfaces where the
    ray sees two.
    """
    median = (weights.cumsum(-1) < 0.5).sum(-1, keepdim=True).clamp(max=z.shape[-1] - 1)
    reach = SURFACE_REACH * 2 / z.shape[-1]
    near = weights * ((z - z.gather(-1, median)).abs() <= reach)
    return (near * z).sum(-1) / near.sum(-1).clamp(min=1e-6)
