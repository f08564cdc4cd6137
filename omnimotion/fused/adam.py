"""The optimizer of a fit, in compiled loops."""

import math
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from omnimotion.fused.memory import addresses
from omnimotion.kernels import adam
from omnimotion.optimizer import (
    BETA_MEAN,
    BETA_NORM,
    BETA_SQUARE,
    EPSILON,
    WARM_NORMS,
    FlooredAdam,
)


class _Held(NamedTuple):
    """A parameter of a group."""

    group: int
    name: str
    values: nn.Parameter


class FusedAdam(FlooredAdam):
    """`FlooredAdam` on a CPU: the same steps, but for rounding."""

    def __init__(
        self, groups: list[tuple[dict[str, nn.Parameter], float]], floor: float, clip: float,
        fading: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """As `FlooredAdam`'s."""
        super().__init__(groups, floor, clip, fading)
        self._held = [_Held(group, name, parameter) for group, (parameters, _) in enumerate(groups)
                      for name, parameter in parameters.items()]  # fmt: skip
        self._shapes = np.array([_shape(each.values) for each in self._held])
        self._places = np.array([  # parameters and their moments are changed in place only
            addresses((each.values, each.values, self.mean[each.name], self.square[each.name]))
            for each in self._held
        ])  # fmt: skip

    @torch.no_grad()
    def step(self, count: int, rate: float, fade: float = 0.0) -> Tensor:
        """See `FlooredAdam`."""
        moved = [k for k, each in enumerate(self._held) if each.values.grad is not None]
        held = [self._held[k] for k in moved]
        gradients = [_as_lies(each.values) for each in held]
        places, shapes, norms = self._places[moved], self._shapes[moved], np.zeros(len(moved))
        places[:, adam.GRADIENT] = addresses(gradients)
        adam.square_norms(places[:, adam.GRADIENT], shapes, norms)
        if not np.isfinite(norms).all():
            return torch.tensor(False)
        first = math.sqrt(sum(norm for norm, each in zip(norms, held) if each.group == 0))
        factors = [self._factor(count, first), *(1.0 for _ in self.groups[1:])]
        mean_fix, square_fix = 1 - BETA_MEAN ** (count + 1), 1 - BETA_SQUARE ** (count + 1)
        numbers = []
        for group, name, _ in held:
            own = rate * self.groups[group][1]
            stays = 1 - own * fade if name in self.fading else 1.0
            numbers.append((factors[group], self.floor**2, stays, own / mean_fix, 1 / square_fix,
                            EPSILON))  # fmt: skip
        keep = np.float32(BETA_MEAN), np.float32(BETA_SQUARE)
        adam.descend(places, shapes, keep, np.array(numbers, np.float32))
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


def _shape(parameter: Tensor) -> tuple[int, int, int]:
    """(A, M, B) as the kernels have it: rows one after the other, or channels side by side."""
    if not parameter.is_contiguous():
        return parameter.shape[0], parameter[0, 0].numel(), parameter.shape[1]
    rows = parameter.shape[:2].numel() if parameter.dim() >= 4 else 1
    return rows, parameter.numel() // rows, 1


def _as_lies(parameter: nn.Parameter) -> Tensor:
    """The gradient, whose numbers lie in memory as those of its parameter."""
    gradient = cast(Tensor, parameter.grad)
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
