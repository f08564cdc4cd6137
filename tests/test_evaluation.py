"""Evaluation end to end: query modes against loops, what a report says, the published baseline."""

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from omnimotion.errors import InputError
from omnimotion.evaluation import evaluate, evaluate_scene, score_tracks
from omnimotion.ground_truth import GroundTruth

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
SIZE = (640, 360)


@dataclass
class Answer:
    xy: np.ndarray
    visible: np.ndarray


class Oracle:
    """Knows the truth; answers with a fixed offset in pixels of the clip."""

    def __init__(self, truth, mode, offset=(0.0, 0.0)):
        chosen = truth.select(mode)
        self.answer = Answer(chosen.tracks + offset, chosen.visible)

    def track(self, queries):
        assert queries.shape == (len(self.answer.xy), 3)
        return self.answer


class Guesser:
    """Answers each query by noise of its own, so that a reference can repeat it."""

    def __init__(self, truth):
        self.truth = truth

    def track(self, queries):
        n_frames = self.truth.tracks.shape[1]
        rng = np.random.default_rng(len(queries))
        start = queries[:, None, 1:].astype(float)
        xy = start + rng.normal(0, 6, (len(queries), n_frames, 2)).cumsum(axis=1)
        return Answer(xy, rng.random((len(queries), n_frames)) < 0.6)


def random_truth(seed, n_tracks=11, n_frames=23, **changes):
    rng = np.random.default_rng(seed)
    start = rng.uniform(50, 300, (n_tracks, 1, 2))
    tracks = start + rng.normal(0, 3, (n_tracks, n_frames, 2)).cumsum(axis=1)
    visible = rng.random((n_tracks, n_frames)) < 0.7
    visible[:, 0] = True
    fields = {
        "name": "clip",
        "size": SIZE,
        "tracks": tracks,
        "visible": visible,
        "known": np.ones_like(visible),
        "occlusion_labels": True,
        "queries": np.column_stack([np.zeros(n_tracks), tracks[:, 0]]).astype(np.float32),
    }
    return GroundTruth(**fields | changes)


def reference(truth, mode, answer):
    """Conventions 2.4 and 2.5 in loops: sampling, scaling and counting, nothing shared."""
    n_tracks, n_frames = truth.visible.shape
    queries = []
    if mode == "strided":
        for t in range(0, n_frames, 5):
            queries += [(t, n) for n in range(n_tracks) if truth.visible[n, t]]
    else:
        for n in range(n_tracks):
            seen = [t for t in range(n_frames) if truth.visible[n, t]]
            queries += [(seen[0], n)] if seen else []
    agree = total = n_seen = 0
    within, hits, alarms = [0] * 5, [0] * 5, [0] * 5
    for row, (query_frame, n) in enumerate(queries):
        for t in range(n_frames):
            if t == query_frame or (mode == "first" and t < query_frame):
                continue
            v, v_hat = bool(truth.visible[n, t]), bool(answer.visible[row, t])
            total, agree, n_seen = total + 1, agree + (v == v_hat), n_seen + v
            squared = 0.0
            for axis in range(2):
                scaled = (float(answer.xy[row, t, axis]) + 0.5) * 256 / SIZE[axis]
                true_scaled = (float(truth.tracks[n, t, axis]) + 0.5) * 256 / SIZE[axis]
                squared += (scaled - true_scaled) ** 2
            for k in range(5):
                near = squared < (2**k) ** 2
                within[k] += near and v
                hits[k] += near and v and v_hat
                alarms[k] += v_hat and (not v or not near)
    scores = {"OA": 100 * (agree / total)}
    scores["delta_avg"] = 100 * (sum(w / n_seen for w in within) / 5)
    scores["AJ"] = 100 * (sum(h / (n_seen + a) for h, a in zip(hits, alarms)) / 5)
    return scores, len(queries)


@pytest.mark.parametrize("mode", ["strided", "first"])
@pytest.mark.parametrize("seed", range(4))
def test_tapvid_modes_are_bit_equal_to_the_loops(seed, mode):
    truth = random_truth(seed)
    tracker = Guesser(truth)
    clip = evaluate_scene(tracker, truth, mode)
    answer = tracker.track(truth.select(mode).queries)
    expected, n_queries = reference(truth, mode, answer)
    assert clip.n_queries == n_queries
    assert {key: clip.scores[key] for key in expected} == expected


@pytest.mark.parametrize("mode", ["given", "strided", "first"])
def test_the_truth_scores_full_marks(mode):
    truth = random_truth(0)
    scores = evaluate_scene(Oracle(truth, mode), truth, mode).scores
    assert [scores[k] for k in ("AJ", "delta_avg", "OA", "survival_16")] == [100] * 4
    assert [scores[k] for k in ("hidden_px", "TC", "MTE")] == [0] * 3


def test_errors_are_scaled_to_256_by_width_and_height():
    truth = random_truth(0)
    scores = evaluate_scene(Oracle(truth, "given", offset=(10.0, 9.0)), truth).scores
    expected = np.hypot(10 * 256 / 640, 9 * 256 / 360)  # 7.5 px
    assert scores["MTE"] == pytest.approx(expected)
    assert scores["hidden_px"] == pytest.approx(expected)
    assert scores["hidden_px_native"] == pytest.approx(np.hypot(10, 9))
    assert (scores["delta_4"], scores["delta_8"]) == (0, 100)


