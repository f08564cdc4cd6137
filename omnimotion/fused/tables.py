"""The grids of all levels, summed once a step, and the way back.

Conventions. Levels are the coarsest first; L layers, T frames, K cosines in time.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from omnimotion.fused.memory import addresses
from omnimotion.kernels import levels

Layers = Sequence[Sequence[Tensor]]
"""The levels (K, 2, b, a) of each layer."""


def motion_table(basis: Tensor, most: float, layers: Layers) -> Tensor:
    """`GridBijection.table` (T, G) of a basis (T, K), without gradients."""
    grids = [[level.detach().contiguous() for level in layer] for layer in layers]
    size = sum(layer[-1][0].numel() for layer in grids)
    coefficients = torch.empty(basis.shape[1], size)
    levels.motion(_places(grids), _shapes(grids), coefficients.numpy())
    table = basis @ coefficients
    levels.bound(table.numpy(), np.float32(most))
    return table


def motion_table_back(
    g: Tensor, table: Tensor, basis: Tensor, most: float, layers: Layers
) -> list[Tensor]:
    """The gradients of all levels, layer by layer; that of the table, ``g``, is used up."""
    levels.bound_back(table.numpy(), np.float32(most), g.numpy())
    found = [[torch.empty(level.shape) for level in layer] for layer in layers]
    levels.motion_back((basis.T @ g).numpy(), _places(found), _shapes(found))
    return [level for layer in found for level in layer]


def volume_features(grids: Sequence[Tensor]) -> Tensor:
    """`GridVolume.table` of levels (1, C, nz, ny, nx), as (nz, ny, nx, C), without gradients."""
    grids = [_channels_last(level.detach()) for level in grids]
    features = torch.empty(grids[-1].shape)
    levels.add_levels(addresses(grids), np.array([each.shape for each in grids]), features.numpy())
    return features[0]


def volume_features_back(g: Tensor, grids: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of the levels; the last one's is ``g`` (nz, ny, nx, C) itself."""
    found = [torch.empty(_channels_last(level).shape) for level in grids[:-1]]
    shapes = np.array([each.shape for each in found], np.int64).reshape(-1, 5)
    levels.add_levels_back(g[None].numpy(), addresses(found), shapes)
    return [each.movedim(-1, 1) for each in (*found, g[None])]


def _channels_last(level: Tensor) -> Tensor:
    """(1, nz, ny, nx, C) of (1, C, nz, ny, nx): as levels lie in memory, so a view of them."""
    return level.movedim(1, -1).contiguous()


def _places(layers: Layers) -> np.ndarray:
    """(L, N) of N levels of each layer."""
    return np.array([addresses(layer) for layer in layers])


def _shapes(layers: Layers) -> np.ndarray:
    """(L, N, 5) as the kernels have it."""
    return _rows(tuple(tuple(level.shape for level in layer) for layer in layers))


@lru_cache
def _rows(shapes: tuple[tuple[torch.Size, ...], ...]) -> np.ndarray:
    return np.array([[(k * 2, 1, b, a, 1) for k, _, b, a in layer] for layer in shapes])
