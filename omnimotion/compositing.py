"""Volume rendering along a ray: alpha, transmittance, weights.

Samples run along the last axis S, front to back. A ray is orthographic: one pixel, varying z.
"""

import torch
from torch import Tensor

REFERENCE_SAMPLES = 16  # density is the optical thickness of one of so many strata of a ray


def stratified_depths(
    shape: tuple[int, ...], n_samples: int, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    """Depths (*shape, S) in (-1, 1), increasing; jittered in S equal strata, or their centres.

    Without a generator the depths are the centres of the strata (deterministic rendering).
    """
    left = torch.arange(n_samples, device=like.device, dtype=like.dtype)
    if generator is None:
        jitter = like.new_full((*shape, n_samples), 0.5)
    else:
        jitter = torch.rand(
            (*shape, n_samples), generator=generator, device=like.device, dtype=like.dtype
        )
    return (left + jitter) * (2.0 / n_samples) - 1.0


def render_weights(density: Tensor) -> Tensor:
    """Weights (..., S) of a ray's samples from their densities (..., S); they sum to one.

    ``w_k = T_k a_k`` with ``a_k = 1 - exp(-density_k d)``, ``T_k = prod_{l<k} (1 - a_l)``
    (OmniMotion, arXiv 2306.05422, section 4.3), and d the distance of samples in strata of a
    16-sample ray: what is opaque does not depend on how finely a ray is sampled. The last sample
    is opaque: every pixel of a video shows something.
    """
    step = REFERENCE_SAMPLES / density.shape[-1]
    through = torch.exp(-step * torch.cumsum(density[..., :-1], dim=-1))  # behind each sample
    ones = torch.ones_like(through[..., :1])
    return torch.cat((ones, through), dim=-1) - torch.cat(
        (through, torch.zeros_like(ones)), dim=-1
    )


def composite(weights: Tensor, values: Tensor) -> Tensor:
    """Expected value (..., C) of ``values`` (..., S, C) under ``weights`` (..., S)."""
    return (weights.unsqueeze(-1) * values).sum(dim=-2)
