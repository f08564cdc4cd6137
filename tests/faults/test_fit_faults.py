"""Rows 36 to 40: what goes wrong inside a fit."""

import json
import math

import numpy as np
import pytest
import torch

from omnimotion import fitting
from omnimotion.checkpoint import checkpoints, load_checkpoint
from omnimotion.errors import CheckpointError, FitDiverged
from omnimotion.fitting import Fit, run_fit
from omnimotion.history import read_metrics
from omnimotion.runs import start_fit
from omnimotion.signals import StopSignal

STEPS, AT = 30, 12


@pytest.fixture
def fit(tiny_store, tiny_config, tmp_path):
    config = tiny_config.replace(
        num_iters=STEPS, pairs=6, points=8, samples=6, checkpoint_every=10, log_every=5
    )
    return start_fit(tiny_store, tmp_path / "run", config)


def poison_loss(fit, monkeypatch, value, when):
    loss_of = fit.loss

    def poisoned(*args):
        loss, terms = loss_of(*args)
        factor = value if when(fit.step) else 1.0
        return loss * factor, terms._replace(pair_px=terms.pair_px * factor)

    monkeypatch.setattr(fit, "loss", poisoned)


def poison_gradient(fit, _, value, when):
    parameter = next(p for p in fit.scene.parameters() if p.requires_grad)
    parameter.register_hook(lambda grad: grad * value if when(fit.step) else grad)


def parameters(fit):
    return {name: tensor.clone() for name, tensor in fit.tensors().items()}


@pytest.mark.parametrize("poison", [poison_loss, poison_gradient])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_37_one_bad_step_is_skipped_and_counted(fit, monkeypatch, poison, value):
    poison(fit, monkeypatch, value, lambda step: step == AT)
    while fit.step < AT:
        fit.advance()
    before = parameters(fit)
    fit.advance()
    for name, tensor in parameters(fit).items():
        if name not in ("pair_error", "lands"):  # what is known of it, where it is finite
            torch.testing.assert_close(tensor, before[name], rtol=0, atol=0, msg=name)
        assert torch.isfinite(tensor).all(), name
    report = run_fit(fit, StopSignal())
    assert (report.step, report.skipped) == (STEPS, 1)
    assert float(fit.rate_factor) == 1  # no step back
    lines = read_metrics(fit.run / "metrics.jsonl")
    assert all(math.isfinite(line["loss"]) for line in lines)


@pytest.mark.parametrize("poison", [poison_loss, poison_gradient])
def test_38_a_fit_that_stays_bad_ends_with_a_diagnosis(fit, monkeypatch, poison):
    poison(fit, monkeypatch, math.nan, lambda step: step >= AT)
    with pytest.raises(FitDiverged, match=r"learning_rate.*diagnosis\.json") as caught:
        run_fit(fit, StopSignal())
    assert caught.value.exit_code == 5
    found = json.loads((fit.run / "diagnosis.json").read_text(), parse_constant=pytest.fail)
    assert found["rate_factor"] == 1 / 8  # three times back, at half the rate each
    assert found["skipped"] == 4 * 10
    kept = checkpoints(fit.run)
    assert max(load_checkpoint(path).step for path in kept) == 20  # finite: nothing was taken in
    for path in kept:
        assert all(np.isfinite(value).all() for value in load_checkpoint(path).arrays.values())


@pytest.mark.parametrize(("error", "is_kept"), [(1e-2, True), (0.5, False)])
def test_39_a_map_that_does_not_invert_is_said_and_then_refused(
    fit, monkeypatch, caplog, error, is_kept
):
    monkeypatch.setattr(fitting, "round_trip", lambda scene: error)
    if is_kept:
        assert run_fit(fit, StopSignal()).step == STEPS
    else:
        with pytest.raises(FitDiverged):
            run_fit(fit, StopSignal())
        assert [load_checkpoint(path).step for path in checkpoints(fit.run)] == [0]
    assert "the map hardly inverts" in caplog.text


def test_36_a_checkpoint_that_lacks_a_tensor_names_it(fit):
    fit.save()
    state = load_checkpoint(checkpoints(fit.run)[-1])
    name = next(name for name in state.arrays if name.startswith("adam.mean."))
    found = state.arrays.pop(name)
    with pytest.raises(CheckpointError, match=rf"{name}: nothing, expected \({found.shape[0]}"):
        fit.restore(state)
    state.arrays[name] = found[:1] if found.shape[0] > 1 else np.zeros((9, 9), np.float32)
    with pytest.raises(CheckpointError, match=f"{name}: shape"):
        fit.restore(state)


def test_40_a_fit_without_memory_says_what_to_ask_for(tiny_store, tmp_path, monkeypatch, capsys):
    from omnimotion import cli

    def advance(self, then=None):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr(Fit, "advance", advance)
    words = ["--scene", str(tiny_store.folder), "--run", str(tmp_path / "run"), "--device", "cpu"]
    assert cli.main(["train", *words, "--backend", "torch"]) == 6
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: out of memory (DefaultCPUAllocator")
    assert line.endswith("ask for fewer --pairs, --points or --samples")
