"""Volume rendering against a loop that a reader can check by hand."""

import math

import pytest
import torch

from omnimotion.compositing import composite, render_weights, stratified_depths

LIKE = torch.zeros((), dtype=torch.float64)


def densities(*shape, seed=0):
    random = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(shape, generator=random, dtype=torch.float64)


def weights_by_loop(ray):
    """One ray, front to back; what is left behind the last sample is given to the last sample.

    Density is what one of 16 samples absorbs; with S samples, each absorbs 16 / S of it.
    """
    left, weights = 1.0, []
    for density in ray[:-1]:
        alpha = 1 - math.exp(-density * 16 / len(ray))
        weights.append(left * alpha)
        left *= 1 - alpha
    return [*weights, left]


def test_weights_agree_with_a_loop():
    density = densities(4, 5, 7)
    expected = [weights_by_loop(ray) for ray in density.view(-1, 7).tolist()]
    torch.testing.assert_close(
        render_weights(density), torch.tensor(expected, dtype=torch.float64).view(4, 5, 7)
    )


def test_weights_are_a_partition_of_unity():
    for scale in (0.0, 1e-6, 1.0, 1e6):
        weights = render_weights(scale * densities(50, 12))
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(-1), torch.ones(50, dtype=torch.float64))


def test_an_opaque_sample_takes_what_is_left_and_hides_what_is_behind():
    half = math.log(2) * 5 / 16  # lets half of the light through
    found = render_weights(torch.tensor([half, half, 1e3, 5.0, 5.0], dtype=torch.float64))
    expected = torch.tensor([0.5, 0.25, 0.25, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_an_empty_ray_shows_its_last_sample():
    torch.testing.assert_close(render_weights(torch.zeros(3)), torch.tensor([0.0, 0.0, 1.0]))


def test_two_samples_are_enough():
    torch.testing.assert_close(
        render_weights(torch.tensor([math.log(4) / 8, 9.0])), torch.tensor([0.75, 0.25])
    )


def test_opacity_does_not_depend_on_how_finely_a_ray_is_sampled():
    """Weight in front of half of the depth, in a medium whose density is smooth in z."""
    shares = []
    for n_samples in (16, 64, 256):
        z = stratified_depths((1,), n_samples, None, LIKE)
        weights = render_weights(0.2 + 0.1 * torch.sin(2 * z))
        shares.append(float(weights[z < 0].sum()))
    assert max(shares) - min(shares) < 2e-3


def test_gradient_is_finite_for_empty_and_for_opaque_rays():
    density = torch.tensor([[0.0, 0.0, 0.0], [1e8, 1e8, 1e8]], requires_grad=True)
    (gradient,) = torch.autograd.grad(render_weights(density).square().sum(), density)
    assert torch.isfinite(gradient).all()


def test_weights_pass_gradcheck():
    assert torch.autograd.gradcheck(render_weights, densities(3, 5).requires_grad_())


def test_composite_is_the_weighted_sum():
    weights = torch.tensor([[0.25, 0.75]])
    values = torch.tensor([[[0.0, 4.0], [8.0, 0.0]]])
    torch.testing.assert_close(composite(weights, values), torch.tensor([[6.0, 1.0]]))


@pytest.mark.parametrize("n_samples", [2, 5, 32])
def test_depths_lie_one_in_each_stratum(n_samples):
    random = torch.Generator().manual_seed(0)
    z = stratified_depths((200, 3), n_samples, random, LIKE)
    assert z.shape == (200, 3, n_samples)
    assert z.dtype == LIKE.dtype
    stratum = ((z + 1) / 2 * n_samples).floor()
    torch.testing.assert_close(stratum, torch.arange(n_samples).to(z).expand_as(z))


def test_jitter_fills_the_strata():
    z = stratified_depths((20000,), 2, torch.Generator().manual_seed(0), LIKE)
    share = (z[:, 0] < -0.5).double().mean()
    assert abs(float(share) - 0.5) < 0.02


def test_depths_without_a_generator_are_the_centres():
    z = stratified_depths((1,), 4, None, LIKE)
    torch.testing.assert_close(
        z, torch.tensor([[-0.75, -0.25, 0.25, 0.75]], dtype=torch.float64)
    )
