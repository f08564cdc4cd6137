"""Volume rendering along rays, and the way back: `omnimotion.compositing`, compiled.

Conventions. A bundle of N rays of S samples each, the rays side by side: (S, N), front to back.
"""

import numpy as np

from omnimotion.kernels.cells import ONE, ZERO, kernel
from omnimotion.kernels.elementary import exp


@kernel
def weigh(density: np.ndarray, step: float, through: np.ndarray, weights: np.ndarray) -> None:
    """What comes through to each sample, and its weight, by density; all (S, N).

    ``step``: the thickness of a sample whose density is one. The last sample is opaque.
    """
    n_samples, n_rays = density.shape
    thickness = np.zeros(n_rays, np.float32)
    through[0] = ONE
    for s in range(1, n_samples):
        in_front, here, before, weight = density[s - 1], through[s], through[s - 1], weights[s - 1]
        for n in range(n_rays):
            thickness[n] += step * in_front[n]
            here[n] = exp(-thickness[n])
            weight[n] = before[n] - here[n]
    weights[n_samples - 1] = through[n_samples - 1]


@kernel
def weigh_back(g: np.ndarray, step: float, through: np.ndarray, density_g: np.ndarray) -> None:
    """The way back through `weigh`; ``g`` (S, N) is the gradient of its weights."""
    n_samples, n_rays = g.shape
    thickness_g = np.zeros(n_rays, np.float32)
    density_g[n_samples - 1] = ZERO
    for s in range(n_samples - 1, 0, -1):
        here, before, passed, target = g[s], g[s - 1], through[s], density_g[s - 1]
        for n in range(n_rays):
            thickness_g[n] += passed[n] * (before[n] - here[n])
            target[n] = step * thickness_g[n]


@kernel
def composite(weights: np.ndarray, values: np.ndarray, result: np.ndarray) -> None:
    """Expected value (N,) of ``values`` (S, N) under ``weights`` (S, N)."""
    result[:] = ZERO
    for s in range(len(weights)):
        weight, value = weights[s], values[s]
        for n in range(len(result)):
            result[n] += weight[n] * value[n]


@kernel
def composite_back(g: np.ndarray, weights: np.ndarray, values: np.ndarray, weights_g: np.ndarray,
                   values_g: np.ndarray) -> None:  # fmt: skip
    """The way back through `composite`: adds to the gradients of weights and values (S, N)."""
    for s in range(len(weights)):
        weight, value, weight_g, value_g = weights[s], values[s], weights_g[s], values_g[s]
        for n in range(len(g)):
            weight_g[n] += g[n] * value[n]
            value_g[n] += g[n] * weight[n]
