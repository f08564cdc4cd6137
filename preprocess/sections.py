"""The matches of a video, section by section, so that what is kept of pairs does not grow.

Confirmed matches of a frame need the merged ones of all frames within reach, the largest gap; and
merged matches need the pairs within reach. So a section needs pairs up to twice the reach beyond
its frames. When it is done, what no later section needs is deleted.

Every file is a function of the video and the options alone, so the result does not depend on the
sections, nor on where a job was stopped.
"""

import logging
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from omnimotion.errors import FlowError
from omnimotion.flow import NONE, flow_path, paired_frames, read_flow
from omnimotion.heap import give_back
from preprocess.estimator import FlowEstimator
from preprocess.filter import HIDDEN_GAP, CheckedFlow, check_flow, targets
from preprocess.merge import merge_all
from preprocess.mutual import cached_matches, confirm_all
from preprocess.pair_store import CheckedPair, PairStore
from preprocess.pairs import SECTION, choose_pairs, flow_gaps, held_frames
from preprocess.threads import in_threads

log = logging.getLogger(__name__)

TIMED_PAIRS = 4  # per worker, before the time is estimated
TIMED_GAPS = 2  # and again at the second gap: flow to the next frame may take three times as long


def match_all(
    folder: Path, estimator: FlowEstimator, store: PairStore, n_frames: int, gaps: list[int]
) -> list[float]:
    """Write the confirmed matches of all frames; returns the coverage of every pair, in order."""
    matcher = _Matcher(folder, estimator, store, n_frames, gaps)
    coverage: list[float] = []
    length = n_frames if held_frames(n_frames, gaps) == n_frames else SECTION
    began = time.perf_counter()
    for start in range(0, n_frames, length):
        section = range(start, min(start + length, n_frames))
        coverage += matcher.match(section)
        give_back()
        if length < n_frames:
            left = (time.perf_counter() - began) / section.stop * (n_frames - section.stop)
            log.info("frames=%d of %d estimated_s=%.0f", section.stop, n_frames, left)
    return coverage


class _Matcher:
    """Does what is left to do of one section after the other."""

    def __init__(
        self, folder: Path, estimator: FlowEstimator, store: PairStore, n_frames: int,
        gaps: list[int],
    ) -> None:  # fmt: skip
        self.folder = folder
        self.estimator = estimator
        self.store = store
        self.n_frames = n_frames
        self.gaps = gaps
        self.reach = max(gaps)
        self._cached = cached_matches(store, gaps)
        self._sound: set[int | tuple[int, int]] = set()  # frames merged, pairs, known to be there

    def match(self, section: range) -> list[float]:
        """The coverage of the pairs of a section, once its matches are there."""
        todo = [i for i in section if not self._is_done(i)]
        if todo:
            self._merge(self._around(todo[0], todo[-1]))
            confirm_all(self.folder, self.store, self._cached, todo, self.estimator.workers)
        coverage = dict(in_threads(self._coverage, section, self.estimator.workers))
        self._forget(merged=section.stop - self.reach, pairs=section.stop)
        return [share for i in section for share in coverage[i]]

    def _forget(self, merged: int, pairs: int) -> None:
        """Delete merged matches of frames below ``merged``, pairs that begin below ``pairs``."""
        self.store.forget(merged, pairs)
        self._sound = {
            each
            for each in self._sound
            if (each >= merged if isinstance(each, int) else each[0] >= pairs)
        }

    def _is_done(self, i: int) -> bool:
        """Whether the confirmed matches of frame i are there, sound, and with all its targets."""
        try:
            found = read_flow(flow_path(self.folder, i)).targets
        except FlowError:
            return False
        return found.tolist() == paired_frames(i, self.gaps, self.n_frames)

    def _coverage(self, i: int) -> tuple[int, list[float]]:
        """The frame, and the share of its lattice points that have a match, by target."""
        state = read_flow(flow_path(self.folder, i)).state
        return i, [round(float(np.mean(each != NONE)), 4) for each in state]

    def _merge(self, sources: range) -> None:
        """Write the merged matches of the sources that lack them."""
        lacking = [i for i in sources if not (i in self._sound or self.store.has_merged(i))]
        if lacking:
            self._compute(self._around(lacking[0], lacking[-1]))
            merge_all(self.estimator, self.store, lacking, self.n_frames, self.gaps)
        self._sound.update(sources)

    def _compute(self, frames: range) -> None:
        """Compute and check the flow of every pair of these frames that is not stored yet."""
        pairs = [(frames.start + i, frames.start + j)
                 for i, j in choose_pairs(len(frames), flow_gaps(self.gaps))]  # fmt: skip
        todo = [pair for pair in pairs if not (pair in self._sound or self.store.has(*pair))]

        def compute(pair: tuple[int, int]) -> None:
            self.store.write(*pair, checked_pair(self.estimator, self.store, *pair, self.gaps))

        left, workers = len(todo), self.estimator.workers
        with tqdm(total=len(pairs), initial=len(pairs) - len(todo), unit="pair", desc="flow",
                  disable=None) as bar:  # fmt: skip
            for k, batch in enumerate(filter(None, _batches(todo, self.gaps))):
                began = time.perf_counter()
                for done, _ in enumerate(in_threads(compute, batch, workers), 1):
                    bar.update()
                    left -= 1
                    if k < TIMED_GAPS and done == TIMED_PAIRS * workers:
                        seconds = (time.perf_counter() - began) / done * left
                        log.info("pairs_left=%d estimated_s=%.0f", left, seconds)
        self._sound.update(pairs)

    def _around(self, first: int, last: int) -> range:
        """The frames within reach of some."""
        return range(max(0, first - self.reach), min(self.n_frames, last + self.reach + 1))


def _batches(pairs: list[tuple[int, int]], gaps: list[int]) -> list[list[tuple[int, int]]]:
    """The pairs gap by gap: each starts from flow of smaller ones."""
    return [[pair for pair in pairs if pair[1] - pair[0] == gap] for gap in gaps]


def checked_pair(
    estimator: FlowEstimator, store: PairStore, i: int, j: int, gaps: list[int]
) -> CheckedPair:
    """Flow of the pair (i, j), i < j, checked; FlowError where it is not finite."""
    flow = estimator.pair(i, j, estimator.start(store, i, j, gaps))
    if not (np.isfinite(flow.forward).all() and np.isfinite(flow.backward).all()):
        raise FlowError(f"flow of frames {i} and {j} is not finite: use --flow dis")
    hidden = estimator.finds_hidden and j - i <= HIDDEN_GAP

    def checked(source: int, target: int, there: np.ndarray, back: np.ndarray) -> CheckedFlow:
        at = store.pixels(source, target)

        def alike(known: np.ndarray) -> np.ndarray:
            return estimator.alike(source, at, target, targets(there, at), known)

        return check_flow(there, back, alike, hidden, at)

    forward, backward = flow.forward, flow.backward
    return CheckedPair(
        checked(i, j, forward, backward), checked(j, i, backward, forward), flow.coarse
    )
