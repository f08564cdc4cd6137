"""The scene as a whole: frame to frame and back, cameras, rendering."""

import pytest
import torch

from omnimotion.config import ModelConfig
from omnimotion.geometry import Frame, apply_similarity
from omnimotion.scene import Scene, lift

FRAMES = 6
GRID = ModelConfig(cells=4)
PAPER = ModelConfig(bijection="mlp", volume="mlp", camera=False, width=16, volume_width=16)


def cameras():
    """Frames that drift to the right, turn and zoom a little."""
    t = torch.arange(FRAMES) - FRAMES // 2
    return torch.stack((1 + 0.02 * t, 0.03 * t, 0.2 * t, -0.05 * t), dim=-1)


def scene(config=GRID, seed=0, strength=0.02):
    """A scene whose map is not the identity."""
    random = torch.Generator().manual_seed(seed)
    made = Scene(Frame(64, 48), cameras(), config, "torch", random)
    with torch.no_grad():
        for parameter in made.bijection.parameters():
            parameter.add_(strength * torch.randn(parameter.shape, generator=random))
    return made


def local_points(n_frames, count=100, seed=0):
    random = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(n_frames, count, 3, generator=random) - 1


BOTH = pytest.mark.parametrize("made", [scene(), scene(PAPER)], ids=["grid", "mlp"])
ALL = torch.arange(FRAMES)
THOUSANDTH_PX = 1e-3 / 128  # of a frame of 256 px


@BOTH
@torch.no_grad()
def test_round_trip(made):
    x = local_points(FRAMES)
    at = made.at(ALL)
    assert (at.inverse(at.forward(x)) - x).abs().max() < THOUSANDTH_PX


@BOTH
@torch.no_grad()
def test_a_frame_maps_to_itself(made):
    x = local_points(1)
    found = made.at(torch.tensor([2])).inverse(made.at(torch.tensor([2])).forward(x))
    assert (found - x).abs().max() < THOUSANDTH_PX


@BOTH
@torch.no_grad()
def test_a_cycle_through_three_frames_returns(made):
    def carry(x, i, j):
        return made.at(torch.tensor([j])).inverse(made.at(torch.tensor([i])).forward(x))

    x = local_points(1)
    there = carry(carry(x, 0, 3), 3, 5)
    assert (carry(there, 5, 0) - x).abs().max() < THOUSANDTH_PX
    torch.testing.assert_close(there, carry(x, 0, 5), atol=THOUSANDTH_PX, rtol=0)
    assert (there - x).abs().max() > 0.1, "the cycle under test should go somewhere"


@pytest.mark.parametrize("backend", ["torch", "numba"])
@torch.no_grad()
def test_a_bent_map_of_a_wide_frame_inverts_in_the_precision_of_queries(backend):
    """To 1e-3 px of a 4K frame, there and back and through three frames, of many points."""
    if backend == "numba":
        pytest.importorskip("numba")
    frame = Frame(3840, 2160)
    made = Scene(frame, cameras(), ModelConfig(cells=16), backend, torch.Generator())
    random = torch.Generator().manual_seed(1)
    for parameter in made.bijection.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=random))
    first, second, third = (made.at(torch.tensor([t])) for t in (0, 3, 5))
    x = local_points(1, 20_000, seed=2).double()
    u = first.forward(x)
    assert (u - x).abs().mean() > 0.1, "the map under test should bend far"
    around = third.inverse(second.forward(second.inverse(u)))
    for home in (first.inverse(u), first.inverse(third.forward(around))):
        assert frame.half * float((home - x).abs().max()) < 1e-3


@BOTH
def test_shapes_of_points_are_kept(made):
    x = local_points(2, 24).view(2, 4, 6, 3)
    at = made.at(torch.tensor([1, 4]))
    assert at.forward(x).shape == x.shape
    torch.testing.assert_close(at.forward(x).view(2, 24, 3), at.forward(x.view(2, 24, 3)))


def test_at_the_start_the_map_is_the_camera():
    made = Scene(Frame(64, 48), cameras(), GRID, "torch", torch.Generator())
    x = local_points(FRAMES)
    u = made.at(ALL).forward(x)
    torch.testing.assert_close(u[..., :2], apply_similarity(cameras()[:, None], x[..., :2]))
    torch.testing.assert_close(u[..., 2], x[..., 2])


def test_the_volume_spans_all_frames_where_the_cameras_start():
    made = scene()
    corners = torch.tensor([(x, y, z) for x in (-1, 1) for y in (-0.75, 0.75) for z in (-1.0, 1)])
    xy = apply_similarity(cameras()[:, None], corners[:, :2])
    off = (xy - made.volume.centre[:2]).abs() / made.volume.half_size[:2]
    assert (off <= 1).all()
    assert made.volume.half_size[2] >= 1


def test_cameras_learn_only_where_there_are_cameras():
    assert scene().camera_shift.requires_grad
    assert not scene(PAPER).camera_shift.requires_grad


@BOTH
def test_rendering_is_a_weighted_sum_of_what_lies_on_the_ray(made):
    xy = local_points(2, 10)[..., :2]
    z = torch.linspace(-0.9, 0.9, 8).expand(2, 10, 8)
    at = made.at(torch.tensor([0, 5]))
    seen = made.snapshot().render(at, xy, z)
    assert seen.weights.shape == (2, 10, 8)
    torch.testing.assert_close(seen.weights.sum(-1), torch.ones(2, 10))
    rgb = made.volume(seen.u).rgb
    torch.testing.assert_close(seen.rgb, (seen.weights[..., None] * rgb).sum(-2))
    assert ((seen.depth >= -0.9) & (seen.depth <= 0.9)).all()


def test_a_ray_is_one_pixel_at_several_depths():
    x = lift(torch.tensor([[[0.25, -0.5]]]), torch.tensor([[[-0.5, 0.5]]]))
    assert x.tolist() == [[[[0.25, -0.5, -0.5], [0.25, -0.5, 0.5]]]]


def test_the_same_seed_makes_the_same_scene():
    a, b, other = (
        Scene(Frame(64, 48), cameras(), GRID, "torch", torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name
    assert any(
        not torch.equal(value, other.state_dict()[name]) for name, value in a.state_dict().items()
    )


@pytest.mark.parametrize("config", [GRID, PAPER], ids=["grid", "mlp"])
def test_every_trained_parameter_gets_a_gradient(config):
    made = scene(config)
    at, z = made.at(ALL), torch.linspace(-0.9, 0.9, 6).expand(FRAMES, 80, 6)
    seen = made.snapshot().render(at, local_points(FRAMES, 80)[..., :2], z)
    (seen.rgb.square().sum() + made.at(ALL.flip(0)).inverse(seen.u).square().sum()).backward()
    for name, parameter in made.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name
            assert torch.isfinite(parameter.grad).all(), name
