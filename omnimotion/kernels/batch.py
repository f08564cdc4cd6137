"""The matches of a step, as the kernels read them.

Conventions. P pairs, N points each, S samples on a ray; of the first K pairs, L points without a
match. Points lie side by side: (2, N), (3, N).
"""

from typing import NamedTuple

import numpy as np


class Batch(NamedTuple):
    """A step's matches and where their rays are sampled."""

    i: np.ndarray  # (P,) int64
    j: np.ndarray  # (P,) int64
    xy_i: np.ndarray  # (P, 2, N)
    xy_j: np.ndarray  # (P, 2, N)
    rgb_i: np.ndarray  # (P, 3, N)
    covisible: np.ndarray  # (P, N) 0 or 1
    certainty: np.ndarray  # (P, N)
    z: np.ndarray  # (P, N, S)
    z_j: np.ndarray  # (K, N, S); none without depth consistency
    lost_i: np.ndarray  # (P, 2, L)
    lost_weight: np.ndarray  # (P,)
    lost_z: np.ndarray  # (K, L, S); none without occlusion
    lost_z_j: np.ndarray  # (K, L, S)
    depth_i: np.ndarray  # (P, N); none without depth maps
