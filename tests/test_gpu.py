"""On a GPU: the same answers as on a CPU, and tinycudann's network agrees with its twin."""

import copy

import numpy as np
import pytest
import torch

from omnimotion.errors import ConfigError
from omnimotion.fitting import run_fit
from omnimotion.networks import choose_backend, decoder, import_tinycudann
from omnimotion.runs import open_tracker, start_fit
from omnimotion.signals import StopSignal
from omnimotion.synthetic.pairs import render_pairs
from preprocess.train_raft.settings import RaftSettings
from preprocess.train_raft.state import restore, save_state
from preprocess.train_raft.training import Training

HAS_GPU = torch.cuda.is_available()
on_gpu = pytest.mark.skipif(not HAS_GPU, reason="no CUDA device")
CPU = torch.device("cpu")


def tinycudann_reason():
    """Why tinycudann cannot be used; empty where it can."""
    if not HAS_GPU:
        return "no CUDA device"
    module, reason = import_tinycudann()
    return "" if module else reason


with_tcnn = pytest.mark.skipif(bool(tinycudann_reason()), reason=tinycudann_reason() or "usable")


# without a GPU ----------------------------------------------------------------------------------


def test_auto_takes_the_compiled_kernels_on_a_cpu_and_torch_where_there_are_none(monkeypatch):
    assert choose_backend("auto", CPU) == choose_backend("numba", CPU) == "numba"
    assert choose_backend("torch", CPU) == "torch"

    def fails(name):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr("omnimotion.networks.importlib.import_module", fails)
    assert choose_backend("auto", CPU) == "torch"
    with pytest.raises(ConfigError, match="cannot cache function"):
        choose_backend("numba", CPU)


def test_a_backend_of_the_other_device_is_refused():
    with pytest.raises(ConfigError, match="tcnn: not for device cpu"):
        choose_backend("tcnn", CPU)
    with pytest.raises(ConfigError, match="numba: not for device cuda"):
        choose_backend("numba", torch.device("cuda"))


def test_a_missing_tinycudann_is_refused_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr("omnimotion.networks.import_tinycudann", lambda: (None, "not there"))
    assert choose_backend("auto", torch.device("cuda")) == "torch"
    with pytest.raises(ConfigError, match="not there; install it: pip install"):
        choose_backend("tcnn", torch.device("cuda"))


def test_a_missing_tinycudann_is_a_reason_and_no_error(monkeypatch):
    """Without a GPU its import raises OSError, not ImportError."""

    def fails(name):
        raise OSError("libcuda.so.1: cannot open shared object file")

    monkeypatch.setattr("omnimotion.networks.importlib.import_module", fails)
    module, reason = import_tinycudann()
    assert module is None
    assert "libcuda" in reason


def test_the_decoder_is_two_layers_without_biases():
    made = decoder(8, 4, 32, torch.Generator().manual_seed(0), "torch")
    features = torch.randn(7, 8, generator=torch.Generator().manual_seed(1))
    first, second = dict(made.named_parameters()).values()
    hidden = np.maximum(features.numpy() @ first.detach().numpy().T, 0)
    np.testing.assert_allclose(
        made(features).detach(), hidden @ second.detach().numpy().T, rtol=1e-4, atol=1e-5
    )


# with one ---------------------------------------------------------------------------------------


