"""Volume rendering along a ray: alpha, transmittance, weights.

Samples run along the last axis S, front to back. A ray is orthographic: one pixel, varying z.
"""

import torch
from torch import Tensor

REFERENCE_SAMPLES = 16  # density is the optical thickness of one of so many strata of a ray
FAINT = 1e-4  # of the light: a sample that less reaches does not count in a fit


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
    return jitter.add_(left).mul_(2.0 / n_samples).sub_(1.0)


def transmittance(density: Tensor) -> Tensor:
    """The share of the light that reaches each sample (..., S) of a ray, by their densities.

    ``T_k = prod_{l<k} (1 - a_l)`` with ``a_k = 1 - exp(-density_k d)`` (OmniMotion, arXiv
    2306.05422, section 4.3), and d the distance of samples in strata of a 16-sample ray: what is
    opaque does not depend on how finely a ray is sampled.
    """
    step = REFERENCE_SAMPLES / density.shape[-1]
    behind = torch.exp(-step * torch.cumsum(density[..., :-1], dim=-1))
    return torch.cat((torch.ones_like(density[..., :1]), behind), dim=-1)


def ended(through: Tensor) -> Tensor:
    """The share of the light that ends at each sample (..., S), by what reaches it: ``T_k a_k``.

    They sum to one. The last sample is opaque: every pixel of a video shows something.
    """
    return through - torch.cat((through[..., 1:], torch.zeros_like(through[..., :1])), dim=-1)


def render_weights(density: Tensor) -> Tensor:
    """Weights (..., S) of a ray's samples from their densities (..., S); they sum to one."""
    return ended(transmittance(density))


def composite(weights: Tensor, values: Tensor) -> Tensor:
    """Expected value (..., C) of ``values`` (..., S, C) under ``weights`` (..., S)."""
    return (weights.unsqueeze(-1) * values).sum(dim=-2)
