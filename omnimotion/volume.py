"""The canonical volume: density and colour of canonical points, shared by all frames.

Conventions. Canonical points (..., 3) in normalised units; density (...) >= 0, the optical
thickness of one of 16 strata of a ray; colour (..., 3) RGB in [0, 1].
"""

import math
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnimotion.kernels.layout import DensityTable
from omnimotion.networks import Decoder, GaborNet, decoder

LAST = torch.channels_last_3d
DENSITY_BIAS = -1.0  # softplus(x - 1), as in the paper: little is opaque at the start


class Look(NamedTuple):
    """What the volume shows at canonical points."""

    density: Tensor  # (...)
    rgb: Tensor  # (..., 3)


class Volume(Protocol):
    """Density and colour of canonical points."""

    def __call__(self, u: Tensor) -> Look:
        """Look at points (..., 3)."""
        ...


class GridVolume(nn.Module):
    """Dense grids, each twice as fine as the one before, and a small decoder.

    The levels are added up on the finest grid, so that a sample costs one trilinear read.
    """

    centre: Tensor
    half_size: Tensor

    def __init__(
        self,
        low: Tensor,
        high: Tensor,
        *,
        cells: int,
        z_cells: int,
        levels: int,
        channels: int,
        density_gain: float,
        backend: str,
        generator: torch.Generator,
        width: int = 32,
    ) -> None:
        """``low``, ``high`` (3,): corners of the volume; ``cells``: of a frame's longer side."""
        super().__init__()
        self.register_buffer("centre", (low + high) / 2)
        self.register_buffer("half_size", (high - low) / 2)
        self.density_gain = density_gain
        finest = finest_cells(low, high, cells, z_cells)
        self.levels = nn.ParameterList()
        for level in range(levels):
            shape = [max(2, n // 2 ** (levels - 1 - level)) + 1 for n in finest]
            start = 1e-2 * torch.randn(1, channels, *shape, generator=generator)
            # in memory with the channels last, as they are read
            self.levels.append(nn.Parameter(start.contiguous(memory_format=LAST)))
        self.decoder = decoder(channels, 4, width, generator, backend)
        self.fused = backend == "numba"

    def __call__(self, u: Tensor) -> Look:
        """See `Volume`."""
        return self.table()(u)

    @cached_property
    def grids(self) -> list[Tensor]:
        """The levels; the parameters stay the same, whatever they hold."""
        return list(self.levels)

    def table(self) -> "VolumeTable":
        """The sum of all levels, to be read many times in one step."""
        if self.fused and not torch.is_grad_enabled():
            from omnimotion.fused.tables import VolumeFeatures

            features = VolumeFeatures(self.grids).make()
            return VolumeTable(self, features.movedim(-1, 0)[None])
        *coarser, total = self.levels
        for level in coarser:
            total = total + F.interpolate(
                level, size=total.shape[-3:], mode="trilinear", align_corners=True
            )
        return VolumeTable(self, total)

    @torch.no_grad()
    def fill(self, density: float) -> None:
        """Be of this density (> 0) everywhere, and of one colour."""
        raw = math.log(math.expm1(density)) - DENSITY_BIAS  # the way back through `decode`
        for parameter in self.parameters():
            parameter.zero_()
        self.levels[-1][:, 0] = 1.0
        self.decoder.first[0, 0], self.decoder.second[0, 0] = 1.0, raw / self.density_gain


def finest_cells(low: Tensor, high: Tensor, cells: int, z_cells: int) -> list[int]:
    """Cells of the finest grid of a volume along z, y and x; arguments are those of it."""
    size = high - low
    return [z_cells, *(max(4, round(float(size[d]) * cells / 2)) for d in (1, 0))]


class VolumeTable(NamedTuple):
    """A grid volume with its levels summed."""

    volume: GridVolume
    features: Tensor  # (1, C, nz, ny, nx), in memory with the channels last

    def __call__(self, u: Tensor) -> Look:
        """See `Volume`."""
        volume = self.volume
        places = (u.reshape(-1, 3) - volume.centre) / volume.half_size
        raw = (_fused if volume.fused and not torch.is_grad_enabled() else _plain)(
            volume.decoder, places, self.features
        )
        return decode(raw.view(*u.shape[:-1], 4), volume.density_gain)

    def density_table(self) -> DensityTable:
        """What the compiled kernels need for density, on a CPU."""
        volume, decoder = self.volume, self.volume.decoder
        gain = volume.density_gain * decoder.second[:1]
        tensors = (self.features[0].permute(1, 2, 3, 0), volume.centre, volume.half_size,
                   decoder.first, gain, gain.new_tensor([DENSITY_BIAS]))  # fmt: skip
        return DensityTable(*(tensor.detach().contiguous().numpy() for tensor in tensors))


def _plain(network: Decoder, places: Tensor, grid: Tensor) -> Tensor:
    """Outputs (N, 4) at places (N, 3) in [-1, 1] of a grid (1, C, nz, ny, nx), trilinear."""
    found = F.grid_sample(
        grid, places.view(1, 1, 1, -1, 3), padding_mode="border", align_corners=True
    )  # (1, C, 1, 1, N)
    return network(found.view(found.shape[1], -1).T)


def _fused(network: Decoder, places: Tensor, grid: Tensor) -> Tensor:
    """`_plain` in one compiled loop, on a CPU, without gradients."""
    from omnimotion.fused.queries import read_volume

    return read_volume(places, grid[0].permute(1, 2, 3, 0), network.first, network.second)


class MlpVolume(nn.Module):
    """OmniMotion's colour network: a Gabor network on contracted coordinates."""

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = GaborNet(3, 4, width, 3, generator)

    def table(self) -> "MlpVolume":
        """Nothing to prepare."""
        return self

    def __call__(self, u: Tensor) -> Look:
        """See `Volume`."""
        return decode(self.network(contract(u)), 1.0)


def decode(raw: Tensor, density_gain: float) -> Look:
    """Density ``softplus(gain * raw - 1)`` and colour ``sigmoid(raw)`` of network outputs."""
    return Look(F.softplus(density_gain * raw[..., 0] + DENSITY_BIAS), torch.sigmoid(raw[..., 1:]))


def contract(u: Tensor) -> Tensor:
    """All of space into a ball of radius 2 (mip-NeRF 360, arXiv 2111.12077, equation 10).

    The norm is bounded from below before the division: ``torch.where`` alone would leave a NaN
    gradient at the origin.
    """
    norm = u.square().sum(-1, keepdim=True).clamp(min=1.0).sqrt()
    return u * (2 - 1 / norm) / norm
