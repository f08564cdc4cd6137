"""The neural networks, and the only place that may import tinycudann.

`decoder` gives the small network of the grid volume: tinycudann's fully fused one where the
backend is ``tcnn``, else its PyTorch twin of equal meaning (no biases, ReLU between layers). Both
store the same tensors, so a checkpoint opens with either.
"""

import importlib
import logging
import math
from itertools import pairwise
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from omnimotion.errors import ConfigError

log = logging.getLogger(__name__)

TCNN_INSTALL = (
    'pip install "setuptools<82" ninja && pip install --no-build-isolation '
    '"git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch"'
)
GABOR_FREQUENCY = 32.0  # of a network, shared by its filters
GABOR_SHAPE = 6.0  # of the gamma distribution that draws a filter's spread (Fathony et al.)
TCNN_MULTIPLE = 16  # tinycudann pads inputs and outputs to this many channels


def import_tinycudann() -> tuple[ModuleType | None, str]:
    """The module, or None and the reason why it cannot be used.

    Without a GPU the import raises OSError, not ImportError, so every exception counts.
    """
    try:
        return importlib.import_module("tinycudann"), "tinycudann imported"
    except Exception as error:
        reason = str(error).partition("\n")[0] or repr(error)
        return None, f"tinycudann unavailable: {reason}"


def import_kernels() -> str:
    """Empty where the compiled kernels for a CPU can be used, else the reason why not."""
    try:
        importlib.import_module("omnimotion.kernels.couplings")
    except Exception as error:  # numba raises many things where it does not fit the machine
        return f"numba unavailable: {str(error).partition(chr(10))[0] or repr(error)}"
    return ""


def choose_backend(asked: str, device: torch.device) -> str:
    """``torch``, ``numba`` (CPU) or ``tcnn`` (GPU), logged with the reason.

    ConfigError when a backend is asked for that cannot be had.
    """
    if asked == "torch":
        return asked
    fast = "numba" if device.type == "cpu" else "tcnn"
    if fast == "numba":
        reason, install = import_kernels(), "pip install numba"
    else:
        module, why = import_tinycudann()
        reason, install = "" if module else why, TCNN_INSTALL
    if asked not in ("auto", fast):
        raise ConfigError(f"backend = {asked}: not for device {device.type}; use auto")
    if reason and asked == fast:
        raise ConfigError(f"backend = {asked}: {reason}; install it: {install}")
    log.info("backend=%s%s", "torch" if reason else fast, reason and f" ({reason})")
    return "torch" if reason else fast


