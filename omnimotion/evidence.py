"""What a scene itself shows for and against the tracks it gives.

Conventions. q queries, T frames, K depths of a query's ray; coordinates are normalised.
"""

import torch
from torch import Tensor

from omnimotion.compositing import stratified_depths
from omnimotion.confidence import Evidence
from omnimotion.geometry import PIXELS_PER_UNIT, apply_similarity
from omnimotion.rays import Located, Surface, surface_at
from omnimotion.scene import Snapshot, lift

ALTERNATIVES = 8  # depths of a query's ray that are carried along, at equal steps of its weight
AROUND_PX = (2.0, 4.0, 6.0)  # from a query, of a frame of 256: surfaces that may be its own
OF_THE_VIDEO = Evidence._fields[Evidence._fields.index("unmatched") :]
NEAR_PX = 2.0  # from a query, of a frame of 256: what is so near moves as one


def candidates(
    now: Snapshot, frames: Tensor, xy: Tensor, seen: Surface, around: bool = False
) -> tuple[Tensor, Tensor]:
    """Canonical points (q, 1 + K, 3) that queries ``xy`` (q, 2) in ``frames`` (q,) may move with.

    First the surface that is ``seen`` there, then `ALTERNATIVES` at equal steps of the ray's
    weight, and if ``around`` the surfaces around it: near an edge the scene may not hold its own.
    With how far the query is from each, (q, 1 + K, 2). In float64, in which a map inverts exactly.
    """
    depth = torch.cat((seen.depth, alternatives(seen.weights[:, 0])), dim=1)
    place = xy[:, None].expand(*depth.shape, 2)
    if around:
        ring = xy[:, None] + _ring().to(xy)
        beside = surface_at(now, now.at(frames), ring)
        depth, place = torch.cat((depth, beside.depth), dim=1), torch.cat((place, ring), dim=1)
    points = torch.cat((place, depth[..., None]), dim=-1)
    return now.at(frames).forward(points.double()), xy[:, None] - place


def _ring() -> Tensor:
    """Eight directions at each distance of `AROUND_PX`: (16, 2)."""
    angle = torch.arange(8) * (torch.pi / 4)
    direction = torch.stack((angle.cos(), angle.sin()), dim=-1)
    return torch.cat([radius / PIXELS_PER_UNIT * direction for radius in AROUND_PX])


def alternatives(weights: Tensor) -> Tensor:
    """Depths (..., K) of the samples at equal steps of a ray's weights (..., S)."""
    z = stratified_depths((), weights.shape[-1], None, weights)
    level = (torch.arange(ALTERNATIVES, device=z.device) + 0.5) / ALTERNATIVES
    below = (weights.cumsum(-1).unsqueeze(-2) < level.unsqueeze(-1)).sum(-1)
    return z[below.clamp(max=len(z) - 1)]


def carried(now: Snapshot, u: Tensor) -> Tensor:
    """Where canonical points (q, N, 3) are in every frame: (T, q, N, 2)."""
    every = torch.arange(now.n_frames, device=u.device)
    points = u.reshape(1, -1, 3).expand(now.n_frames, -1, 3).contiguous()
    return now.at(every).inverse(points).view(now.n_frames, *u.shape)[..., :2]


def warps(now: Snapshot, frames: Tensor, xy: Tensor, depth: Tensor) -> Tensor:
    """How each frame turns and stretches what is near queries ``xy`` (q, 2): (T, q, 2, 2).

    ``depth`` (q,): of the queries' surfaces, on which what is near lies too.
    """
    step = NEAR_PX / PIXELS_PER_UNIT
    near = xy[:, None] + step * xy.new_tensor([[1, 0], [-1, 0], [0, 1], [0, -1]])
    u = now.at(frames).forward(lift(near, depth[:, None, None].expand(-1, 4, 1)))[:, :, 0]
    right, left, down, up = carried(now, u).unbind(-2)
    return torch.stack((right - left, down - up), dim=-1) / (2 * step)


def evidence_of(
    now: Snapshot, frames: Tensor, xy: Tensor, others: Tensor, there: Located
) -> Evidence:
    """What the scene shows of tracks ``there`` (T, q) of queries ``xy`` (q, 2) in ``frames`` (q,).

    ``others`` (T, q, K, 2): where other depths of the queries' rays are.
    """
    away = others - there.xy.unsqueeze(-2)
    back = now.at(frames).inverse(there.seen.transpose(0, 1).contiguous()).transpose(0, 1)
    inside = (there.xy.abs() <= away.new_tensor(now.scene.frame.extent)).all(-1)
    shown = (1 - there.occlusion).clamp(0, 1) * inside
    return Evidence(
        hidden=there.occlusion.clamp(0, 1),
        cycle=shown * _log_px((back[..., :2] - xy).norm(dim=-1)),
        spread=_log_px(away.norm(dim=-1).mean(-1)),
        path=_log_px(_path(now, frames, there.xy)),
        **dict.fromkeys(OF_THE_VIDEO, torch.zeros_like(there.occlusion)),
    )


def _log_px(length: Tensor) -> Tensor:
    """log(1 + px) of normalised lengths."""
    return (PIXELS_PER_UNIT * length).log1p()


def _path(now: Snapshot, frames: Tensor, xy: Tensor) -> Tensor:
    """Length (T, q) of the way that tracks ``xy`` (T, q, 2) go from ``frames``, in the panorama.

    A point that rests while the camera moves goes no way.
    """
    place = apply_similarity(now.cameras[:, None], xy)
    length = torch.zeros_like(xy[..., 0])
    length[1:] = (place[1:] - place[:-1]).norm(dim=-1).cumsum(0)
    return (length - length.gather(0, frames[None])).abs()
