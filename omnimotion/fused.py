"""The compiled kernels as differentiable functions of torch tensors on a CPU.

Each splits its points among as many threads as torch uses. A thread adds to a gradient of its
own, and these are summed in order, so that a result depends on the number of threads at most.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from omnimotion.kernels import couplings, decoder, rays, volume
from omnimotion.kernels.layout import DensityTable, Layout

MIN_POINTS = 1024  # a thread with fewer costs more than it saves
_loops = ContextVar("_loops", default=0)  # threads of the compiled loops; 0 is as torch has


@contextmanager
def loop_threads() -> Iterator[None]:
    """Inside, torch computes on one thread, and the compiled loops on as many as torch had.

    torch's threads wait for one another at each operation: on a busy machine that takes longer
    than the operation. The loops are long, and wait once.
    """
    threads = torch.get_num_threads()
    token = _loops.set(_loops.get() or threads)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _loops.reset(token)


class Carry(Function):
    """Points (P, M, 3) through the maps of ``frames`` (P,): see `couplings.carry`.

    Grids (T, G) and cameras (T, 4) are as precise as the points.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, grids: Tensor, cameras: Tensor, frames: Tensor,
        layout: Layout, inverse: bool,
    ) -> Tensor:  # fmt: skip
        """The mapped points (P, M, 3)."""
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        learning = any(ctx.needs_input_grad)
        kept = x.new_empty(len(x), len(layout.axis) if learning else 0, x.shape[1])
        source, where = x.contiguous().numpy(), frames.numpy()
        tables = (grids.numpy(), layout, cameras.numpy())
        target, keep = out.numpy(), kept.numpy()

        def part(rows: slice) -> None:
            results = (target[rows], keep[rows])
            couplings.carry(source[rows], where[rows], tables, inverse, results)

        _spread(part, len(x), x.shape[1])
        ctx.save_for_backward(out, grids, cameras, frames, kept)
        ctx.layout, ctx.inverse = layout, inverse
        return out

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the points, the grids and the cameras."""
        out, grids, cameras, frames, kept = ctx.saved_tensors
        x_g = torch.empty_like(out)
        gradient, where, target = g[0].contiguous().numpy(), frames.numpy(), x_g.numpy()
        tables = (grids.numpy(), ctx.layout, cameras.numpy())
        mapped, keep = out.numpy(), kept.numpy()

        def part(rows: slice) -> tuple[Tensor, Tensor]:
            added = torch.zeros_like(grids), torch.zeros_like(cameras)
            gradients = (target[rows], added[0].numpy(), added[1].numpy())
            couplings.carry_back(gradient[rows], where[rows], tables, ctx.inverse,
                                 (mapped[rows], keep[rows]), gradients)  # fmt: skip
            return added

        return x_g, *_sums(_spread(part, len(out), out.shape[1])), None, None, None


class Read(Function):
    """Features (N, C) of a grid (nz, ny, nx, C) at places (N, 3): see `volume.read`."""

    @staticmethod
    def forward(ctx: Any, places: Tensor, grid: Tensor) -> Tensor:
        """The features (N, C)."""
        places, grid = places.contiguous(), grid.contiguous()
        features = torch.empty(len(places), grid.shape[-1])
        source, table, target = places.numpy(), grid.numpy(), features.numpy()
        _spread(lambda rows: volume.read(source[rows], table, target[rows]), len(places), 1)
        ctx.save_for_backward(places, grid)
        return features

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the places and of the grid."""
        places, grid = ctx.saved_tensors
        places_g = torch.empty(places.shape)
        gradient, source, target = g[0].contiguous().numpy(), places.numpy(), places_g.numpy()
        table = grid.numpy()

        def part(rows: slice) -> tuple[Tensor]:
            added = torch.zeros_like(grid)
            volume.read_back(gradient[rows], source[rows], table, target[rows], added.numpy())
            return (added,)

        return places_g, *_sums(_spread(part, len(places), 1))


class Decode(Function):
    """Outputs (N, O) of features (N, C), by weights (H, C) and (O, H): see `decoder.decode`."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """The outputs (N, O)."""
        features, first, second = (each.contiguous() for each in (features, first, second))
        outputs = torch.empty(len(features), len(second))
        source, target = features.numpy(), outputs.numpy()
        weights = first.numpy(), second.numpy()
        _spread(lambda rows: decoder.decode(source[rows], *weights, target[rows]), len(source), 1)
        ctx.save_for_backward(features, first, second)
        return outputs

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the features and of the weights."""
        features, first, second = ctx.saved_tensors
        features_g = torch.empty_like(features)
        gradient, source, target = g[0].contiguous().numpy(), features.numpy(), features_g.numpy()
        weights = first.numpy(), second.numpy()

        def part(rows: slice) -> tuple[Tensor, ...]:
            added = torch.zeros_like(first), torch.zeros_like(second)
            into = added[0].numpy(), added[1].numpy()
            decoder.decode_back(gradient[rows], source[rows], weights, target[rows], into)
            return added

        return features_g, *_sums(_spread(part, len(source), 1))


def look(
    points: Tensor, frames: Tensor, tables: tuple[Tensor, Layout, Tensor, DensityTable],
    sampling: tuple[int, float, float],
) -> Tensor:  # fmt: skip
    """What is seen (P, N, 3) along rays through points (P, N, 3): see `rays.look`; no gradient."""
    grids, layout, cameras, density = tables
    arrays = (grids.numpy(), layout, cameras.numpy(), density)
    seen = torch.empty(points.shape)
    source, where, target = points.contiguous().numpy(), frames.numpy(), seen.numpy()
    n_samples, reach, step = sampling
    numbers = (n_samples, np.float32(reach), np.float32(step))
    _spread(lambda rows: rays.look(source[rows], where[rows], arrays, numbers, target[rows]),
            len(points), points.shape[1] * n_samples)  # fmt: skip
    return seen


def _spread(part: Callable[[slice], Any], rows: int, points_a_row: int) -> list[Any]:
    """Call ``part`` on slices of the rows, one for each thread; the results in their order."""
    most = max(1, rows * points_a_row // MIN_POINTS)
    n = max(1, min(_loops.get() or torch.get_num_threads(), most, rows))
    if n == 1:
        return [part(slice(0, rows))]
    edges = [rows * k // n for k in range(n + 1)]
    return list(_threads(n).map(part, (slice(a, b) for a, b in pairwise(edges))))


@cache
def _threads(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n, thread_name_prefix="omnimotion")


def _sums(parts: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    first, *others = parts
    for other in others:
        for total, each in zip(first, other):
            total += each
    return first
