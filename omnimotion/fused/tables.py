"""The grids of all levels, summed once a step, and the way back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from omnimotion.kernels import levels


class MotionTable(Function):
    """`GridBijection.table` of a basis (T, K) and levels (K, 2, b, a), layer by layer."""

    @staticmethod
    def forward(
        ctx: Any, basis: Tensor, most: float, n_levels: int, *grids: Tensor
    ) -> Tensor:  # fmt: skip
        """The table (T, G)."""
        parts = []
        for first in range(0, len(grids), n_levels):
            total = _summed(grids[first : first + n_levels])  # (K, 2, b, a)
            parts.append(_beside(total.flatten(2)))
        table = basis @ torch.cat([part.flatten(1) for part in parts], dim=1)
        levels.bound(table.numpy(), np.float32(most))
        ctx.save_for_backward(basis, table)
        ctx.most, ctx.n_levels, ctx.shapes = most, n_levels, [each.shape for each in grids]
        return table

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the levels."""
        basis, table = ctx.saved_tensors
        unbound = torch.empty_like(table)
        levels.bound_back(table.numpy(), np.float32(ctx.most), g[0].contiguous().numpy(),
                          unbound.numpy())  # fmt: skip
        coefficients, found, start = basis.T @ unbound, [], 0
        for first in range(0, len(ctx.shapes), ctx.n_levels):
            shapes = ctx.shapes[first : first + ctx.n_levels]
            size = shapes[-1][1:].numel()
            part = coefficients[:, start : start + size].contiguous()
            found += _summed_back(_apart(part.view(len(part), -1, 2), shapes[-1]), shapes)
            start += size
        return None, None, None, *found


class VolumeFeatures(Function):
    """`GridVolume.table` of levels (1, C, nz, ny, nx), as (nz, ny, nx, C)."""

    @staticmethod
    def forward(ctx: Any, *grids: Tensor) -> Tensor:
        """The features of the finest level's points."""
        total = _summed(grids)
        ctx.shapes = [each.shape for each in grids]
        return _beside(total.flatten(2)).view(*total.shape[2:], -1)

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the levels."""
        rows = g[0].contiguous().view(1, -1, g[0].shape[-1])
        return tuple(_summed_back(_apart(rows, ctx.shapes[-1]), ctx.shapes))


def _summed(grids: Sequence[Tensor]) -> Tensor:
    """The sum of nested grids on the finest of them, the last; their first two axes are alike."""
    *coarser, finest = (each.detach() for each in grids)
    total = finest.clone()
    for each in coarser:
        levels.add_level(_as_grids(each), _as_grids(total))
    return total


def _summed_back(g: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The gradients of the grids, of these shapes, of which `_summed` made the sum."""
    found = [torch.empty(shape) for shape in shapes[:-1]]
    for each in found:
        levels.add_level_back(_as_grids(g), _as_grids(each))
    return [*found, g]


def _as_grids(tensor: Tensor) -> np.ndarray:
    """(R, nz, ny, nx) of (A, B, [nz,] ny, nx)."""
    flat = tensor.flatten(0, 1)
    return (flat.unsqueeze(1) if flat.dim() == 3 else flat).numpy()


def _beside(grids: Tensor) -> Tensor:
    """(K, M, C) of (K, C, M), in memory."""
    rows = torch.empty(grids.mT.shape)
    levels.turn_each(grids.numpy(), rows.numpy())
    return rows


def _apart(rows: Tensor, shape: torch.Size) -> Tensor:
    """Grids of a shape (K, C, ...) of rows (K, M, C)."""
    grids = torch.empty(shape)
    levels.turn_each(rows.numpy(), grids.flatten(2).numpy())
    return grids


