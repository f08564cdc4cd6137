"""The canonical volume: grids read as they should be, and sane values everywhere."""

import itertools
import math

import pytest
import torch

from omnimotion.volume import GridVolume, MlpVolume, contract, decode

LOW, HIGH = torch.tensor([-1.5, -0.5, -1.2]), torch.tensor([2.5, 1.5, 1.2])


def grid(seed=0, levels=2, **changes):
    sizes = {"cells": 8, "z_cells": 6, "channels": 4, "density_gain": 5.0} | changes
    return GridVolume(
        LOW, HIGH, levels=levels, backend="torch", generator=torch.Generator().manual_seed(seed),
        **sizes,
    )  # fmt: skip


def mlp():
    return MlpVolume(32, torch.Generator().manual_seed(0))


def points(*shape, seed=0, reach=3.0):
    random = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(*shape, 3, generator=random) - 1)


BOTH = pytest.mark.parametrize("made", [grid(), mlp()], ids=["grid", "mlp"])


@BOTH
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)])
def test_shapes_and_ranges(made, shape):
    look = made(points(*shape))
    assert look.density.shape == shape
    assert look.rgb.shape == (*shape, 3)
    assert (look.density >= 0).all()
    assert ((look.rgb >= 0) & (look.rgb <= 1)).all()


@BOTH
def test_a_point_does_not_depend_on_the_others(made):
    u = points(40)
    for together, alone in zip(made(u), made(u[7:8])):
        torch.testing.assert_close(together[7:8], alone)


@BOTH
def test_far_points_are_finite_and_have_finite_gradients(made):
    u = torch.tensor([[0.0, 0, 0], [1e4, -1e4, 1e4], [1.0, 0, 0]], requires_grad=True)
    density, rgb = made(u)
    (gradient,) = torch.autograd.grad(density.sum() + rgb.sum(), u)
    assert torch.isfinite(gradient).all()


@BOTH
def test_every_parameter_gets_a_gradient(made):
    made.zero_grad()
    density, rgb = made(points(500))
    (density.sum() + rgb[..., 0].sum()).backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_table_can_be_read_many_times():
    made, u = grid(), points(30)
    table = made.table()
    for a, b in zip(table(u), made(u)):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(table(u).density, made(u).density)


def test_a_level_is_read_trilinearly():
    """One level, against eight corners weighted by hand."""
    made = grid(levels=1)
    features = made.levels[0].detach()[0]  # (C, nz, ny, nx)
    sizes = torch.tensor(features.shape[:0:-1])  # nx, ny, nz
    u = LOW + (HIGH - LOW) * torch.tensor([0.37, 0.81, 0.23])
    place = torch.tensor([0.37, 0.81, 0.23]) * (sizes - 1)
    low = place.floor().long()
    expected = torch.zeros(len(features))
    for corner in itertools.product((0, 1), repeat=3):
        x, y, z = (low + torch.tensor(corner)).tolist()
        share = torch.where(torch.tensor(corner) == 1, place - low, 1 - (place - low)).prod()
        expected += share * features[:, z, y, x]
    raw = made.decoder(expected[None])
    look = decode(raw, made.density_gain)
    torch.testing.assert_close(made(u[None]).density, look.density)
    torch.testing.assert_close(made(u[None]).rgb, look.rgb)


def test_cells_have_the_same_size_along_x_and_y():
    *_, ny, nx = grid(levels=1).levels[0].shape
    width, height = (HIGH - LOW)[:2].tolist()
    assert (nx - 1) / (ny - 1) == pytest.approx(width / height, rel=0.1)


def test_beyond_the_border_the_volume_goes_on():
    made = grid()
    edge = torch.tensor([[float(HIGH[0]), 0.3, 0.2]])
    torch.testing.assert_close(made(edge + torch.tensor([5.0, 0, 0])).rgb, made(edge).rgb)


def test_density_is_softplus_and_grows_with_its_output():
    raw = torch.tensor([[0.3, 0, 0, 0], [-2.0, 0, 0, 0]])
    expected = [math.log1p(math.exp(5 * 0.3 - 1)), math.log1p(math.exp(5 * -2.0 - 1))]
    torch.testing.assert_close(decode(raw, 5.0).density, torch.tensor(expected))


def test_contraction_keeps_the_unit_ball_and_bounds_the_rest():
    inside = points(100, reach=0.57)
    torch.testing.assert_close(contract(inside), inside)
    far = contract(points(100) * 1e6)
    assert (far.norm(dim=-1) <= 2).all()
    torch.testing.assert_close(far.norm(dim=-1), torch.full((100,), 2.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(
        contract(torch.tensor([[0.0, 4.0, 0.0]])), torch.tensor([[0.0, 2 - 1 / 4, 0.0]])
    )


def test_contraction_has_a_gradient_at_the_origin():
    u = torch.zeros(1, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(contract(u).sum(), u)
    torch.testing.assert_close(gradient, torch.ones(1, 3))


@pytest.mark.parametrize("density", [0.05, 1.0, 30.0])
@pytest.mark.parametrize("levels", [1, 3])
def test_a_volume_can_be_filled(density, levels):
    made = grid(levels=levels)
    made.fill(density)
    look = made(points(50))
    torch.testing.assert_close(look.density, torch.full((50,), density))
    torch.testing.assert_close(look.rgb, look.rgb[:1].expand(50, 3))
