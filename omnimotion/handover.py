"""Where tracks of one window go on in the next.

Two windows have canonical volumes of their own: what they share is where points are, in the frames
of their overlap. A track goes over in one of these frames, as a ray of the next window through its
place there. Which depth of that ray is the track's point shows in how the depths move: those that
stay with the track are kept, the others made transparent, and the surface that is then seen is the
point. So a point that is hidden in the whole overlap is found behind what hides it.

Conventions. q tracks, O frames of an overlap, S samples a ray. Coordinates are normalised.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.compositing import render_weights, stratified_depths
from omnimotion.geometry import PIXELS_PER_UNIT
from omnimotion.past import Past
from omnimotion.rays import RAY_SAMPLES, Surface, settle
from omnimotion.scene import FrameMap, Snapshot, lift

ALIKE_PX = 1.0  # of a frame of 256: depths that stay with a track so much worse than the best are
# of something else
FAR_PX = 16.0  # from a track, beyond which distance tells no more
LEAST_DENSITY = 0.05  # of depths that stay with a track: where none is dense they share the ray


class Handed(NamedTuple):
    """Tracks in the overlap of two windows, for the second of them."""

    first: int  # frame of the second window, the first of the overlap
    xy: Tensor  # (q, O, 2)
    weight: Tensor  # (q, O), how much a place counts
    seen: np.ndarray  # (q,) bool, whether the point is seen where the track goes over
    past: Past | None = None  # what the tracks are drawn to beside what the window shows

    def part(self, which: slice) -> "Handed":
        """Some of the tracks."""
        past = self.past and self.past.part(which)
        return Handed(self.first, self.xy[which], self.weight[which], self.seen[which], past)

    def surface_at(self, now: Snapshot, frame_map: FrameMap, xy: Tensor) -> Surface:
        """The tracks' points on the rays through ``xy`` (q, 1, 2), where they go over.

        As `rays.surface_at`, with what does not move as the track does made transparent.
        """
        z = stratified_depths(xy.shape[:2], RAY_SAMPLES, None, xy)
        u = frame_map.forward(lift(xy, z))  # (q, 1, S, 3)
        look = now.volume(u)
        error = self._error(now, u[:, 0])[:, None]
        alike = error <= error.amin(-1, keepdim=True) + ALIKE_PX
        weights = render_weights((look.density + LEAST_DENSITY) * alike) * alike
        weights = weights / weights.sum(-1, keepdim=True)
        depth = settle(weights, z)
        seen = frame_map.forward(lift(xy, depth[..., None]))[..., 0, :]
        rgb = (weights[..., None] * look.rgb).sum(-2)
        return Surface(depth, seen, rgb, weights)

    def _error(self, now: Snapshot, u: Tensor) -> Tensor:
        """How far canonical points (q, S, 3) are from the tracks in the overlap: (q, S) px."""
        count, n_frames = self.weight.shape
        frames = torch.arange(self.first, self.first + n_frames, device=u.device)
        points = u.reshape(1, -1, 3).expand(n_frames, -1, 3).contiguous()
        where = now.at(frames).inverse(points)[..., :2].view(n_frames, count, -1, 2)
        off = PIXELS_PER_UNIT * (where - self.xy.transpose(0, 1)[:, :, None]).norm(dim=-1)
        weight = self.weight.T[..., None]
        return (weight * off.clamp(max=FAR_PX)).sum(0) / weight.sum(0)
