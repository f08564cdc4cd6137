"""Confidence: a probability, certain at the query, and never raised by what speaks against it."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from omnimotion import metrics
from omnimotion.confidence import REFINED, SCENE, SEEN, Evidence
from omnimotion.evidence import (
    ALTERNATIVES,
    AROUND_PX,
    alternatives,
    candidates,
    carried,
    evidence_of,
    warps,
)
from omnimotion.geometry import PIXELS_PER_UNIT
from omnimotion.ground_truth import read_ground_truth
from omnimotion.rays import RAY_SAMPLES, locate, surface_at

BACKEND = "auto"
every_field = pytest.mark.parametrize("name", Evidence._fields)


@pytest.fixture(scope="module")
def answer(tracker, tiny_clip):
    """The clip's own queries, their tracks, what these rest on, and their errors at 256x256."""
    truth = read_ground_truth(tiny_clip)
    asked = truth.select("given")
    tracks, evidence = tracker.track_with_evidence(asked.queries)
    scaled = [metrics.to_scale(xy, truth.size) for xy in (tracks.xy, asked.tracks)]
    return asked, tracks, evidence, np.sqrt(metrics.squared_error(*scaled))


# the model --------------------------------------------------------------------------------------

every_model = pytest.mark.parametrize(
    "model", [SCENE, REFINED, SEEN], ids=("scene", "refined", "seen")
)


@every_model
def test_it_is_a_probability(model):
    random = np.random.default_rng(0)
    found = model.probability(1e3 * random.random((500, len(Evidence._fields))) ** 9)
    assert ((found >= 0) & (found <= 1)).all()
    assert found.min() < 1e-3


@every_model
def test_what_nothing_speaks_against_is_all_but_sure(model):
    assert 0.9 < model.probability(np.zeros(len(Evidence._fields))) < 1


@every_model
@every_field
def test_it_never_rises_with_what_speaks_against_it(model, name):
    field = Evidence._fields.index(name)
    evidence = np.random.default_rng(1).random((200, 1, len(Evidence._fields))).repeat(20, axis=1)
    evidence[..., field] = np.linspace(0, 5, 20)
    change = np.diff(model.probability(evidence), axis=1)
    assert (change <= 0).all() if model.weights[field] == 0 else (change < 0).all()


@every_model
def test_one_weight_for_each_field(model):
    assert len(model.weights) == len(Evidence._fields)
    assert min(model.weights) >= 0
    assert model.bias > 0


def test_each_field_is_there_for_something():
    assert all(map(max, zip(SCENE.weights, REFINED.weights, SEEN.weights)))
    assert SCENE.weights[Evidence._fields.index("unmatched")] == 0  # nobody asked


# what it rests on -------------------------------------------------------------------------------


def test_it_is_certain_at_the_query(answer):
    asked, tracks, _, _ = answer
    own = np.arange(len(tracks)), asked.queries[:, 0].astype(int)
    assert (tracks.confidence[own] == 1).all()
    assert (tracks.occlusion[own] == 0).all()
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()


@pytest.mark.parametrize("name", ["spread", "path"])
def test_nothing_lies_apart_in_the_frame_of_the_query(answer, name):
    """There, all depths of its ray are where it is."""
    asked, _, evidence, _ = answer
    own = np.arange(len(evidence)), asked.queries[:, 0].astype(int)
    np.testing.assert_allclose(evidence[own][:, Evidence._fields.index(name)], 0, atol=2e-3)


@pytest.mark.parametrize("refine", [True, False])
def test_confidence_and_occlusion_are_those_of_the_evidence(tracker, answer, refine):
    queries = answer[0].queries
    tracks, evidence = tracker.track_with_evidence(queries, refine)
    confidence = (REFINED if refine else SCENE).probability(evidence)
    own = np.arange(len(tracks)), queries[:, 0].astype(int)
    confidence[own] = 1
    np.testing.assert_allclose(tracks.confidence, confidence, atol=1e-5)
    occlusion = 1 - SEEN.probability(evidence) if refine else evidence[..., 0].copy()
    occlusion[own] = 0
    np.testing.assert_allclose(tracks.occlusion, occlusion, atol=1e-5)


