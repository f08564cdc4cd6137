"""Loss terms against plain loops, and zero where nothing is wrong."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch

from omnimotion.compositing import stratified_depths
from omnimotion.config import LossConfig, ModelConfig
from omnimotion.correspondences import Correspondences
from omnimotion.geometry import Frame
from omnimotion.losses import (
    StepDepths,
    depth_consistency,
    depth_order,
    distortion,
    flow_loss,
    gradient_loss,
    loss_terms,
    occlusion,
    smoothness,
)
from omnimotion.scene import Rendering, Scene, lift

PX = 128.0  # of a normalised unit, at a longer side of 256
PAIRS, POINTS, SAMPLES = 3, 4, 5
LANDS = torch.ones(())  # share of points without a match that land inside


def random(*shape, seed=0):
    made = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=made, dtype=torch.float64)


def shares(*shape, seed=0):
    weights = random(*shape, seed=seed)
    return weights / weights.sum(-1, keepdim=True)


def loss_config(**changes):
    return dataclasses.replace(LossConfig(), **changes)


def flow_of(config, **changes):
    """The flow loss of random rays, and the inputs it had."""
    given = {
        "weights": shares(PAIRS, POINTS, SAMPLES),
        "x_j": random(PAIRS, POINTS, SAMPLES, 3, seed=1),
        "xy_j": random(PAIRS, POINTS, 2, seed=2),
    } | changes
    weights, x_j, xy_j = given.values()
    composited = (weights[..., None] * x_j).sum(-2)[..., :2]
    some = batch()._replace(xy_j=xy_j)
    off = PX * (composited - xy_j).abs().sum(-1)
    return float(flow_loss(weights, x_j, some, off, config)), given, off


def plain(share):
    return loss_config(per_sample=share, robust_px=0.0)


def test_flow_sample_by_sample():
    found, given, _ = flow_of(plain(1.0))
    total = 0.0
    for p in range(PAIRS):
        for n in range(POINTS):
            for k in range(SAMPLES):
                apart = given["x_j"][p, n, k, :2] - given["xy_j"][p, n]
                total += float(given["weights"][p, n, k]) * float(apart.abs().sum()) * PX
    assert found == pytest.approx(total / (PAIRS * POINTS))


def test_flow_after_compositing_is_never_more():
    found, _, off = flow_of(plain(0.0))
    assert found == pytest.approx(float(off.mean()))
    assert found < flow_of(plain(1.0))[0]


def test_flow_is_a_mixture():
    a, b, mixed = (flow_of(plain(share))[0] for share in (0.0, 1.0, 0.25))
    assert mixed == pytest.approx(0.75 * a + 0.25 * b)


@pytest.mark.parametrize(("times", "expected"), [(0.5, 0.5), (1, 1), (math.e, 2), (math.e**2, 3)])
def test_a_robust_flow_error_grows_as_its_logarithm(times, expected):
    """Beyond a bound, here of 4 px."""
    x_j = torch.tensor([[[[times * 4 / PX, 0.0, 0.0]]]], dtype=torch.float64)
    one, zero = torch.ones(1, 1, 1).double(), torch.zeros(1, 1, 2).double()
    config = loss_config(per_sample=1.0, robust_px=4.0)
    found, _, _ = flow_of(config, weights=one, x_j=x_j, xy_j=zero)
    assert found == pytest.approx(4 * expected)


def test_differences_between_points():
    found, expected = random(2, 3, 2), random(2, 3, 2, seed=1)
    total = 0.0
    for p in range(2):
        for n in range(3):
            a, b = found[p, n] - found[p, n - 1], expected[p, n] - expected[p, n - 1]
            total += float((a - b).abs().sum())
    assert float(gradient_loss(found, expected)) == pytest.approx(total / 6)
    assert float(gradient_loss(found + 3, found)) == pytest.approx(0, abs=1e-12)


class Falling:
    """A stand-in for a scene: a point falls with the frame number t as t^2 / 128 along y."""

    n_frames = 6

    def at(self, frames):
        def inverse(u):
            y = frames.double().square()[:, None] / PX
            zero = torch.zeros_like(y)
            return u + torch.stack((zero, y, zero), dim=-1)

        return SimpleNamespace(inverse=inverse)


@pytest.mark.parametrize("frame", [0, 1, 3, 5])
def test_smoothness_is_the_acceleration(frame):
    u = random(1, 7, 3)
    assert float(smoothness(Falling(), torch.tensor([frame]), u)) == pytest.approx(2.0)  # (t^2)''


def test_two_frames_have_no_acceleration():
    clip = Falling()
    clip.n_frames = 2
    assert float(smoothness(clip, torch.tensor([0]), random(1, 2, 3))) == 0.0


def test_depth_consistency_counts_only_what_both_frames_see():
    mapped, rendered = torch.tensor([[0.0, 0.5, 0.25]]), torch.tensor([[0.5, 0.5, -0.75]])
    both = torch.tensor([[True, True, False]])
    assert float(depth_consistency(mapped, rendered, both)) == pytest.approx(PX * 0.5 / 2)
    assert float(depth_consistency(mapped, rendered, ~both)) == pytest.approx(PX * 1.0)
    assert float(depth_consistency(mapped, rendered, torch.zeros_like(both))) == 0.0


def test_distortion_by_loop():
    z, weights = random(2, 3, SAMPLES).sort(-1).values, shares(2, 3, SAMPLES)
    total = sum(
        float(weights[p, n, a] * weights[p, n, b] * abs(z[p, n, a] - z[p, n, b]))
        for p in range(2) for n in range(3) for a in range(SAMPLES) for b in range(SAMPLES)
    )  # fmt: skip
    found = distortion(SimpleNamespace(z=z, weights=weights))
    assert float(found) == pytest.approx(total / 6)


@pytest.fixture(scope="module")
def still_scene():
    """Cameras and couplings are the identity, so every point stays where it is."""
    identity = torch.tensor([1.0, 0, 0, 0]).repeat(4, 1)
    made = torch.Generator().manual_seed(0)
    return Scene(Frame(64, 48), identity, ModelConfig(cells=4), "torch", made)


def batch(shift=0.0):
    xy = (random(PAIRS, POINTS, 2) - 0.5).float()
    i, j = torch.tensor([0, 1, 3]), torch.tensor([2, 0, 1])
    rgb = random(PAIRS, POINTS, 3).float()
    seen = torch.ones(PAIRS, POINTS, dtype=torch.bool)
    return Correspondences(
        pair=torch.arange(PAIRS), i=i, j=j, xy_i=xy, xy_j=xy + shift, rgb_i=rgb, covisible=seen,
        certainty=torch.ones(PAIRS, POINTS), lost_i=xy[:, :2],
        lost_weight=torch.full((PAIRS,), 0.5),
    )  # fmt: skip


def depths(some, config, n_samples):
    return StepDepths.drawn(some, config, n_samples, torch.Generator().manual_seed(0))


def terms_of(scene, shift=0.0, **changes):
    with torch.no_grad():
        some, config = batch(shift), loss_config(**changes)
        return loss_terms(scene, some, config, depths(some, config, 8), LANDS)


def test_a_still_clip_explains_itself(still_scene):
    terms = terms_of(still_scene)
    for name in ("flow", "flow_px", "flow_gradient", "smoothness", "depth_range"):
        assert float(getattr(terms, name).max()) < 1e-3, name
    assert float(terms.photometric) > 0


def test_a_match_counts_by_its_certainty_and_its_error_as_it_is(still_scene):
    some, config = batch(0.1), loss_config()
    far = some.xy_j.clone()
    far[:, 0] += 0.2
    certainty = torch.ones(PAIRS, POINTS)
    certainty[:, 0] = 0
    with torch.no_grad():
        plain, moved, counted = (
            loss_terms(still_scene, each, config, depths(each, config, 8), LANDS)
            for each in (some, some._replace(xy_j=far),
                         some._replace(xy_j=far, certainty=certainty))
        )  # fmt: skip
    assert float(counted.flow) == pytest.approx(float(plain.flow) * (1 - 1 / POINTS), rel=1e-4)
    assert float(counted.flow_px) == float(moved.flow_px) > 1.1 * float(plain.flow_px)


def test_a_wrong_match_costs_its_distance_in_pixels(still_scene):
    terms = terms_of(still_scene, shift=0.5 / PX, robust_px=0.0)
    for name in ("flow", "flow_px"):  # half a pixel along x and along y
        assert float(getattr(terms, name)) == pytest.approx(1.0, rel=1e-3), name
    torch.testing.assert_close(terms.pair_px, torch.ones(PAIRS), rtol=1e-3, atol=0)


def test_terms_without_a_weight_are_not_computed(still_scene):
    names = ("depth_consistency", "distortion", "occlusion")
    without = terms_of(still_scene, **dict.fromkeys(names, 0.0))
    with_them = terms_of(still_scene, **dict.fromkeys(names, 1.0))
    for name in names:
        assert float(getattr(without, name)) == 0.0
        assert float(getattr(with_them, name)) > 0.0


class Layered:
    """A stand-in for a still scene: an opaque plane at depth 0 where x > 0, else at depth 0.8."""

    scene = SimpleNamespace(frame=Frame(64, 48))

    def at(self, frames):
        return SimpleNamespace(inverse=lambda u: u, frames=frames)

    def render(self, frame_map, xy, z, faint):
        """Frame 0 sees the far plane everywhere, the others what is in front."""
        plane = torch.where((xy[..., 0] > 0) & (frame_map.frames[:, None] > 0), 0.0, 0.8)
        nearest = (z - plane[..., None]).abs().argmin(-1, keepdim=True)
        weights = torch.zeros_like(z).scatter(-1, nearest, 1.0)
        counts = torch.ones_like(z, dtype=torch.bool)
        return Rendering(z, lift(xy, z), weights, counts, torch.zeros(*xy.shape[:2], 3))


def lost(x):
    """One pair, frame 0 to 1, with one point that has no match."""
    some = batch()
    return some._replace(
        i=torch.tensor([0]), j=torch.tensor([1]), lost_i=torch.tensor([[[x, 0.1]]]),
        lost_weight=torch.tensor([1.0]),
    )  # fmt: skip


def test_a_lost_point_behind_something_costs_nothing_and_one_in_the_open_does():
    hidden, open_, outside = (
        float(occlusion(Layered(), lost(x), depths(lost(x), loss_config(), 32), LANDS)[0])
        for x in (0.5, -0.5, 1.5)
    )
    assert hidden < 0.05
    assert open_ > 1
    assert outside == 0  # it left the frame: nothing has to hide it


def test_the_cost_of_lost_points_is_a_mean_over_those_that_land_inside():
    places = [-0.5, 1.5, *[-0.5] * 6]
    some = batch()._replace(
        i=torch.zeros(8, dtype=torch.int64), j=torch.ones(8, dtype=torch.int64),
        lost_i=torch.tensor([[[x, 0.1]] for x in places]), lost_weight=torch.ones(8),
    )  # fmt: skip
    z = stratified_depths((8, 1), 32, None, some.lost_i)
    _, share = occlusion(Layered(), some, StepDepths(z, z, z, z), LANDS)
    assert float(share) == 7 / 8
    found, _ = occlusion(Layered(), some, StepDepths(z, z, z, z), share)
    one = some._replace(lost_i=some.lost_i[:1], i=some.i[:1], j=some.j[:1],
                        lost_weight=some.lost_weight[:1])  # fmt: skip
    each, _ = occlusion(Layered(), one, StepDepths(*[z[:1]] * 4), LANDS)
    assert each > 1
    assert float(found) == pytest.approx(float(each), rel=1e-5)


def test_depth_order_by_hand():
    """Two of the three pairs are clearly apart: one lies as the map says, one the other way."""
    rendered = torch.tensor([[0.0, 0.25, -0.125]], dtype=torch.float64)
    mapped = torch.tensor([[0.2, 0.5, 0.55]])
    right = math.log1p(math.exp(-0.25 * 16))  # point 1 lies deeper than point 0
    wrong = math.log1p(math.exp(0.125 * 16))  # point 2 does not
    found = depth_order(rendered, mapped)
    assert float(found) == pytest.approx((right + wrong) / 2)
    scaled = depth_order(rendered, mapped * 1.5)  # only the order counts
    assert float(scaled) == pytest.approx((right + wrong) / 2)
    assert float(depth_order(rendered, torch.full((1, 3), 0.5))) == 0.0


def test_the_total_is_the_weighted_sum(still_scene):
    terms = terms_of(still_scene, shift=0.01)
    total = terms.total({"flow": 1.0, "photometric": 2.0, "smoothness": 0.0})
    assert float(total) == pytest.approx(float(terms.flow) + 2 * float(terms.photometric))


def test_depth_beyond_the_range_costs_its_square(still_scene):
    with torch.no_grad():
        layer = next(iter(still_scene.bijection.levels[2].parameters()))  # the first along z
        layer[0, 1] += 1.0
        terms = terms_of(still_scene)
        layer[0, 1] -= 1.0
    assert float(terms.depth_range) == pytest.approx(0.0, abs=1e-3)  # undone in frame j
