"""The loss of a step: the terms of `losses`, weighed and added up, plain or compiled."""

from torch import Tensor

from omnimotion.config import LossConfig
from omnimotion.correspondences import Correspondences
from omnimotion.losses import LossTerms, StepDepths, loss_terms
from omnimotion.scene import Scene


def weighed(
    scene: Scene, batch: Correspondences, config: LossConfig, weights: dict[str, float],
    depths: StepDepths, depth_i: Tensor | None = None,
) -> tuple[Tensor, LossTerms]:  # fmt: skip
    """The loss (), which has gradients, and its terms; arguments as those of `loss_terms`.

    ``weights``: of each term. A fused scene's is computed in one compiled loop, which gives the
    same but for rounding.
    """
    if scene.fused:
        from omnimotion.compiled_loss import compiled  # needs numba

        return compiled(scene, batch, config, weights, depths, depth_i)
    terms = loss_terms(scene, batch, config, depths, depth_i)
    return terms.total(weights), terms