class Mlp(nn.Module):
    """Fully connected network with LeakyReLU between layers; the last layer starts small."""

    def __init__(
        self, n_in: int, n_out: int, width: int, n_hidden: int, generator: torch.Generator,
        last_gain: float = 1e-2,
    ) -> None:  # fmt: skip
        super().__init__()
        sizes = [n_in] + [width] * n_hidden + [n_out]
        self.layers = nn.ModuleList(
            linear(a, b, generator) for a, b in pairwise(sizes)
        )
        with torch.no_grad():
            self.layers[-1].weight.mul_(last_gain)  # type: ignore[operator]
            self.layers[-1].bias.mul_(last_gain)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) to (..., n_out)."""
        for layer in self.layers[:-1]:
            x = nn.functional.leaky_relu(layer(x))
        return self.layers[-1](x)


class GaborNet(nn.Module):
    """Multiplicative Gabor filters (Fathony et al., ICLR 2021), as OmniMotion uses them."""

    def __init__(
        self, n_in: int, n_out: int, width: int, n_layers: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.filters = nn.ModuleList(
            _GaborFilter(n_in, width, n_layers + 1, generator) for _ in range(n_layers + 1)
        )
        self.layers = nn.ModuleList(linear(width, width, generator) for _ in range(n_layers))
        self.last = linear(width, n_out, generator)

    def forward(self, x: Tensor) -> Tensor:
        """(..., n_in) to (..., n_out)."""
        h = self.filters[0](x)
        for layer, gabor in zip(self.layers, self.filters[1:]):
            h = gabor(x) * layer(h)
        return self.last(h)


class _GaborFilter(nn.Module):
    def __init__(self, n_in: int, width: int, n_filters: int, generator: torch.Generator) -> None:
        super().__init__()
        self.linear = linear(n_in, width, generator)
        self.centre = nn.Parameter(2 * torch.rand(width, n_in, generator=generator) - 1)
        spread = torch._standard_gamma(torch.full((width,), GABOR_SHAPE), generator=generator)
        self.log_spread = nn.Parameter((spread / n_filters).log())
        with torch.no_grad():
            self.linear.weight.mul_(GABOR_FREQUENCY / math.sqrt(n_filters))
            self.linear.bias.uniform_(-math.pi, math.pi, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        squared = (
            (x**2).sum(-1, keepdim=True)
            + (self.centre**2).sum(-1)
            - 2 * x @ self.centre.T
        )
        return torch.sin(self.linear(x)) * torch.exp(-0.5 * squared * self.log_spread.exp())


class Decoder(nn.Module):
    """Two bias-free layers with a ReLU between: features (M, n_in) to outputs (M, n_out)."""

    def __init__(self, n_in: int, n_out: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Parameter(uniform((width, n_in), n_in, generator))
        self.second = nn.Parameter(uniform((n_out, width), width, generator))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(features @ self.first.T) @ self.second.T


class TcnnDecoder(Decoder):
    """`Decoder` evaluated by tinycudann's fully fused network.

    The weights stay in the twin's two tensors; each call hands them over in the layout of
    tinycudann: row-major matrices one after the other, channels padded with zeros to 16.
    """

    def __init__(
        self, n_in: int, n_out: int, width: int, generator: torch.Generator, tcnn: Any
    ) -> None:
        super().__init__(n_in, n_out, width, generator)
        config = {
            "otype": "FullyFusedMLP", "activation": "ReLU", "output_activation": "None",
            "n_neurons": width, "n_hidden_layers": 1,
        }  # fmt: skip
        self.padding = -n_in % TCNN_MULTIPLE
        network = tcnn.Network(n_in + self.padding, n_out, config)
        self.native = network.native_tcnn_module
        self.run_native = tcnn.modules._module_function.apply
        self.loss_scale = network.loss_scale

    def forward(self, features: Tensor) -> Tensor:
        pad = nn.functional.pad
        rows = -self.second.shape[0] % TCNN_MULTIPLE
        first, second = pad(self.first, (0, self.padding)), pad(self.second, (0, 0, 0, rows))
        weights = torch.cat((first.flatten(), second.flatten()))
        padded = pad(features, (0, self.padding))
        count = -len(padded) % 256  # tinycudann works in batches of 256
        output = self.run_native(
            self.native, pad(padded, (0, 0, 0, count)).contiguous(),
            weights.to(torch.float16).contiguous(), self.loss_scale,
        )  # fmt: skip
        return output[: len(features), : self.second.shape[0]].float()


def decoder(
    n_in: int, n_out: int, width: int, generator: torch.Generator, backend: str
) -> Decoder:
    """The volume's decoder for a backend that `choose_backend` returned."""
    if backend == "tcnn":
        tcnn, reason = import_tinycudann()
        if tcnn is None:
            raise ConfigError(f"backend = tcnn: {reason}")
        return TcnnDecoder(n_in, n_out, width, generator, tcnn)
    return Decoder(n_in, n_out, width, generator)


def positional_encoding(x: Tensor, n_frequencies: int) -> Tensor:
    """``x`` with its sines and cosines at ``2^k pi``: (..., C) to (..., C (1 + 2 n))."""
    frequencies = math.pi * 2.0 ** torch.arange(n_frequencies, device=x.device, dtype=x.dtype)
    phase = (x.unsqueeze(-1) * frequencies).flatten(-2)
    return torch.cat((x, phase.sin(), phase.cos()), dim=-1)


def linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer initialised from the given generator."""
    layer = nn.Linear(n_in, n_out)
    with torch.no_grad():
        layer.weight.copy_(uniform((n_out, n_in), n_in, generator))
        layer.bias.copy_(uniform((n_out,), n_in, generator))
    return layer


def uniform(shape: tuple[int, ...], n_in: int, generator: torch.Generator) -> Tensor:
    """Uniform in +-1/sqrt(n_in), torch's own initialisation of a linear layer."""
    return (2 * torch.rand(shape, generator=generator) - 1) / math.sqrt(n_in)
