"""What preprocessing costs on this machine, measured on a few frames of the video itself.

Conventions. An excerpt of the first frames goes through every stage, and leaves a complete scene.
Costs are seconds of the wall with all of the method's workers busy. A ``kind`` of pair is what
its cost depends on: flow to the next frame may start from none, a link is stored densely, others
with flow are not, and some are only chained.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from omnimotion.flow import flow_path, frame_path
from omnimotion.images import save_png
from omnimotion.video import Video, open_video
from preprocess.compute import at_size, gaps_of, one_cv2_thread, preprocess
from preprocess.estimator import FlowEstimator, cached_frames
from preprocess.job import PRODUCTS, Job
from preprocess.merge import block_size, merge_all, source_bytes
from preprocess.methods import choose_estimator
from preprocess.mutual import cached_matches, cached_sources, confirm_all, matches_bytes
from preprocess.options import PreprocessOptions
from preprocess.pair_store import PairStore
from preprocess.pairs import (
    LINK_GAPS,
    Lattice,
    chain_stops,
    choose_pairs,
    disk_bytes,
    flow_gaps,
    held_frames,
    is_log_gap,
)
from preprocess.sections import checked_pair
from preprocess.threads import in_threads

EXCERPT = 10  # frames: enough for a pair of every kind, and for chains of every link
WARM_PAIRS = 2  # before pairs are timed
KINDS = ("next", "link", "flow", "chained")

Result = TypeVar("Result")


@dataclass(frozen=True)
class Work:
    """How much there is to do for a clip."""

    frames: int
    pairs: dict[str, int]  # unordered, by kind
    moves: int  # a source frame's points moved once along a flow, or compared once
    links: int  # dense flows read for chains

    @property
    def ordered(self) -> int:
        """Ordered pairs: flow files hold their matches."""
        return 2 * sum(self.pairs.values())

    @property
    def flows(self) -> int:
        """Ordered pairs with flow of their own."""
        return self.ordered - 2 * self.pairs["chained"]

    @classmethod
    def of(cls, n_frames: int, gaps: list[int], block: int) -> "Work":
        """Of a clip of so many frames, ``block`` source frames of which are merged at once."""
        pairs = dict.fromkeys(KINDS, 0)
        for gap in gaps:
            pairs[kind_of(gap)] += n_frames - gap
        linked = [gap for gap in LINK_GAPS if gap in gaps]
        stops, moves = [gap for gap in chain_stops(gaps) if gap < n_frames], 0
        direct = flow_gaps(gaps)
        for gap in stops:  # see `chain.extend`: direct flow, links, the comparison
            each = (gap in direct) + sum(gap - link in stops for link in linked) + 1
            moves += 2 * (n_frames - gap) * each
        links = 0
        for first in range(0, n_frames, block):  # see `merge._Merger`: both ways from a block
            stop = min(first + block, n_frames)
            used = _links_used(tuple(stops), tuple(linked), stop - first)
            links += int(used[: n_frames - first].sum() + used[:stop].sum())
        return cls(n_frames, pairs, moves, links)


@dataclass(frozen=True)
class FlowCosts:
    """Seconds of each unit of `Work`, and what it leaves on disk."""

    frame: float
    pair: dict[str, float]
    move: float
    link: float
    direct: float  # of an ordered pair with flow: read, to be merged
    confirm: float  # of an ordered pair: its matches written, confirmed, and written again
    frame_bytes: float
    flow_bytes: float  # of an ordered pair

    def seconds(self, work: Work) -> float:
        """How long the work takes, once the frames are in memory."""
        pairs = sum(self.pair.get(kind, 0.0) * count for kind, count in work.pairs.items())
        merge = self.move * work.moves + self.link * work.links
        matches = self.direct * work.flows + self.confirm * work.ordered
        return self.frame * work.frames + pairs + merge + matches

    def bytes(self, work: Work) -> float:
        """What stays on disk."""
        return self.frame_bytes * work.frames + self.flow_bytes * work.ordered


@dataclass(frozen=True)
class FlowPlan:
    """What preprocessing of one video takes, besides reading it twice."""

    work: Work
    excerpt: Work
    costs: FlowCosts
    start_s: float  # to find the method's weights
    peak_bytes: float  # on disk, while it runs
    held_bytes: int  # in memory, of matches, more than of the excerpt's
    method: str

    @property
    def seconds(self) -> float:
        """How long it takes, besides reading the video."""
        return self.start_s + self.costs.seconds(self.work)


def kind_of(gap: int) -> str:
    """The kind of a pair with this gap."""
    if gap == 1:
        return "next"
    return "link" if gap in LINK_GAPS else "flow" if is_log_gap(gap) else "chained"


@lru_cache(maxsize=4)
def _links_used(stops: tuple[int, ...], linked: tuple[int, ...], block: int) -> np.ndarray:
    """How many links chains of a ``block`` of source frames use into each frame, in one direction.

    By the distance of that frame from the block's first.
    """
    used = np.zeros(max(stops) + block, int)
    for link in linked:
        steps = np.zeros(max(stops) + 1)
        steps[[gap for gap in stops if gap - link in stops]] = 1
        used += np.convolve(steps, np.ones(block)) > 0.5
    return used


def plan_flow(options: PreprocessOptions, video: Video) -> FlowPlan:
    """What is to be expected of the options' video, which is ``video``.

    Measured on an excerpt, which is left in ``options.scene`` as a scene. Raises FlowError where
    weights are missing, or where the excerpt has no usable flow.
    """
    count = min(EXCERPT, len(video))
    first, step = int(video.source_indices[0]), int(video.source_indices[1])
    step -= first
    folder, gaps = options.scene, gaps_of(options, len(video))
    mode = "all" if gaps == list(range(1, max(gaps) + 1)) else "log"  # of a short clip: all
    frames_of_part = f"{first}:{first + (count - 1) * step + 1}:{step}"
    part = replace(options, frames=frames_of_part, pairs=mode)
    excerpt = open_video(part.video, part.frames, allow_truncated=part.allow_truncated)
    store = PairStore(folder / "pairs", Lattice.for_size(options.working_size(video.size)))
    for name in PRODUCTS:
        (folder / name).mkdir(parents=True)
    frames = cached_frames(folder, store.lattice.size)
    estimator, start_s = _timed(lambda: choose_estimator(options, frames, None))
    Job(part.settings(), excerpt.fingerprint, estimator.info).save(folder)
    with one_cv2_thread():
        costs = _measured(folder, store, estimator, excerpt, gaps)
    preprocess(part)  # all that is left is the index
    bound = len(video) * math.prod(store.lattice.size) * 3  # of frames, which are packed
    peak = costs.frame_bytes * len(video) + disk_bytes(len(video), gaps, store.lattice) - bound
    block = block_size(store, gaps)
    work = Work.of(len(video), gaps, block)
    short = [gap for gap in gaps if gap < count]
    done = Work.of(count, short, block)
    held = _held(store, gaps, len(video)) - _held(store, short, count)
    return FlowPlan(work, done, costs, start_s, peak, held, str(estimator.info["method"]))


def _measured(
    folder: Path, store: PairStore, estimator: FlowEstimator, excerpt: Video, gaps: list[int]
) -> FlowCosts:
    """The costs, from an excerpt that goes through all stages in their order."""
    n_frames = len(excerpt)
    gaps = [gap for gap in gaps if gap < n_frames]
    images = [at_size(frame, store.lattice.size) for frame in excerpt]
    work = Work.of(n_frames, gaps, block_size(store, gaps))

    def save(t: int) -> None:
        save_png(frame_path(folder, t), images[t])

    def compute(pair: tuple[int, int]) -> None:
        store.write(*pair, checked_pair(estimator, store, *pair, gaps))

    def seconds(function: Callable, items: Iterable) -> float:
        return _timed(lambda: [None for _ in in_threads(function, items, estimator.workers)])[1]

    save_s = seconds(save, range(n_frames))
    pairs = choose_pairs(n_frames, flow_gaps(gaps))
    for pair in pairs[:WARM_PAIRS]:
        compute(pair)
    taken = dict.fromkeys(KINDS, 0.0)
    for gap in flow_gaps(gaps):  # in order: each starts from flow of smaller ones
        here = [pair for pair in pairs if pair[1] - pair[0] == gap]
        taken[kind_of(gap)] += seconds(compute, here)
    linked = [pair for pair in pairs if pair[1] - pair[0] in LINK_GAPS]
    link_s = seconds(lambda pair: store.link(*pair), linked) / len(linked)
    every, workers = list(range(n_frames)), estimator.workers
    _, merge_s = _timed(lambda: merge_all(estimator, store, every, n_frames, gaps))
    ordered = [pair for i, j in pairs for pair in ((i, j), (j, i))]
    direct_s = seconds(lambda pair: store.lattice_flow(*pair), ordered)
    write_s = seconds(store.write_merged, [store.merged(i) for i in every])
    merged = cached_matches(store, gaps)
    _, confirm_s = _timed(lambda: confirm_all(folder, store, merged, every, workers))
    return FlowCosts(
        frame=save_s / n_frames,
        pair={kind: taken[kind] / work.pairs[kind] for kind in KINDS if taken[kind]},
        move=max(0.0, merge_s - link_s * work.links - direct_s - write_s) / work.moves,
        link=link_s,
        direct=direct_s / work.flows,
        confirm=(write_s + confirm_s) / work.ordered,
        frame_bytes=_bytes(frame_path(folder, t) for t in range(n_frames)) / n_frames,
        flow_bytes=_bytes(flow_path(folder, t) for t in range(n_frames)) / work.ordered,
    )


def _held(store: PairStore, gaps: list[int], n_frames: int) -> int:
    """Bytes of matches in memory: those that are merged at once, and those that are confirmed.

    The latter are also there while the next section is merged, if there is one.
    """
    merged = source_bytes(store, gaps) * min(n_frames, block_size(store, gaps))
    kept = matches_bytes(store, gaps) * min(n_frames, cached_sources(store, gaps))
    return merged + kept if held_frames(n_frames, gaps) < n_frames else max(merged, kept)


def _timed(function: Callable[[], Result]) -> tuple[Result, float]:
    began = time.perf_counter()
    return function(), time.perf_counter() - began


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
