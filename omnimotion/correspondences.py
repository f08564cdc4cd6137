"""The pool of matches a fit draws from: flat, bounded, and on the device.

Conventions. Matches are grouped by ordered pair (i, j); ``xy`` in normalised coordinates. Nothing
is read from disk once the pool is made, and drawing never waits for the device. A small share of
the matches is held out: it is never drawn, and tells afterwards how good the fit is.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.draws import Draws, Found, found
from omnimotion.errors import FlowError
from omnimotion.flow import HIDDEN, NONE, FrameFlow, SceneStore
from omnimotion.geometry import Frame
from omnimotion.importance import counted, motion_there
from omnimotion.seeds import Purpose
from omnimotion.texture import certainty

HELD_OUT_SHARE = 1 / 50  # of a pair's matches, up to its part of the most
HELD_OUT_MOST = 20_000  # of all pairs: 200 from each frame of a 100-frame clip


class Correspondences(NamedTuple):
    """One step's matches: P pairs, N points each."""

    pair: Tensor  # (P,) int64, index into the pool's pairs
    i: Tensor  # (P,) int64
    j: Tensor  # (P,) int64
    xy_i: Tensor  # (P, N, 2) normalised
    xy_j: Tensor  # (P, N, 2) normalised
    rgb_i: Tensor  # (P, N, 3) in [0, 1]
    covisible: Tensor  # (P, N) bool; False where the point is hidden in j
    certainty: Tensor  # (P, N) what the match counts, 1 on average
    lost_i: Tensor  # (P, L, 2) normalised; points of i without a match in j
    lost_weight: Tensor  # (P,) how surely such a point is hidden in j


class HeldOut(NamedTuple):
    """H matches that are never drawn, on the CPU, in the order of their pairs."""

    i: Tensor  # (H,) int64
    j: Tensor  # (H,) int64
    xy_i: Tensor  # (H, 2) float32 normalised
    xy_j: Tensor  # (H, 2) float32 normalised
    covisible: Tensor  # (H,) bool; False where the point is hidden in j


@dataclass(frozen=True)
class Pairs:
    """K ordered pairs of frames that have matches."""

    i: Tensor  # (K,) int64
    j: Tensor  # (K,) int64
    count: Tensor  # (K,) int64 > 0, matches of the pair

    @cached_property
    def gap(self) -> Tensor:
        """(K,) frames between the two of each pair."""
        return (self.i - self.j).abs()

    @cached_property
    def nearest(self) -> Tensor:
        """() the least of `gap`."""
        return self.gap.amin()

    @cached_property
    def _liked(self) -> dict[float, Tensor]:
        return {}

    def liked(self, gap_bias: float) -> Tensor:
        """(K,) how much more one pair is drawn than another, kept for the next time.

        Pairs with many matches are drawn more often (square root), far ones less.
        """
        if gap_bias not in self._liked:
            self._liked[gap_bias] = self.count.sqrt() * self.gap.float() ** -gap_bias
        return self._liked[gap_bias]


@dataclass(frozen=True)
class CorrespondencePool(Pairs):
    """All matches held for a fit; M matches in K pairs."""

    start: Tensor  # (K,) int64, first match of the pair
    xy_i: Tensor  # (M, 2) float32 normalised
    xy_j: Tensor  # (M, 2) float32 normalised
    rgb_i: Tensor  # (M, 3) uint8
    covisible: Tensor  # (M,) bool
    certainty: Tensor  # (M,) float16 >= 0, of mean 1
    lost_start: Tensor  # (K,) int64, first unmatched point of the pair
    lost_count: Tensor  # (K,) int64 >= 0
    lost_i: Tensor  # (U, 2) float32 normalised, U >= 1
    matched_share: Tensor  # (K,) float32 of the lattice
    motion_sum: Tensor  # (M + 1,) float64, sums of the motion at the matches' places
    held_out: HeldOut  # none of them among the M
    coverage: Tensor  # (T,) float32 on the CPU, share of the lattice with a match to any frame
    fused: bool = False  # matches are drawn by a compiled loop, on a CPU

    def draw(self, chances: Tensor, n_pairs: int, n_points: int, n_lost: int,
             motion_share: float, random: torch.Generator) -> Correspondences:  # fmt: skip
        """Draw pairs by ``chances`` (K,), then matches and unmatched points, with replacement.

        ``motion_share``: of the matches, drawn in proportion to the motion at their place; the
        others are drawn evenly.
        """
        pair = torch.multinomial(chances, n_pairs, replacement=True, generator=random)
        draws = Draws.drawn((n_pairs, n_points), n_lost, motion_share > 0, random)
        some = self._found(pair, draws, motion_share)
        return Correspondences(
            pair=pair, i=self.i[pair], j=self.j[pair], xy_i=some.xy_i, xy_j=some.xy_j,
            rgb_i=some.rgb_i, covisible=some.covisible,
            certainty=self.certainty[some.match].float(), lost_i=some.lost_i,
            lost_weight=self._lost_weight[pair],
        )  # fmt: skip

    @cached_property
    def _found(self) -> Callable[[Tensor, Draws, float], Found]:
        """`draws.found` of this pool."""
        if not self.fused:
            return partial(found, self)
        from omnimotion.fused.draw import drawn_from  # needs numba

        return drawn_from(self)

    @cached_property
    def _lost_weight(self) -> Tensor:
        """(K,) see `Correspondences`."""
        return self.matched_share**2 * (self.lost_count > 0)


