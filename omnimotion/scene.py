"""Everything fitted to one video: the bijection, the cameras, the canonical volume.

Conventions. ``xy`` (P, N, 2) are normalised coordinates in frames (P,); S samples on a ray. The
map of a frame is ``T_i = A_i . C_i``: couplings C_i in the frame's own domain, then a similarity
A_i into the canonical panorama, so that a moving camera costs the couplings nothing.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from omnimotion.bijection import GridBijection, MlpBijection, Warp, basis_size, level_sizes
from omnimotion.compositing import composite, ended, transmittance
from omnimotion.config import ModelConfig
from omnimotion.geometry import Frame, apply_similarity, invert_similarity
from omnimotion.kernels.layout import Layout
from omnimotion.volume import GridVolume, MlpVolume, Volume, finest_cells

PANORAMA_MARGIN = 1.15  # the volume spans the box of all frames, as the cameras start, times this
VOLUME_DEPTH = 1.2


class FrameMap(Protocol):
    """The bijection of P frames, camera included.

    What it maps keeps its precision: in float64 it inverts to 1e-12, in float32 to 1e-5.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Local points (P, ..., 3) to canonical ones."""
        ...

    def inverse(self, u: Tensor) -> Tensor:
        """Canonical points (P, ..., 3) to local ones."""
        ...


class PlainFrameMap(NamedTuple):
    """`FrameMap` in plain PyTorch, of any bijection, on any device."""

    warp: Warp
    camera: Tensor  # (P, 4)

    def forward(self, x: Tensor) -> Tensor:
        """See `FrameMap`."""
        v = self.warp.forward(x.flatten(1, -2))
        xy = apply_similarity(self.camera.to(x.dtype)[:, None], v[..., :2])
        return torch.cat((xy, v[..., 2:]), dim=-1).view(x.shape)

    def inverse(self, u: Tensor) -> Tensor:
        """See `FrameMap`."""
        v = u.flatten(1, -2)
        camera = invert_similarity(self.camera.to(u.dtype))
        xy = apply_similarity(camera[:, None], v[..., :2])
        return self.warp.inverse(torch.cat((xy, v[..., 2:]), dim=-1)).view(u.shape)


class FusedFrameMap(NamedTuple):
    """`FrameMap` of grid couplings in one compiled loop, on a CPU, without gradients."""

    snapshot: "Snapshot"
    frames: Tensor  # (P,) int64

    @property
    def tables(self) -> tuple[Tensor, Layout, Tensor]:
        """What the kernels read: grids (T, G), their layout, cameras (T, 4)."""
        scene, grids, cameras, _ = self.snapshot
        return grids, cast(GridBijection, scene.bijection).layout, cameras

    def forward(self, x: Tensor) -> Tensor:
        """See `FrameMap`."""
        return self._carry(x, False)

    def inverse(self, u: Tensor) -> Tensor:
        """See `FrameMap`."""
        return self._carry(u, True)

    def _carry(self, points: Tensor, inverse: bool) -> Tensor:
        from omnimotion.fused.queries import carry

        grids, layout, cameras = self.tables
        if points.dtype != grids.dtype:
            grids, cameras = grids.to(points.dtype), cameras.to(points.dtype)
            layout = layout._replace(unit=layout.unit.astype(points.detach().numpy().dtype))
        tables = (grids, layout, cameras)
        return carry(points.flatten(1, -2), tables, self.frames, inverse).view(points.shape)


class Rendering(NamedTuple):
    """Rays cast into the volume."""

    z: Tensor  # (P, N, S) depths of the samples, increasing
    u: Tensor  # (P, N, S, 3) canonical samples
    weights: Tensor  # (P, N, S), sum to one where all samples count
    counts: Tensor  # (P, N, S) bool
    rgb: Tensor  # (P, N, 3) composited colour

    @property
    def depth(self) -> Tensor:
        """(P, N) expected depth of the surface."""
        return (self.weights * self.z).sum(dim=-1)


class Snapshot(NamedTuple):
    """A scene as it is now, with its grids summed: made once a step and read many times."""

    scene: "Scene"
    table: Tensor  # (T, G), what the bijection's layers read
    cameras: Tensor  # (T, 4)
    volume: Volume

    @property
    def n_frames(self) -> int:
        """T."""
        return len(self.cameras)

    @property
    def part(self) -> tuple[int, int]:
        """Of a step's pairs, those that this process renders: the first, and every how many-th."""
        return 0, 1

    def summed(self, numbers: Tensor) -> Tensor:
        """``numbers`` of this process and of those that render the other pairs."""
        return numbers

    def at(self, frames: Tensor) -> FrameMap:
        """The maps of ``frames`` (P,) int64."""
        if self.scene.fused and not torch.is_grad_enabled():
            return FusedFrameMap(self, frames)
        return PlainFrameMap(self.scene.bijection.at(frames, self.table), self.cameras[frames])

    def render(
        self, frame_map: FrameMap, xy: Tensor, z: Tensor, faint: float = 0.0
    ) -> Rendering:
        """Cast rays through ``xy`` (P, N, 2) with samples at depths ``z`` (P, N, S).

        A sample that less than ``faint`` of the light reaches does not count.
        """
        u = frame_map.forward(lift(xy, z))
        look = self.volume(u)
        through = transmittance(look.density)
        counts = ~(through < faint)
        weights = ended(through) * counts
        return Rendering(z, u, weights, counts, composite(weights, look.rgb))


