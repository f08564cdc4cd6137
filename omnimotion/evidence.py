"""What a scene itself shows for and against the tracks it gives.

Conventions. q queries, T frames, K depths of a query's ray; coordinates are normalised.
"""

import torch
from torch import Tensor

from omnimotion.compositing import stratified_depths
from omnimotion.confidence import Evidence
from omnimotion.geometry import PIXELS_PER_UNIT, apply_similarity
from omnimotion.rays import Located, Surface
from omnimotion.scene import Snapshot, lift

ALTERNATIVES = 8  # depths of a query's ray that are carried along, at equal steps of its weight


def candidates(now: Snapshot, frames: Tensor, xy: Tensor, seen: Surface) -> Tensor:
    """Canonical points (q, 1 + K, 3) that queries ``xy`` (q, 2) in ``frames`` (q,) may mean.

    First the surface that is seen, then others at equal steps of the ray's weight.
    """
    depth = torch.cat((seen.depth, alternatives(seen.weights[:, 0])), dim=1)
    return now.at(frames).forward(lift(xy[:, None], depth[:, None]))[:, 0]


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
        unmatched=torch.zeros_like(there.occlusion),
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
