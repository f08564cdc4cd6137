"""The loss of a step with its gradients, in one compiled loop over its pairs."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.fused.threads import each_thread, sums_of
from omnimotion.kernels import bundle, step
from omnimotion.kernels.batch import Batch
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.terms import TERMS, Terms


class Tables(NamedTuple):
    """What a step reads of all that is learned; or the gradients of it."""

    grids: Tensor  # (T, G) of the bijection
    cameras: Tensor  # (T, 4)
    volume: Tensor  # (nz, ny, nx, C)
    first: Tensor  # (H, C) of the volume's network
    second: Tensor  # (4, H)


class StepData(NamedTuple):
    """What a step's loss depends on and is not learned."""

    batch: Batch
    terms: Terms
    layout: Layout
    centre: np.ndarray  # (3,) of the volume
    half_size: np.ndarray  # (3,)
    density_gain: np.ndarray  # (1,)
    part: tuple[int, int]  # of the pairs: the first, and every how many-th from it


def _model(tables: Tables, given: StepData) -> bundle.Model:
    """What the kernels read."""
    grids, views, features, inner, outer = (each.numpy() for each in tables)
    return bundle.Model(
        grids, given.layout, views, features, given.centre, given.half_size, inner,
        np.ascontiguousarray(outer.T), given.density_gain,
    )  # fmt: skip


def landed(tables: Tables, given: StepData) -> Tensor:
    """How many points without a match land inside, of each pair of a part: see `step.landed`."""
    model, inside = _model(tables, given), np.zeros(len(given.batch.lost_z), np.int64)
    rank, processes = given.part

    def part(thread: int, threads: int) -> None:
        every = (rank + processes * thread, processes * threads)
        step.landed(every, given.batch, model, given.terms.extent, inside)

    each_thread(part, given.batch.lost_z.size)
    return torch.from_numpy(inside)


def run(tables: Tables, given: StepData) -> tuple[Tensor, Tensor, Tables]:
    """Each term's sum, the pairs' errors (P,) in px, and the gradients; of a part of the pairs.

    See `step.run`.
    """
    model, pair_px = _model(tables, given), np.zeros(len(given.batch.i), np.float32)
    rank, processes = given.part

    def part(thread: int, threads: int) -> tuple[Tensor, ...]:
        sums = torch.zeros(len(TERMS), dtype=torch.float64)
        terms = given.terms._replace(sums=sums.numpy())
        grids, *others = tables
        twice = grids.new_zeros(len(grids), 2 * grids.shape[1])
        gradients = (twice, *(torch.zeros_like(each) for each in others))
        step.run(
            (rank + processes * thread, processes * threads), given.batch, model, terms,
            bundle.Gradients(*(each.numpy() for each in gradients)), pair_px,
        )  # fmt: skip
        return (sums, *gradients)

    sums, twice, *gradients = sums_of(each_thread(part, given.batch.z.size))
    even, odd = twice.chunk(2, dim=1)
    return sums, torch.from_numpy(pair_px), Tables(even + odd, *gradients)
