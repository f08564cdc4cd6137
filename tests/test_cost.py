"""The work of a step, against cases counted by hand and steps counted while they are taken."""

import importlib.util
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from omnimotion.config import Config, LossConfig, ModelConfig
from omnimotion.correspondences import Correspondences
from omnimotion.geometry import Frame
from omnimotion.losses import StepDepths, loss_terms
from omnimotion.networks import Decoder, GaborNet, Mlp
from omnimotion.scene import Scene, Snapshot

spec = importlib.util.spec_from_file_location(
    "cost", Path(__file__).parents[1] / "benchmarks" / "cost.py"
)
cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cost)

GRIDS = cost.Grids(
    frames=2, basis=3, layers=2, table=4, levels=2, coefficients=30, volume=16, volume_levels=2,
    volume_coefficients=20, channels=8, hidden=3, parameters=50,
)  # fmt: skip
NETWORKS = cost.Networks(
    layers=1, inputs=5, width=6, depth=2, volume_width=7, volume_depth=2, parameters=0
)


def random():
    return torch.Generator().manual_seed(0)


class Counted(Snapshot):
    """A snapshot that adds the points it carries and renders to `tally`."""

    tally: ClassVar[Counter] = Counter()

    def at(self, frames):
        whole = super().at(frames)
        return SimpleNamespace(
            forward=self.counted("carried", whole.forward),
            inverse=self.counted("carried", whole.inverse),
        )

    @classmethod
    def counted(cls, name, act):
        def run(points):
            cls.tally[name] += points[..., 0].numel()
            return act(points)

        return run

    @classmethod
    def of(cls, now):
        return cls(now.scene, now.table, now.cameras, cls.counted("rendered", now.volume))


def counted_step(loss, pairs=4, points=3, samples=2, lost=5):
    """The points that the losses of a step carry and render."""
    cameras = torch.tensor([1.0, 0, 0, 0]).repeat(5, 1)
    scene = Scene(Frame(32, 24), cameras, ModelConfig(cells=4), "torch", random())
    scene.shared = Counted.of
    Counted.tally.clear()
    frames = torch.arange(pairs) % 5
    xy = torch.zeros(pairs, points, 2)
    batch = Correspondences(
        frames, frames, frames.flip(0), xy, xy, torch.zeros(pairs, points, 3),
        torch.ones(pairs, points, dtype=torch.bool), torch.ones(pairs, points),
        torch.zeros(pairs, lost, 2), torch.ones(pairs),
    )  # fmt: skip
    drawn = StepDepths.drawn(batch, loss, samples, random())
    loss_terms(scene, batch, loss, drawn, torch.ones(()))
    return Counted.tally["carried"], Counted.tally["rendered"]


@pytest.mark.parametrize("consistency", [0.0, 0.1])
@pytest.mark.parametrize("occlusion", [0.0, 0.3])
def test_the_points_of_a_step_are_those_that_the_losses_carry_and_render(consistency, occlusion):
    loss = LossConfig(
        robust_px=4.0, smoothness=0.3, depth_consistency=consistency, occlusion=occlusion
    )
    step = cost.Step(4, 3, 2, 5, bool(consistency), bool(occlusion))
    assert (step.carried, step.rendered) == counted_step(loss)


def test_the_points_of_a_small_step_by_hand():
    step = cost.Step(4, 3, 2, 5, consistency=True, occlusion=True)
    assert step.main == 4 * 3 * 2
    # two pairs: 3 points in frame j; 5 points without a match, in both frames; 2 samples each
    assert step.rendered == 24 + 2 * 3 * 2 + 2 * 2 * 5 * 2
    # and to frame j; surfaces to three frames; the points without a match to frame j
    assert step.carried == step.rendered + 24 + 2 * 3 * 3 + 2 * 5


def test_of_samples_without_light_only_density_is_asked():
    step = cost.Step(4, 3, 2, 5, lit=0.5)
    surfaces = 2 * (3 * 3 + 5)
    assert step.carried == step.rendered + 12 + surfaces
    assert step.carried_back == step.rendered / 2 + 12 + surfaces
    dark, whole = (cost.decoder(step._replace(lit=share), 8, 3) for share in (0.0, 1.0))
    assert dark.matrix == 2 * step.rendered * (8 * 3 + 3)
    half = cost.decoder(step, 8, 3).matrix
    assert half == pytest.approx((dark.matrix + whole.matrix) / 2)


