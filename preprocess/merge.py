"""Merged matches of every source frame: direct flow and chains.

Conventions. Source frames are handled in blocks, so that the dense flow of a step is read once for
the block; within a block, in threads. The result does not depend on the block.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from omnimotion.flow import NONE, FrameFlow, zero_outside
from preprocess.chain import Reached, Step, extend, start, with_hidden
from preprocess.estimator import FlowEstimator
from preprocess.pair_store import PairStore
from preprocess.pairs import LINK_GAPS, chain_stops, flow_gaps
from preprocess.threads import in_threads

BLOCK_BYTES = 768 << 20  # of matches and chains held at once
MAX_BLOCK = 32


@dataclass
class _Source:
    """The walk of one source frame away from itself, in one direction."""

    i: int
    origin: tuple[int, int]
    history: dict[int, Reached]
    found: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # flow, state


def merge_all(
    estimator: FlowEstimator, store: PairStore, todo: list[int], n_frames: int, gaps: list[int]
) -> None:
    """Write the merged matches of the frames ``todo``, in order, beside the pairs."""
    block = block_size(store, gaps)
    with (
        ThreadPoolExecutor(estimator.workers) as pool,
        tqdm(total=len(todo), unit="frame", desc="chain", disable=None) as bar,
    ):
        for begin in range(0, len(todo), block):
            sources = todo[begin : begin + block]
            merger = _Merger(estimator, store, n_frames, gaps, pool)
            for _ in merger.merge(sources):
                bar.update()


class _Merger:
    """Walks a block of source frames forward and backward, as far as the largest gap."""

    def __init__(
        self,
        estimator: FlowEstimator,
        store: PairStore,
        n_frames: int,
        gaps: list[int],
        pool: ThreadPoolExecutor,
    ) -> None:
        self.estimator = estimator
        self.store = store
        self.n_frames = n_frames
        self.gaps = frozenset(gaps)
        self.direct = frozenset(flow_gaps(gaps))
        self.stops = frozenset(chain_stops(gaps))
        self.pool = pool

    def merge(self, sources: list[int]) -> Iterator[None]:
        """Store the matches of the given source frames."""
        walks = zip(self._walk(sources, +1), self._walk(sources, -1))
        return in_threads(self._write, walks, self.estimator.workers)

    def _walk(self, sources: list[int], sign: int) -> list[_Source]:
        walks = [self._start(i, forward=sign > 0) for i in sources]
        first = min(sources) if sign > 0 else max(sources)
        reach = max(self.gaps)
        last = min(self.n_frames - 1, max(sources) + reach) if sign > 0 else max(
            0, min(sources) - reach)  # fmt: skip
        for j in range(first + sign, last + sign, sign):
            active = [walk for walk in walks if (j - walk.i) * sign in self.stops]
            step = self._step(j, sign, active)
            list(self.pool.map(lambda walk: self._advance(walk, step), active))  # noqa: B023
        return walks

    def _start(self, i: int, forward: bool) -> _Source:
        lattice = self.store.lattice
        origin = lattice.origin(i, forward)
        return _Source(i, origin, {i: start(origin, lattice.stride, lattice.shape)})

    def _step(self, j: int, sign: int, active: list[_Source]) -> Step:
        """The links into frame j that some chain can use."""
        ks = [j - sign * gap for gap in LINK_GAPS if gap in self.gaps]
        used = [k for k in ks if any(k in walk.history and k != walk.i for walk in active)]
        links = dict(zip(used, self.pool.map(lambda k: self.store.link(k, j), used)))
        return Step(j, links, self.store.limit, self.store.lattice.size)

    def _advance(self, walk: _Source, step: Step) -> None:
        source, j = walk.history[walk.i], step.j
        pixels = self.store.lattice.pixels(walk.i, forward=j > walk.i)
        gap = abs(j - walk.i)
        direct = self.store.lattice_flow(walk.i, j) if gap in self.direct else None

        def alike(x: np.ndarray, y: np.ndarray, known: np.ndarray) -> np.ndarray:
            return self.estimator.alike(walk.i, pixels, j, (x, y), known)

        reached = extend(walk.history, walk.i, step, direct, alike)
        oldest = gap - max(LINK_GAPS)
        walk.history = {
            k: known for k, known in walk.history.items()
            if k == walk.i or abs(k - walk.i) > oldest
        }  # fmt: skip
        if not reached.is_lost:
            walk.history[j] = reached
        if gap in self.gaps:
            shown = with_hidden(reached, source, direct)
            flow = np.stack((shown.x - source.x, shown.y - source.y), axis=-1)
            walk.found[j] = zero_outside(flow, shown.state != NONE), shown.state

    def _write(self, walks: tuple[_Source, _Source]) -> None:
        self.store.write_merged(self._frame_flow(*walks))

    def _frame_flow(self, ahead: _Source, behind: _Source) -> FrameFlow:
        found = {j: (*walk.found[j], walk.origin) for walk in (ahead, behind) for j in walk.found}
        targets = sorted(found)
        return FrameFlow(
            i=ahead.i,
            targets=np.array(targets, np.int32),
            origin=np.array([found[j][2] for j in targets], np.int32).reshape(-1, 2),
            stride=self.store.lattice.stride,
            flow=np.stack([found[j][0] for j in targets]),
            state=np.stack([found[j][1] for j in targets]),
        )


def source_bytes(store: PairStore, gaps: list[int]) -> int:
    """Of the matches and chains of a source frame, while it is merged."""
    points = store.lattice.shape[0] * store.lattice.shape[1]
    return points * (9 * 2 * len(gaps) + 13 * (max(LINK_GAPS) + 1))


def block_size(store: PairStore, gaps: list[int]) -> int:
    """How many source frames are merged at once."""
    return int(np.clip(BLOCK_BYTES // source_bytes(store, gaps), 1, MAX_BLOCK))
