"""The loss of a step: the terms of `losses`, weighed and added up, plain or compiled."""

from dataclasses import replace
from typing import NamedTuple, Protocol

from torch import Tensor

from omnimotion.config import LossConfig
from omnimotion.correspondences import Correspondences
from omnimotion.losses import LossTerms, StepDepths, loss_terms
from omnimotion.scene import Scene


class StepLoss(Protocol):
    """The loss of a scene's steps."""

    def __call__(
        self, batch: Correspondences, weights: dict[str, float], depths: StepDepths,
        lands: Tensor, depth_i: Tensor | None = None, robust_px: float | None = None,
    ) -> tuple[Tensor, LossTerms]:  # fmt: skip
        """The loss () and its terms.

        ``weights``: of each term; ``robust_px``: in place of the config's; the others are as in
        `loss_terms`. The scene's parameters then have their gradients; where the loss is not
        finite they are not, or there are none.
        """
        ...


class PlainLoss(NamedTuple):
    """`StepLoss` by PyTorch, of any scene, on any device."""

    scene: Scene
    config: LossConfig

    def __call__(
        self, batch: Correspondences, weights: dict[str, float], depths: StepDepths,
        lands: Tensor, depth_i: Tensor | None = None, robust_px: float | None = None,
    ) -> tuple[Tensor, LossTerms]:  # fmt: skip
        """See `StepLoss`."""
        config = self.config if robust_px is None else replace(self.config, robust_px=robust_px)
        terms = loss_terms(self.scene, batch, config, depths, lands, depth_i)
        loss = terms.total(weights)
        self.scene.zero_grad()
        if loss.device.type != "cpu" or loss.isfinite():
            loss.backward()  # on a CPU that of grid_sample can crash on NaN coordinates
        return loss.detach(), LossTerms(*(term.detach() for term in terms))


def step_loss(scene: Scene, config: LossConfig) -> StepLoss:
    """A fused scene's is computed in one compiled loop, which gives the same but for rounding."""
    if scene.fused:
        from omnimotion.compiled_loss import CompiledLoss  # needs numba

        return CompiledLoss(scene, config)
    return PlainLoss(scene, config)
