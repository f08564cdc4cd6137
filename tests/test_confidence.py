"""Confidence: a probability, certain at the query, and never raised by what speaks against it."""

import numpy as np
import pytest
import torch

import omnimotion
from omnimotion import metrics
from omnimotion.confidence import BIAS, WEIGHTS, Evidence, probability
from omnimotion.ground_truth import read_ground_truth
from omnimotion.rays import RAY_SAMPLES, locate, surface_at
from omnimotion.tracker import _alternatives, _evidence

every_field = pytest.mark.parametrize("name", Evidence._fields)


@pytest.fixture(scope="module")
def tracker(tiny_scene):
    return omnimotion.load(tiny_scene, device="cpu")


@pytest.fixture(scope="module")
def answer(tracker, tiny_clip):
    """The clip's own queries, their tracks, what these rest on, and their errors at 256x256."""
    truth = read_ground_truth(tiny_clip)
    asked = truth.select("given")
    tracks, evidence = tracker.track_with_evidence(asked.queries)
    scaled = [metrics.to_scale(xy, truth.size) for xy in (tracks.xy, asked.tracks)]
    return asked, tracks, evidence, np.sqrt(metrics.squared_error(*scaled))


def nothing(shape=()):
    return Evidence(*(torch.zeros(shape) for _ in Evidence._fields))


# the model --------------------------------------------------------------------------------------


def test_it_is_a_probability():
    random = torch.Generator().manual_seed(0)
    found = probability(
        Evidence(*(1e3 * torch.rand(500, generator=random) ** 9 for _ in Evidence._fields))
    )
    assert ((found >= 0) & (found <= 1)).all()
    assert found.min() < 1e-3


def test_what_nothing_speaks_against_is_all_but_sure():
    assert 0.9 < float(probability(nothing())) < 1


@every_field
def test_it_never_rises_with_what_speaks_against_it(name):
    random = torch.Generator().manual_seed(1)
    others = Evidence(*(torch.rand(200, 1, generator=random) for _ in Evidence._fields))
    grown = others._replace(**{name: torch.linspace(0, 5, 20).expand(200, 20)})
    grown = Evidence(*(field.expand(200, 20) for field in grown))
    assert (probability(grown).diff(dim=-1) < 0).all()  # each field is there for something


def test_one_weight_for_each_field():
    assert len(WEIGHTS) == len(Evidence._fields)
    assert min(WEIGHTS) > 0
    assert BIAS > 0


# what it rests on -------------------------------------------------------------------------------


def test_it_is_certain_at_the_query(answer):
    asked, tracks, _, _ = answer
    own = np.arange(len(tracks))
    assert (tracks.confidence[own, asked.queries[:, 0].astype(int)] == 1).all()
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()


@pytest.mark.parametrize("name", ["spread", "path"])
def test_nothing_lies_apart_in_the_frame_of_the_query(answer, name):
    """There, all depths of its ray are where it is."""
    asked, _, evidence, _ = answer
    own = np.arange(len(evidence)), asked.queries[:, 0].astype(int)
    np.testing.assert_allclose(evidence[own][:, Evidence._fields.index(name)], 0, atol=2e-3)


def test_confidence_is_that_of_its_evidence(answer):
    asked, tracks, evidence, _ = answer
    expected = probability(Evidence(*torch.from_numpy(evidence).unbind(-1))).numpy()
    expected[np.arange(len(tracks)), asked.queries[:, 0].astype(int)] = 1
    np.testing.assert_allclose(tracks.confidence, expected, atol=1e-5)


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
            probability(_evidence(now, frames, place, weights, there))
            for weights in (settled, even)
        )
    elsewhere = torch.arange(8)[:, None] != frames
    assert (sure - unsure)[elsewhere].mean() > 0.02
    assert ((sure - unsure)[elsewhere] > -0.02).all()  # a sample may lie beside the surface


def test_alternatives_of_a_ray_made_by_hand():
    """Half of the weight at sample 10, half at 50: four alternatives each."""
    weights = torch.zeros(RAY_SAMPLES)
    weights[10] = weights[50] = 0.5
    step = 2 / RAY_SAMPLES
    expected = torch.tensor([10.5 * step - 1] * 4 + [50.5 * step - 1] * 4)
    torch.testing.assert_close(_alternatives(weights), expected)


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


def test_reliability_by_hand():
    confidence = np.array([0.0, 0.05, 0.6, 0.7, 0.99, 1.0])
    right = np.array([False, True, True, False, True, True])
    table = metrics.reliability(confidence, right, 2)
    np.testing.assert_allclose(table, [[2, 0.025, 0.5], [4, 0.8225, 0.75]])
    assert metrics.calibration_error(table) == pytest.approx((2 * 0.475 + 4 * 0.0725) / 6)


def test_reliability_of_nothing():
    table = metrics.reliability(np.zeros(0), np.zeros(0, bool), 4)
    assert (table[:, 0] == 0).all()
    assert np.isnan(metrics.calibration_error(table))
