"""Scores against a slow reference written from the published definitions, and by hand."""

import math

import numpy as np
import pytest

from omnimotion import metrics


def reference_scores(evaluated, true_visible, true_xy, visible, xy):
    """TAP-Vid's definitions, one cell at a time."""
    thresholds = [1, 2, 4, 8, 16]
    agree = n_evaluated = n_seen = 0
    within = dict.fromkeys(thresholds, 0)
    hits = dict.fromkeys(thresholds, 0)
    false_alarms = dict.fromkeys(thresholds, 0)
    for q in range(evaluated.shape[0]):
        for t in range(evaluated.shape[1]):
            if not evaluated[q, t]:
                continue
            n_evaluated += 1
            n_seen += int(true_visible[q, t])
            agree += int(true_visible[q, t] == visible[q, t])
            dx, dy = (float(v) for v in xy[q, t] - true_xy[q, t])
            for threshold in thresholds:
                near = dx * dx + dy * dy < threshold * threshold
                within[threshold] += int(near and true_visible[q, t])
                hits[threshold] += int(near and true_visible[q, t] and visible[q, t])
                wrong = not true_visible[q, t] or not near
                false_alarms[threshold] += int(visible[q, t] and wrong)
    scores = {"OA": agree / n_evaluated}
    for threshold in thresholds:
        scores[f"delta_{threshold}"] = within[threshold] / n_seen
        scores[f"jaccard_{threshold}"] = hits[threshold] / (n_seen + false_alarms[threshold])
    scores["delta_avg"] = sum(scores[f"delta_{t}"] for t in thresholds) / 5
    scores["AJ"] = sum(scores[f"jaccard_{t}"] for t in thresholds) / 5
    return scores


def random_case(seed, n_queries=13, n_frames=17, error_px=5.0):
    rng = np.random.default_rng(seed)
    true_xy = rng.uniform(0, 256, (n_queries, n_frames, 2))
    xy = true_xy + rng.normal(0, error_px, true_xy.shape)
    evaluated, true_visible, visible = rng.random((3, n_queries, n_frames)) < [[[0.8]]]
    return evaluated, true_visible, true_xy, visible, xy


@pytest.mark.parametrize("seed", range(5))
def test_tapvid_scores_are_bit_equal_to_the_loops(seed):
    case = random_case(seed)
    assert metrics.tapvid_scores(*case) == reference_scores(*case)


def test_thresholds_are_strict():
    true_xy = np.zeros((1, 1, 2))
    yes = np.ones((1, 1), bool)
    scores = metrics.tapvid_scores(yes, yes, true_xy, yes, true_xy + np.array([2.0, 0.0]))
    assert scores["delta_2"] == 0.0
    assert scores["delta_4"] == 1.0
    assert scores["delta_avg"] == 3 / 5
    # each miss is both a visible point not found and a false alarm, so J is 0 there
    assert scores["AJ"] == 3 / 5


def test_perfect_tracks_score_one():
    evaluated, true_visible, true_xy, _, _ = random_case(0)
    scores = metrics.tapvid_scores(evaluated, true_visible, true_xy, true_visible, true_xy)
    assert set(scores.values()) == {1.0}


def test_a_prediction_that_is_not_finite_is_a_miss_and_a_false_alarm():
    yes = np.ones((1, 2), bool)
    true_xy = np.zeros((1, 2, 2))
    xy = true_xy.copy()
    xy[0, 1] = np.nan
    scores = metrics.tapvid_scores(yes, yes, true_xy, yes, xy)
    assert scores["delta_avg"] == 1 / 2
    assert scores["AJ"] == pytest.approx(1 / 3)  # 1 hit / (2 seen + 1 false alarm)


def test_nothing_to_score_is_nan_and_not_an_error():
    no = np.zeros((2, 3), bool)
    xy = np.zeros((2, 3, 2))
    assert all(math.isnan(v) for v in metrics.tapvid_scores(no, no, xy, no, xy).values())
    assert math.isnan(metrics.temporal_coherence(no, xy, xy))
    assert math.isnan(metrics.median_error(no, xy, xy))
    assert math.isnan(metrics.median_trajectory_error(no, xy, xy))


