"""A window of a long clip, seen as a clip of its own."""

from dataclasses import replace

import numpy as np

from omnimotion.flow import FrameFlow, SceneIndex, SceneStore


class WindowStore(SceneStore):
    """The frames ``span`` of a store, as a clip that begins at 0; no file is read for it."""

    def __init__(self, store: SceneStore, span: range) -> None:
        index, (start, stop) = store.index, (span.start, span.stop)
        super().__init__(store.folder, replace(
            index, n_frames=len(span), grown=[],
            fingerprint=f"{index.fingerprint_to(stop)}[{start}:{stop}]",
            times=index.times[start:stop], source_indices=index.source_indices[start:stop],
            gaps=[gap for gap in index.gaps if gap < len(span)], coverage=_coverage(index, span),
        ))  # fmt: skip
        self._store, self._start = store, start

    @property
    def span(self) -> range:
        """See `SceneStore`."""
        return range(self._start, self._start + self.index.n_frames)

    def frame(self, t: int) -> np.ndarray:
        """See `SceneStore`."""
        return self._store.frame(self._start + t)

    def flow(self, i: int) -> FrameFlow:
        """Matches from frame i to others of the window; raises as the store does."""
        found = self._store.flow(self._start + i)
        targets = found.targets - self._start
        kept = (targets >= 0) & (targets < self.index.n_frames)
        return FrameFlow(i, targets[kept], found.origin[kept], found.stride,
                         found.flow[kept], found.state[kept])  # fmt: skip


def _coverage(index: SceneIndex, span: range) -> list[float]:
    """The coverage of the pairs within a span of frames."""
    shorter = np.searchsorted(index.gaps, np.arange(index.n_frames), side="right")
    before = int((shorter + shorter[::-1])[: span.start].sum())  # pairs from frames before it
    pairs = [j for i in span for j in index.targets(i)]
    part = index.coverage[before : before + len(pairs)]
    return [share for j, share in zip(pairs, part) if j in span]
