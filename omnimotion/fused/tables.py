"""The grids of all levels, summed once a step, and the way back; arrays are made once.

Conventions. Levels are the coarsest first; L layers, T frames, K cosines in time. What levels
hold is changed in place only, and what a call writes the next one writes again.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from omnimotion.fused.memory import addresses
from omnimotion.kernels import levels

Layers = Sequence[Sequence[Tensor]]
"""The levels (K, 2, b, a) of each layer."""


class MotionTable:
    """`GridBijection.table` (T, G) of a basis (T, K), without a graph."""

    def __init__(self, basis: Tensor, most: float, layers: Layers) -> None:
        """``most``: the bound of a log-scale."""
        self._levels = _Levels([[level.detach().contiguous() for level in layer]
                                for layer in layers])  # fmt: skip
        size = sum(layer[-1][0].numel() for layer in layers)
        self._basis, self._most = basis, np.float32(most)
        self._coefficients = torch.empty(basis.shape[1], size)
        self.values = torch.empty(len(basis), size)

    def make(self) -> Tensor:
        """The table, of what the levels hold now."""
        levels.motion(*self._levels.known, self._coefficients.numpy())
        torch.mm(self._basis, self._coefficients, out=self.values)
        levels.bound(self.values.numpy(), self._most)
        return self.values

    def gradients(self, layers: Layers) -> "MotionGradients":
        """The way back, which writes the gradients of the levels to ``layers``."""
        return MotionGradients(self._basis, self._most, self.values, layers)


class MotionGradients:
    """The way back through `MotionTable`."""

    def __init__(self, basis: Tensor, most: np.float32, values: Tensor, layers: Layers) -> None:
        self._levels = _Levels(layers)
        self._basis, self._most, self._values = basis.T, most, values
        self._table = torch.empty_like(values)
        self._coefficients = torch.empty(basis.shape[1], values.shape[1])

    def make(self, halves: Tensor) -> None:
        """Of the gradient of the table, the sum of two ``halves`` side by side (T, 2 G)."""
        arrays = (each.numpy() for each in (self._values, halves, self._table))
        levels.bound_back(self._most, *arrays)
        torch.mm(self._basis, self._table, out=self._coefficients)
        levels.motion_back(self._coefficients.numpy(), *self._levels.known)


class VolumeFeatures:
    """`GridVolume.table` of levels (1, C, nz, ny, nx), as (nz, ny, nx, C), without a graph."""

    def __init__(self, grids: Sequence[Tensor]) -> None:
        """``grids`` lie in memory with the channels last."""
        levels = _Levels([[_channels_last(level.detach()) for level in grids]])
        self._levels = levels
        self.values = torch.empty(grids[-1].shape[2:] + grids[-1].shape[1:2])

    def make(self) -> Tensor:
        """The sum, of what the levels hold now."""
        places, shapes = self._levels.known
        levels.add_levels(places[0], shapes[0], self.values[None].numpy())
        return self.values


class VolumeGradients:
    """The way back through `VolumeFeatures`."""

    def __init__(self, grids: Sequence[Tensor]) -> None:
        """``grids``: gradients of the levels; the last, that of the sum, is read."""
        self._levels = _Levels([[_channels_last(level) for level in grids]])
        self._sum = self._levels.kept[0][-1].numpy()

    def make(self) -> None:
        """Of what the last level's is now."""
        places, shapes = self._levels.known
        levels.add_levels_back(self._sum, places[0, :-1], shapes[0, :-1])


class _Levels:
    """Where levels lie in memory, and their shapes as the kernels have them."""

    def __init__(self, layers: Layers) -> None:
        self.kept = layers
        self.known = (
            np.array([addresses(layer) for layer in layers]),
            np.array([[_shape(level) for level in layer] for layer in layers]),
        )


def _shape(level: Tensor) -> tuple[int, ...]:
    """Five numbers; motion grids (K, 2, b, a) are 2 K of one layer and one channel."""
    if level.dim() == 5:
        return tuple(level.shape)
    k, _, b, a = level.shape
    return 2 * k, 1, b, a, 1


def _channels_last(level: Tensor) -> Tensor:
    """(1, nz, ny, nx, C) of (1, C, nz, ny, nx): as levels lie in memory, so a view of them."""
    return level.movedim(1, -1).contiguous()
