"""Random draws of a batch, all from one generator, on the device of that generator."""

import math

import torch
from torch import Tensor


class Draws:
    """Draws of given shapes; equal generators give equal draws in equal order."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.device = generator.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """From ``low`` to ``high``."""
        unit = torch.rand(shape, generator=self.generator, device=self.device)
        return low + (high - low) * unit

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """From ``low`` to ``high``, every factor of two as likely as the next."""
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Tensor:
        """Of zero mean and unit deviation."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, *shape: int, share: float) -> Tensor:
        """Bool, true for ``share`` of them."""
        return self.uniform(*shape) < share

    def number(self, *shape: int, below: int) -> Tensor:
        """Whole numbers from 0."""
        return torch.randint(below, shape, generator=self.generator, device=self.device)

    def direction(self, *shape: int) -> Tensor:
        """Unit vectors (..., 2)."""
        turn = self.uniform(*shape, high=2 * math.pi)
        return torch.stack((turn.cos(), turn.sin()), -1)