class _Look(NamedTuple):
    """A frame, as its matches see it."""

    rgb: np.ndarray  # (H, W, 3) uint8
    certainty: np.ndarray  # (H, W)


class _Pair(NamedTuple):
    """What is kept of one pair, in pixels: M matches, H held out, U points without a match."""

    i: int
    j: int
    # xy_i (M, 2), xy_j (M, 2), covisible (M,), rgb_i (M, 3), certainty (M,)
    matches: tuple[np.ndarray, ...]
    held_out: tuple[np.ndarray, ...]  # xy_i (H, 2), xy_j (H, 2), covisible (H,)
    lost: np.ndarray  # (U, 2)
    matched_share: float  # of the lattice


def build_pool(
    store: SceneStore, cameras: Tensor, size: int, seed: int, device: torch.device,
    texture: float = 0.0,
) -> CorrespondencePool:  # fmt: skip
    """Read a scene's matches, at most ``size`` of them, an equal quota for each pair.

    ``texture``: at which a match counts half (see `omnimotion.texture`). FlowError when the scene
    has no matches.
    """
    frame = Frame(*store.index.size)
    pairs, coverage = _read_pairs(store, size, seed, texture)
    if not pairs:
        raise FlowError(f"{store.folder}: no reliable matches in any pair: preprocess again")
    i, j, count, held_count, lost_count = torch.tensor([
        (pair.i, pair.j, *(len(part) for part in (pair.matches[0], pair.held_out[0], pair.lost)))
        for pair in pairs
    ]).T.contiguous()  # fmt: skip
    source, target, covisible, rgb, certain = _joined(pair.matches for pair in pairs)
    source, target = frame.normalise(source), frame.normalise(target)
    held_i, held_j, held_covisible = _joined(pair.held_out for pair in pairs)
    nowhere = np.zeros((1, 2), np.float32)  # so that there is something to index
    lost = torch.from_numpy(np.concatenate([*(pair.lost for pair in pairs), nowhere]))
    motion_sum = torch.zeros(len(source) + 1, dtype=torch.float64)
    motion = motion_sum[1:]
    for which, *matches in _by_frame(i, j, count, source, target):
        motion[which] = motion_there(frame, cameras, *matches)
    certain = counted(certain, motion)
    torch.cumsum(motion_sum, 0, out=motion_sum)
    return CorrespondencePool(
        i=i.to(device), j=j.to(device), start=(count.cumsum(0) - count).to(device),
        count=count.to(device), xy_i=source.to(device), xy_j=target.to(device),
        rgb_i=rgb.to(device), covisible=covisible.to(device), certainty=certain.to(device),
        lost_start=(lost_count.cumsum(0) - lost_count).to(device),
        lost_count=lost_count.to(device), lost_i=frame.normalise(lost).to(device),
        matched_share=torch.tensor([pair.matched_share for pair in pairs]).to(device),
        motion_sum=motion_sum.to(device),
        held_out=HeldOut(i.repeat_interleave(held_count), j.repeat_interleave(held_count),
                         frame.normalise(held_i), frame.normalise(held_j), held_covisible),
        coverage=torch.tensor(coverage),
    )  # fmt: skip


