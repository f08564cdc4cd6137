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
    """The loss () and its terms; its gradients are those of the scene's parameters afterwards.

    Arguments as those of `loss_terms`; ``weights``: of each term. A fused scene's is computed in
    one compiled loop, which gives the same but for rounding. Where the loss is not finite they
    are not, or there are none.
    """
    if scene.fused:
        from omnimotion.compiled_loss import compiled  # needs numba

        return compiled(scene, batch, config, weights, depths, depth_i)
    terms = loss_terms(scene, batch, config, depths, depth_i)
    loss = terms.total(weights)
    scene.zero_grad()
    if loss.device.type != "cpu" or loss.isfinite():
        loss.backward()  # on a CPU that of grid_sample can crash on NaN coordinates
    return loss.detach(), LossTerms(*(term.detach() for term in terms))
