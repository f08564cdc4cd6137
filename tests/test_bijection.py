"""Both bijections: exact inverse, identity at the start, one frame independent of another."""

import math

import pytest
import torch

from omnimotion.bijection import GridBijection, MlpBijection, cosine_basis

FRAMES, EXTENT = 10, (1.0, 0.75)
GRID = {"couplings": 6, "cells": 4, "levels": 2, "z_cells": 8, "time_basis": 0.5}


def grid(max_log_scale=1.0, seed=None, strength=0.05, **changes):
    """A grid bijection, at its start or with random coefficients."""
    made = GridBijection(FRAMES, EXTENT, max_log_scale=max_log_scale, **(GRID | changes))
    if seed is not None:
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.copy_(strength * torch.randn(parameter.shape, generator=random))
    return made


def mlp(seed=0, last_gain=1.0):
    random = torch.Generator().manual_seed(seed)
    made = MlpBijection(FRAMES, couplings=6, width=32, max_log_scale=1.0, generator=random)
    with torch.no_grad():
        for layer in made.layers:
            layer.layers[-1].weight.mul_(last_gain)
            layer.layers[-1].bias.mul_(last_gain)
    return made


def points(n_frames, count=200, seed=0, reach=1.2):
    random = torch.Generator().manual_seed(seed)
    return reach * (2 * torch.rand(n_frames, count, 3, generator=random) - 1)


BOTH = pytest.mark.parametrize("made", [grid(seed=1), mlp(last_gain=50)], ids=["grid", "mlp"])


@BOTH
def test_inverse_undoes_forward(made):
    frames, x = torch.tensor([0, 4, 9]), points(3)
    warp = made.at(frames)
    u = warp.forward(x)
    assert (u - x).abs().mean() > 0.02, "the map under test should not be the identity"
    torch.testing.assert_close(warp.inverse(u), x, atol=3e-5, rtol=0)
    torch.testing.assert_close(warp.forward(warp.inverse(x)), x, atol=3e-5, rtol=0)


@BOTH
def test_inverse_is_exact_in_double_precision(made):
    made, x = made.double(), points(2).double()
    if isinstance(made, MlpBijection):  # its time is made in float32, so compare the warp itself
        made = made.float()
        x = x.float()
    warp = made.at(torch.tensor([2, 7]))
    tolerance = 1e-11 if x.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(warp.inverse(warp.forward(x)), x, atol=tolerance, rtol=0)
    made.float()


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("strength", [1.0, 10.0, 1e4])
def test_round_trip_stays_exact_however_far_a_scale_is_pushed(strength, sign):
    """The log-scale is bounded, so two layers of an axis shrink or stretch it e^2 times at most.

    Lengths of a frame of 256 px; the limit is 1e-3 px.
    """
    made, x = grid(seed=2, strength=0.02), points(FRAMES)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter[:, 0] += sign * strength
    warp = made.at(torch.arange(FRAMES))
    assert float(128 * (warp.inverse(warp.forward(x)) - x).detach().abs().max()) < 1e-3
    scale = warp.forward(x).detach().std() / x.std()
    assert math.exp(-2.2) < float(scale) < math.exp(2.2)


def test_the_grid_starts_as_the_identity():
    x = points(2)
    torch.testing.assert_close(grid().at(torch.tensor([0, 5])).forward(x), x, atol=1e-6, rtol=0)


def test_the_mlp_starts_close_to_the_identity():
    x = points(2)
    assert (mlp().at(torch.tensor([0, 5])).forward(x) - x).abs().max() < 0.2


