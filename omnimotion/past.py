"""What is known of tracks that come to a window from another one.

Were a track drawn only to what its window shows, it would keep for ever how far off it came, and
be as far off again at the next border. But matches reach over borders, and a query looks alike on
either side. So tracks are drawn to the matches with frames beside the window too, where their
places are known and stay, and to the patches around the queries themselves, however many borders
ago that was.

Conventions. q tracks, B frames beside the window, before it or after it, T frames of the window.
Places are in pixels of the store's frames.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from omnimotion.matches import Matches
from omnimotion.patches import Around, Patches, Template
from omnimotion.pose_graph import QUERY_PX, Refined, refine

MOST_WARP = 1e3  # a patch that is turned and stretched more tells nothing
LOST_PX = 32.0  # how far off tracks are taken to be at most, of a frame of 256: may be lost


class Looks:
    """What Q queries look like, and how the N frames of a clip turn and stretch that."""

    def __init__(self, count: int, n_frames: int) -> None:
        self.template = Template.blank(count)
        self.warp = np.zeros((count, n_frames, 2, 2), np.float16)

    def begin(self, rows: np.ndarray, frames: np.ndarray, template: Template) -> None:
        """Put in what some queries look like, in their frames (q,)."""
        self.template.put(rows, template)
        self.warp[rows, frames] = np.eye(2)

    def go_on(self, rows: np.ndarray, frames: np.ndarray, window: range, warp: np.ndarray) -> None:
        """Put in a window's ``warp`` (q, T, 2, 2) of what is near tracks in ``frames`` (q,)."""
        chained = warp @ self.at(rows, frames)[:, None]
        self.warp[rows, window.start : window.stop] = chained.clip(-MOST_WARP, MOST_WARP)

    def at(self, rows: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """How ``frames`` (q,) turn and stretch what is near the queries, (q, 2, 2)."""
        return self.warp[rows, frames].astype(np.float32)


class Past(NamedTuple):
    """Tracks beside a window, and what their queries look like."""

    matches: Matches  # of the frames beside the window and its own
    is_before: bool  # the window, the frames beside it; otherwise after it
    xy: np.ndarray  # (q, B, 2)
    shown: np.ndarray  # bool (q, B)
    sure: np.ndarray  # (q,) confidence where the tracks go over to the window
    template: Template  # the patches around the queries
    warp: np.ndarray  # (q, 2, 2) from there to where the tracks go over

    @property
    def n_frames(self) -> int:
        """B."""
        return self.shown.shape[1]

    @property
    def _here(self) -> slice:
        """The window's frames among those of the matches."""
        beside, every = self.n_frames, self.matches.n_frames
        return slice(beside, every) if self.is_before else slice(0, every - beside)

    def part(self, which: slice) -> "Past":
        """Some of the tracks."""
        return self._replace(
            xy=self.xy[which], shown=self.shown[which], sure=self.sure[which],
            template=self.template.part(which), warp=self.warp[which],
        )  # fmt: skip

    def around(self, patches: Patches, warp: np.ndarray) -> Around:
        """The queries' patches in the window; ``warp`` (q, T, 2, 2) from where tracks go over."""
        return Around(patches, self.template, warp @ self.warp[:, None])

    def follow(self, frames: np.ndarray, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`Matches.follow` from places ``xy`` (q, 2) of the window's ``frames``, in its frames."""
        ends, again = self.matches.follow(self._here.start + frames, xy)
        return ends[:, self._here], again[:, self._here]

    def refine(
        self, xy: np.ndarray, shown: np.ndarray, confidence: np.ndarray,
        find: Callable[[np.ndarray, np.ndarray], np.ndarray], sure: np.ndarray | None = None,
    ) -> Refined:  # fmt: skip
        """`pose_graph.refine` of tracks ``xy`` (q, T, 2) in the window; its arrays are (q, T).

        ``confidence`` is that of tracks that begin where they go over.
        """
        beside, n_frames, here = self.n_frames, shown.shape[1], self._here
        nearest = beside - 1 if self.is_before else n_frames  # beside the window

        def find_here(xy: np.ndarray, shown: np.ndarray) -> np.ndarray:
            found = np.full(xy.shape, np.nan)
            found[:, here] = find(xy[:, here], shown[:, here])
            return found

        sure = np.full(shown.shape, np.inf) if sure is None else sure
        refined = refine(
            self.matches, self._with(self.xy, xy), self._with(self.shown, shown),
            self._with(self.sure[:, None].repeat(beside, 1), confidence * self.sure[:, None]),
            np.full(len(xy), nearest), find=find_here, unsure_px=LOST_PX,
            sure=self._with(np.full(self.shown.shape, QUERY_PX), sure),
        )  # fmt: skip
        return Refined(*(each[:, here] for each in refined))

    def _with(self, known: np.ndarray, window: np.ndarray) -> np.ndarray:
        """What is known beside the window and what is in it, in the order of frames."""
        return np.concatenate((known, window) if self.is_before else (window, known), axis=1)
