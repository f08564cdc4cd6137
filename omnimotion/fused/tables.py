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
    """`GridBijection.table` (T, G) of a basis (T, K), without a graph.

    The cosines of a basis are even in time and odd by turns, so that a frame and the one as far
    from the other end share products: half of them are enough, see `_Parts`.
    """

    def __init__(self, basis: Tensor, most: float, layers: Layers) -> None:
        """``most``: the bound of a log-scale."""
        self._levels = _Levels([[level.detach().contiguous() for level in layer]
                                for layer in layers])  # fmt: skip
        self._parts = _Parts(basis, sum(layer[-1][0].numel() for layer in layers))
        self._most = np.float32(most)
        self.values = torch.empty(len(basis), self._parts.size)

    def make(self) -> Tensor:
        """The table, of what the levels hold now."""
        parts = self._parts
        levels.motion(*self._levels.known, parts.coefficients.numpy())
        for basis, part, of in parts.each:
            torch.mm(basis, of, out=part)
        levels.mirrored(*parts.known, self._most, self.values.numpy())
        return self.values

    def gradients(self, layers: Layers) -> "MotionGradients":
        """The way back, which writes the gradients of the levels to ``layers``."""
        return MotionGradients(self._parts, self._most, self.values, layers)


class MotionGradients:
    """The way back through `MotionTable`."""

    def __init__(self, parts: "_Parts", most: np.float32, values: Tensor, layers: Layers) -> None:
        self._levels, self._parts = _Levels(layers), parts
        self._most, self._values = most, values.numpy()

    def make(self, halves: Tensor) -> None:
        """Of the gradient of the table, the sum of two ``halves`` side by side (T, 2 G)."""
        parts = self._parts
        levels.mirrored_back(self._most, self._values, halves.numpy(), *parts.known)
        for basis, part, of in parts.each:
            torch.mm(basis.T, part, out=of)
        levels.motion_back(parts.coefficients.numpy(), *self._levels.known)


class _Parts:
    """What is even and what is odd in time: cosines k = 0, 2, ... and k = 1, 3, ...

    Room for a table, or for its gradient: the ``coefficients`` (K, G), and of each part its half
    of the ``basis`` (ceil(T / 2), K / 2), itself (ceil(T / 2), G), and its coefficients.
    """

    def __init__(self, basis: Tensor, size: int) -> None:
        half = (len(basis) + 1) // 2
        self.size = size
        self.coefficients = torch.empty(basis.shape[1], size)
        self.each = [
            (basis[:half, k::2].contiguous(), torch.empty(half, size), self.coefficients[k::2])
            for k in (0, 1)
        ]
        self.known = [part.numpy() for _, part, _ in self.each]


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