def test_a_step_has_the_terms_of_its_settings():
    step = cost.step_of(Config().replace(pairs=7, points=5, samples=3, occlusion=0))
    assert (step.pairs, step.points, step.samples) == (7, 5, 3)
    assert (step.consistency, step.occlusion, step.distortion) == (True, False, False)


def test_motion_tables_by_hand():
    work = cost.motion_tables(GRIDS)
    # (1, 2) @ (2, 4) and (1, 1) @ (1, 4), even and odd in time: 3 multiplications and 3 additions
    # for each of 4; back as many
    assert work.matrix == 24 + 24
    # coefficients in and their gradient out; the table out, in again, and its gradient in
    assert work.bytes == 4 * (30 + 30 + 8 + 8 + 8)


def test_couplings_by_hand():
    work = cost.couplings(10, 5, GRIDS)
    # there 3 in, 3 out, 2 kept; back 3, 2 kept and 3 in, 3 out; and the table's gradient
    assert work.bytes == 4 * (10 * 8 + 5 * 11 + 8)
    assert (work.motion_reads, work.motion_adds) == ((10 + 5) * 2, 5 * 2)


def test_the_volume_by_hand():
    assert cost.volume_table(GRIDS).bytes == 4 * (20 + 16 + 16 + 20)
    work = cost.volume_reads(10, 5, GRIDS)
    # there 3 in, 8 out; back 3 and 8 in, 3 out; and the grid's gradient
    assert work.bytes == 4 * (10 * 11 + 5 * 14 + 16)
    assert (work.volume_reads, work.volume_adds) == (15, 5)
    assert cost.volume_reads(10, 5, GRIDS._replace(channels=16)).volume_adds == 10


def test_compositing_counts_pairs_of_samples_for_distortion_only():
    step = cost.Step(1, 1, 4, 0, consistency=False, occlusion=False)
    spread = cost.compositing(step._replace(distortion=True))
    assert spread.plain - cost.compositing(step).plain == 4 * 4 * cost.APART


def test_the_optimiser_by_hand():
    # value, mean and square in and out, the gradient in twice
    assert cost.optimiser(50).bytes == 50 * 8 * 4


def operations(module, inputs):
    """Operations in products of matrices, there and back, as PyTorch counts them."""
    given = torch.randn(11, inputs, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        module(given).sum().backward()
    return counter.get_total_flops()


def test_products_are_those_that_pytorch_counts():
    all_lit = cost.Step(1, 11, 1, consistency=False, occlusion=False)
    assert cost.decoder(all_lit, 8, 3).matrix == operations(Decoder(8, 4, 3, random()), 8)
    layer, colour = Mlp(5, 2, 6, 2, random()), GaborNet(3, 4, 7, 2, random())
    assert cost.coupling_networks(11, NETWORKS).matrix == operations(layer, 5)
    assert cost.colour_network(11, NETWORKS).matrix == operations(colour, 3)


def test_the_floor_is_what_takes_longest():
    work = cost.Work(matrix=6, plain=1, bytes=10, motion_reads=4)
    machine = cost.Work(2, 1, 5, 1, 1, 1, 1)
    assert cost.seconds(work, machine) == 4
    assert cost.bound(work, machine) == "motion_reads"
    assert cost.seconds(work._replace(motion_reads=0), machine) == 3


def test_the_work_of_a_step_is_the_sum_of_its_parts():
    step = cost.Step(4, 3, 2, 5)
    parts = cost.grid_parts(step, GRIDS)
    whole = cost.total(parts)
    assert whole.volume_reads == 2 * step.rendered
    assert whole.motion_adds == step.carried_back * GRIDS.layers
    assert whole.bytes == sum(part.bytes for part in parts.values())
    assert set(cost.network_parts(step, NETWORKS)) > {"optimiser", "coupling networks"}
