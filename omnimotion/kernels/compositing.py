"""Volume rendering along rays, and the way back: `omnimotion.compositing`, compiled.

Conventions. A bundle of N rays of S samples each, the rays side by side: what samples have is
(M,), M = S N, and that of sample s of ray n is at s N + n. Samples go from front to back.
"""

import numpy as np

from omnimotion.kernels.cells import ZERO, kernel
from omnimotion.kernels.elementary import exp


@kernel
def weigh(density: np.ndarray, step: float, n_rays: int, results: tuple) -> None:
    """What comes through to each sample, and its weight, the ``results``, by density.

    ``step``: the thickness of a sample whose density is one. The last sample is opaque.
    """
    through, weights = results
    last = len(density) - n_rays
    for m in range(n_rays):
        through[m] = ZERO
    for m in range(last):  # thickness first
        through[m + n_rays] = through[m] - step * density[m]
    for m in range(len(density)):
        through[m] = exp(through[m])
    for m in range(last):
        weights[m] = through[m] - through[m + n_rays]
    for m in range(last, len(density)):
        weights[m] = through[m]


@kernel
def weigh_back(g: np.ndarray, step: float, n_rays: int, through: np.ndarray,
               density_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `weigh`; ``g`` (M,) is the gradient of its weights."""
    last = len(g) - n_rays
    for m in range(last):
        density_g[m] = step * through[m + n_rays] * (g[m] - g[m + n_rays])
    for m in range(last, len(g)):
        density_g[m] = ZERO
    for m in range(last - 1, -1, -1):
        density_g[m] += density_g[m + n_rays]


@kernel
def composite(weights: np.ndarray, values: np.ndarray, result: np.ndarray) -> None:
    """Expected value (N,) of values (M,) under weights (M,)."""
    n_rays = len(result)
    for n in range(n_rays):
        result[n] = ZERO
    for start in range(0, len(weights), n_rays):
        for n in range(n_rays):
            result[n] += weights[start + n] * values[start + n]


@kernel
def composite_back(g: np.ndarray, weights: np.ndarray, values: np.ndarray, weights_g: np.ndarray,
                   values_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `composite`: adds to the gradients of weights and values (M,)."""
    for start in range(0, len(weights), len(g)):
        for n in range(len(g)):
            weights_g[start + n] += g[n] * values[start + n]
            values_g[start + n] += g[n] * weights[start + n]
