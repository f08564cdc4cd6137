"""The compiled kernels agree with plain PyTorch: values, gradients, borders, any thread count."""

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("numba")

from omnimotion.config import ModelConfig
from omnimotion.fused import Carry, Decode, Read, _spread, loop_threads
from omnimotion.geometry import Frame
from omnimotion.scene import Scene

FRAMES, PAIRS, POINTS = 5, 8, 300


def random(*shape, seed=0):
    """Float32 in [-1, 1]."""
    made = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(shape, generator=made) - 1


def scene(backend):
    """A bijection far from the identity, cameras that turn, zoom and drift, a patchy volume."""
    t = torch.arange(FRAMES) - 2.0
    cameras = torch.stack((1 + 0.05 * t, 0.1 * t, 0.2 * t, -0.1 * t), dim=-1)
    config = ModelConfig(cells=4, z_cells=8, volume_cells=12)
    made = Scene(Frame(64, 48), cameras, config, backend, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for k, parameter in enumerate(made.bijection.parameters()):
            parameter.add_(0.03 * random(*parameter.shape, seed=k))
        for k, level in enumerate(made.volume.levels):
            level.add_(0.3 * random(*level.shape, seed=k))
    return made


def carried(made, inverse, dtype):
    """Mapped points, and the gradients of a weighted sum of them by what they depend on."""
    made = made.to(dtype)
    made.zero_grad()
    x = (1.4 * random(PAIRS, POINTS, 3, seed=1)).to(dtype).requires_grad_()
    frames = torch.tensor([0, 3, 3, 4, 1, 0, 2, 3])
    at = made.at(frames)
    mapped = at.inverse(x) if inverse else at.forward(x)
    (mapped * random(PAIRS, POINTS, 3, seed=2).to(dtype)).sum().backward()
    named = made.bijection.named_parameters()
    gradients = {name: p.grad.double() for name, p in named}
    gradients |= {"x": x.grad.double(), "camera": made.camera_shift.grad.double()}
    return mapped.detach().double(), gradients


def assert_close(found, expected, share):
    """Equal to a share of the largest expected value, but for one value in a thousand.

    A point within rounding of the border of a cell may see the slope of the next one.
    """
    off = (found - expected).abs() / expected.abs().max()
    assert off.flatten().quantile(0.999) < share
    assert off.max() < 100 * share


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_maps_and_their_gradients_agree_with_double_precision(inverse):
    found, gradients = carried(scene("numba"), inverse, torch.float32)
    expected, expected_gradients = carried(scene("torch"), inverse, torch.float64)
    assert (found - expected).abs().max() < 2e-5
    for name, gradient in gradients.items():
        assert expected_gradients[name].abs().max() > 0, name
        assert_close(gradient, expected_gradients[name], 2e-3)


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_what_is_given_in_double_precision_is_mapped_in_it(inverse):
    x = 1.4 * random(2, POINTS, 3, seed=1).double()
    maps = [scene(backend).at(torch.tensor([1, 4])) for backend in ("numba", "torch")]
    with torch.no_grad():
        found, expected = (at.inverse(x) if inverse else at.forward(x) for at in maps)
    assert found.dtype == expected.dtype == torch.float64
    assert (found - expected).abs().max() < 3e-6  # what exp is approximated to, six times


@pytest.mark.parametrize("inverse", [False, True], ids=["forward", "inverse"])
def test_the_number_of_threads_does_not_change_what_is_mapped(inverse):
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        try:
            results.append(carried(scene("numba"), inverse, torch.float32))
        finally:
            torch.set_num_threads(1)
    (one, one_gradients), (three, three_gradients) = results
    assert torch.equal(one, three)
    for name, gradient in one_gradients.items():
        assert_close(three_gradients[name], gradient, 1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_reads_and_their_gradients_agree_with_grid_sample(threads):
    places, grid = 1.2 * random(3000, 3), random(4, 6, 5, 8, seed=1)
    weights = random(3000, 8, seed=2)
    torch.set_num_threads(threads)
    try:
        p, g = places.clone().requires_grad_(), grid.clone().requires_grad_()
        found = Read.apply(p, g)
        (found * weights).sum().backward()
    finally:
        torch.set_num_threads(1)
    q, h = places.double().requires_grad_(), grid.double().requires_grad_()
    expected = F.grid_sample(
        h.permute(3, 0, 1, 2)[None], q.view(1, 1, 1, -1, 3), padding_mode="border",
        align_corners=True,
    ).view(8, -1).T  # fmt: skip
    (expected * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    assert_close(g.grad.double(), h.grad, 1e-4)
    assert_close(p.grad.double(), q.grad, 1e-4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("widths", [(8, 32, 4), (5, 7, 3)], ids=str)
def test_the_network_and_its_gradients_agree_with_double_precision(widths, threads):
    n_in, n_hidden, n_out = widths
    given = random(3001, n_in), random(n_hidden, n_in, seed=1), random(n_out, n_hidden, seed=2)
    weights = random(3001, n_out, seed=3)
    single = [each.clone().requires_grad_() for each in given]
    torch.set_num_threads(threads)
    try:
        found = Decode.apply(*single)
        (found * weights).sum().backward()
    finally:
        torch.set_num_threads(1)
    double = [each.double().requires_grad_() for each in given]
    features, first, second = double
    expected = torch.relu(features @ first.T) @ second.T
    (expected * weights).sum().backward()
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)
    for each, reference in zip(single, double):
        assert_close(each.grad.double(), reference.grad, 1e-4)


def test_a_feature_that_is_not_a_number_spoils_its_own_point_only():
    features = random(300, 8)
    features[7] = torch.nan
    found = Decode.apply(features, random(32, 8, seed=1), random(4, 32, seed=2))
    assert found.isnan().any(dim=1).nonzero().tolist() == [[7]]


def test_what_is_not_a_number_stays_so_and_reads_nothing_beyond_the_grid():
    made = scene("numba")
    x = torch.full((1, 4, 3), torch.nan)
    assert made.at(torch.tensor([2])).forward(x).isnan().any()
    assert Read.apply(torch.full((4, 3), torch.nan), random(3, 3, 3, 8)).shape == (4, 8)


def test_nothing_is_kept_where_nothing_learns():
    made = scene("numba")
    with torch.no_grad():
        assert not made.at(torch.tensor([2])).forward(random(1, 5, 3)).requires_grad
    grids, cameras = made.bijection.table().detach(), made.camera_start
    out = Carry.apply(
        random(1, 5, 3), grids, cameras, torch.tensor([1]), made.bijection.layout, False
    )
    assert out.grad_fn is None


def test_torch_has_its_threads_back_after_the_loops():
    torch.set_num_threads(3)
    try:
        with loop_threads():
            assert torch.get_num_threads() == 1
            with loop_threads():
                assert len(_spread(lambda rows: rows, 3, 10_000)) == 3
        assert torch.get_num_threads() == 3
        with pytest.raises(KeyError), loop_threads():
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