@BOTH
def test_a_frame_does_not_depend_on_the_others_in_the_batch(made):
    x = points(3)
    together = made.at(torch.tensor([6, 1, 3])).forward(x)
    alone = made.at(torch.tensor([1])).forward(x[1:2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=1e-5)


@BOTH
def test_a_point_does_not_depend_on_the_others_in_the_batch(made):
    x, warp = points(2), made.at(torch.tensor([6, 1]))
    torch.testing.assert_close(
        warp.forward(x)[:, 17:18], warp.forward(x[:, 17:18]), atol=1e-6, rtol=1e-5
    )


@BOTH
def test_frames_differ(made):
    x = points(1).expand(2, -1, -1)
    a, b = made.at(torch.tensor([0, 9])).forward(x)
    assert (a - b).abs().max() > 1e-4


@BOTH
def test_the_map_keeps_orientation(made):
    """A coupling layer's scale is positive, so the Jacobian's determinant is, everywhere."""
    warp = made.at(torch.tensor([3]))
    for x in points(1, count=5)[0]:
        jacobian = torch.autograd.functional.jacobian(
            lambda v: warp.forward(v.view(1, 1, 3)).view(3), x
        )
        assert torch.linalg.det(jacobian) > 0


@BOTH
def test_every_parameter_gets_a_gradient(made):
    made.zero_grad()
    x = points(FRAMES)
    made.at(torch.arange(FRAMES)).forward(x).square().sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_all_levels_but_the_coarsest_fade():
    made = grid(couplings=3, levels=3)
    sizes = {name: p.shape[-1] for name, p in made.named_parameters()}
    coarsest = min(p.shape[-1] for p in made.levels[0])
    assert len(made.fading) == 6
    assert made.fading < set(sizes)
    assert all(sizes[f"levels.0.{level}"] > coarsest for level in (1, 2))
    assert {f"levels.{layer}.0" for layer in range(3)} == set(sizes) - made.fading


def test_levels_of_the_grid_are_added():
    """A layer reads the sum of its levels: a constant may be put in either."""
    coarse, fine = grid(), grid()
    with torch.no_grad():
        for made, level in ((coarse, 0), (fine, 1)):
            for layer in made.levels:
                list(layer.parameters())[level].fill_(0.1)
    x, frames = points(2), torch.tensor([1, 8])
    torch.testing.assert_close(coarse.at(frames).forward(x), fine.at(frames).forward(x))


def test_the_grid_goes_on_beyond_its_border():
    far = torch.tensor([[[50.0, -80.0, 30.0]]])
    warp = grid(seed=3).at(torch.tensor([4]))
    torch.testing.assert_close(warp.inverse(warp.forward(far)), far, rtol=1e-4, atol=1e-3)


def test_a_single_layer_by_hand():
    """One layer changes x alone, by exp(s) and m read at the point's own (y, z)."""
    made = grid(couplings=1, levels=1, max_log_scale=2.0, time_basis=1.0, margin=1.0)
    (layer,) = made.levels
    with torch.no_grad():
        (coefficients,) = layer.parameters()
        constant = float(made.basis[5, 0])  # the first cosine is the same in every frame
        coefficients[0, 0].fill_(0.3 / constant)
        coefficients[0, 1].fill_(-0.2 / constant)
    scale = math.exp(2 * math.tanh(0.3 / 2))
    found = made.at(torch.tensor([5])).forward(torch.tensor([[[0.5, 0.1, -0.4]]]))
    torch.testing.assert_close(found, torch.tensor([[[0.5 * scale - 0.2, 0.1, -0.4]]]))


@pytest.mark.parametrize("n_basis", [1, 5, 16])
def test_cosines_in_time_are_orthogonal_and_damped(n_basis):
    basis = cosine_basis(16, n_basis).double()
    gram = basis.T @ basis
    energy = gram.diagonal()
    assert (gram - torch.diag(energy)).abs().max() < 1e-5 * energy.max()
    # a cosine has half the energy of the constant, and the damping is 1 / sqrt(1 + k)
    expected = torch.tensor([1.0] + [0.5 / (1 + k) for k in range(1, n_basis)]).double()
    torch.testing.assert_close(energy / energy[0], expected, rtol=1e-5, atol=0)


def test_coefficients_move_a_frame_as_far_in_a_long_clip_as_in_a_short_one():
    """What all cosines add up to where each is at its height."""
    heights = [float(cosine_basis(64, n).abs().amax(0).sum()) for n in (4, 16, 64)]
    assert max(heights) < 1.01 * min(heights)
