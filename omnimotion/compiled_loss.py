"""The loss of a step and its gradients by the kernels, which need numba; without a graph."""

from typing import cast

import numpy as np
import torch
from torch import Tensor

from omnimotion.bijection import GridBijection
from omnimotion.config import LossConfig
from omnimotion.correspondences import Correspondences
from omnimotion.fused.step import StepData, Tables, landed, run
from omnimotion.fused.tables import motion_table_back, volume_features_back
from omnimotion.kernels.batch import Batch
from omnimotion.kernels.terms import TERMS, Terms
from omnimotion.losses import FARTHER, LossTerms, StepDepths, n_subset
from omnimotion.scene import Scene, Snapshot
from omnimotion.volume import GridVolume, VolumeTable


@torch.no_grad()
def compiled(
    scene: Scene, batch: Correspondences, config: LossConfig, weights: dict[str, float],
    depths: StepDepths, depth_i: Tensor | None,
) -> tuple[Tensor, LossTerms]:  # fmt: skip
    """See `step_loss.weighed`."""
    now = scene.divided(scene.snapshot())
    tables, given = _tables(now), _given(now, batch, config, _batch(batch, depths, depth_i))
    inside = int(now.summed(landed(tables, given)).sum())
    counts = _counts(batch, depths, depth_i) | {"occlusion": inside}
    share = np.array([1 / max(1, counts[name]) for name in TERMS])
    factors = share * np.array([weights.get(name, 0.0) for name in TERMS])
    terms = given.terms._replace(factors=factors.astype(np.float32))
    sums, pair_px, gradients = run(tables, given._replace(terms=terms))
    for parameter, gradient in zip(_parameters(scene), _gradients(now, gradients)):
        if parameter.requires_grad:
            parameter.grad = now.summed(gradient)
    found = now.summed(sums).numpy()  # of all processes
    loss = torch.tensor((found * factors).sum(), dtype=torch.float32)
    values = torch.from_numpy((found * share).astype(np.float32)).unbind()
    return loss, LossTerms(**dict(zip(TERMS, values)), pair_px=now.summed(pair_px))


def _grids(scene: Scene) -> tuple[GridBijection, GridVolume]:
    """What a fused scene is made of."""
    return cast(GridBijection, scene.bijection), cast(GridVolume, scene.volume)


def _parameters(scene: Scene) -> list[Tensor]:
    """All that is learned."""
    motion, volume = _grids(scene)
    levels = [level for layer in motion.layers for level in layer]
    return [*levels, *volume.grids, volume.decoder.first, volume.decoder.second,
            scene.camera_shift]  # fmt: skip


def _gradients(now: Snapshot, found: Tables) -> list[Tensor]:
    """The gradients of `_parameters`, by those of the tables; which are used up."""
    motion, volume = _grids(now.scene)
    levels = motion_table_back(
        found.grids, now.table, motion.basis, motion.max_log_scale, motion.layers
    )
    features = volume_features_back(found.volume, volume.grids)
    return [*levels, *features, found.first, found.second, found.cameras]


def _tables(now: Snapshot) -> Tables:
    """What a step reads."""
    features = cast(VolumeTable, now.volume).features[0].movedim(0, -1)
    decoder = _grids(now.scene)[1].decoder
    return Tables(now.table, now.cameras, features, decoder.first.detach(),
                  decoder.second.detach())  # fmt: skip


def _given(
    now: Snapshot, batch: Correspondences, config: LossConfig, samples: Batch
) -> StepData:  # fmt: skip
    """What a step depends on and is not learned; how terms count is not yet known."""
    motion, volume = _grids(now.scene)
    terms = Terms(
        np.zeros(len(TERMS), np.float32), np.zeros(len(TERMS)), np.float32(config.per_sample),
        np.float32(config.robust_px or np.inf),
        tuple(map(np.float32, now.scene.frame.extent)), n_subset(batch),
    )  # fmt: skip
    return StepData(
        samples, terms, motion.layout, volume.centre.numpy(), volume.half_size.numpy(),
        np.array([volume.density_gain], np.float32), now.part,
    )  # fmt: skip


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


def _batch(batch: Correspondences, depths: StepDepths, depth_i: Tensor | None) -> Batch:
    """What the kernels read, points side by side."""
    order = torch.zeros(0, 0) if depth_i is None else depth_i.float()
    tensors = (
        batch.i, batch.j, batch.xy_i.mT, batch.xy_j.mT, batch.rgb_i.mT, batch.covisible.float(),
        batch.certainty, depths.matches, depths.there, batch.lost_i.mT, batch.lost_weight,
        depths.lost, depths.lost_there, order,
    )  # fmt: skip
    return Batch(*(each.contiguous().numpy() for each in tensors))
