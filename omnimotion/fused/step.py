"""The loss of a step with its gradients, in one compiled loop over its pairs."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.fused.threads import each_thread, n_threads
from omnimotion.kernels import bundle, step
from omnimotion.kernels.batch import Batch
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.terms import TERMS, Terms


class Tables(NamedTuple):
    """What a step reads of all that is learned, changed in place only."""

    grids: Tensor  # (T, G) of the bijection
    cameras: Tensor  # (T, 4)
    volume: Tensor  # (nz, ny, nx, C)
    first: Tensor  # (H, C) of the volume's network
    second: Tensor  # (H, 4), turned


class Gradients(NamedTuple):
    """Those of `Tables`."""

    grids: Tensor  # (T, 2 G), in two parts: see `couplings`
    cameras: Tensor
    volume: Tensor
    first: Tensor
    second: Tensor  # (4, H)

    @classmethod
    def of(cls, tables: Tables) -> "Gradients":
        """Room for them."""
        grids, cameras, volume, first, second = tables
        return cls(grids.new_empty(len(grids), 2 * grids.shape[1]), torch.empty_like(cameras),
                   torch.empty_like(volume), torch.empty_like(first),
                   second.new_empty(second.shape[::-1]))  # fmt: skip


class Volume(NamedTuple):
    """What of a volume is not learned."""

    centre: np.ndarray  # (3,)
    half_size: np.ndarray  # (3,)
    density_gain: np.ndarray  # (1,)


class Loop:
    """The loop over a step's pairs; arrays are made once, and written anew by each call."""

    def __init__(self, tables: Tables, layout: Layout, volume: Volume) -> None:
        grids, cameras, features, first, second = (each.numpy() for each in tables)
        self._model = bundle.Model(
            grids, layout, cameras, features, volume.centre, volume.half_size, first, second,
            volume.density_gain,
        )  # fmt: skip
        self._tables = tables
        self.gradients = Gradients.of(tables)
        self._of_threads = [self.gradients]

    def run(self, batch: Batch, terms: Terms, part: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Each term's sum, and the pairs' errors (P,) in px; `gradients` are then those of it.

        ``part`` of the pairs: the first, and every how many-th from it. See `step.run`.
        """
        pair_px = np.zeros(len(batch.i), np.float32)
        rank, processes = part
        while len(self._of_threads) < n_threads(batch.z.size):
            self._of_threads.append(Gradients.of(self._tables))

        def run(thread: int, threads: int) -> np.ndarray:
            own, sums = self._of_threads[thread], np.zeros(len(TERMS))
            for each in own:
                each.zero_()
            step.run(
                (rank + processes * thread, processes * threads), batch, self._model,
                terms._replace(sums=sums), bundle.Gradients(*(each.numpy() for each in own)),
                pair_px,
            )  # fmt: skip
            return sums

        sums = each_thread(run, batch.z.size)
        for other in self._of_threads[1 : len(sums)]:
            for total, each in zip(self.gradients, other):
                total += each
        return torch.from_numpy(sum(sums)), torch.from_numpy(pair_px)
