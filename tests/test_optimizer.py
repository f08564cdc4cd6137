"""The optimizer: plain Adam without its two changes, and bounded with them."""

import pytest
import torch
from torch import nn

from omnimotion.optimizer import WARM_NORMS, FlooredAdam


def parameters(seed=0):
    random = torch.Generator().manual_seed(seed)
    return {
        "grid": nn.Parameter(torch.randn(3, 2, 4, 5, generator=random)),
        "weight": nn.Parameter(torch.randn(6, 7, generator=random)),
    }


def loss(named, step):
    """A bumpy function whose gradient differs from step to step."""
    return sum((p * (1 + 0.1 * step) + step).sin().sum() for p in named.values())


def forget(named):
    for parameter in named.values():
        parameter.grad = None


def descend(named, optimizer, steps, rate=0.01):
    for step in range(steps):
        forget(named)
        loss(named, step).backward()
        optimizer.step(step, rate)


def test_without_floor_and_bound_it_is_adam():
    named, expected = parameters(), parameters()
    descend(named, FlooredAdam([(named, 1.0)], floor=0.0, clip=0.0), 30)
    adam = torch.optim.Adam(expected.values(), lr=0.01, betas=(0.9, 0.99), eps=1e-12)
    for step in range(30):
        adam.zero_grad()
        loss(expected, step).backward()
        adam.step()
    for name, parameter in named.items():
        torch.testing.assert_close(parameter, expected[name], atol=1e-5, rtol=1e-4)


def test_rates_are_relative():
    fast, slow = parameters(), parameters()
    for named, relative in ((fast, 2.0), (slow, 1.0)):
        start = {name: p.detach().clone() for name, p in named.items()}
        descend(named, FlooredAdam([(named, relative)], floor=0.3, clip=0.0), 1)
        for name, p in named.items():
            start[name] -= p.detach()
        named["moved"] = start
    for name in ("grid", "weight"):
        torch.testing.assert_close(fast["moved"][name], 2 * slow["moved"][name])


def test_what_fades_shrinks_by_its_rate_before_the_step_and_nothing_else_does():
    faded, plain = parameters(), parameters()
    optimizer = FlooredAdam([(faded, 2.0)], floor=0.3, clip=0.0, fading=frozenset({"grid"}))
    start = faded["grid"].detach().clone()
    for named, each, fade in (
        (faded, optimizer, 5.0), (plain, FlooredAdam([(plain, 2.0)], 0.3, 0.0), 0.0)
    ):  # fmt: skip
        loss(named, 0).backward()
        each.step(0, 0.01, fade)
    torch.testing.assert_close(faded["grid"], plain["grid"].detach() - 2 * 0.01 * 5 * start)
    torch.testing.assert_close(faded["weight"], plain["weight"])


def test_what_nothing_holds_fades_away():
    named = {"grid": nn.Parameter(torch.full((2, 2, 4, 4), 0.1))}
    optimizer = FlooredAdam([(named, 1.0)], floor=0.3, clip=0.0, fading=frozenset({"grid"}))
    for step in range(100):
        forget(named)
        (named["grid"][0] - 0.1).square().sum().backward()  # holds one half of it
        optimizer.step(step, 1e-2, fade=5.0)
    assert named["grid"][1].abs().max() < 0.1 * 0.95**90
    assert named["grid"][0].min() > 0.08


def test_with_a_floor_a_hardly_seen_cell_hardly_moves():
    moved = []
    for floor in (0.0, 0.3):
        named = {"grid": nn.Parameter(torch.zeros(1, 1, 4, 4))}
        optimizer = FlooredAdam([(named, 1.0)], floor=floor, clip=0.0)
        gradient = torch.ones(1, 1, 4, 4)
        gradient[..., 0, 0] = 1e-4
        named["grid"].grad = gradient
        optimizer.step(0, 0.01)
        moved.append(-named["grid"].detach()[0, 0, 0, 0] / 0.01)
    assert float(moved[0]) == pytest.approx(1.0, rel=1e-3)
    assert float(moved[1]) < 1e-3


def test_a_sudden_gradient_is_bounded_and_a_usual_one_is_not():
    named = {"grid": nn.Parameter(torch.zeros(1, 1, 4, 4))}
    optimizer = FlooredAdam([(named, 1.0)], floor=0.0, clip=2.0)

    def step(count, size):
        named["grid"].grad = torch.full((1, 1, 4, 4), size)
        optimizer.step(count, 0.0)
        return float(named["grid"].grad.mean())

    for count in range(WARM_NORMS + 5):
        assert step(count, 1.0) == 1.0
    assert step(WARM_NORMS + 5, 1000.0) == pytest.approx(2.0, rel=0.01)
    assert step(WARM_NORMS + 6, 1.0) == 1.0


def test_parameters_without_a_gradient_stay():
    named = parameters()
    before = named["weight"].detach().clone()
    named["grid"].grad = torch.ones_like(named["grid"])
    FlooredAdam([(named, 1.0)], floor=0.3, clip=1.5).step(0, 0.1)
    torch.testing.assert_close(named["weight"].detach(), before, atol=0, rtol=0)


def test_its_state_is_all_it_needs():
    """Copied into another one, both go on alike."""
    a, b = parameters(), parameters()
    first, second = (FlooredAdam([(named, 1.0)], floor=0.3, clip=1.5) for named in (a, b))
    descend(a, first, 25)
    with torch.no_grad():
        for name in a:
            b[name].copy_(a[name])
        for name, tensor in second.tensors().items():
            tensor.copy_(first.tensors()[name])
    for named, optimizer in ((a, first), (b, second)):
        forget(named)
        loss(named, 25).backward()
        optimizer.step(25, 0.01)
    for name in a:
        assert torch.equal(a[name], b[name]), name
