"""Rays: shares of weight by arithmetic, and the compiled loop against plain PyTorch."""

import math

import pytest
import torch

from omnimotion import rays
from omnimotion.config import ModelConfig
from omnimotion.geometry import Frame
from omnimotion.rays import RAY_SAMPLES, SURFACE_REACH, locate, look, look_fused, surface_at
from omnimotion.scene import Scene

FRAMES, POINTS = 5, 150
backends = pytest.mark.parametrize("backend", ["torch", "numba"])


def random(*shape, seed=0):
    """Float32 in [-1, 1]."""
    return 2 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1


def scene(backend):
    """A bijection far from the identity, cameras that turn and drift, a patchy volume."""
    t = torch.arange(FRAMES) - 2.0
    cameras = torch.stack((1 + 0.05 * t, 0.1 * t, 0.2 * t, -0.1 * t), dim=-1)
    config = ModelConfig(cells=4, z_cells=8, volume_cells=12, camera=False)
    made = Scene(Frame(64, 48), cameras, config, backend, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for k, parameter in enumerate(made.bijection.parameters()):
            parameter.add_(0.03 * random(*parameter.shape, seed=k))
        for k, level in enumerate(made.volume.levels):
            level.add_(random(*level.shape, seed=k))
        made.volume.decoder.second[0] -= 0.1  # clear between the patches
    return made


def points(seed=1):
    """Local points of all frames, some in front of or behind all samples."""
    return random(FRAMES, POINTS, 3, seed=seed) * torch.tensor((1.2, 1.2, 1.1))


@pytest.fixture(scope="module", autouse=True)
def _numba():
    pytest.importorskip("numba")


def looked(backend, local, frames):
    with torch.no_grad():
        now = scene(backend).snapshot()
        frame_map = now.at(frames)
        if backend == "numba":
            return torch.stack(look_fused(frame_map, now.volume, local), dim=-1)
        return torch.stack(look(now, frame_map, local), dim=-1)


@pytest.mark.parametrize(("samples", "reach"), [(RAY_SAMPLES, SURFACE_REACH), (21, 1.5)])
def test_the_compiled_loop_agrees_with_double_precision(samples, reach, monkeypatch):
    monkeypatch.setattr(rays, "RAY_SAMPLES", samples)
    monkeypatch.setattr(rays, "SURFACE_REACH", reach)
    frames, local = torch.tensor([3, 0, 4, 0, 1]), points()
    found = looked("numba", local, frames).double()
    with torch.no_grad():
        now = scene("torch").double().snapshot()
        expected = torch.stack(look(now, now.at(frames), local.double()), dim=-1)
    assert expected[..., 0].std() > 0.2  # some are hidden, some are not
    assert expected[..., 1].std() > 0.2
    off = (found - expected).abs()
    assert off[..., 0].max() < 1e-4
    # of a ray that lets half through at the border of two samples, either is the median
    assert off[..., 1].flatten().quantile(0.99) < 1e-4
    assert (off[..., 1] <= 2 / samples).all()


@backends
def test_shares_and_surface_of_an_even_fog(backend):
    """Density is softplus(-1) everywhere, so each of S samples has thickness 16 softplus(-1) / S.

    The last sample is opaque; a point's own and the two samples on each side are not in front.
    """
    made = scene(backend)
    with torch.no_grad():
        made.volume.decoder.second.zero_()
        now = made.snapshot()
        frame_map = now.at(torch.tensor([2]))
        middle = (40 + 0.5) / 32 - 1  # of sample 40
        local = torch.tensor([[(0.1, 0.2, middle), (0.0, 0.0, -1.2), (0.3, 0.1, 1.2)]])
        found = locate(now, frame_map, frame_map.forward(local))
        seen = frame_map.inverse(found.seen)[..., 2]
    thickness = 16 * math.log(1 + math.exp(-1)) / 64
    fog = [1 - math.exp(-thickness * n) for n in range(64)] + [1.0]
    expected = torch.tensor([[fog[38], fog[0], fog[64]]])
    torch.testing.assert_close(found.occlusion, expected, atol=1e-5, rtol=0)
    median = next(k for k in range(64) if fog[k + 1] >= 0.5)
    near = [(fog[k + 1] - fog[k], (k + 0.5) / 32 - 1) for k in range(median - 2, median + 3)]
    depth = sum(w * z for w, z in near) / sum(w for w, _ in near)
    torch.testing.assert_close(seen, torch.full((1, 3), depth), atol=1e-4, rtol=0)


@backends
def test_the_surface_that_is_seen_there_is_the_surface_on_that_ray(backend):
    with torch.no_grad():
        now = scene(backend).snapshot()
        frame_map = now.at(torch.arange(FRAMES))
        found = locate(now, frame_map, frame_map.forward(points()))
        on_ray = surface_at(now, frame_map, found.xy)
    off = (found.seen - on_ray.u).abs().amax(-1)
    assert off.flatten().quantile(0.99) < 1e-3


def test_a_ray_does_not_depend_on_the_others_nor_on_threads():
    with torch.no_grad():
        now = scene("numba").snapshot()  # once: products of matrices round as threads go
        frame_map, local = now.at(torch.arange(FRAMES)), points()

    def seen(local):
        return torch.stack(look_fused(frame_map, now.volume, local), dim=-1)

    together = seen(local)
    for n in (1, 63, 65):
        torch.testing.assert_close(seen(local[:, :n]), together[:, :n], atol=1e-5, rtol=0)
    torch.set_num_threads(3)
    try:
        torch.testing.assert_close(seen(local), together, atol=0, rtol=0)
    finally:
        torch.set_num_threads(1)


def test_a_volume_that_is_no_grid_is_seen_in_plain_torch():
    config = ModelConfig(cells=4, volume="mlp", volume_width=16)
    found = []
    for backend in ("torch", "numba"):
        made = Scene(Frame(64, 48), torch.tensor([(1.0, 0.0, 0.0, 0.0)] * 2), config, backend,
                     torch.Generator().manual_seed(0))  # fmt: skip
        with torch.no_grad():
            now = made.snapshot()
            found.append(locate(now, now.at(torch.tensor([1])), random(1, 9, 3)))
    torch.testing.assert_close(found[1].occlusion, found[0].occlusion, atol=1e-5, rtol=0)


def test_no_rays_and_rays_through_nothing():
    frames = torch.tensor([0])
    assert looked("numba", torch.zeros(1, 0, 3), frames).shape == (1, 0, 2)
    assert looked("numba", torch.full((1, 2, 3), torch.nan), frames).shape == (1, 2, 2)
