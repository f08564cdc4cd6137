"""The terms of the loss.

Conventions. Lengths are in pixels of a frame whose longer side is 256 (`PIXELS_PER_UNIT` of a
normalised unit), depths likewise. P pairs, N points, S samples; each term is a mean and a scalar.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from omnimotion.compositing import FAINT, composite, stratified_depths
from omnimotion.config import LossConfig
from omnimotion.correspondences import Correspondences
from omnimotion.geometry import PIXELS_PER_UNIT
from omnimotion.scene import Rendering, Scene, Snapshot


class LossTerms(NamedTuple):
    """All terms of one step, unweighted; ``flow_px`` is the error of the composited flow."""

    flow: Tensor
    flow_gradient: Tensor
    photometric: Tensor
    photometric_gradient: Tensor
    smoothness: Tensor
    depth_consistency: Tensor
    occlusion: Tensor
    depth_range: Tensor
    depth_order: Tensor
    distortion: Tensor
    flow_px: Tensor
    lands: Tensor  # share of the points without a match that land inside the frame
    pair_px: Tensor  # (P,) error of the composited flow by pair, for hard mining

    def total(self, weights: dict[str, float]) -> Tensor:
        """The weighted sum."""
        return torch.stack([getattr(self, name) * w for name, w in weights.items() if w]).sum()


OCCLUSION_MARGIN = 1 / 8  # depth by which an occluder is in front
MIN_FRONT = 0.02  # a point with less in front pulls no harder
FARTHER = 0.1  # of a depth map's range: by so much a point is clearly farther than another
ORDER_SOFTNESS = 1 / 16  # depth within which an order is not settled
SUBSET = 2
"""Smoothness and depth consistency look at one pair in so many: they cost as much as flow."""


class StepDepths(NamedTuple):
    """Where the rays of a step are sampled, (P, N, S); of terms without a weight: no ray."""

    matches: Tensor  # in frame i
    there: Tensor  # in frame j, of the first pairs
    lost: Tensor  # of points without a match, of the first pairs
    lost_there: Tensor  # the same in frame j

    @classmethod
    def drawn(
        cls, batch: Correspondences, config: LossConfig, n_samples: int, random: torch.Generator
    ) -> "StepDepths":
        """Draw them, all at once."""
        k, nothing = n_subset(batch), torch.Size((0, 0))
        there = batch.xy_j[:k].shape[:2] if config.depth_consistency else nothing
        lost = batch.lost_i[:k].shape[:2] if config.occlusion else nothing
        shapes = (batch.xy_i.shape[:2], there, lost, lost)
        counts = [shape.numel() for shape in shapes]
        depths = stratified_depths((sum(counts),), n_samples, random, batch.xy_i).split(counts)
        return cls(*(rays.view(*shape, n_samples) for rays, shape in zip(depths, shapes)))


def n_subset(batch: Correspondences) -> int:
    """Pairs that smoothness, depth consistency and occlusion look at, the first ones."""
    return max(1, len(batch.i) // SUBSET)


def loss_terms(
    scene: Scene, batch: Correspondences, config: LossConfig, depths: StepDepths, lands: Tensor,
    depth_i: Tensor | None = None,
) -> LossTerms:  # fmt: skip
    """Render the batch's points and compare them with what their matches say.

    ``lands`` (): about what `LossTerms.lands` is, from the steps before: how many points land
    inside is known only when most of a step is done. ``depth_i`` (P, N): what depth maps say of
    the points in frame i, where there are any.
    """
    now = scene.snapshot()
    seen = now.render(now.at(batch.i), batch.xy_i, depths.matches, FAINT)
    x_j = now.at(batch.j).inverse(seen.u)  # (P, N, S, 3)
    mapped = composite(seen.weights, x_j)  # (P, N, 3)
    off = PIXELS_PER_UNIT * (mapped[..., :2] - batch.xy_j).abs().sum(-1)  # (P, N)

    k = n_subset(batch)
    zero = seen.z.new_zeros(())
    consistency = spread = zero
    if config.depth_consistency:
        there = now.render(now.at(batch.j[:k]), batch.xy_j[:k], depths.there, FAINT)
        consistency = depth_consistency(mapped[:k, :, 2], there.depth, batch.covisible[:k])
    hidden, landed = zero, zero
    if config.occlusion:
        hidden, landed = occlusion(now, batch, depths, lands)
    if config.distortion:
        spread = distortion(seen)
    return LossTerms(
        flow=flow_loss(seen.weights, x_j, batch, off, config),
        flow_gradient=PIXELS_PER_UNIT * gradient_loss(mapped[..., :2], batch.xy_j),
        photometric=(seen.rgb - batch.rgb_i).square().sum(-1).mean(),
        photometric_gradient=gradient_loss(seen.rgb, batch.rgb_i),
        smoothness=smoothness(now, batch.j[:k], composite(seen.weights, seen.u)[:k]),
        depth_consistency=consistency,
        occlusion=hidden,
        depth_order=zero if depth_i is None else depth_order(seen.depth, depth_i),
        depth_range=PIXELS_PER_UNIT * depth_range(x_j[..., 2], seen.counts),
        distortion=spread,
        flow_px=off.detach().mean(),
        lands=landed,
        pair_px=off.detach().mean(dim=1),
    )


def flow_loss(
    weights: Tensor, x_j: Tensor, batch: Correspondences, composited_px: Tensor,
    config: LossConfig,
) -> Tensor:  # fmt: skip
    """L1 distance of the mapped ray ``x_j`` (P, N, S, 3) from the match.

    The paper compares the composite, ``|sum_k w_k x_k - y|``. Then weight that leaks to a sample
    with another motion is paid for by bending the rest. Sample by sample, ``sum_k w_k |x_k - y|``
    is an upper bound that each sample pays for itself: a density that lets weight go to the wrong
    surface is pushed down at once. ``per_sample`` mixes the two. Beyond ``robust_px`` a sample's
    error counts as its logarithm, so that a wrong match, or one of a surface that has no place
    yet, does not tear at those that have. Each match counts by its certainty.
    """
    off = PIXELS_PER_UNIT * (x_j[..., :2] - batch.xy_j.unsqueeze(-2)).abs().sum(-1)  # (P, N, S)
    if config.robust_px > 0:
        bound = config.robust_px
        off = torch.where(off < bound, off, bound * (1 + (off.clamp(min=bound) / bound).log()))
    each = (batch.certainty * (weights * off).sum(-1)).mean()
    composited = (batch.certainty * composited_px).mean()
    return config.per_sample * each + (1 - config.per_sample) * composited


def gradient_loss(found: Tensor, expected: Tensor) -> Tensor:
    """L1 error of the differences between points drawn one after the other (P, N, C)."""
    differences = (found - found.roll(1, dims=1)) - (expected - expected.roll(1, dims=1))
    return differences.abs().sum(-1).mean()


def smoothness(now: Snapshot, frames: Tensor, u: Tensor) -> Tensor:
    """L1 acceleration of canonical points ``u`` (P, N, 3) around ``frames`` (P,)."""
    if now.n_frames < 3:
        return u.new_zeros(())
    centre = frames.clamp(1, now.n_frames - 2)
    before, at, after = (now.at(centre + step).inverse(u) for step in (-1, 0, 1))
    return PIXELS_PER_UNIT * (before + after - 2 * at).abs().sum(-1).mean()


def depth_consistency(mapped: Tensor, rendered: Tensor, covisible: Tensor) -> Tensor:
    """A point seen in both frames lies on the surface of both.

    ``mapped`` (P, N): its depth, carried from i to j; ``rendered``: the surface's depth in j.
    """
    off = (mapped - rendered).abs() * covisible
    return PIXELS_PER_UNIT * off.sum() / covisible.sum().clamp(min=1)


def depth_range(depth: Tensor, counts: Tensor) -> Tensor:
    """How far mapped samples (P, N, S) that count lie beyond the range of depth, squared."""
    return ((depth.abs() - 1).clamp(min=0).square() * counts).mean()


def depth_order(rendered: Tensor, mapped: Tensor) -> Tensor:
    """Of two points of a frame, what a depth map says is clearly farther lies deeper.

    ``rendered`` (P, N): the surface's depth; ``mapped`` (P, N): the map's, of which only the order
    counts. The cost is ``log(1 + exp(-d))``, d how much deeper the farther one lies, over all
    pairs of points that are drawn in one frame.
    """
    farther = mapped.unsqueeze(-1) - mapped.unsqueeze(-2) > FARTHER  # (P, N, N)
    deeper = (rendered.unsqueeze(-1) - rendered.unsqueeze(-2)) / ORDER_SOFTNESS
    cost = torch.nn.functional.softplus(-deeper) * farther
    return cost.sum() / farther.sum().clamp(min=1)


def distortion(seen: Rendering) -> Tensor:
    """Spread of the weights along a ray (mip-NeRF 360, arXiv 2111.12077, equation 15)."""
    apart = (seen.z.unsqueeze(-1) - seen.z.unsqueeze(-2)).abs()
    both = seen.weights.unsqueeze(-1) * seen.weights.unsqueeze(-2)
    return (both * apart).sum((-1, -2)).mean()


def occlusion(
    now: Snapshot, batch: Correspondences, depths: StepDepths, lands: Tensor
) -> tuple[Tensor, Tensor]:
    """Points of i without a match in j, though they land inside j, lie behind what j shows.

    The cost is ``-log`` of the share of the ray's weight in front of the point; it counts as much
    as the pair's other points can be trusted to have matches (``lost_weight``). It is a mean over
    those that land inside, a share of about ``lands``; returns what that share is, too.
    """
    k, _, n_samples = depths.lost.shape
    seen = now.render(now.at(batch.i[:k]), batch.lost_i[:k], depths.lost, FAINT)
    map_j = now.at(batch.j[:k])
    point = map_j.inverse(composite(seen.weights, seen.u))  # (k, L, 3)
    half_width, half_height = now.scene.frame.extent
    x, y = point[..., 0].detach().abs(), point[..., 1].detach().abs()
    inside = (x < half_width) & (y < half_height)
    there = now.render(map_j, point[..., :2].detach(), depths.lost_there, FAINT)
    nearer = torch.sigmoid((point[..., 2:] - OCCLUSION_MARGIN - depths.lost_there) * n_samples)
    front = (there.weights * nearer).sum(-1)
    cost = -front.clamp(min=MIN_FRONT).log() * inside * batch.lost_weight[:k, None]
    return cost.sum() / (lands * inside.numel()).clamp(min=1), inside.float().mean()