def test_scale_maps_frame_corners_to_corners():
    corners = np.array([[-0.5, -0.5], [853.5, 479.5]])
    assert metrics.to_scale(corners, (854, 480)).tolist() == [[0, 0], [256, 256]]


def test_temporal_coherence_by_hand():
    true_xy = np.zeros((1, 5, 2))
    xy = true_xy.copy()
    xy[0, 2] = [3, 4]  # accelerations there: 5, 10, 5
    visible = np.ones((1, 5), bool)
    assert metrics.temporal_coherence(visible, true_xy, xy) == pytest.approx(20 / 3)
    visible[0, 4] = False  # the last triplet is out
    assert metrics.temporal_coherence(visible, true_xy, xy) == pytest.approx(15 / 2)


def test_temporal_coherence_ignores_a_steady_drift():
    _, _, true_xy, _, _ = random_case(1)
    drift = np.arange(true_xy.shape[1])[:, None] * [0.5, -1.0] + 7
    visible = np.ones(true_xy.shape[:2], bool)
    assert metrics.temporal_coherence(visible, true_xy, true_xy + drift) == pytest.approx(0)


def test_median_error_by_hand():
    true_xy = np.zeros((1, 4, 2))
    xy = np.array([[[3.0, 4.0], [6.0, 8.0], [100.0, 0.0], [0.0, 1.0]]])
    cells = np.array([[True, True, True, False]])
    assert metrics.median_error(cells, true_xy, xy) == 10


def test_median_trajectory_error_is_a_mean_of_medians():
    true_xy = np.zeros((2, 3, 2))
    xy = np.zeros((2, 3, 2))
    xy[0, :, 0] = [1, 2, 90]
    xy[1, :, 0] = [4, 4, 4]
    evaluated = np.ones((2, 3), bool)
    assert metrics.median_trajectory_error(evaluated, true_xy, xy) == (2 + 4) / 2



def test_badja_pck_by_hand():
    true_xy = np.zeros((1, 4, 2))
    xy = np.zeros((1, 4, 2))
    xy[0, :, 0] = [1.9, 2.0, 3.9, 0.0]
    areas = np.array([100.0, 100.0, 400.0, 0.0])  # radii 2, 2, 4, none
    cells = np.ones((1, 4), bool)
    assert metrics.badja_pck(cells, true_xy, xy, areas) == pytest.approx(2 / 3)
    assert metrics.share_within(cells, true_xy, xy, 3.0) == 3 / 4


def test_survival_counts_outwards_from_the_query():
    true_xy = np.zeros((1, 6, 2))
    xy = np.zeros((1, 6, 2))
    xy[0, [0, 4], 0] = 17  # fails at frames 0 and 4; the query is at frame 2
    query = np.array([2])
    span = np.arange(6)[None] != 2
    args = (query, span, span, true_xy, xy)
    assert metrics.survival(*args, 16) == 2 / 5  # frames 1 and 3 of 0, 1, 3, 4, 5
    assert metrics.survival(*args, 17) == 1.0  # strictly above the threshold fails


def test_survival_from_frame_zero_is_the_published_cumulative_product():
    rng = np.random.default_rng(3)
    true_xy = np.zeros((20, 12, 2))
    xy = rng.normal(0, 6, true_xy.shape)
    known = rng.random((20, 12)) < 0.7
    failed = (np.hypot(*np.moveaxis(xy, -1, 0)) > 16) & known
    failed[:, 0] = False
    expected = np.cumprod(1 - failed, axis=1)[:, 1:].mean()
    span = np.ones((20, 12), bool)
    span[:, 0] = False
    query = np.zeros(20, int)
    survival = metrics.survival(query, span, span & known, true_xy, xy, 16)
    assert survival == pytest.approx(expected)
