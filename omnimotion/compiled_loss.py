"""The loss of a step and its gradients by the kernels, which need numba; without a graph."""

from functools import partial
from itertools import chain
from typing import cast

import numpy as np
import torch
from torch import Tensor

from omnimotion.bijection import GridBijection
from omnimotion.config import LossConfig
from omnimotion.correspondences import Correspondences
from omnimotion.fused.step import Loop, Tables, Volume
from omnimotion.fused.tables import MotionTable, VolumeFeatures, VolumeGradients
from omnimotion.fused.threads import both
from omnimotion.kernels.batch import Batch
from omnimotion.kernels.terms import TERMS, Terms
from omnimotion.losses import FARTHER, LossTerms, StepDepths, n_subset
from omnimotion.scene import Scene, Snapshot
from omnimotion.volume import GridVolume


class CompiledLoss:
    """See `step_loss.StepLoss`. Arrays are made once, for what a scene learns: those of the tables
    that a step reads, and all gradients.
    """

    def __init__(self, scene: Scene, config: LossConfig) -> None:
        motion, volume = cast(GridBijection, scene.bijection), cast(GridVolume, scene.volume)
        self._scene, self._config = scene, config
        self._motion = MotionTable(motion.basis, motion.max_log_scale, motion.layers)
        self._features = VolumeFeatures(volume.grids)
        decoder = volume.decoder
        self._cameras = torch.empty_like(scene.camera_start)
        self._second = decoder.second.detach().T.contiguous()
        self._loop = Loop(
            Tables(self._motion.values, self._cameras, self._features.values,
                   decoder.first.detach(), self._second),
            motion.layout,
            Volume(volume.centre.numpy(), volume.half_size.numpy(),
                   np.array([volume.density_gain], np.float32)),
        )  # fmt: skip
        found = self._loop.gradients
        levels = [[torch.empty_like(level) for level in layer] for layer in motion.layers]
        grids = [*(torch.empty_like(level) for level in volume.grids[:-1]),
                 found.volume.movedim(-1, 0)[None]]  # fmt: skip
        self._motion_back = self._motion.gradients(levels)
        self._features_back = VolumeGradients(grids)
        self._gradients = [
            *zip(chain(*motion.layers), chain(*levels)), *zip(volume.grids, grids),
            (decoder.first, found.first), (decoder.second, found.second),
            (scene.camera_shift, found.cameras),
        ]  # fmt: skip

    @torch.no_grad()
    def __call__(
        self, batch: Correspondences, weights: dict[str, float], depths: StepDepths,
        lands: Tensor, depth_i: Tensor | None = None, robust_px: float | None = None,
    ) -> tuple[Tensor, LossTerms]:  # fmt: skip
        """See `StepLoss`."""
        scene, arrays = self._scene, _batch(batch, depths, depth_i)
        subset = n_subset(batch)
        counts = _counts(arrays, subset, float(lands))
        volume = cast(GridVolume, scene.volume)
        both(self._motion.make, self._features.make)
        torch.add(scene.camera_start, scene.camera_shift, out=self._cameras)
        self._second.copy_(volume.decoder.second.T)
        now = scene.divided(Snapshot(scene, self._motion.values, self._cameras, volume))
        share = np.array([1 / max(1, counts.get(name, 1)) for name in TERMS])
        factors = share * np.array([weights.get(name, 0.0) for name in TERMS])
        robust_px = self._config.robust_px if robust_px is None else robust_px
        sums, pair_px = self._loop.run(arrays, self._terms(factors, subset, robust_px), now.part)
        both(partial(self._motion_back.make, self._loop.gradients.grids), self._features_back.make)
        for parameter, gradient in self._gradients:
            if parameter.requires_grad:
                parameter.grad = now.summed(gradient)
        found = now.summed(sums).numpy()  # of all processes
        loss = torch.tensor(float(found @ factors))
        values = torch.from_numpy((found * share).astype(np.float32)).unbind()
        return loss, LossTerms(**dict(zip(TERMS, values)), pair_px=now.summed(pair_px))

    def _terms(self, factors: np.ndarray, subset: int, robust_px: float) -> Terms:
        """How terms count."""
        return Terms(
            factors.astype(np.float32), np.zeros(len(TERMS)), np.float32(self._config.per_sample),
            np.float32(robust_px or np.inf),
            tuple(map(np.float32, self._scene.frame.extent)), subset,
        )  # fmt: skip


def _counts(batch: Batch, subset: int, lands: float) -> dict[str, float]:
    """How many numbers each term is the mean of; ``subset`` as in `Terms`."""
    n_pairs, n_points, n_samples = batch.z.shape
    rays, lost = n_pairs * n_points, batch.lost_z.shape[0] * batch.lost_z.shape[1]
    farther, order = 0, batch.depth_i
    if order.size:
        farther = int((order[:, :, None] - order[:, None] > FARTHER).sum())
    of_rays = ("flow", "flow_gradient", "flow_px", "photometric", "photometric_gradient",
               "distortion")  # fmt: skip
    return dict.fromkeys(of_rays, rays) | {
        "smoothness": subset * n_points, "depth_range": rays * n_samples,
        "depth_consistency": float(batch.covisible[:subset].sum()),
        "depth_order": farther, "occlusion": lands * lost, "lands": lost,
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
