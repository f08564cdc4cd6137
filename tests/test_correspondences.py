"""The pool of matches: true to the flow store, fairly drawn, bounded."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from omnimotion.cameras import IDENTITY, initial_cameras
from omnimotion.correspondences import _held_out, build_pool, pair_chances
from omnimotion.errors import FlowError
from omnimotion.flow import HIDDEN, NONE, FrameFlow, SceneStore, write_flow
from omnimotion.geometry import Frame
from omnimotion.texture import certainty

CPU = torch.device("cpu")
SIZE = 10_000_000


def still_cameras(store):
    return torch.tensor(IDENTITY).repeat(store.index.n_frames, 1)


@pytest.fixture(scope="module")
def pool(tiny_store):
    return build_pool(tiny_store, still_cameras(tiny_store), SIZE, 0, CPU)


def draw(pool, chances, n_pairs, n_points, seed=0, n_lost=4, motion_share=0.0):
    random = torch.Generator().manual_seed(seed)
    return pool.draw(chances, n_pairs, n_points, n_lost, motion_share, random)


def test_the_pool_holds_every_reliable_match_but_those_held_out(tiny_store, pool):
    """Each match of the store is in one of the two, once."""
    to_pixels = Frame(*tiny_store.index.size).to_pixels
    held = pool.held_out
    found = [
        *rows(pool.i.repeat_interleave(pool.count), pool.j.repeat_interleave(pool.count),
              to_pixels(pool.xy_i), to_pixels(pool.xy_j), pool.covisible),
        *rows(held.i, held.j, to_pixels(held.xy_i), to_pixels(held.xy_j), held.covisible),
    ]  # fmt: skip
    expected = []
    for i in range(tiny_store.index.n_frames):
        flow = tiny_store.flow(i)
        for m, j in enumerate(flow.targets.tolist()):
            xy_i, xy_j, state = (torch.from_numpy(part) for part in flow.matches(m))
            ones = torch.ones(len(xy_i), dtype=torch.int64)
            expected += rows(i * ones, j * ones, xy_i, xy_j, state != HIDDEN)
    assert sorted(found) == sorted(expected)
    assert len(pool.xy_i) == int(pool.count.sum()) < len(expected)
    assert torch.equal(pool.start, pool.count.cumsum(0) - pool.count)
    assert (pool.count > 0).all()


def rows(i, j, xy_i, xy_j, covisible):
    """Matches as tuples that can be compared: places in 1/64 px, as they are stored."""
    places = [(64 * xy).round().long() for xy in (xy_i, xy_j)]
    return [tuple(row) for row in torch.column_stack((i, j, *places, covisible)).tolist()]


def test_drawn_matches_are_those_of_the_store(tiny_store, pool):
    frame = Frame(*tiny_store.index.size)
    batch = draw(pool, torch.ones(len(pool.i)), 6, 10)
    for p in range(6):
        i, j = int(batch.i[p]), int(batch.j[p])
        flow, image = tiny_store.flow(i), tiny_store.frame(i)
        m = int(np.flatnonzero(flow.targets == j)[0])
        xy_i, xy_j, state = flow.matches(m)
        known = {tuple(xy): k for k, xy in enumerate(xy_i.astype(int).tolist())}
        for n, (x, y) in enumerate(frame.to_pixels(batch.xy_i[p]).round().int().tolist()):
            k = known[x, y]
            there = frame.to_pixels(batch.xy_j[p, n]).numpy()
            np.testing.assert_allclose(there, xy_j[k], atol=1e-3)
            np.testing.assert_allclose(batch.rgb_i[p, n] * 255, image[y, x], atol=1e-3)
            assert bool(batch.covisible[p, n]) == (state[k] != HIDDEN)


def test_the_same_seed_draws_the_same(pool):
    chances = torch.ones(len(pool.i))
    for a, b in zip(draw(pool, chances, 9, 9), draw(pool, chances, 9, 9)):
        assert torch.equal(a, b)
    other = draw(pool, chances, 9, 9, seed=1)
    assert not torch.equal(draw(pool, chances, 9, 9).xy_i, other.xy_i)


def test_matches_of_a_pair_are_drawn_evenly(pool):
    chances = torch.zeros(len(pool.i))
    chances[3] = 1
    batch = draw(pool, chances, 50, 2000)
    assert (batch.pair == 3).all()
    own = slice(int(pool.start[3]), int(pool.start[3] + pool.count[3]))
    torch.testing.assert_close(
        batch.xy_i.mean((0, 1)), pool.xy_i[own].mean(0), atol=0.02, rtol=0
    )


def test_pairs_are_drawn_by_their_chance(pool):
    chances = torch.zeros(len(pool.i))
    chances[:2] = torch.tensor([3.0, 1.0])
    pair = draw(pool, chances, 4000, 1).pair
    assert abs(float((pair == 0).float().mean()) - 0.75) < 0.03


@pytest.mark.parametrize("motion_share", [0.0, 0.4, 1.0])
def test_the_compiled_loop_draws_the_same(pool, motion_share):
    pytest.importorskip("numba")
    chances = torch.ones(len(pool.i))
    plain, fused = (
        draw(replace(pool, fused=is_fused), chances, 64, 50, n_lost=9, motion_share=motion_share)
        for is_fused in (False, True)
    )
    for name, found in fused._asdict().items():
        expected = getattr(plain, name)
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
        torch.testing.assert_close(found, expected, rtol=1e-6 * (name == "rgb_i"), atol=0)


def test_the_pool_is_bounded_and_reproducible(tiny_store):
    cameras = still_cameras(tiny_store)
    a, b = (build_pool(tiny_store, cameras, 5000, 0, CPU) for _ in range(2))
    assert len(a.xy_i) <= 5000
    assert torch.equal(a.xy_i, b.xy_i)
    other = build_pool(tiny_store, cameras, 5000, 1, CPU)
    assert not torch.equal(a.xy_i, other.xy_i)
    assert len(a.i) == len(tiny_store.index.coverage)


# held out ---------------------------------------------------------------------------------------


def test_one_match_in_fifty_of_each_pair_is_held_out(pool):
    held = pool.held_out
    n_frames = int(pool.i.max()) + 1
    found = torch.bincount(held.i * n_frames + held.j, minlength=n_frames**2)
    expected = (pool.count + found[pool.i * n_frames + pool.j]) / 50
    assert ((found[pool.i * n_frames + pool.j] - expected).abs() < 1).all()
    assert all(field.device == CPU for field in held)


def test_what_is_held_out_depends_on_the_seed_only(tiny_store):
    cameras = still_cameras(tiny_store)
    large, small, other = (
        build_pool(tiny_store, cameras, size, seed, CPU).held_out
        for size, seed in ((SIZE, 0), (5000, 0), (SIZE, 1))
    )
    assert all(torch.equal(a, b) for a, b in zip(large, small))
    assert not torch.equal(large.xy_i, other.xy_i)


def test_what_is_held_out_is_bounded_and_spread_over_the_pairs(tiny_store, monkeypatch):
    n_pairs = len(tiny_store.index.coverage)
    for most in (n_pairs // 2, 3 * n_pairs):
        monkeypatch.setattr("omnimotion.correspondences.HELD_OUT_MOST", most)
        held = build_pool(tiny_store, still_cameras(tiny_store), SIZE, 0, CPU).held_out
        assert len(held.i) == most
        counts = torch.stack((held.i, held.j)).unique(dim=1, return_counts=True)[1]
        assert int(counts.max()) == -(-most // n_pairs)


@pytest.mark.parametrize("n", [0, 1, 2, 49, 50, 1000])
def test_a_pair_never_loses_all_its_matches(n):
    random = np.random.default_rng(0)
    counts = [len(_held_out(n, 100, random)) for _ in range(2000)]
    assert max(counts) <= max(0, n - 1)
    assert np.mean(counts) == pytest.approx(n / 50 if n > 1 else 0, abs=0.02)


def test_coverage_is_the_share_of_places_with_any_match(tiny_store, pool):
    for i in (0, 5):
        flow = tiny_store.flow(i)
        _, height, width = flow.state.shape
        matched = sum(
            any(flow.state[m, r, c] != NONE for m in range(len(flow.targets)))
            for r in range(height) for c in range(width)
        )  # fmt: skip
        assert float(pool.coverage[i]) == pytest.approx(matched / (height * width))
    assert len(pool.coverage) == tiny_store.index.n_frames


# chances ----------------------------------------------------------------------------------------


def only(pool, k):
    return torch.eye(len(pool.i))[k]


def own_matches(pool, k):
    return slice(int(pool.start[k]), int(pool.start[k] + pool.count[k]))


@pytest.mark.parametrize("motion_share", [0.4, 1.0])
def test_a_share_is_drawn_in_proportion_to_the_motion_there(pool, motion_share):
    """How often each match of one pair is drawn, against its chance."""
    k = int(pool.count.argmin())
    own = own_matches(pool, k)
    motion = pool.motion_sum.diff()[own]
    assert (motion > 0).all()
    chance = (1 - motion_share) / len(motion) + motion_share * motion / motion.sum()
    batch = draw(pool, only(pool, k), 400, 500, motion_share=motion_share)
    x = pool.xy_i[own, 0].double()
    expected, spread = (chance * x).sum(), x.std()
    found = batch.xy_i[..., 0].double().mean()
    assert abs(float(found - expected)) < 0.02 * float(spread)


def test_what_moves_is_drawn_more(pool):
    def motion(motion_share):
        batch = draw(pool, chances_of(pool, max_gap=1.0), 64, 400, motion_share=motion_share)
        return float((batch.xy_j - batch.xy_i).norm(dim=-1).mean())

    assert motion(1.0) > motion(0.5) > motion(0.0)


def test_points_without_a_match_are_those_of_the_store(tiny_store, pool):
    frame = Frame(*tiny_store.index.size)
    batch = draw(pool, torch.ones(len(pool.i)), 30, 1, n_lost=5)
    for p in torch.nonzero(batch.lost_weight)[:, 0].tolist():
        i, j = int(batch.i[p]), int(batch.j[p])
        flow = tiny_store.flow(i)
        m = int(np.flatnonzero(flow.targets == j)[0])
        xy = frame.to_pixels(batch.lost_i[p]).numpy()
        column, row = ((xy - flow.origin[m]) / flow.stride).round().astype(int).T
        assert (flow.state[m, row, column] == NONE).all()
    assert (batch.lost_weight > 0).any()
    assert ((batch.lost_weight >= 0) & (batch.lost_weight <= 1)).all()


def chances_of(pool, max_gap=100.0, gap_bias=0.0, error=None, mining=0.0):
    error = torch.ones(len(pool.i)) if error is None else error
    return pair_chances(pool, max_gap, gap_bias, error, mining)


def test_matches_count_by_texture_and_what_moves_fast_counts_as_all_do(tiny_store, pool):
    """Texture as it is where a match starts, relative to the mean; 1 where things move fast."""
    assert (pool.certainty == 1).all()
    half, to_pixels = 50.0, Frame(*tiny_store.index.size).to_pixels
    found = build_pool(tiny_store, still_cameras(tiny_store), SIZE, 0, CPU, half)
    t = found.i.repeat_interleave(found.count).numpy()
    x, y = to_pixels(found.xy_i).round().long().numpy().T
    maps = np.stack([certainty(tiny_store.frame(k), half) for k in range(max(t) + 1)])
    motion = np.diff(found.motion_sum.numpy())
    texture = maps[t, y, x] / maps[t, y, x].mean()
    expected = (texture * 5**2 + motion**2) / (5**2 + motion**2)
    np.testing.assert_allclose(found.certainty, expected / expected.mean(), rtol=2e-3)
    assert motion.max() > 5
    assert texture.min() < 0.5


def test_what_is_drawn_counts_as_in_the_pool(tiny_store):
    found = build_pool(tiny_store, still_cameras(tiny_store), 3000, 0, CPU, 50.0)
    drawn = draw(found, torch.ones(len(found.i)), 5, 20)
    places = found.xy_i.tolist()
    known = {
        (k, *places[m]): float(found.certainty[m])
        for k in range(len(found.i))
        for m in range(found.start[k], found.start[k] + found.count[k])
    }
    for k, xy_i, counts in zip(drawn.pair.tolist(), drawn.xy_i.tolist(), drawn.certainty.tolist()):
        assert counts == [known[(k, *xy)] for xy in xy_i]


def test_pairs_beyond_the_gap_are_not_drawn(pool):
    chances = chances_of(pool, max_gap=2.0)
    assert torch.equal(chances > 0, pool.gap <= 2)


def test_some_pairs_are_drawn_even_when_all_are_far(pool):
    assert (chances_of(pool, max_gap=0.0) > 0).any()


def test_far_pairs_are_drawn_less(pool):
    near, far = (int(torch.nonzero(pool.gap == gap)[0]) for gap in (1, 4))
    ratio = chances_of(pool, gap_bias=0.5) / chances_of(pool)
    assert float(ratio[far] / ratio[near]) == pytest.approx(4**-0.5)


def test_mining_draws_pairs_with_a_large_error_more(pool):
    error = torch.ones(len(pool.i))
    error[5] = 3.0
    ratio = chances_of(pool, error=error, mining=1.0) / chances_of(pool)
    assert float(ratio[5]) > 1.5 * float(ratio[0])


def empty_copy(store, folder):
    """The store with all matches taken away."""
    (folder / "frames").mkdir(parents=True)
    (folder / "flow").mkdir()
    for t in range(store.index.n_frames):
        name = f"frames/{t:06d}.png"
        (folder / name).write_bytes((store.folder / name).read_bytes())
        flow = store.flow(t)
        nothing = FrameFlow(
            t, flow.targets, flow.origin, flow.stride, 0 * flow.flow, 0 * flow.state
        )
        write_flow(folder / f"flow/{t:06d}.npz", nothing, max(store.index.size))
    (folder / "scene.json").write_bytes((store.folder / "scene.json").read_bytes())
    return SceneStore.open(folder)


def test_a_scene_without_matches_is_refused(tiny_store, tmp_path):
    store = empty_copy(tiny_store, tmp_path / "empty")
    with pytest.raises(FlowError, match="no reliable matches"):
        build_pool(store, still_cameras(store), SIZE, 0, CPU)


def test_cameras_start_from_the_flow(tiny_store, pool):
    """Carried by the cameras, most matches come close to one another."""
    from omnimotion.geometry import apply_similarity

    cameras = initial_cameras(tiny_store)
    middle = cameras[len(cameras) // 2]
    torch.testing.assert_close(middle, torch.tensor(IDENTITY), atol=1e-5, rtol=0)
    batch = draw(pool, chances_of(pool, max_gap=1.0), 64, 64)
    apart = (
        apply_similarity(cameras[batch.i][:, None], batch.xy_i)
        - apply_similarity(cameras[batch.j][:, None], batch.xy_j)
    ).norm(dim=-1)
    assert float(apart.median()) < float((batch.xy_i - batch.xy_j).norm(dim=-1).median())
    assert float(apart.median()) * 128 < 1.5


def test_cameras_without_flow_stand_still(tiny_store, tmp_path, caplog):
    cameras = initial_cameras(empty_copy(tiny_store, tmp_path / "empty"))
    torch.testing.assert_close(cameras, still_cameras(tiny_store), atol=1e-6, rtol=0)
    assert "camera motion unknown" in caplog.text
