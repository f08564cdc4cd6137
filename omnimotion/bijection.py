"""The time-conditioned bijections between a frame's local volume and the canonical one.

Conventions. Points are (P, M, 3): P frames, M points each; axes x, y, z in normalised units.
``bijection.at(frames)`` gives the map of those frames, with ``forward`` (local to canonical)
and ``inverse``. Both are stacks of affine coupling layers (Real NVP, arXiv 1605.08803):
a layer changes one axis by a scale and a shift that depend on the two others and on time only,

    v' = v exp(s(a, b, t)) + m(a, b, t),        v = (v' - m(a, b, t)) exp(-s(a, b, t)),

so the inverse is exact and costs what the forward map does. The log-scale is bounded smoothly:
six layers lose sub-pixel accuracy in float32 once it passes 2.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omnimotion.kernels.layout import Layout
from omnimotion.networks import GaborNet, Mlp, positional_encoding

BASIS_SUM = 6.66  # of the damping factors: what those of 16 cosines add up to
CONDITIONS = ((1, 2), (0, 2), (0, 1))
"""The two axes that condition a coupling layer, by the axis it changes."""

Reader = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Of one layer: condition (P, M, 2) to log-scale (P, M) and shift (P, M)."""


class Warp(NamedTuple):
    """The map of P frames between their local volumes and the canonical volume."""

    axes: tuple[int, ...]  # the axis each layer changes
    readers: tuple[Reader, ...]
    unit: Tensor  # (3,) layers work in coordinates divided by this

    def forward(self, x: Tensor) -> Tensor:
        """Local points (P, M, 3) to canonical ones."""
        v = list((x / self.unit).unbind(-1))
        for axis, read in zip(self.axes, self.readers):
            log_scale, shift = read(_condition(v, axis))
            v[axis] = v[axis] * log_scale.exp() + shift
        return torch.stack(v, dim=-1) * self.unit

    def inverse(self, u: Tensor) -> Tensor:
        """Canonical points (P, M, 3) to local ones."""
        v = list((u / self.unit).unbind(-1))
        for axis, read in zip(reversed(self.axes), reversed(self.readers)):
            log_scale, shift = read(_condition(v, axis))
            v[axis] = (v[axis] - shift) / log_scale.exp()
        return torch.stack(v, dim=-1) * self.unit


class Bijection(Protocol):
    """A family of invertible maps, one for each frame."""

    @property
    def fading(self) -> frozenset[str]:
        """Names of parameters that matter only where matches hold them: see `FlooredAdam`."""
        ...

    def table(self) -> Tensor:
        """What the layers read, a row a frame (T, G): made once a step, for all frames."""
        ...

    def at(self, frames: Tensor, table: Tensor | None = None) -> Warp:
        """The maps of ``frames`` (P,) int64."""
        ...


def basis_size(n_frames: int, time_basis: float) -> int:
    """How many cosines in time a motion grid has."""
    return min(n_frames, max(4, round(time_basis * n_frames)))


def level_sizes(
    axis: int, extent: tuple[float, float], cells: int, z_cells: int, levels: int
) -> list[tuple[int, int]]:
    """Points (b, a) of the motion grids of a layer, the coarsest first."""
    coarsest = (cells, max(2, round(cells * extent[1] / extent[0])), z_cells)
    a, b = CONDITIONS[axis]
    counts = [[c if d == 2 else c * 2**level for d, c in enumerate(coarsest)]
              for level in range(levels)]  # fmt: skip
    return [(count[b] + 1, count[a] + 1) for count in counts]


class GridBijection(nn.Module):
    """Affine couplings whose log-scale and shift are small grids over (two axes) x (time).

    A layer's grid is a sum of levels, each twice as fine in space as the one before. Levels are
    nested, so they are added up on the finest one once a step, and a sample costs a single
    bilinear read a layer. In time a grid is a cosine series. All coefficients start at zero: the
    map starts as the identity.
    """

    basis: Tensor
    domain: Tensor

    def __init__(
        self,
        n_frames: int,
        extent: tuple[float, float],
        *,
        couplings: int,
        cells: int,
        levels: int,
        z_cells: int,
        time_basis: float,
        max_log_scale: float,
        margin: float = 1.3,
        fused: bool = False,
    ) -> None:
        """``extent``: half width and half height of the frame in normalised units.

        ``time_basis``: cosines per frame. ``margin``: the grids span the frame times this;
        beyond it their border value goes on, which keeps the map invertible everywhere.
        ``fused``: tables without gradients are made by compiled loops, on a CPU.
        """
        super().__init__()
        self.axes = tuple(k % 3 for k in range(couplings))
        self.max_log_scale = max_log_scale
        self.fused = fused
        n_basis = basis_size(n_frames, time_basis)
        self.register_buffer("basis", cosine_basis(n_frames, n_basis), persistent=False)
        domain = torch.tensor((margin * extent[0], margin * extent[1], margin))
        self.register_buffer("domain", domain, persistent=False)  # half extents of the grids
        self.levels = nn.ModuleList()  # of each layer: coefficients (K, 2, b + 1, a + 1) by level
        self.sizes: list[tuple[int, int]] = []  # of each layer: points of the finest grid, (b, a)
        for axis in self.axes:
            sizes = level_sizes(axis, extent, cells, z_cells, levels)
            self.sizes.append(sizes[-1])
            self.levels.append(
                nn.ParameterList(nn.Parameter(torch.zeros(n_basis, 2, *size)) for size in sizes)
            )

    @property
    def fading(self) -> frozenset[str]:
        """All levels but the coarsest: where nothing is seen, motion ought to be smooth."""
        names = (name for name, _ in self.named_parameters())
        return frozenset(name for name in names if not name.endswith(".0"))

    @cached_property
    def layers(self) -> list[list[nn.Parameter]]:
        """The levels of each layer; the parameters stay the same, whatever they hold."""
        return [list(levels.parameters()) for levels in self.levels]

    @cached_property
    def layout(self) -> Layout:
        """What `table` holds where."""
        nb, na = np.array(self.sizes, dtype=np.int64).T
        ends = np.cumsum(2 * nb * na)
        axes = np.array(self.axes, dtype=np.int64)
        unit = self.domain.cpu().numpy()
        return Layout(axes, ends - 2 * nb * na, na.copy(), nb.copy(), unit)

    def table(self) -> Tensor:
        """(T, G): all layers' grids one after the other, log-scale and shift side by side."""
        if self.fused and not torch.is_grad_enabled():
            from omnimotion.fused.tables import MotionTable

            return MotionTable(self.basis, self.max_log_scale, self.layers).make()
        totals = [_summed(levels) for levels in self.layers]
        coefficients = torch.cat([total.permute(0, 2, 3, 1).flatten(1) for total in totals], dim=1)
        log_scale, shift = (self.basis @ coefficients).unflatten(1, (-1, 2)).unbind(-1)
        bound = self.max_log_scale
        return torch.stack((bound * torch.tanh(log_scale / bound), shift), dim=-1).flatten(1)

    def at(self, frames: Tensor, table: Tensor | None = None) -> Warp:
        """See `Bijection`."""
        rows = (self.table() if table is None else table)[frames]  # (P, G)
        grids = rows.split([2 * b * a for b, a in self.sizes], dim=1)
        readers = tuple(
            _reader(grid.view(-1, b, a, 2).permute(0, 3, 1, 2))
            for grid, (b, a) in zip(grids, self.sizes)
        )
        return Warp(self.axes, readers, self.domain)


