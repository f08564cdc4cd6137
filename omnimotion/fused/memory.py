"""Where tensors lie in memory: what kernels are told of many at once."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def addresses(tensors: Sequence[Tensor]) -> np.ndarray:
    """(N,) int64 of float32 tensors without gaps, which the caller keeps."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.int64)
