"""The figures of a fit: each against what it means, worked out in another way."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from omnimotion.cameras import initial_cameras
from omnimotion.correspondences import HeldOut, build_pool
from omnimotion.geometry import Frame
from omnimotion.health import (
    PICTURES,
    PIXELS,
    Pixels,
    Spread,
    ask,
    cycle_errors,
    error_map,
    held_out_errors,
    measure,
    moved_px,
    sample_pixels,
    settledness,
)
from omnimotion.rays import locate, surface_at
from omnimotion.runs import start_fit

pytestmark = pytest.mark.usefixtures("full_reports")

SCALE = 256 / 64  # the tiny clip is 64 pixels wide, lengths are at 256


@pytest.fixture(scope="module")
def pool(tiny_store):
    return build_pool(tiny_store, initial_cameras(tiny_store), 100_000, 0, torch.device("cpu"))


@pytest.fixture(scope="module")
def health(tracker, pool, tiny_store):
    return measure(tracker.scene, pool, tiny_store, 0)


@pytest.fixture
def now(tracker):
    with torch.no_grad():
        yield tracker.scene.snapshot()


def first(rows, n):
    return type(rows)(*(field[:n] for field in rows))


def queries(frames, xy):
    """Rows of t, x, y in pixels of the clip."""
    return np.column_stack((frames, Frame(64, 48).to_pixels(xy))).astype(np.float32)


# distances --------------------------------------------------------------------------------------


def test_the_spread_of_some_distances():
    found = Spread.of(torch.tensor([0.5, 1.0, 3.0, 5.5]))
    assert (found.count, found.median_px, found.mean_px) == (4, (1 + 3) / 2, 10 / 4)
    assert (found.under_1_px, found.under_2_px, found.under_4_px) == (1 / 4, 2 / 4, 3 / 4)


def test_the_spread_of_nothing_is_none():
    assert Spread.of(torch.zeros(0)) == Spread(0, None, None, None, None, None)


# held-out matches -------------------------------------------------------------------------------


def test_the_error_of_a_match_is_that_of_its_track(tracker, now, pool):
    """The public way: the scene's track of one end, where it is in the frame of the other."""
    held = first(pool.held_out, 300)
    error, hidden = held_out_errors(now, held)
    tracks = tracker.track(queries(held.i, held.xy_i), refine=False)
    own = np.arange(len(held.i))
    expected = queries(held.j, held.xy_j)[:, 1:]
    found = tracks.xy[own, held.j]
    np.testing.assert_allclose(error, SCALE * np.hypot(*(found - expected).T), atol=0.02)
    occlusion = tracks.occlusion[own, held.j]
    clear = np.abs(occlusion - 0.5) > 1e-3
    np.testing.assert_array_equal(hidden.numpy()[clear], occlusion[clear] > 0.5)


def test_order_conflicts_are_of_matches_seen_in_both(tracker, now, pool, tiny_store):
    """Matches as if they led to the first frame or the last, where some of them are hidden.

    A third of them as if flow had found that.
    """
    seen = torch.arange(len(pool.held_out.i)) % 3 > 0
    far = torch.where(pool.held_out.i < 4, 7, 0)
    held = pool.held_out._replace(covisible=seen, j=far)
    found = measure(tracker.scene, dataclasses.replace(pool, held_out=held), tiny_store, 0)
    _, hidden = held_out_errors(now, held)
    assert hidden.any()
    conflicts = sum(h and c for h, c in zip(hidden.tolist(), seen.tolist()))
    assert found.order_conflicts == pytest.approx(conflicts / int(seen.sum()), abs=1e-5)


def test_no_match_has_no_error(now):
    nothing = HeldOut(*(torch.zeros(0, *shape) for shape in ((), (), (2,), (2,), ())))
    assert [len(each) for each in held_out_errors(now, nothing)] == [0, 0]


