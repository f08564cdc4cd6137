"""What keeps a fit sound: counting skipped steps, the round trip, the diagnosis."""

import json
import math

import pytest
import torch

from omnimotion.fitting import Fit
from omnimotion.guard import FORGOTTEN, MAX_SKIPS, counted, round_trip, write_diagnosis
from omnimotion.runs import start_fit


@pytest.fixture
def fit(tiny_store, tiny_config, tmp_path) -> Fit:
    return start_fit(tiny_store, tmp_path / "run", tiny_config)


def count_of(steps):
    skips = torch.zeros(())
    most = 0.0
    for is_sound in steps:
        skips = counted(skips, torch.tensor(is_sound))
        most = max(most, float(skips))
    return most


def test_ten_skipped_steps_in_a_row_are_too_many():
    assert count_of([False] * 9) < MAX_SKIPS
    assert count_of([False] * 10) >= MAX_SKIPS


def test_one_in_a_hundred_is_forgotten_and_one_in_fifty_is_not():
    every = round(1 / FORGOTTEN)
    rare = ([True] * every + [False]) * 40
    frequent = ([True] * (every // 2) + [False]) * 40
    assert count_of(rare) < 2
    assert count_of(frequent) >= MAX_SKIPS


def test_the_map_of_a_new_scene_inverts(fit):
    assert round_trip(fit.scene) < 1e-5


def test_a_map_that_does_not_invert_is_measured(fit, monkeypatch):
    inverse = type(fit.scene.at(torch.tensor([0]))).inverse
    monkeypatch.setattr(
        type(fit.scene.at(torch.tensor([0]))), "inverse", lambda self, u: inverse(self, u) + 0.25
    )
    assert round_trip(fit.scene) == pytest.approx(0.25, abs=1e-4)
    monkeypatch.setattr(
        type(fit.scene.at(torch.tensor([0]))), "inverse", lambda self, u: u * math.nan
    )
    assert round_trip(fit.scene) == math.inf


def test_a_diagnosis_is_json_whatever_was_found(tmp_path):
    path = write_diagnosis(tmp_path, {"step": 3, "flow": math.nan, "round_trip": math.inf})
    found = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert (found["step"], found["flow"], found["round_trip"]) == (3, "nan", "inf")
