"""The optimizer of a fit, in compiled loops."""

import math
import operator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from omnimotion.fused.memory import addresses
from omnimotion.fused.threads import both
from omnimotion.kernels import adam
from omnimotion.optimizer import (
    BETA_MEAN,
    BETA_NORM,
    BETA_SQUARE,
    EPSILON,
    WARM_NORMS,
    FlooredAdam,
)


class _Moved(NamedTuple):
    """The parameters that have a gradient, P of them."""

    gradients: list[Tensor | None]  # of all parameters, as they lie
    places: np.ndarray  # (P, 4), see `adam.descend`
    shapes: np.ndarray  # (P, 3)
    group: np.ndarray  # (P,)
    rates: np.ndarray  # (P,) relative to the step's
    fades: np.ndarray  # (P,) bool
    half: int  # the first parameters, so many, hold about half of all numbers


class FusedAdam(FlooredAdam):
    """`FlooredAdam` on a CPU: the same steps, but for rounding."""

    def __init__(
        self, groups: list[tuple[dict[str, nn.Parameter], float]], floor: float, clip: float,
        fading: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """As `FlooredAdam`'s."""
        super().__init__(groups, floor, clip, fading)
        self._held = [(group, name, parameter) for group, (parameters, _) in enumerate(groups)
                      for name, parameter in parameters.items()]  # fmt: skip
        self._known: _Moved | None = None
        self._sound, self._unsound = torch.tensor(True), torch.tensor(False)

    @torch.no_grad()
    def step(self, count: int, rate: float, fade: float = 0.0) -> Tensor:
        """See `FlooredAdam`."""
        moved = self._known = self._moved()
        places, shapes, group = moved.places, moved.shapes, moved.group
        norms, numbers = np.zeros(len(places)), np.empty((len(places), 6), np.float32)
        adam.square_norms(places[:, adam.GRADIENT], shapes, norms)
        if not np.isfinite(norms).all():
            return self._unsound
        rates = rate * moved.rates
        numbers[:, 0] = 1.0
        numbers[group == 0, 0] = self._factor(count, math.sqrt(norms[group == 0].sum()))
        numbers[:, 1] = self.floor**2
        numbers[:, 2] = 1 - rates * fade * moved.fades
        numbers[:, 3] = rates / (1 - BETA_MEAN ** (count + 1))
        numbers[:, 4] = 1 / (1 - BETA_SQUARE ** (count + 1))
        numbers[:, 5] = EPSILON
        keep = np.float32(BETA_MEAN), np.float32(BETA_SQUARE)
        half = moved.half
        both(lambda: adam.descend(places[:half], shapes[:half], keep, numbers[:half]),
             lambda: adam.descend(places[half:], shapes[half:], keep, numbers[half:]))  # fmt: skip
        return self._sound

    def _moved(self) -> _Moved:
        """What moves; what is known of it stays while the gradients are the same tensors."""
        gradients = [parameter.grad for *_, parameter in self._held]
        if self._known and all(map(operator.is_, gradients, self._known.gradients)):
            return self._known
        gradients = [_as_lies(parameter) for *_, parameter in self._held]
        held = [(*each, g) for each, g in zip(self._held, gradients) if g is not None]
        groups = np.array([group for group, *_ in held])
        # parameters and their moments are changed in place only
        places = [addresses((p, g, self.mean[name], self.square[name])) for _, name, p, g in held]
        shapes = np.array([_shape(p) for _, _, p, _ in held])
        sizes = shapes.prod(axis=1).cumsum()
        return _Moved(
            gradients, np.array(places), shapes, groups,
            np.array([self.groups[group][1] for group in groups]),
            np.array([name in self.fading for _, name, *_ in held]),
            int(np.abs(sizes - sizes[-1] / 2).argmin()) + 1,
        )  # fmt: skip

    def _factor(self, count: int, norm: float) -> float:
        """What the first group's gradient is multiplied with; its running mean goes on."""
        if not self.clip or not norm:
            return 1.0
        factor = 1.0
        if count >= WARM_NORMS:
            factor = min(1.0, self.clip * float(self.norm) / norm)
        new = 1 - min(BETA_NORM, count / (count + 1))
        self.norm.fill_((1 - new) * float(self.norm) + new * factor * norm)
        return factor


def _shape(parameter: Tensor) -> tuple[int, int, int]:
    """(A, M, B) as the kernels have it: rows one after the other, or channels side by side."""
    if not parameter.is_contiguous():
        return parameter.shape[0], parameter[0, 0].numel(), parameter.shape[1]
    rows = parameter.shape[:2].numel() if parameter.dim() >= 4 else 1
    return rows, parameter.numel() // rows, 1


def _as_lies(parameter: nn.Parameter) -> Tensor | None:
    """The gradient, if any, whose numbers lie in memory as those of its parameter."""
    gradient = parameter.grad
    if gradient is None or _strides(gradient) == _strides(parameter):
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _strides(tensor: Tensor) -> list[int]:
    """Of the axes that are longer than one: that of another says nothing."""
    return [stride for stride, n in zip(tensor.stride(), tensor.shape) if n > 1]