def _summed(levels: Sequence[Tensor]) -> Tensor:
    """The sum of nested grids (K, 2, b, a) on the finest of them, the last."""
    *coarser, finest = levels
    for level in coarser:
        finest = finest + F.interpolate(
            level, size=finest.shape[-2:], mode="bilinear", align_corners=True
        )
    return finest


def _reader(grid: Tensor) -> Reader:
    """Reads of grids (P, 2, b, a), bilinear."""

    def read(condition: Tensor) -> tuple[Tensor, Tensor]:
        found = F.grid_sample(
            grid.to(condition.dtype), condition.unsqueeze(1), padding_mode="border",
            align_corners=True,
        )  # (P, 2, 1, M)  # fmt: skip
        return found[:, 0, 0], found[:, 1, 0]

    return read


class MlpBijection(nn.Module):
    """OmniMotion's bijection (arXiv 2306.05422, section 4.1): an MLP for each coupling layer.

    The MLP reads the positional encoding of the two other coordinates and a code of the frame.
    """

    CODE = 128
    FREQUENCIES = 4
    unit: Tensor

    def __init__(
        self,
        n_frames: int,
        *,
        couplings: int,
        width: int,
        max_log_scale: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.axes = tuple(k % 3 for k in range(couplings))
        self.n_frames = n_frames
        self.max_log_scale = max_log_scale
        self.register_buffer("unit", torch.ones(3), persistent=False)
        n_in = 2 * (1 + 2 * self.FREQUENCIES) + self.CODE
        self.code = GaborNet(1, self.CODE, width, 2, generator)
        self.projections = nn.ModuleList(
            Mlp(self.CODE, self.CODE, self.CODE, 1, generator, last_gain=1.0) for _ in self.axes
        )
        self.layers = nn.ModuleList(Mlp(n_in, 2, width, 3, generator) for _ in self.axes)

    @property
    def fading(self) -> frozenset[str]:
        """None: a network has no level that stands alone."""
        return frozenset()

    def table(self) -> Tensor:
        """(T, CODE): a code of each frame."""
        time = torch.arange(self.n_frames, device=self.unit.device)
        return self.code(time[:, None].float() / max(1, self.n_frames - 1) * 2 - 1)

    def at(self, frames: Tensor, table: Tensor | None = None) -> Warp:
        """See `Bijection`."""
        code = (self.table() if table is None else table)[frames]
        readers = tuple(
            self._reader(layer, projection(code))
            for layer, projection in zip(self.layers, self.projections)
        )
        return Warp(self.axes, readers, self.unit)

    def _reader(self, layer: nn.Module, code: Tensor) -> Reader:
        def read(condition: Tensor) -> tuple[Tensor, Tensor]:
            encoded = positional_encoding(condition.to(code.dtype), self.FREQUENCIES)
            codes = code[:, None].expand(*encoded.shape[:2], -1)
            raw = layer(torch.cat((encoded, codes), dim=-1)).to(condition.dtype)
            log_scale = self.max_log_scale * torch.tanh(raw[..., 0] / self.max_log_scale)
            return log_scale, raw[..., 1]

        return read


def cosine_basis(n_frames: int, n_basis: int) -> Tensor:
    """(T, K) cosines in time, damped by ``1 / sqrt(1 + k)`` so that slow motion learns first.

    The damping factors add up to the same for any K: a step of the optimizer, which moves all
    coefficients by about as much, then moves a frame as far in a long clip as in a short one.
    """
    t = (torch.arange(n_frames, dtype=torch.float64) + 0.5) / n_frames
    k = torch.arange(n_basis, dtype=torch.float64)
    damping = 1 / torch.sqrt(1 + k)
    damping = damping * (BASIS_SUM / damping.sum())
    return (torch.cos(math.pi * t[:, None] * k) * damping).float()


def _condition(v: list[Tensor], axis: int) -> Tensor:
    a, b = CONDITIONS[axis]
    return torch.stack((v[a], v[b]), dim=-1)