def test_it_falls_where_the_surface_is_not_settled(tracker):
    """The same tracks, as if each query's ray had its weight in one place, or everywhere."""
    now = tracker.scene.snapshot()
    frames = torch.tensor([0, 3, 3, 6])
    place = torch.tensor([(-0.3, 0.1), (0.0, 0.2), (0.4, -0.2), (0.1, -0.4)])
    with torch.no_grad():
        seen = surface_at(now, now.at(frames), place[:, None])
        u = seen.u[:, 0].expand(8, 4, 3).contiguous()
        there = locate(now, now.at(torch.arange(8)), u)
        at = ((seen.depth[:, :1, None] + 1) / 2 * RAY_SAMPLES).long()[:, 0]
        settled = torch.zeros(4, RAY_SAMPLES).scatter(-1, at, 1.0)
        even = torch.full((4, RAY_SAMPLES), 1 / RAY_SAMPLES)
        sure, unsure = (
            confidence_of_rays(now, frames, place, seen._replace(weights=weights[:, None]), there)
            for weights in (settled, even)
        )
    elsewhere = np.arange(8)[:, None] != frames.numpy()
    assert (sure - unsure)[elsewhere].mean() > 0.02
    assert ((sure - unsure)[elsewhere] > -0.02).all()  # a sample may lie beside the surface


def confidence_of_rays(now, frames, place, seen, there):
    others = carried(now, candidates(now, frames, place, seen)[0])[:, :, 1:]
    evidence = torch.stack(evidence_of(now, frames, place, others, there), dim=-1)
    return SCENE.probability(evidence.numpy())


def test_alternatives_of_a_ray_made_by_hand():
    """Half of the weight at sample 10, half at 50: four alternatives each."""
    weights = torch.zeros(RAY_SAMPLES)
    weights[10] = weights[50] = 0.5
    step = 2 / RAY_SAMPLES
    expected = torch.tensor([10.5 * step - 1] * 4 + [50.5 * step - 1] * 4)
    torch.testing.assert_close(alternatives(weights), expected)


def test_candidates_beside_a_query_are_the_surfaces_seen_there(tracker):
    """And the query is off them by as much as they lie beside it."""
    now, frames = tracker.scene.snapshot(), torch.tensor([0, 5])
    place = torch.tensor([(-0.3, 0.1), (0.4, -0.2)])
    with torch.no_grad():
        seen = surface_at(now, now.at(frames), place[:, None])
        found, off = candidates(now, frames, place, seen, around=True)
        local = now.at(frames).inverse(found).float()
        step = torch.tensor([AROUND_PX[0] / PIXELS_PER_UNIT, 0.0])
        depth = surface_at(now, now.at(frames), (place + step)[:, None]).depth
    assert found.shape == (2, 1 + ALTERNATIVES + 8 * len(AROUND_PX), 3)
    torch.testing.assert_close(local[..., :2] + off, place[:, None].expand_as(off))
    torch.testing.assert_close(local[:, [0], 2], seen.depth)
    torch.testing.assert_close(local[:, [1 + ALTERNATIVES], 2], depth)
    assert (off[:, : 1 + ALTERNATIVES] == 0).all()
    torch.testing.assert_close(off[:, 1 + ALTERNATIVES], (-step).expand(2, 2))


def test_warps_undo_each_other(tracker):
    """None in a query's own frame; from 1 to 6 and back, at the same point, none in all."""
    now, place = tracker.scene.snapshot(), torch.tensor([(-0.3, 0.1), (0.4, -0.2), (0.0, 0.0)])
    first, second = torch.full((3,), 1), torch.full((3,), 6)
    with torch.no_grad():
        seen = surface_at(now, now.at(first), place[:, None])
        there = now.at(second).inverse(seen.u)[:, 0].float()
        go = warps(now, first, place, seen.depth[:, 0])
        back = warps(now, second, there[:, :2], there[:, 2])
    one = torch.eye(2).expand(3, 2, 2)
    torch.testing.assert_close(go[1], one, atol=1e-4, rtol=0)
    torch.testing.assert_close(back[1] @ go[6], one, atol=0.1, rtol=0)


