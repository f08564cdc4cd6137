"""Running a tracker on annotated clips and scoring what it answers.

Convention: a tracker speaks original pixels (pixel centres at integers); scores are computed at
256x256, TAP-Vid's scale, errors being scaled by (256/W, 256/H). Shares are in percent. A score
that does not apply (no visibility labels, no masks, no hidden point) is None. Several clips are
averaged without weights, each score over the clips that have it.

`hidden_px` is the median error, at 256x256, over all cells that are known and not visible, points
that have left the frame included (the rule of the test data's reference figures);
`hidden_inside_px` leaves those out; `hidden_px_native` is `hidden_px` in pixels of the clip.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from omnimotion import metrics
from omnimotion.errors import InputError
from omnimotion.files import shown
from omnimotion.geometry import inside_frame
from omnimotion.ground_truth import GroundTruth, QueryMode, QuerySet

SURVIVAL_PX = (16, 50)  # pips2 and CoTracker publish different thresholds; both are printed
BADJA_PX = 3.0
TABLE_COLUMNS = (
    "AJ",
    "delta_avg",
    "OA",
    "hidden_px",
    "hidden_inside_px",
    "TC",
    "MTE",
    "survival_16",
    "survival_50",
)
BADJA_COLUMNS = ("pck_t", "delta_3px_native")

_MODES: dict[QueryMode, str] = {
    "given": "the file's own queries, every frame but the query's",
    "strided": "queries at every 5th frame, every frame but the query's",
    "first": "query at the first visible frame, frames after it",
}


class TrackResult(Protocol):
    """What scoring needs of `omnimotion.tracks.Tracks`."""

    @property
    def xy(self) -> NDArray[Any]: ...  # (Q, T, 2) original pixels

    @property
    def visible(self) -> NDArray[np.bool_]: ...  # (Q, T)


class Tracker(Protocol):
    """Anything that answers queries (Q, 3) ``t, x, y``, in original pixels, with tracks."""

    def track(self, queries: NDArray[np.float32], /) -> TrackResult: ...


@dataclass(frozen=True)
class ClipScores:
    """Scores of one clip: shares in percent, errors in pixels at 256x256; None does not apply."""

    name: str
    mode: QueryMode
    size: tuple[int, int]  # (W, H)
    n_frames: int
    n_queries: int
    scores: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """Scores of several clips in one query mode."""

    clips: tuple[ClipScores, ...]
    mode: QueryMode

    @property
    def mean(self) -> dict[str, float | None]:
        """Unweighted mean of each score over the clips that have it."""
        keys = dict.fromkeys(key for clip in self.clips for key in clip.scores)
        return {key: _mean([clip.scores.get(key) for clip in self.clips]) for key in keys}

    @property
    def convention(self) -> str:
        """What the numbers mean, in one sentence."""
        return (
            f"TAP-Vid at 256x256 (errors scaled by 256/W, 256/H; thresholds 1, 2, 4, 8, 16 px, "
            f"strict); query mode {self.mode}: {_MODES[self.mode]}, where known; delta over "
            "visible points, AJ and OA only with occlusion labels; hidden_px is the median error "
            "over points not visible (hidden_inside_px: in the frame); shares in percent"
        )

    def to_json(self) -> str:
        """The whole evaluation as JSON text."""
        clips = [
            {
                "name": clip.name,
                "size": list(clip.size),
                "n_frames": clip.n_frames,
                "n_queries": clip.n_queries,
                "scores": clip.scores,
            }
            for clip in self.clips
        ]
        content = {
            "convention": self.convention,
            "mode": self.mode,
            "clips": clips,
            "mean": self.mean,
        }
        return json.dumps(content, indent=2, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """A table of the main scores, one row a clip, and the convention below it."""
        mean = self.mean
        columns = [c for c in (*TABLE_COLUMNS, *BADJA_COLUMNS) if mean.get(c) is not None]
        rows = [(shown(clip.name), clip.scores) for clip in self.clips]
        if len(rows) > 1:
            rows.append(("mean", mean))
        lines = [_table_row(["clip", *columns]), _table_row(["---"] * (len(columns) + 1))]
        lines += [_table_row([name, *(_cell(s.get(c)) for c in columns)]) for name, s in rows]
        return "\n".join([*lines, "", f"{self.convention}.", ""])


def evaluate_scene(tracker: Tracker, truth: GroundTruth, mode: QueryMode = "given") -> ClipScores:
    """Ask the tracker the queries of a mode and score its answer.

    Raises ConfigError for a mode the clip does not have, InputError if the answer has other frames
    than the ground truth.
    """
    queries = truth.select(mode)
    answer = tracker.track(queries.queries)
    return ClipScores(
        name=truth.name,
        mode=mode,
        size=truth.size,
        n_frames=truth.tracks.shape[1],
        n_queries=len(queries.queries),
        scores=_score(truth, queries, answer.xy, answer.visible),
    )


def evaluate(
    clips: Iterable[tuple[Tracker, GroundTruth]], mode: QueryMode = "given"
) -> Evaluation:
    """Evaluate each tracker on its own clip; clips are taken one at a time."""
    return Evaluation(tuple(evaluate_scene(tracker, gt, mode) for tracker, gt in clips), mode)


def score_tracks(
    truth: GroundTruth, xy: NDArray[Any], visible: NDArray[Any], mode: QueryMode = "given"
) -> dict[str, float | None]:
    """Scores of tracks (Q, T, 2), (Q, T) that answer ``truth.select(mode).queries`` in order."""
    return _score(truth, truth.select(mode), xy, visible)


def _score(
    truth: GroundTruth, queries: QuerySet, xy: NDArray[Any], visible: NDArray[Any]
) -> dict[str, float | None]:
    expected = queries.tracks.shape
    if np.shape(xy) != expected or np.shape(visible) != expected[:2]:
        raise InputError(
            f"{truth.name}: tracks {np.shape(xy)} and visible {np.shape(visible)}, expected "
            f"{expected} as in the ground truth; is it of another clip?"
        )
    visible = np.asarray(visible, bool)
    scaled, true_scaled = (metrics.to_scale(p, truth.size) for p in (xy, queries.tracks))
    scores = _tapvid(truth, queries, true_scaled, visible, scaled)
    hidden = queries.evaluated & ~queries.visible
    hidden_inside = hidden & inside_frame(queries.tracks, truth.size)
    frames = queries.queries[:, 0].astype(np.int64)
    seen = queries.visible & queries.known
    scores |= {
        "hidden_px": metrics.median_error(hidden, true_scaled, scaled),
        "hidden_inside_px": metrics.median_error(hidden_inside, true_scaled, scaled),
        "hidden_px_native": metrics.median_error(hidden, queries.tracks, xy),
        "TC": metrics.temporal_coherence(seen, true_scaled, scaled),
        "MTE": metrics.median_trajectory_error(queries.evaluated, true_scaled, scaled),
    }
    for threshold in SURVIVAL_PX:
        scores[f"survival_{threshold}"] = 100 * metrics.survival(
            frames, queries.span, queries.evaluated, true_scaled, scaled, threshold
        )
    if truth.mask_areas is not None:
        cells = queries.evaluated & queries.visible
        within = metrics.share_within(cells, queries.tracks, xy, BADJA_PX)
        pck = metrics.badja_pck(cells, queries.tracks, xy, truth.mask_areas)
        scores |= {"pck_t": 100 * pck, "delta_3px_native": 100 * within}
    return {key: value if math.isfinite(value) else None for key, value in scores.items()}


def _tapvid(
    truth: GroundTruth,
    queries: QuerySet,
    true_xy: NDArray[Any],
    visible: NDArray[np.bool_],
    xy: NDArray[Any],
) -> dict[str, float]:
    """TAP-Vid's scores in percent; without occlusion labels those that need none."""
    scores = metrics.tapvid_scores(queries.evaluated, queries.visible, true_xy, visible, xy)
    needs_labels = (
        () if truth.occlusion_labels else ("OA", "AJ", *(k for k in scores if "jaccard" in k))
    )
    order = ["AJ", "delta_avg", "OA", *(k for k in scores if "_" in k and k != "delta_avg")]
    return {k: math.nan if k in needs_labels else 100 * scores[k] for k in order}


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def _table_row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