def test_gaps_and_frames_share_the_matches_out(health, pool):
    i, j = pool.held_out.i.numpy(), pool.held_out.j.numpy()
    assert [each.count for each in health.by_gap.values()] == [
        (np.abs(i - j) == 1).sum(), ((np.abs(i - j) >= 2) & (np.abs(i - j) <= 4)).sum(),
        ((np.abs(i - j) >= 5) & (np.abs(i - j) <= 16)).sum(), 0,
    ]  # fmt: skip
    assert list(health.by_gap) == ["1", "2-4", "5-16", "over 16"]
    assert health.held_out.count == len(i) == sum(each.count for each in health.by_gap.values())
    for t, each in enumerate(health.by_frame):
        touching = health.error_px[(i == t) | (j == t)]
        assert each.count == len(touching)
        assert each.median_px == pytest.approx(np.median(touching), abs=1e-4)
        assert each.mean_px == pytest.approx(touching.mean(), abs=1e-4)


def test_the_worst_frames_come_first(health):
    means = [each.mean_px for each in health.by_frame]
    assert health.worst_frames == sorted(range(8), key=lambda t: means[t], reverse=True)[:5]


def test_what_moves_is_what_the_camera_does_not_explain():
    """The camera pans by 10 px from frame 0 to 1; one point stays in the world, one moves."""
    cameras = torch.tensor([[1, 0, 0, 0], [1, 0, 10 / 128, 0]])
    start = torch.tensor([[0.2, 0.1], [0.2, 0.1], [0.2, 0.1]])
    pan = torch.tensor([-10 / 128, 0.0])
    moved = torch.stack((pan, pan + torch.tensor([3, 4]) / 128, torch.zeros(2)))
    i, j = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.int64)
    held = HeldOut(i, j, start, start + moved, torch.ones(3, dtype=torch.bool))
    torch.testing.assert_close(
        moved_px(cameras, held), torch.tensor([0.0, 5.0, 10.0]), atol=1e-4, rtol=0
    )


def test_the_map_of_errors_is_a_mean_by_place():
    """64x48: 24 cells by 18, each of 64 / 24 pixels."""
    frame = Frame(64, 48)
    pixels = torch.tensor([[0.0, 0.0], [1.0, 1.0], [63.0, 0.0], [0.0, 47.0], [32.5, 24.5]])
    found = error_map(frame, frame.normalise(pixels), torch.tensor([1.0, 3.0, 5.0, 7.0, 9.0]))
    expected = np.full((18, 24), np.nan)
    expected[0, 0], expected[0, 23], expected[17, 0], expected[9, 12] = 2, 5, 7, 9
    np.testing.assert_allclose(found, expected)


# sampled pixels ---------------------------------------------------------------------------------


