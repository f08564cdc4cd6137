"""Masks carried through a clip, against the exact ones of a rendered scene."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import TINY_FRAMES, TINY_SIZE

import omnimotion
from omnimotion.masks import Mask, load_mask
from omnimotion.propagation import (
    ALIKE,
    REACH,
    Propagation,
    _Votes,
    propagated,
    shared_alike,
    write_masks,
)
from omnimotion.synthetic import build_scene
from omnimotion.warps import Carrier

WIDTH, HEIGHT = TINY_SIZE
OWN = 4


@pytest.fixture(scope="module")
def truth():
    """What sprite each pixel shows, uint8 (T, H, W); the seed is that of the tiny clip."""
    scene = build_scene(5, TINY_FRAMES, TINY_SIZE, 2)
    layers = np.stack([scene.surface(t).layer for t in range(TINY_FRAMES)])
    return layers.astype(np.uint8)


@pytest.fixture(scope="module")
def found(tracker, truth):
    return carried(tracker, truth[OWN])


def carried(tracker, labels):
    found = Propagation(tracker, {OWN: labels})
    return {j: found.at(j) for j in range(TINY_FRAMES)}


def overlap(found, truth):
    """Mean share of intersection and union, over frames but the mask's own, and objects."""
    shares = []
    for j in set(found) - {OWN}:
        for name in np.unique(truth[OWN])[1:]:
            a, b = found[j] == name, truth[j] == name
            if b.sum() > 30:
                shares.append((a & b).sum() / (a | b).sum())
    assert len(shares) >= TINY_FRAMES - 1
    return np.mean(shares)


def test_objects_are_found_in_every_frame_better_than_by_the_scene_alone(tracker, truth, found):
    carrier = Carrier(tracker)
    alone = {j: carrier.propagate(truth[OWN], OWN, j) for j in range(TINY_FRAMES)}
    assert overlap(found, truth) > 0.75
    assert overlap(found, truth) > overlap(alone, truth)
    assert all(set(np.unique(each)) <= set(np.unique(truth[OWN])) for each in found.values())


def test_in_its_own_frame_a_mask_is_as_it_was(truth, found):
    np.testing.assert_array_equal(found[OWN], truth[OWN])


def test_a_frame_does_not_depend_on_which_others_are_asked(tracker, truth, found):
    some = Propagation(tracker, {OWN: truth[OWN]})
    clip = propagated(tracker, {OWN: truth[OWN]})
    for j in (7, 1, 6):
        np.testing.assert_array_equal(some.at(j), found[j])
        np.testing.assert_array_equal(clip.at(j), found[j])


def test_masks_of_two_frames_are_better_than_one_and_each_stays_as_it_was(tracker, truth):
    def errors(*frames):
        carried = Propagation(tracker, {t: truth[t] for t in frames})
        for t in frames:
            np.testing.assert_array_equal(carried.at(t), truth[t])
        return sum((carried.at(j) != truth[j]).sum() for j in (2, 3, 4, 5))

    assert errors(0, 7) < min(errors(0), errors(7))


def test_an_object_given_later_is_found_before_and_the_order_of_asking_does_not_matter(
    tracker, truth
):
    first, *_, second = np.unique(truth[OWN])[1:]
    given = {1: truth[1] * (truth[1] == first), 6: truth[6]}
    up, down = Propagation(tracker, given), Propagation(tracker, given)
    masks = {j: up.at(j) for j in range(TINY_FRAMES)}
    for j in reversed(range(TINY_FRAMES)):
        np.testing.assert_array_equal(down.at(j), masks[j])
    there = truth[5] == second
    assert (masks[5] == second)[there].mean() > 0.7


def test_matches_find_what_the_scene_has_lost(tracker, truth, found, monkeypatch):
    def lost(self, labels, t, j, step=1):
        return np.zeros_like(labels)

    monkeypatch.setattr(Carrier, "propagate", lost)
    assert overlap(carried(tracker, truth[OWN]), truth) > 0.5


def test_without_flow_the_scene_answers_alone(tiny_scene, truth, tmp_path):
    folder = tmp_path / "scene"
    shutil.copytree(tiny_scene, folder)
    shutil.rmtree(folder / "flow")
    tracker = omnimotion.load(folder, device="cpu", backend="torch").tracker
    found = Propagation(tracker, {OWN: truth[OWN]})
    np.testing.assert_array_equal(found.at(6), Carrier(tracker).propagate(truth[OWN], OWN, 6))
    np.testing.assert_array_equal(found.at(OWN), truth[OWN])


def test_larger_cells_give_nearly_the_same(tracker, truth, found):
    coarse = Propagation(tracker, {OWN: truth[OWN]}, step=2).at(6)
    assert coarse.shape == (HEIGHT, WIDTH)
    assert (coarse == found[6]).mean() > 0.93


@pytest.mark.parametrize("stored", [(65, 49), (33, 25)])
def test_what_stays_where_it_is_keeps_its_share_in_frames_of_odd_size(stored):
    """Cells of 4 px do not fill 65x49: they are a little smaller, as those of the image are."""
    labels = np.zeros((49, 65), np.uint8)
    labels[9:30, 14:60] = 5
    index = SimpleNamespace(original_size=(65, 49), size=stored)
    no_video = SimpleNamespace(matches=None, patches=SimpleNamespace(views=None))
    votes = _Votes(index, no_video, [labels], 4)
    frame = votes.of(labels)
    shares, weight = votes.read(frame, votes.places)
    np.testing.assert_allclose(shares, frame.shares, atol=1e-5)
    assert weight.max() == pytest.approx(1)
    assert (votes.decided(frame.shares) == labels).mean() > 0.97


def test_votes_are_shared_where_colours_are_alike_and_nowhere_else():
    votes = np.zeros((1, 20, 30), np.float32)
    votes[0, 10, 14] = 1
    colours = np.zeros((20, 30, 3), np.float32)
    colours[:, 15:] = 10 * np.sqrt(ALIKE)
    shared = shared_alike(votes, colours)[0]
    assert shared[10, 14] == 1
    assert shared[10, 12] == shared[8, 14] == pytest.approx(np.exp(-2 * 4 / REACH**2))
    assert shared[10, 16] < 1e-20  # as near, of another colour
    assert shared[:, : 14 - REACH].max() == 0


def test_masks_of_every_frame_keep_the_palette(tracker, truth, tmp_path):
    mask = Mask(truth[OWN], (0, 0, 0, 128, 0, 0, 0, 128, 0))
    write_masks(tmp_path / "masks", tracker, {OWN: mask}, range(3, 6), 1)
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == [
        "000003.png", "000004.png", "000005.png"
    ]  # fmt: skip
    found = load_mask(tmp_path / "masks" / "000004.png", TINY_SIZE)
    np.testing.assert_array_equal(found.labels, truth[OWN])
    assert found.palette[:9] == mask.palette
