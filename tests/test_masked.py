"""A store with masks lacks the matches that leave their object, and no others."""

import numpy as np
import pytest
from PIL import Image

from omnimotion.errors import InputError
from omnimotion.flow import HIDDEN, NONE
from omnimotion.masked import ClipMasks, MaskedStore, read_masks


@pytest.fixture
def masks(tiny_store):
    """Two objects: the left and the right third, the second one absent from frame 3 on."""
    width, height = tiny_store.index.size
    labels = np.zeros((tiny_store.index.n_frames, height, width), np.uint8)
    labels[:, :, : width // 3] = 1
    labels[:3, :, 2 * width // 3 :] = 2
    return ClipMasks(labels)


def test_matches_between_objects_are_dropped_and_counted(tiny_store, masks):
    store, dropped, before = MaskedStore(tiny_store, masks), 0, 0
    for i in range(tiny_store.index.n_frames):
        plain, found = tiny_store.flow(i), store.flow(i)
        for m, j in enumerate(plain.targets):
            xy_i, xy_j, state = plain.matches(m)
            keep = [
                s == HIDDEN or masks.labels[i, y, x] == masks.labels[j, v, u]
                for s, (x, y), (u, v) in zip(state, xy_i.astype(int), np.rint(xy_j).astype(int))
            ]
            for a, b in zip(found.matches(m), (xy_i, xy_j, state)):
                np.testing.assert_array_equal(a, b[keep])
            dropped, before = dropped + len(keep) - sum(keep), before + len(keep)
        assert (found.flow[found.state == NONE] == 0).all()
    assert store.dropped == (dropped, before)
    assert 0 < dropped < before


def test_one_object_everywhere_drops_nothing(tiny_store):
    size = tiny_store.index.size
    store = MaskedStore(tiny_store, ClipMasks(np.ones((8, size[1], size[0]), np.uint8)))
    np.testing.assert_array_equal(store.flow(2).state, tiny_store.flow(2).state)
    assert store.dropped[0] == 0


def test_masks_are_read_in_natural_order_at_the_stored_size(tmp_path):
    for t, name in enumerate(["m1.png", "m2.png", "m10.png"]):
        labels = np.zeros((32, 48), np.uint8)
        labels[:, : 12 * t] = 255
        Image.fromarray(labels).save(tmp_path / name)
    found = read_masks(tmp_path, 3, (48, 32), (24, 16))
    assert found.labels.shape == (3, 16, 24)
    for t in range(3):  # the second frame's left quarter, the third one's left half
        assert found.labels[t, 5].tolist() == [1] * (6 * t) + [0] * (24 - 6 * t)
    assert found.fingerprint != ClipMasks(1 - found.labels).fingerprint


def test_a_mask_of_another_size_is_named(tmp_path):
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png is 48x32, expected the video's 40x32"):
        read_masks(tmp_path, 1, (40, 32), (40, 32))
