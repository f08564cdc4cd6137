"""The loss of a step: the terms of `losses`, weighed and added up, plain or compiled."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from omnimotion.bijection import GridBijection
from omnimotion.config import LossConfig
from omnimotion.correspondences import Correspondences
from omnimotion.losses import FARTHER, LossTerms, StepDepths, loss_terms, n_subset
from omnimotion.scene import Scene, Snapshot
from omnimotion.volume import VolumeTable


def weighed(
    scene: Scene, batch: Correspondences, config: LossConfig, weights: dict[str, float],
    depths: StepDepths, depth_i: Tensor | None = None,
) -> tuple[Tensor, LossTerms]:  # fmt: skip
    """The loss (), which has gradients, and its terms; arguments as those of `loss_terms`.

    ``weights``: of each term. A fused scene's is computed in one compiled loop, which gives the
    same but for rounding.
    """
    if scene.fused:
        return _compiled(scene.snapshot(), batch, config, weights, depths, depth_i)
    terms = loss_terms(scene, batch, config, depths, depth_i)
    return terms.total(weights), terms


def _compiled(
    now: Snapshot, batch: Correspondences, config: LossConfig, weights: dict[str, float],
    depths: StepDepths, depth_i: Tensor | None,
) -> tuple[Tensor, LossTerms]:  # fmt: skip
    """`weighed` by the kernels, which need numba."""
    from omnimotion.fused.step import Step, StepData, landed
    from omnimotion.kernels.terms import TERMS, Terms

    terms = Terms(
        np.zeros(len(TERMS), np.float32), np.zeros(len(TERMS)), np.float32(config.per_sample),
        np.float32(config.robust_px or np.inf),
        tuple(map(np.float32, now.scene.frame.extent)), n_subset(batch),
    )  # fmt: skip
    table = cast(VolumeTable, now.volume)
    volume, decoder = table.volume, table.volume.decoder
    given = StepData(
        _batch(batch, depths, depth_i), terms, cast(GridBijection, now.scene.bijection).layout,
        volume.centre.numpy(), volume.half_size.numpy(),
        np.array([volume.density_gain], np.float32), now.part,
    )  # fmt: skip
    features = table.features[0].permute(1, 2, 3, 0)
    learned = now.table, now.cameras, features, decoder.first, decoder.second
    inside = int(now.summed(landed(learned, given)).sum())
    counts = _counts(batch, depths, depth_i) | {"occlusion": inside}
    share = np.array([1 / max(1, counts[name]) for name in TERMS])
    factors = share * np.array([weights.get(name, 0.0) for name in TERMS])
    terms = terms._replace(factors=factors.astype(np.float32))
    own, sums, pair_px = Step.apply(*learned, given._replace(terms=terms))
    found = (now.summed(sums) * torch.from_numpy(share)).float()
    values = dict(zip(TERMS, found.unbind()))
    loss = (sums * torch.from_numpy(factors)).sum().float()  # of all processes
    return own + (loss - own).detach(), LossTerms(**values, pair_px=now.summed(pair_px))


def _counts(batch: Correspondences, depths: StepDepths, depth_i: Tensor | None) -> dict[str, int]:
    """How many numbers each term is the mean of."""
    n_pairs, n_points, n_samples = depths.matches.shape
    rays, subset = n_pairs * n_points, n_subset(batch)
    farther = 0
    if depth_i is not None:
        farther = int((depth_i[:, :, None] - depth_i[:, None] > FARTHER).sum())
    of_rays = ("flow", "flow_gradient", "flow_px", "photometric", "photometric_gradient",
               "distortion")  # fmt: skip
    return dict.fromkeys(of_rays, rays) | {
        "smoothness": subset * n_points, "depth_range": rays * n_samples,
        "depth_consistency": int(batch.covisible[:subset].sum()), "depth_order": farther,
    }  # fmt: skip


def _batch(batch: Correspondences, depths: StepDepths, depth_i: Tensor | None) -> Any:
    """What the kernels read, points side by side."""
    from omnimotion.kernels.step import Batch

    order = torch.zeros(0, 0) if depth_i is None else depth_i.float()
    tensors = (
        batch.i, batch.j, batch.xy_i.mT, batch.xy_j.mT, batch.rgb_i.mT, batch.covisible.float(),
        batch.certainty, depths.matches, depths.there, batch.lost_i.mT, batch.lost_weight,
        depths.lost, depths.lost_there, order,
    )  # fmt: skip
    return Batch(*(each.contiguous().numpy() for each in tensors))
