"""The optimizer of a fit, in compiled loops."""

import math
from collections.abc import Iterable
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from omnimotion.kernels import adam
from omnimotion.optimizer import (
    BETA_MEAN,
    BETA_NORM,
    BETA_SQUARE,
    EPSILON,
    WARM_NORMS,
    FlooredAdam,
)


class FusedAdam(FlooredAdam):
    """`FlooredAdam` on a CPU: the same steps, but for rounding."""

    def __init__(
        self, groups: list[tuple[dict[str, nn.Parameter], float]], floor: float, clip: float,
        fading: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """As `FlooredAdam`'s."""
        super().__init__(groups, floor, clip, fading)
        self._views = {
            name: (_rows(parameter.detach()), (_rows(self.mean[name]), _rows(self.square[name])))
            for parameters, _ in groups
            for name, parameter in parameters.items()
        }  # of parameters and their moments, which are changed in place only

    @torch.no_grad()
    def step(self, count: int, rate: float, fade: float = 0.0) -> Tensor:
        """See `FlooredAdam`."""
        groups = [
            ({name: p for name, p in parameters.items() if p.grad is not None}, relative)
            for parameters, relative in self.groups
        ]
        norms = [_norm(moved.values()) for moved, _ in groups]
        is_sound = all(map(math.isfinite, norms))
        if not is_sound:
            return torch.tensor(False)
        factors = [self._factor(count, norms[0]), *(1.0 for _ in groups[1:])]
        mean_fix, square_fix = 1 - BETA_MEAN ** (count + 1), 1 - BETA_SQUARE ** (count + 1)
        for (moved, relative), factor in zip(groups, factors):
            for name, parameter in moved.items():
                stays = 1 - rate * relative * fade if name in self.fading else 1.0
                numbers = (factor, stays, rate * relative / mean_fix, self.floor**2,
                           1 / square_fix, EPSILON)  # fmt: skip
                values, moments = self._views[name]
                adam.descend(
                    values, _gradient(parameter), moments,
                    (np.float32(BETA_MEAN), np.float32(BETA_SQUARE)),
                    tuple(map(np.float32, numbers)),
                )  # fmt: skip
        return torch.tensor(True)

    def _factor(self, count: int, norm: float) -> float:
        """What the first group's gradient is multiplied with; its running mean goes on."""
        if not self.clip or not norm:
            return 1.0
        factor = 1.0
        if count >= WARM_NORMS:
            factor = min(1.0, self.clip * float(self.norm) / norm)
        self.norm.lerp_(torch.tensor(factor * norm), 1 - min(BETA_NORM, count / (count + 1)))
        return factor


def _norm(parameters: Iterable[Tensor]) -> float:
    """The norm of all gradients together; not finite where one of their numbers is not."""
    return math.sqrt(sum(adam.square_norm(_gradient(each)) for each in parameters))


def _gradient(parameter: Tensor) -> np.ndarray:
    """(R, M) of a parameter that has one."""
    return _rows(cast(Tensor, parameter.grad).contiguous())


def _rows(tensor: Tensor) -> np.ndarray:
    """(R, M): rows that share a scale, as the plain optimizer has them; a view."""
    rows = tensor.shape[:2].numel() if tensor.dim() >= 4 else 1
    return tensor.view(rows, -1).numpy()
