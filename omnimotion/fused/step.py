"""The loss of a step with its gradients, in one compiled loop over its pairs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from omnimotion.fused.threads import each_thread, sums_of
from omnimotion.kernels import bundle, step
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.terms import TERMS, Terms


class StepData(NamedTuple):
    """What a step's loss depends on and is not learned."""

    batch: step.Batch
    terms: Terms
    layout: Layout
    centre: np.ndarray  # (3,) of the volume
    half_size: np.ndarray  # (3,)
    density_gain: np.ndarray  # (1,)
    part: tuple[int, int]  # of the pairs: the first, and every how many-th from it


def _model(learned: Sequence[Tensor], given: StepData) -> bundle.Model:
    """What the kernels read of `Step`'s arguments."""
    table, views, features, inner, outer = (each.numpy() for each in learned)
    return bundle.Model(
        table, given.layout, views, features, given.centre, given.half_size, inner, outer,
        (np.ascontiguousarray(inner.T), np.ascontiguousarray(outer.T)), given.density_gain,
    )  # fmt: skip


def landed(learned: Sequence[Tensor], given: StepData) -> Tensor:
    """How many points without a match land inside, of each pair of a part: see `step.landed`.

    ``learned``: `Step`'s first arguments.
    """
    model = _model([each.detach().contiguous() for each in learned], given)
    inside = np.zeros(len(given.batch.lost_z), np.int64)
    rank, processes = given.part

    def part(thread: int, threads: int) -> None:
        every = (rank + processes * thread, processes * threads)
        step.landed(every, given.batch, model, given.terms.extent, inside)

    each_thread(part, given.batch.lost_z.size)
    return torch.from_numpy(inside)


class Step(Function):
    """The loss of a step's pairs: see `step.run`, whose gradients it has at once."""

    @staticmethod
    def forward(
        ctx: Any, grids: Tensor, cameras: Tensor, volume: Tensor, first: Tensor, second: Tensor,
        given: "StepData",
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """The loss (), each term's sum, and the pairs' errors (P,) in px; a part's, see `given`.

        ``volume`` (nz, ny, nx, C); ``first`` and ``second`` the weights of its network.
        """
        learned = [each.detach().contiguous() for each in (grids, cameras, volume, first, second)]
        model = _model(learned, given)
        pair_px = np.zeros(len(given.batch.i), np.float32)
        rank, processes = given.part

        def part(thread: int, threads: int) -> tuple[Tensor, ...]:
            sums = torch.zeros(len(TERMS), dtype=torch.float64)
            terms = given.terms._replace(sums=sums.numpy())
            gradients = tuple(torch.zeros_like(each) for each in learned)
            step.run(
                (rank + processes * thread, processes * threads), given.batch, model, terms,
                bundle.Gradients(*(each.numpy() for each in gradients)), pair_px,
            )  # fmt: skip
            return (sums, *gradients)

        sums, *gradients = sums_of(each_thread(part, given.batch.z.size))
        ctx.gradients = gradients
        loss = (sums * torch.from_numpy(given.terms.factors)).sum().float()
        errors = torch.from_numpy(pair_px)
        ctx.mark_non_differentiable(sums, errors)
        return loss, sums, errors

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of all that is learned."""
        factor = float(g[0])
        scaled = ctx.gradients if factor == 1 else [each * factor for each in ctx.gradients]
        return *scaled, None
