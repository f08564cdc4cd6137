"""Tables made by the kernels: what plain PyTorch makes of the same levels, and its gradient."""

import pytest
import torch
from torch.nn.functional import interpolate

pytest.importorskip("numba", reason="numba is not installed")

from omnimotion.bijection import cosine_basis
from omnimotion.fused.tables import MotionTable

MOST = 0.7


def plain(basis, layers):
    """The table, by the definition of `GridBijection.table`, with a graph."""
    rows = []
    for coarse, fine in layers:
        size = fine.shape[2:]
        total = fine + interpolate(coarse, size=size, mode="bilinear", align_corners=True)
        rows.append(total.permute(0, 2, 3, 1).flatten(1))
    scale, shift = (basis @ torch.cat(rows, 1)).unflatten(1, (-1, 2)).unbind(-1)
    return torch.stack((MOST * torch.tanh(scale / MOST), shift), -1).flatten(1)


@pytest.mark.parametrize(("frames", "cosines"), [(2, 2), (5, 4), (8, 4), (9, 9)])
def test_motion_of_frames_that_mirror_one_another(frames, cosines):
    generator = torch.Generator().manual_seed(frames)
    layers = [
        [torch.randn(cosines, 2, *size, generator=generator, dtype=torch.float64)
         for size in ((2, 3), (3, 5))]
        for _ in range(2)
    ]  # fmt: skip
    basis = cosine_basis(frames, cosines)
    single = [[level.float() for level in layer] for layer in layers]
    table = MotionTable(basis, MOST, single)
    expected = plain(basis.double(), [[x.requires_grad_() for x in layer] for layer in layers])
    assert table.make() == pytest.approx(expected.detach().numpy(), abs=1e-5)

    halves = torch.randn(frames, 2 * expected.shape[1], generator=generator)
    found = [[torch.full_like(level, torch.nan) for level in layer] for layer in single]
    table.gradients(found).make(halves)
    (expected * (halves[:, : expected.shape[1]] + halves[:, expected.shape[1] :])).sum().backward()
    for layer, layer_g in zip(layers, found):
        for level, level_g in zip(layer, layer_g):
            assert level_g.numpy() == pytest.approx(level.grad.numpy(), abs=1e-4)
