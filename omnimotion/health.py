"""How good a fitted scene is, as far as this can be told without ground truth.

Conventions. Distances are Euclidean, in pixels of a frame whose longer side is 256; shares are in
[0, 1]; what cannot be measured is None. H held-out matches, Q sampled pixels, T frames. Matches
are mapped as the tracker does it: the surface on the ray, the canonical point, the other frame.

What flow got wrong counts as an error of the fit, and where neither has found the motion, both
may agree: these figures find a fit that has gone wrong, they do not prove one right.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from omnimotion.compositing import stratified_depths
from omnimotion.correspondences import CorrespondencePool, HeldOut
from omnimotion.flow import SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT, Frame, apply_similarity
from omnimotion.rays import Located, Surface, locate, surface_at
from omnimotion.scene import FrameMap, Scene, Snapshot
from omnimotion.seeds import Purpose, generator
from omnimotion.tracker import HIDDEN_ABOVE

PIXELS = 8192  # sampled for colour, surface and cycle: a share is then known to half a percent
PICTURES = 32  # frames they are sampled in, spread over the clip: reading one takes longer
SETTLED = 0.9  # share of a ray's weight near its median depth from which a surface is settled
NEAR_DEPTH = 0.2  # a tenth of the range of depth: as thin as a surface is in the volume's cells
MOVING_PX = 2.0  # against the camera, between the two frames of a match
GAPS = (("1", 1, 1), ("2-4", 2, 4), ("5-16", 5, 16), ("over 16", 17, math.inf))
WORST = 5  # frames listed
MAP_CELLS = 24  # of the map of errors, along the longer side

Answer = TypeVar("Answer", Surface, Located)


@dataclass(frozen=True)
class Spread:
    """How some distances are spread."""

    count: int
    median_px: float | None
    mean_px: float | None
    under_1_px: float | None  # share
    under_2_px: float | None  # share
    under_4_px: float | None  # share

    @classmethod
    def of(cls, distances_px: Tensor) -> "Spread":
        """The spread of distances (N,); of none, None."""
        found = distances_px.double()
        under = [_number((found < bound).double().mean()) for bound in (1, 2, 4)]
        median = found.quantile(0.5) if len(found) else found.mean()
        return cls(len(found), _number(median), _number(found.mean()), *under)


@dataclass(frozen=True, eq=False)
class Health:
    """All figures of one fit."""

    held_out: Spread  # error of the held-out matches
    moving: Spread  # of those that move against the camera
    by_gap: dict[str, Spread]  # by frames between the two, see `GAPS`
    by_frame: list[Spread]  # T, of the matches that start or end there
    order_conflicts: float | None  # share of co-visible held-out matches called hidden
    cycle: Spread  # distance from where a point started, carried there and back
    photometric_rms: float | None  # of colour, 0-255
    settled: float | None  # share of pixels
    coverage: list[float]  # T, share of each frame with a match to any other
    error_px: np.ndarray  # (H,) of the held-out matches
    error_map: np.ndarray  # (rows, columns) their mean by place in the frame, NaN without any

    @property
    def figures(self) -> dict[str, float | None]:
        """The figures that sum it up, by name."""
        return {
            "held_out_median_px": self.held_out.median_px,
            "held_out_under_2_px": self.held_out.under_2_px,
            "moving_under_2_px": self.moving.under_2_px,
            "order_conflicts": self.order_conflicts,
            "cycle_median_px": self.cycle.median_px,
            "cycle_under_2_px": self.cycle.under_2_px,
            "photometric_rms": self.photometric_rms,
            "settled": self.settled,
            "coverage_lowest": min(self.coverage),
        }

    @property
    def worst_frames(self) -> list[int]:
        """The frames with the largest mean error, the worst first."""
        known = [(each.mean_px, t) for t, each in enumerate(self.by_frame) if each.count]
        return [t for _, t in sorted(known, key=lambda pair: (-(pair[0] or 0), pair[1]))[:WORST]]


class Pixels(NamedTuple):
    """Pixels of the video, Q of them."""

    t: Tensor  # (Q,) int64 frame
    xy: Tensor  # (Q, 2) normalised
    rgb: Tensor  # (Q, 3) in 0..255


@torch.no_grad()
def measure(scene: Scene, pool: CorrespondencePool, store: SceneStore, seed: int) -> Health:
    """Measure a scene by the matches its fit never drew, and by sampled pixels of its video."""
    now, held, device = scene.snapshot(), pool.held_out, scene.camera_start.device
    error, hidden = held_out_errors(now, held)
    random = generator(seed, 0, Purpose.HEALTH)
    pixels = Pixels(*(field.to(device) for field in sample_pixels(store, random)))
    seen = ask(now, pixels.t, pixels.xy, surface_at)
    off = 255 * seen.rgb - pixels.rgb
    gap = (held.i - held.j).abs()
    return Health(
        held_out=Spread.of(error),
        moving=Spread.of(error[moved_px(now.cameras.cpu(), held) > MOVING_PX]),
        by_gap={
            name: Spread.of(error[(gap >= low) & (gap <= high)]) for name, low, high in GAPS
        },
        by_frame=[
            Spread.of(error[(held.i == t) | (held.j == t)]) for t in range(scene.n_frames)
        ],
        order_conflicts=_number(hidden[held.covisible].double().mean()),
        cycle=Spread.of(cycle_errors(now, pixels, seen.u, random)),
        photometric_rms=_number(off.double().square().mean().sqrt()),
        settled=_number((settledness(seen.weights) >= SETTLED).double().mean()),
        coverage=[round(share, 4) for share in pool.coverage.tolist()],
        error_px=error.numpy(),
        error_map=error_map(scene.frame, held.xy_i, error),
    )


def held_out_errors(now: Snapshot, held: HeldOut) -> tuple[Tensor, Tensor]:
    """Error (H,) px of the held-out matches, and whether their end is called hidden (H,) bool."""
    if not len(held.i):
        return torch.zeros(0), torch.zeros(0, dtype=torch.bool)
    i, j, xy_i = (field.to(now.cameras.device) for field in (held.i, held.j, held.xy_i))
    there = ask(now, j, ask(now, i, xy_i, surface_at).u, locate)
    error = PIXELS_PER_UNIT * (there.xy.cpu() - held.xy_j).norm(dim=-1)
    return error, there.occlusion.cpu() > HIDDEN_ABOVE


def moved_px(cameras: Tensor, held: HeldOut) -> Tensor:
    """How far each match moves (H,) px beside what the ``cameras`` (T, 4) do."""
    source = apply_similarity(cameras[held.i], held.xy_i)
    target = apply_similarity(cameras[held.j], held.xy_j)
    return PIXELS_PER_UNIT * (target - source).norm(dim=-1)


def settledness(weights: Tensor) -> Tensor:
    """Share (...) of the weights (..., S) of a ray within `NEAR_DEPTH` of their median depth."""
    z = stratified_depths((), weights.shape[-1], None, weights)
    median = z[(weights.cumsum(-1) < 0.5).sum(-1).clamp(max=len(z) - 1)]
    return (weights * ((z - median.unsqueeze(-1)).abs() <= NEAR_DEPTH)).sum(-1)


def sample_pixels(store: SceneStore, random: torch.Generator) -> Pixels:
    """About `PIXELS` pixels, the same number from each of at most `PICTURES` frames."""
    width, height = store.index.size
    n_frames = store.index.n_frames
    frames = np.unique(np.linspace(0, n_frames - 1, min(n_frames, PICTURES)).round().astype(int))
    each = -(-PIXELS // len(frames))
    places, colours = [], []
    for t in frames.tolist():
        x, y = (torch.randint(side, (each,), generator=random) for side in (width, height))
        places.append(torch.stack((x, y), dim=-1))
        colours.append(torch.from_numpy(store.frame(t)[y.numpy(), x.numpy()]))
    xy = Frame(width, height).normalise(torch.cat(places).float())
    return Pixels(torch.from_numpy(frames).repeat_interleave(each), xy, torch.cat(colours).float())


def cycle_errors(now: Snapshot, pixels: Pixels, u: Tensor, random: torch.Generator) -> Tensor:
    """How far pixels, whose canonical points are ``u`` (Q, 3), come back from where they started.

    Each is tracked to another frame, drawn at random. Where it is called visible, the surface
    that is seen there is carried back: (V,) px.
    """
    if now.n_frames < 2:
        return torch.zeros(0)
    step = torch.randint(1, now.n_frames, pixels.t.shape, generator=random)
    other = (pixels.t + step.to(u.device)) % now.n_frames
    there = ask(now, other, u, locate)
    inside = (there.xy.abs() <= u.new_tensor(now.scene.frame.extent)).all(-1)
    seen = torch.nonzero(inside & (there.occlusion < HIDDEN_ABOVE))[:, 0]
    if not len(seen):
        return torch.zeros(0)
    found = ask(now, other[seen], there.xy[seen], surface_at)
    back = ask(now, pixels.t[seen], found.u, locate)
    return PIXELS_PER_UNIT * (back.xy - pixels.xy[seen]).norm(dim=-1).cpu()


def ask(
    now: Snapshot, frames: Tensor, points: Tensor,
    question: Callable[[Snapshot, FrameMap, Tensor], Answer],
) -> Answer:  # fmt: skip
    """`surface_at` or `locate` of points (N, C), each in the frame (N,) of its own.

    Frame by frame, so that memory is that of one frame's points. N > 0.
    """
    order = frames.argsort(stable=True)
    answers = []
    for rows in order.split(torch.bincount(frames).tolist()):
        if len(rows):
            answers.append(question(now, now.at(frames[rows[:1]]), points[rows][None]))
    back = order.argsort()
    return type(answers[0])(*(torch.cat(field, dim=1)[0][back] for field in zip(*answers)))


def error_map(frame: Frame, xy: Tensor, error: Tensor) -> np.ndarray:
    """Mean ``error`` (H,) by place ``xy`` (H, 2), normalised: (rows, columns), NaN without any."""
    columns, rows = (max(1, round(MAP_CELLS * extent)) for extent in frame.extent)
    place = (xy / xy.new_tensor(frame.extent) + 1) / 2 * xy.new_tensor((columns, rows))
    column, row = place.long().clamp(min=0).unbind(-1)
    cell = row.clamp(max=rows - 1) * columns + column.clamp(max=columns - 1)
    total = torch.bincount(cell, error.double(), minlength=rows * columns)
    return (total / torch.bincount(cell, minlength=rows * columns)).view(rows, columns).numpy()


def _number(value: Tensor) -> float | None:
    """The value, rounded as it is written; None when it is none."""
    number = float(value)
    return round(number, 5) if math.isfinite(number) else None