@pytest.mark.gpu
@on_gpu
def test_cpu_and_gpu_give_the_same_tracks(tiny_scene):
    points = np.array([(0, 20.25, 11.5), (7, 50, 40), (3, 31, 24)], np.float32)
    on_cpu, on_cuda = (
        open_tracker(tiny_scene, device=device, backend="torch").track(points)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(on_cuda.xy, on_cpu.xy, atol=0.02)
    np.testing.assert_allclose(on_cuda.occlusion, on_cpu.occlusion, atol=0.02)


@pytest.mark.gpu
@on_gpu
def test_a_fit_on_the_gpu_learns_as_one_on_the_cpu(tiny_store, tiny_config, tmp_path):
    errors = []
    for device in ("cpu", "cuda"):
        config = tiny_config.replace(device=device, backend="torch")
        errors.append(run_fit(start_fit(tiny_store, tmp_path / device, config), StopSignal()))
    on_cpu, on_cuda = (report.flow_error_px for report in errors)
    assert on_cuda < 1.3 * on_cpu + 0.2


@pytest.mark.gpu
@on_gpu
def test_a_step_does_not_wait_for_the_gpu(tiny_store, tiny_config, tmp_path):
    """No synchronisation inside a step: torch raises where there is one."""
    made = start_fit(tiny_store, tmp_path, tiny_config.replace(device="cuda", backend="torch"))
    made.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        made.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@on_gpu
def test_pairs_rendered_on_the_gpu_have_the_flow_they_say():
    pairs = render_pairs(
        torch.full((4,), 3.0), (96, 64), torch.Generator("cuda").manual_seed(0), is_filmed=False
    )
    x, y = torch.meshgrid(torch.arange(96.0), torch.arange(64.0), indexing="xy")
    there = torch.stack((x, y), -1).cuda() + pairs.flow.permute(0, 2, 3, 1)
    grid = (there + 0.5) / torch.tensor((96.0, 64.0), device="cuda") * 2 - 1
    warped = torch.nn.functional.grid_sample(pairs.second, grid, align_corners=False)
    error = (warped - pairs.first).abs().mean(1)
    assert error[pairs.visible].median() < 0.01
    assert error[pairs.visible].mean() < 0.5 * error[~pairs.visible].mean()


@pytest.mark.gpu
@on_gpu
def test_raft_learns_on_the_gpu_and_goes_on_from_its_state(tmp_path):
    settings = RaftSettings(width=128, height=128, batch=4, layers=2, solids=1, steps=40)
    training = Training(settings, torch.device("cuda"))
    losses = [training.advance()["loss"] for _ in range(20)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    save_state(tmp_path, training)
    again = Training(settings, torch.device("cuda"))
    restore(tmp_path, again)
    assert again.step == 20
    for one, other in zip(training.module.parameters(), again.module.parameters()):
        assert torch.equal(one, other)
    assert again.advance()["loss"] == pytest.approx(training.advance()["loss"], rel=0.05)


def both_decoders():
    twin = decoder(8, 4, 32, torch.Generator().manual_seed(0), "torch").cuda()
    fused = decoder(8, 4, 32, torch.Generator().manual_seed(0), "tcnn").cuda()
    return twin, fused


@pytest.mark.gpu
@with_tcnn
@pytest.mark.parametrize("count", [1, 255, 256, 1000])
def test_the_fused_decoder_agrees_with_its_twin(count):
    twin, fused = both_decoders()
    assert set(twin.state_dict()) == set(fused.state_dict())
    features = torch.randn(count, 8, device="cuda")
    torch.testing.assert_close(fused(features), twin(features), atol=5e-3, rtol=2e-2)


@pytest.mark.gpu
@with_tcnn
def test_gradients_of_the_fused_decoder_agree_with_those_of_its_twin():
    twin, fused = both_decoders()
    features = torch.randn(512, 8, device="cuda")
    gradients = []
    for made in (twin, fused):
        given = features.clone().requires_grad_()
        made(given).square().mean().backward()
        gradients.append([given.grad, *(copy.deepcopy(p.grad) for p in made.parameters())])
    for expected, found in zip(*gradients):
        scale = float(expected.abs().max())
        torch.testing.assert_close(found.float(), expected, atol=0.03 * scale, rtol=0.05)


@pytest.mark.gpu
@with_tcnn
def test_a_checkpoint_opens_with_either_backend(tiny_scene):
    points = np.array([(0, 20.25, 11.5), (3, 31, 24)], np.float32)
    plain, fused = (
        open_tracker(tiny_scene, device="cuda", backend=backend).track(points)
        for backend in ("torch", "tcnn")
    )
    np.testing.assert_allclose(fused.xy, plain.xy, atol=1.0)
