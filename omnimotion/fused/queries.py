"""What queries ask of a scene, in compiled loops, without gradients."""

import numpy as np
import torch
from torch import Tensor

from omnimotion.fused.threads import spread
from omnimotion.kernels import bundle, couplings, rays
from omnimotion.kernels.layout import DensityTable, Layout


def carry(
    x: Tensor, tables: tuple[Tensor, Layout, Tensor], frames: Tensor, inverse: bool
) -> Tensor:  # fmt: skip
    """Points (P, M, 3) through the maps of ``frames`` (P,): see `couplings.carry`; no gradient.

    ``tables``: grids (T, G), their layout and cameras (T, 4), as precise as the points.
    """
    grids, layout, cameras = tables
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    source, where, target = x.detach().contiguous().numpy(), frames.numpy(), out.numpy()
    arrays = (grids.detach().numpy(), layout, cameras.detach().numpy())
    spread(lambda rows: couplings.carry(source[rows], where[rows], arrays, inverse, target[rows]),
            len(x), x.shape[1])  # fmt: skip
    return out


def read_volume(
    places: Tensor, grid: Tensor, first: Tensor, second: Tensor
) -> Tensor:  # fmt: skip
    """What the volume's network makes (N, O) of a grid (nz, ny, nx, C) at places (N, 3).

    ``first`` (H, C) and ``second`` (O, H) are the network's weights; no gradient.
    """
    arrays = [each.detach().contiguous().numpy() for each in (grid, first, second)]
    outputs = torch.empty(len(places), len(second))
    source, target = places.detach().contiguous().numpy(), outputs.numpy()
    spread(lambda rows: bundle.outputs(source[rows], *arrays, target[rows]), len(places), 1)
    return outputs


def look(
    points: Tensor, frames: Tensor, tables: tuple[Tensor, Layout, Tensor, DensityTable],
    sampling: tuple[int, float, float],
) -> Tensor:  # fmt: skip
    """What is seen (P, N, 2) along rays through points (P, N, 3): see `rays.look`; no gradient."""
    grids, layout, cameras, density = tables
    arrays = (grids.numpy(), layout, cameras.numpy(), density)
    seen = torch.empty(*points.shape[:2], 2)
    source, where, target = points.contiguous().numpy(), frames.numpy(), seen.numpy()
    n_samples, reach, step = sampling
    numbers = (n_samples, np.float32(reach), np.float32(step))
    spread(lambda rows: rays.look(source[rows], where[rows], arrays, numbers, target[rows]),
            len(points), points.shape[1] * n_samples)  # fmt: skip
    return seen