# whether it is right ----------------------------------------------------------------------------


def test_more_confidence_smaller_errors(answer):
    """By thirds of confidence, on a fit of a few seconds."""
    asked, tracks, _, error = answer
    said, error = tracks.confidence[asked.evaluated], error[asked.evaluated]
    low, middle, high = (error[rows].mean() for rows in np.array_split(np.argsort(said), 3))
    assert high < middle < low
    assert high < 0.5 * low


def test_it_says_about_how_many_are_right(answer):
    asked, tracks, _, error = answer
    said, right = tracks.confidence[asked.evaluated], error[asked.evaluated] < 4
    assert abs(said.mean() - right.mean()) < 0.15


# how they are judged, and the clips that weights come from ---------------------------------------


@pytest.fixture(scope="module")
def benchmark():
    folder = Path(__file__).parents[1] / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)  # where it finds what it imports
        return runpy.run_path(str(folder / "confidence.py"))


def test_reliability_by_hand(benchmark):
    said = np.array([0.0, 0.05, 0.6, 0.7, 0.99, 1.0])
    right = np.array([False, True, True, False, True, True])
    table = benchmark["reliability"](said, right, 2)
    np.testing.assert_allclose(table, [[2, 0.025, 0.5], [4, 0.8225, 0.75]])
    error = benchmark["calibration_error"](table)
    assert error == pytest.approx((2 * 0.475 + 4 * 0.0725) / 6)


def test_reliability_of_nothing(benchmark):
    table = benchmark["reliability"](np.zeros(0), np.zeros(0, bool), 4)
    assert (table[:, 0] == 0).all()
    assert np.isnan(benchmark["calibration_error"](table))


def test_reliability_is_drawn_also_where_there_is_hardly_any(benchmark):
    one = np.array([[3, 0.2, 0.3], [0, np.nan, np.nan]])
    for tables in ({}, {"a": one}, {"a": one, "b": np.zeros((2, 3))}):
        assert benchmark["reliability_picture"](tables).startswith(b"\x89PNG")


def test_worn_frames_show_the_same_in_other_light_and_less_sharply(benchmark):
    """A still checkerboard, 60 and 160: of twelve clips each is worn in its own way."""
    y, x = np.mgrid[:48, :64] // 16
    square = (60 + 100 * ((x + y) % 2)).astype(np.uint8)
    still = np.tile(square[..., None], (6, 1, 1, 3))

    def worn(seed):
        return np.stack(list(benchmark["worn"](still, np.random.default_rng(seed)))).astype(float)

    clips = np.stack([worn(seed) for seed in range(12)])
    np.testing.assert_array_equal(clips[3], worn(3))
    assert all(np.corrcoef(frame.ravel(), square.repeat(3))[0, 1] > 0.9
               for frame in clips.reshape(-1, *square.shape, 3))  # fmt: skip
    light = clips.mean((2, 3))  # of 3 colours; noise moves it by 0.1 at most
    assert (np.abs(light[:, -1] - light[:, 0]).max(-1) > 0.5).sum() >= 9  # it drifts
    assert np.ptp(light[:, -1] - light[:, 0], axis=-1).max() > 1  # and not all colours alike
    steps = np.abs(clips[:, :, :, 16] - clips[:, :, :, 15]).mean((1, 2, 3))
    assert (steps < 95).all()  # of 100
    assert np.ptp(steps) > 10


def test_weights_are_judged_by_other_clips_only(benchmark):
    """A clip as it is rendered and the same one worn are never on both sides."""
    fits = [benchmark["Answers"](name, *3 * (np.zeros(1),))
            for name in ("101", "101", "101-worn", "102", "102-worn")]  # fmt: skip
    for fit in fits[:3]:
        assert [each.name for each in benchmark["of_others"](fit, fits)] == ["102", "102-worn"]
    found = benchmark["of_others"](fits[4], fits)
    assert [each.name for each in found] == ["101", "101", "101-worn"]