def test_sampled_pixels_are_those_of_the_frames(tiny_store):
    pixels = sample_pixels(tiny_store, torch.Generator().manual_seed(0))
    assert len(pixels.t) == PIXELS
    assert torch.bincount(pixels.t).tolist() == [PIXELS // 8] * 8  # frames of the clip
    x, y = Frame(64, 48).to_pixels(pixels.xy).round().long().T.numpy()
    frames = np.stack([tiny_store.frame(t) for t in range(8)])
    np.testing.assert_array_equal(frames[pixels.t, y, x], pixels.rgb)
    assert (x.min(), y.min(), x.max(), y.max()) == (0, 0, 63, 47)


def test_few_frames_of_a_long_clip_are_read(tiny_store):
    class Long:
        """The tiny clip, a hundred times over."""

        def __init__(self):
            self.read = []
            self.index = dataclasses.replace(tiny_store.index, n_frames=800)

        def frame(self, t):
            self.read.append(t)
            return tiny_store.frame(t % 8)

    store = Long()
    sample_pixels(store, torch.Generator().manual_seed(0))
    assert len(store.read) == PICTURES
    assert (store.read[0], store.read[-1]) == (0, 799)


def test_colour_error_is_that_of_the_rendered_frames(tracker, tiny_store, health):
    """Of all pixels instead of some."""
    off = [tracker.surface(t)[1] - tiny_store.frame(t).astype(float) for t in range(8)]
    assert health.photometric_rms == pytest.approx(np.sqrt(np.mean(np.square(off))), rel=0.05)


def test_settledness_of_rays_made_by_hand():
    """64 samples 1/32 apart: six on each side are within 0.2."""
    one, two, even = torch.zeros(64), torch.zeros(64), torch.full((64,), 1 / 64)
    one[20] = 1
    two[10], two[16], two[17] = 0.6, 0.3, 0.1
    found = settledness(torch.stack((one, two, even)))
    torch.testing.assert_close(found, torch.tensor([1.0, 0.9, 13 / 64]))


def test_the_share_of_settled_pixels(health, now, tiny_store):
    """The same rays, one by one in numpy."""
    pixels = sample_pixels(tiny_store, torch.Generator().manual_seed(1))
    weights = ask(now, pixels.t, pixels.xy, surface_at).weights.double().numpy()
    settled = 0
    for ray in weights:
        median = int(np.searchsorted(ray.cumsum(), 0.5))
        settled += ray[max(0, median - 6) : median + 7].sum() >= 0.9
    assert health.settled == pytest.approx(settled / len(weights), abs=0.02)  # other pixels


def test_the_cycle_is_a_track_and_a_track_back(tracker, now, tiny_store):
    """The public way: a track, then from where it is called visible a track of that point."""
    some = torch.arange(0, PIXELS, 40)
    pixels = Pixels(*(field[some] for field in sample_pixels(tiny_store, torch.Generator())))
    u = ask(now, pixels.t, pixels.xy, surface_at).u
    found = cycle_errors(now, pixels, u, torch.Generator().manual_seed(3))
    step = torch.randint(1, 8, pixels.t.shape, generator=torch.Generator().manual_seed(3))
    there, own = ((pixels.t + step) % 8).numpy(), np.arange(len(some))
    away = tracker.track(queries(pixels.t, pixels.xy), refine=False)
    seen = away.visible[own, there]
    points = np.column_stack((there, away.xy[own, there])).astype(np.float32)[seen]
    back = tracker.track(points, refine=False).xy[np.arange(seen.sum()), pixels.t.numpy()[seen]]
    expected = SCALE * np.hypot(*(back - queries(pixels.t, pixels.xy)[seen, 1:]).T)
    assert 0 < len(found) == len(expected) < len(some)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_each_point_is_asked_in_its_own_frame(now):
    random = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 8, (40,), generator=random)
    points = torch.rand(40, 3, generator=random) - 0.5
    found = ask(now, frames, points, locate)
    for k in range(40):
        alone = locate(now, now.at(frames[k : k + 1]), points[None, k : k + 1])
        for field, one in zip(found, alone):
            torch.testing.assert_close(field[k], one[0, 0])


# all of it --------------------------------------------------------------------------------------


def test_figures_are_in_their_ranges(health, pool):
    for name, value in health.figures.items():
        assert math.isfinite(value), name
        assert value >= 0, name
        is_share = not name.endswith("median_px") and name != "photometric_rms"
        assert not is_share or value <= 1, name
    assert health.coverage == pytest.approx(pool.coverage.tolist(), abs=1e-4)
    assert health.figures["coverage_lowest"] == min(health.coverage)
    assert 0 < health.cycle.count < PIXELS
    assert np.isnan(health.error_map).sum() < health.error_map.size


def test_the_same_seed_measures_the_same(tracker, pool, tiny_store, health):
    again, other = (measure(tracker.scene, pool, tiny_store, seed) for seed in (0, 1))
    assert again.figures == health.figures
    assert (again.by_frame, again.by_gap, again.cycle) == (
        health.by_frame, health.by_gap, health.cycle)  # fmt: skip
    assert other.photometric_rms != health.photometric_rms


def test_a_fit_is_better_than_none(health, pool, tiny_store, tiny_config, tmp_path):
    """None: not even cameras, which have what stands still right before the first step."""
    start = start_fit(tiny_store, tmp_path, tiny_config.replace(camera=False)).scene
    before = measure(start, pool, tiny_store, 0).figures
    after = health.figures
    for name in ("held_out_under_2_px", "moving_under_2_px", "settled"):
        assert after[name] > before[name], name
    for name in ("held_out_median_px", "photometric_rms"):
        assert after[name] < before[name], name


def test_measuring_leaves_the_fit_as_it_is(tiny_store, tiny_config, tmp_path):
    fit = start_fit(tiny_store, tmp_path, tiny_config)
    before = {name: tensor.clone() for name, tensor in fit.tensors().items()}
    measure(fit.scene, fit.pool, tiny_store, 0)
    assert fit.scene.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in fit.tensors().items())
    assert all(parameter.grad is None for parameter in fit.scene.parameters())
