"""The draw of a step's matches in one compiled loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omnimotion.draws import Draws, Found
from omnimotion.kernels import draw


def drawn_from(pool: Any) -> Callable[[Tensor, Draws, float], Found]:
    """`draws.found` of a pool."""
    return partial(_found, draw.Pool(*(
        each.numpy() for each in (
            pool.start, pool.count, pool.xy_i, pool.xy_j, pool.rgb_i, pool.covisible,
            pool.motion_sum, pool.lost_start, pool.lost_count, pool.lost_i,
        )
    )))  # fmt: skip


def _found(pool: draw.Pool, pair: Tensor, draws: Draws, motion_share: float) -> Found:
    """What belongs to a point is a view of what lies side by side."""
    (n_pairs, n_points), n_lost = draws.share.shape, draws.lost.shape[1]
    some = Found(
        torch.empty((n_pairs, n_points), dtype=torch.int64), torch.empty(n_pairs, 2, n_points),
        torch.empty(n_pairs, 2, n_points), torch.empty(n_pairs, 3, n_points),
        torch.empty((n_pairs, n_points), dtype=torch.bool), torch.empty(n_pairs, 2, n_lost),
    )  # fmt: skip
    draw.matches(
        pool, pair.numpy(), draw.Draws(*(each.numpy() for each in draws)),
        np.float32(motion_share), draw.Found(*(each.numpy() for each in some)),
    )  # fmt: skip
    return some._replace(
        xy_i=some.xy_i.mT, xy_j=some.xy_j.mT, rgb_i=some.rgb_i.mT, lost_i=some.lost_i.mT
    )
