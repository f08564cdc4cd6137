"""Adam with a floor under its denominator and a bound on sudden gradients.

Adam moves a parameter by a full step however small its gradient is. A cell of a motion grid that
is hardly ever seen is then thrown about by noise, and since coupling layers multiply, a fit that
went well for a thousand steps can run away. Two changes keep it in place:

* the second moment of an entry is raised by ``floor^2`` times the mean over its row, the cells
  that share a time basis and a channel, so that a cell moves in proportion to its row's;
* the gradient of the bijection is scaled down where its norm exceeds ``clip`` times its running
  mean.

And some parameters can be drawn to zero as they go, by a share of their rate (decoupled weight
decay; Loshchilov and Hutter, arXiv 1711.05101): what the loss does not hold in place fades.

Nothing here waits for the device.
"""

import torch
from torch import Tensor, nn

BETA_MEAN, BETA_SQUARE = 0.9, 0.99
BETA_NORM = 0.98
EPSILON = 1e-12
WARM_NORMS = 20  # steps before the gradient's running mean is trusted


class FlooredAdam:
    """The optimizer of a fit. The first group is the one whose gradient is bounded."""

    def __init__(
        self, groups: list[tuple[dict[str, nn.Parameter], float]], floor: float, clip: float,
        fading: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """``groups``: named parameters with their rate relative to that of `step`.

        ``fading``: names of those that `step` draws to zero.
        """
        self.groups = groups
        self.fading = fading
        self.floor = floor
        self.clip = clip
        device = next(iter(groups[0][0].values())).device
        self.norm = torch.zeros((), device=device)  # running mean of the first group's gradient
        self.mean: dict[str, Tensor] = {}
        self.square: dict[str, Tensor] = {}
        for parameters, _ in groups:
            for name, parameter in parameters.items():
                self.mean[name] = torch.zeros_like(parameter, requires_grad=False)
                self.square[name] = torch.zeros_like(parameter, requires_grad=False)

    @torch.no_grad()
    def step(self, count: int, rate: float, fade: float = 0.0) -> Tensor:
        """Take step number ``count`` (from 0) at learning rate ``rate``.

        What fades is made smaller by ``fade`` times its rate.

        The step is skipped where a gradient is not finite: one would poison the moments for ever.
        Returns whether all were, as a bool () on their device. On a GPU, where looking would wait,
        a skipped step goes on by the moments alone.
        """
        is_sound = self._are_finite()
        if is_sound.device.type == "cpu":
            if not is_sound:
                return is_sound
        else:
            for gradient in self._all_gradients():
                gradient.masked_fill_(~is_sound, 0.0)
        self._bound(count)
        mean_fix, square_fix = 1 - BETA_MEAN ** (count + 1), 1 - BETA_SQUARE ** (count + 1)
        for parameters, relative in self.groups:
            moved = {name: p for name, p in parameters.items() if p.grad is not None}
            if not moved:
                continue
            gradients = _gradients(moved)
            means = [self.mean[name] for name in moved]
            squares = [self.square[name] for name in moved]
            torch._foreach_lerp_(means, gradients, 1 - BETA_MEAN)
            torch._foreach_mul_(squares, BETA_SQUARE)
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - BETA_SQUARE)
            for name in self.fading & moved.keys() if fade else ():
                moved[name].mul_(1 - rate * relative * fade)
            for parameter, mean, square in zip(moved.values(), means, squares):
                row = square.mean(_row_axes(square), keepdim=True)
                denominator = ((square + self.floor**2 * row) / square_fix).sqrt_().add_(EPSILON)
                parameter.addcdiv_(mean, denominator, value=-rate * relative / mean_fix)
        return is_sound

    def _all_gradients(self) -> list[Tensor]:
        return [each for parameters, _ in self.groups for each in _gradients(parameters)]

    def _are_finite(self) -> Tensor:
        """Whether no gradient holds NaN or infinity, by their norms: bool ()."""
        gradients = self._all_gradients()
        if not gradients:
            return torch.ones((), dtype=torch.bool, device=self.norm.device)
        return torch.stack(torch._foreach_norm(gradients)).isfinite().all()

    def _bound(self, count: int) -> None:
        gradients = _gradients(self.groups[0][0])
        if not self.clip or not gradients:
            return
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        if count >= WARM_NORMS:
            limit = self.clip * self.norm
            torch._foreach_mul_(gradients, (limit / norm.clamp(min=EPSILON)).clamp(max=1.0))
            norm = torch.minimum(norm, limit)
        keep = min(BETA_NORM, count / (count + 1))
        self.norm.lerp_(norm, 1 - keep)

    def tensors(self) -> dict[str, Tensor]:
        """The optimizer's state, by name."""
        means = {f"adam.mean.{name}": tensor for name, tensor in self.mean.items()}
        squares = {f"adam.square.{name}": tensor for name, tensor in self.square.items()}
        return {"adam.norm": self.norm} | means | squares


def _gradients(parameters: dict[str, nn.Parameter]) -> list[Tensor]:
    return [p.grad for p in parameters.values() if p.grad is not None]


def _row_axes(tensor: Tensor) -> tuple[int, ...]:
    """The axes over which entries share a scale: the cells of grids, all of anything smaller."""
    return tuple(range(2, tensor.dim())) if tensor.dim() >= 4 else tuple(range(tensor.dim()))