def _read_pairs(
    store: SceneStore, size: int, seed: int, texture: float
) -> tuple[list[_Pair], list[float]]:
    """What is kept of each pair that has matches, and the share of each frame with any match."""
    random, held_random = (
        np.random.default_rng((seed, int(purpose))) for purpose in (Purpose.POOL, Purpose.HELD_OUT)
    )
    n_pairs = max(1, len(store.index.coverage))
    quota = max(1, size // n_pairs)
    pairs, coverage, k = [], [], 0
    for i in range(store.index.n_frames):
        flow, image = store.flow(i), store.frame(i)
        look = _Look(image, certainty(image, texture))
        coverage.append(float((flow.state != NONE).any(axis=0).mean()) if len(flow.state) else 0.0)
        for m in range(len(flow.targets)):
            most = HELD_OUT_MOST * (k + 1) // n_pairs - HELD_OUT_MOST * k // n_pairs
            n = int((flow.state[m] != NONE).sum())
            out = _held_out(n, most, held_random)
            k += 1
            if n:
                pairs.append(_pair(flow, m, look, out, quota, random))
    return pairs, coverage


def _held_out(n: int, most: int, random: np.random.Generator) -> np.ndarray:
    """Which of the n matches of a pair are held out, at most ``most`` and never all."""
    count = min(int(n * HELD_OUT_SHARE + random.random()), most, n - 1)
    return np.sort(random.choice(n, count, replace=False)) if count > 0 else np.empty(0, np.int64)


def _pair(
    flow: FrameFlow, m: int, look: _Look, out: np.ndarray, quota: int,
    random: np.random.Generator,
) -> _Pair:  # fmt: skip
    """A pair's matches but for those held ``out``, at most ``quota``, chosen at random."""
    xy_i, xy_j, state = flow.matches(m)
    kept = np.delete(np.arange(len(xy_i)), out)
    if len(kept) > quota:
        kept = kept[np.sort(random.choice(len(kept), quota, replace=False))]
    held_out = (xy_i[out], xy_j[out], state[out] != HIDDEN)
    rows, columns = np.nonzero(flow.state[m] == NONE)
    share = 1 - len(rows) / flow.state[m].size
    if len(rows) > quota // 8:
        some = np.sort(random.choice(len(rows), quota // 8, replace=False))
        rows, columns = rows[some], columns[some]
    lost = np.stack((columns, rows), axis=-1) * flow.stride + flow.origin[m]
    xy_i, xy_j, state = xy_i[kept], xy_j[kept], state[kept]
    x, y = xy_i.astype(np.int64).T
    counts = look.certainty[y, x].astype(np.float16)
    matches = (xy_i, xy_j, state != HIDDEN, look.rgb[y, x], counts)
    target = int(flow.targets[m])
    return _Pair(flow.i, target, matches, held_out, lost.astype(np.float32), share)


def _joined(parts: Iterable[tuple[np.ndarray, ...]]) -> tuple[Tensor, ...]:
    """Columns of all pairs, one after the other."""
    return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*parts))


def _by_frame(
    i: Tensor, j: Tensor, count: Tensor, xy_i: Tensor, xy_j: Tensor
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor, Tensor]]:
    """The matches that start in one frame, for each: which they are, i, j, xy_i, xy_j.

    All at once would take several times the pool's memory.
    """
    end = 0
    for t in i.unique_consecutive():
        own = i == t
        n = count[own]
        which = slice(end, end := end + int(n.sum()))
        yield (which, i[own].repeat_interleave(n), j[own].repeat_interleave(n),
               xy_i[which], xy_j[which])  # fmt: skip


def pair_chances(
    pairs: Pairs, max_gap: float, gap_bias: float, error: Tensor | None = None, mining: float = 0
) -> Tensor:
    """The chance (K,) of each pair, up to a factor.

    It goes by `Pairs.liked`, but those beyond ``max_gap`` are never drawn, and those with a large
    running ``error`` (K,) more (``mining``).
    """
    within = pairs.gap <= pairs.nearest.clamp(min=max_gap)
    chance = pairs.liked(gap_bias) * within
    if mining > 0 and error is not None:
        chance = chance * (error / error.mean()).clamp(0.25, 4.0) ** mining
    return chance
