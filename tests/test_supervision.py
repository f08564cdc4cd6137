"""Known tracks as matches to draw: true to the file, weighed by confidence, only where known."""

import numpy as np
import pytest
import torch

from omnimotion.correspondences import pair_chances
from omnimotion.geometry import Frame
from omnimotion.known import KnownTracks
from omnimotion.supervision import build_guide

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def known(tiny_store):
    """Three tracks of whole pixels: everywhere, in frames 1 and 4, in 4 and (hidden) 6."""
    n_frames = tiny_store.index.n_frames
    xy = np.random.default_rng(0).integers(2, 40, (3, n_frames, 2)).astype(np.float32)
    weight = np.zeros((3, n_frames), np.float32)
    weight[0], weight[1, [1, 4]], weight[2, [4, 6]] = 0.5, 1, 1
    visible = weight > 0
    visible[2, 6] = False
    xy[weight == 0] = 0
    return KnownTracks(xy, weight, visible)


@pytest.fixture(scope="module")
def guide(tiny_store, known):
    return build_guide(tiny_store, known, CPU)


def draw(guide, n_pairs=400, n_points=8, chances=None):
    chances = torch.ones(len(guide.i)) if chances is None else chances
    return guide.draw(chances, n_pairs, n_points, 3, torch.Generator().manual_seed(0))


def test_pairs_are_those_in_which_a_track_is_known(guide, known):
    found = {(i, j): n for i, j, n in zip(*(v.tolist() for v in (guide.i, guide.j, guide.count)))}
    n_frames = known.weight.shape[1]
    expected = {
        (i, j): int((known.visible[:, i] & (known.weight[:, j] > 0)).sum())
        for i in range(n_frames) for j in range(n_frames) if i != j
    }  # fmt: skip
    assert found == {pair: n for pair, n in expected.items() if n}
    assert (found[4, 6], found[6, 4]) == (2, 1)  # a match does not start where a track is hidden


def test_drawn_matches_are_those_of_the_tracks(tiny_store, guide, known):
    batch = draw(guide)
    to_pixels = Frame(*tiny_store.index.size).to_pixels
    source, target = to_pixels(batch.xy_i).numpy(), to_pixels(batch.xy_j).numpy()
    for p, (i, j) in enumerate(zip(batch.i.tolist(), batch.j.tolist())):
        image = tiny_store.frame(i)
        for n in range(source.shape[1]):
            same = [q for q in range(3) if np.allclose(source[p, n], known.xy[q, i], atol=1e-3)
                    and np.allclose(target[p, n], known.xy[q, j], atol=1e-3)
                    and known.visible[q, i] and known.weight[q, j]]  # fmt: skip
            assert same, (i, j, source[p, n], target[p, n])
            x, y = source[p, n].round().astype(int)
            np.testing.assert_allclose(batch.rgb_i[p, n] * 255, image[y, x], atol=1.5)
            assert any(known.visible[q, j] == bool(batch.covisible[p, n]) for q in same)
    assert (batch.lost_weight == 0).all()
    assert batch.lost_i.shape == (400, 3, 2)


def test_confidence_at_both_ends_is_how_often_a_point_is_drawn(tiny_store, guide, known):
    only = ((guide.i == 1) & (guide.j == 4)).float()
    batch = draw(guide, 2000, 8, only)
    there = Frame(*tiny_store.index.size).to_pixels(batch.xy_j).numpy()
    first = np.isclose(there, known.xy[0, 4], atol=1e-3).all(-1).mean()
    assert first == pytest.approx(0.25 / (0.25 + 1), abs=0.015)  # 0.5 * 0.5 against 1 * 1


def test_the_same_seed_draws_the_same(guide):
    for a, b in zip(draw(guide), draw(guide)):
        assert torch.equal(a, b)


def test_the_curriculum_holds_for_known_tracks_too(guide):
    near = pair_chances(guide, 2.0, 0.5)
    assert (near[guide.gap > 2] == 0).all()
    assert (near[guide.gap <= 2] > 0).all()


def test_places_are_resized_to_the_stored_frames(tiny_store, known):
    from dataclasses import replace

    class Larger:
        """The same store of a video twice as large."""

        index = replace(tiny_store.index, original_size=(128, 96))
        frame = staticmethod(tiny_store.frame)

    guide = build_guide(Larger, known, CPU)
    expected = (known.xy[0, 0] + 0.5) / 2 - 0.5
    found = Frame(*tiny_store.index.size).to_pixels(guide.xy[0, 0]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)