def test_hidden_points_outside_the_frame_are_told_apart():
    truth = random_truth(0, n_tracks=1, n_frames=3)
    tracks, visible = truth.tracks.copy(), np.array([[True, False, False]])
    tracks[0, 2] = [-20, 50]
    truth = random_truth(0, 1, 3, tracks=tracks, visible=visible, size=(256, 256))
    xy = tracks.copy()
    xy[0, 1, 0] += 4
    xy[0, 2, 0] += 10
    scores = score_tracks(truth, xy, visible)
    assert (scores["hidden_inside_px"], scores["hidden_px"]) == (4, (4 + 10) / 2)


def test_without_occlusion_labels_visibility_is_not_scored():
    truth = random_truth(0, occlusion_labels=False)
    scores = evaluate_scene(Oracle(truth, "given"), truth).scores
    assert scores["OA"] is scores["AJ"] is scores["jaccard_4"] is None
    assert scores["delta_avg"] == 100


def test_unknown_frames_do_not_count():
    truth = random_truth(0)
    known = np.zeros_like(truth.visible)
    known[:, :4] = True
    xy = truth.tracks.copy()
    xy[:, 4:] += 1000
    truth = random_truth(0, known=known, visible=truth.visible & known)
    scores = score_tracks(truth, xy, truth.visible)
    assert [scores[k] for k in ("AJ", "OA", "survival_50", "MTE")] == [100, 100, 100, 0]


def test_badja_scores_need_masks():
    truth = random_truth(0)
    assert "pck_t" not in score_tracks(truth, truth.tracks, truth.visible)
    n_frames = truth.tracks.shape[1]
    truth = random_truth(0, mask_areas=np.full(n_frames, 900.0))  # radius 0.2 * 30 = 6 px
    for offset, pck, near in ((5.9, 100, 0), (6.1, 0, 0), (2.9, 100, 100)):
        scores = score_tracks(truth, truth.tracks + np.array([offset, 0]), truth.visible)
        assert (scores["pck_t"], scores["delta_3px_native"]) == (pck, near)


def test_an_answer_of_another_clip_is_refused():
    truth = random_truth(0)
    with pytest.raises(InputError, match="of another clip"):
        score_tracks(truth, truth.tracks[:, :-1], truth.visible[:, :-1])


def test_the_mean_is_unweighted_over_the_clips_that_have_the_score():
    one, two = random_truth(0), random_truth(1, 30, 9, occlusion_labels=False)
    result = evaluate([(Oracle(one, "given", (9, 0)), one), (Oracle(two, "given"), two)])
    first = result.clips[0].scores
    assert result.mean["AJ"] == first["AJ"]
    assert result.mean["delta_avg"] == (first["delta_avg"] + 100) / 2


def test_json_and_markdown_name_the_convention():
    truth = random_truth(0, occlusion_labels=False)
    result = evaluate([(Oracle(truth, "strided"), truth)] * 2, "strided")
    content = json.loads(result.to_json())
    assert "256x256" in content["convention"]
    assert content["mode"] == "strided"
    assert content["clips"][0]["scores"]["AJ"] is None
    table = result.to_markdown()
    assert "every 5th frame" in table
    header, rule, *rows = [line for line in table.splitlines() if line.startswith("|")]
    assert "delta_avg" in header
    assert "AJ" not in header  # no clip has it
    assert [row.split("|")[1].strip() for row in rows] == ["clip", "clip", "mean"]
    assert len({line.count("|") for line in (header, rule, *rows)}) == 1


def test_a_clip_whose_name_is_no_text_has_its_row():
    truth = replace(random_truth(0), name="caf\udce9")
    assert "caf\\udce9" in evaluate([(Oracle(truth, "strided"), truth)], "strided").to_markdown()


def test_an_unstable_answer_is_still_valid_json():
    truth = random_truth(0)
    result = evaluate([(Oracle(truth, "given", (np.nan, 0)), truth)])
    scores = json.loads(result.to_json())["clips"][0]["scores"]
    assert (scores["delta_avg"], scores["MTE"]) == (0, None)


@pytest.mark.skipif(not DATA.is_dir(), reason="no test videos: ../shared/data")
@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        ("layers_0", {"AJ": 78.6, "delta_avg": 89.6, "OA": 91.7, "hidden_px": 10.0}),
        ("solids_0", {"AJ": 78.7, "delta_avg": 89.1, "OA": 88.6, "hidden_px": 13.5}),
    ],
)
def test_chained_flow_gives_the_published_reference_figures(clip, expected):
    spec = importlib.util.spec_from_file_location("baseline", ROOT / "benchmarks/chained_flow.py")
    baseline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(baseline)
    scores = evaluate_scene(*baseline.open_clip(DATA / clip)).scores
    assert {key: scores[key] for key in expected} == pytest.approx(expected, abs=0.15)
