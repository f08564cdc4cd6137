"""Volume rendering along rays, and the way back: `omnimotion.compositing`, compiled.

Conventions. A bundle of N rays of S samples each, the rays side by side: what samples have is
(M,), M = S N, and that of sample s of ray n is at s N + n. Samples go from front to back. What is
composited may be some of the samples: of each it is said on which ray it is.
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
def composite(weights: np.ndarray, values: np.ndarray, ray: np.ndarray,
              result: np.ndarray) -> None:  # fmt: skip
    """Expected value (N,) of values (M,) under weights (M,) of samples on some rays (M,)."""
    for n in range(len(result)):
        result[n] = ZERO
    for m in range(len(weights)):
        result[ray[m]] += weights[m] * values[m]


@kernel
def composite_back(g: np.ndarray, samples: tuple, ray: np.ndarray, samples_g: tuple) -> None:
    """The way back through `composite`: adds to the gradients of the ``samples``, which are their
    weights and values, each (M,).
    """
    (weights, values), (weights_g, values_g) = samples, samples_g
    for m in range(len(weights)):
        own = g[ray[m]]
        weights_g[m] += own * values[m]
        values_g[m] += own * weights[m]