class Scene(nn.Module):
    """The model of one video."""

    camera_start: Tensor
    shared: Callable[[Snapshot], Snapshot] | None = None  # see `omnimotion.parallel`

    def __init__(self, frame: Frame, cameras: Tensor, config: ModelConfig, backend: str,
                 generator: torch.Generator) -> None:  # fmt: skip
        """``cameras`` (T, 4): similarities of the frames into the panorama, where they start."""
        super().__init__()
        self.frame = frame
        self.fused = backend == "numba" and config.bijection == config.volume == "grid"
        self.register_buffer("camera_start", cameras)
        self.camera_shift = nn.Parameter(torch.zeros_like(cameras), requires_grad=config.camera)
        self.bijection = _bijection(frame, len(cameras), config, self.fused, generator)
        self.volume = _volume(frame, cameras, config, backend, generator)

    @property
    def n_frames(self) -> int:
        """T."""
        return len(self.camera_start)

    def snapshot(self) -> Snapshot:
        """The scene as it is now."""
        cameras = self.camera_start + self.camera_shift
        now = Snapshot(self, self.bijection.table(), cameras, self.volume.table())
        return self.divided(now) if torch.is_grad_enabled() else now

    def divided(self, now: Snapshot) -> Snapshot:
        """A snapshot as a step sees it: divided where processes share the fit."""
        return self.shared(now) if self.shared else now

    def threads(self) -> AbstractContextManager[None]:
        """How the threads of a CPU are used inside: by the compiled loops where there are any."""
        if not self.fused:
            return nullcontext()  # the work is torch's
        from omnimotion.fused.threads import loop_threads

        return loop_threads()

    def has_threads(self) -> bool:
        """Whether the compiled loops have more than one thread."""
        if not self.fused:
            return False
        from omnimotion.fused.threads import n_threads

        return n_threads(1 << 30) > 1

    def at(self, frames: Tensor) -> FrameMap:
        """The maps of ``frames`` (P,) int64; for one use, see `snapshot` for more."""
        return self.snapshot().at(frames)


def lift(xy: Tensor, z: Tensor) -> Tensor:
    """Local points (P, N, S, 3) on the rays of ``xy`` (P, N, 2) at depths ``z`` (P, N, S)."""
    return torch.cat((xy.unsqueeze(-2).expand(*z.shape, 2), z.unsqueeze(-1)), dim=-1)


def _bijection(
    frame: Frame, n_frames: int, config: ModelConfig, fused: bool, generator: torch.Generator
) -> GridBijection | MlpBijection:
    if config.bijection == "mlp":
        return MlpBijection(
            n_frames, couplings=config.couplings, width=config.width,
            max_log_scale=config.max_log_scale, generator=generator,
        )  # fmt: skip
    return GridBijection(
        n_frames, frame.extent, couplings=config.couplings, cells=config.cells,
        levels=config.levels, z_cells=config.z_cells, time_basis=config.time_basis,
        max_log_scale=config.max_log_scale, fused=fused,
    )  # fmt: skip


def _volume(
    frame: Frame, cameras: Tensor, config: ModelConfig, backend: str, generator: torch.Generator
) -> GridVolume | MlpVolume:
    if config.volume == "mlp":
        return MlpVolume(config.volume_width, generator)
    return GridVolume(
        *_volume_corners(frame, cameras), cells=config.volume_cells,
        z_cells=config.volume_z_cells, levels=config.volume_levels,
        channels=config.volume_channels, density_gain=config.density_gain, backend=backend,
        generator=generator,
    )  # fmt: skip


def _volume_corners(frame: Frame, cameras: Tensor) -> tuple[Tensor, Tensor]:
    """Two corners (3,) of what the frames show, in the panorama."""
    signs = torch.tensor([(x, y) for x in (-1.0, 1.0) for y in (-1.0, 1.0)])
    corners = apply_similarity(
        cameras[:, None], signs * torch.tensor(frame.extent) * PANORAMA_MARGIN
    ).flatten(0, 1)
    depth = torch.tensor([VOLUME_DEPTH])
    return torch.cat((corners.amin(0), -depth)), torch.cat((corners.amax(0), depth))


def grid_values(frame: Frame, cameras: Tensor, config: ModelConfig) -> int:
    """At least so many numbers the grids of a scene hold: known before they take memory.

    OverflowError or ValueError where the cameras are not finite.
    """
    count = 0
    if config.bijection == "grid":
        shape = frame.extent, config.cells, config.z_cells, config.levels
        points = sum(b * a for k in range(config.couplings) for b, a in level_sizes(k % 3, *shape))
        count += 2 * basis_size(len(cameras), config.time_basis) * points
    if config.volume == "grid":
        corners = _volume_corners(frame, cameras)
        finest = finest_cells(*corners, config.volume_cells, config.volume_z_cells)
        count += config.volume_channels * math.prod(each + 1 for each in finest)
    return count
