"""The temporary store of pairs: what is written is read, and only what is asked for."""

import numpy as np
import pytest

from omnimotion.errors import FlowError
from omnimotion.flow import CHAINED, FrameFlow
from preprocess.filter import UNRELIABLE, CheckedFlow
from preprocess.pair_store import CheckedPair, PairStore
from preprocess.pairs import Lattice

SIZE, STRIDE = (24, 18), 3  # W, H


def checked(seed, shape=SIZE[::-1]):
    rng = np.random.default_rng(seed)
    error = rng.uniform(0, 1.4, shape).astype(np.float32)
    error[rng.uniform(size=shape) < 0.3] = UNRELIABLE
    hidden = (error == UNRELIABLE) & (rng.uniform(size=shape) < 0.5)
    return CheckedFlow(rng.uniform(-9, 9, (*shape, 2)).astype(np.float32), error, hidden)


@pytest.fixture
def store(tmp_path):
    return PairStore(tmp_path, Lattice(SIZE, STRIDE))


def test_both_directions_are_read_as_written(store):
    pair = CheckedPair(checked(1), checked(2), np.ones((2, 2, 3, 3), np.float32))
    store.write(3, 5, pair)
    for i, j, expected in ((3, 5, pair.forward), (5, 3, pair.backward)):
        x0, y0 = store.lattice.origin(i, i < j)
        at = np.s_[y0::STRIDE, x0::STRIDE]
        found = store.lattice_flow(i, j)
        usable = (expected.error < UNRELIABLE)[at][:6, :8]
        known = usable | expected.hidden[at][:6, :8]
        np.testing.assert_array_equal(found.error < UNRELIABLE, usable)
        np.testing.assert_array_equal(found.hidden, known & ~usable)
        off = np.abs(found.flow - expected.flow[at][:6, :8])
        assert off[known].max() <= 1 / 128  # half of 1/64 px
        assert not found.flow[~known].any()
        link = store.link(i, j)
        usable = expected.error < UNRELIABLE
        assert np.abs(link[..., :2] - expected.flow)[usable].max() <= 1 / 256
        assert np.abs(link[..., 2] - expected.error)[usable].max() < 0.01
        assert (link[..., 2][~usable] == UNRELIABLE).all()
    assert (store.coarse(5, 3) == 1).all()


def test_flow_that_does_not_fit_is_unreliable(store):
    large = checked(1)
    large.flow[:], large.error[:], large.hidden[:] = 0.25, 0, False
    large.flow[4, 5, 1] = 300.0  # a link holds up to 256 px
    store.write(0, 1, CheckedPair(large, large))
    link = store.link(0, 1)
    assert link[4, 5] == pytest.approx((0.25, 256, UNRELIABLE), abs=1 / 128)  # a start at best
    assert (link[..., 2] == UNRELIABLE).sum() == 1


def test_long_gaps_have_no_link_and_dis_no_coarse_flow(store):
    assert np.zeros(SIZE[::-1])[store.pixels(0, 5)].shape == (6, 8)
    pair = CheckedPair(checked(1, (6, 8)), checked(2, (6, 8)))
    store.write(0, 5, pair)
    assert store.coarse(0, 5) is None
    found = store.lattice_flow(5, 0)
    known = (pair.backward.error < UNRELIABLE) | pair.backward.hidden
    assert np.abs(found.flow - pair.backward.flow)[known].max() <= 1 / 128


def test_damage_is_found(store):
    store.write(0, 1, CheckedPair(checked(1), checked(2)))
    assert store.has(0, 1)
    data = bytearray(store.path(0, 1).read_bytes())
    data[data.index(b"lattice_ij.npy") + 200] ^= 1  # in the array, behind its header
    store.path(0, 1).write_bytes(data)
    assert not store.has(0, 1)
    with pytest.raises(FlowError, match="damaged"):
        store.lattice_flow(0, 1)
    assert store.lattice_flow(1, 0).flow.any()  # whose arrays are whole


@pytest.mark.parametrize("size", [(27, 18), (24, 21)])
def test_a_pair_of_frames_of_another_size_is_refused(store, size):
    store.write(0, 1, CheckedPair(checked(1), checked(2)))
    other = PairStore(store.folder, Lattice(size, STRIDE))
    for read in (other.lattice_flow, other.link):
        with pytest.raises(FlowError, match="another size"):
            read(1, 0)


def test_merged_matches_are_read_as_written(store):
    flow = np.full((1, 6, 8, 2), 2.5, np.float32)
    frame = FrameFlow(0, np.array([1]), np.zeros((1, 2), np.int32), STRIDE, flow,
                      np.full((1, 6, 8), CHAINED, np.uint8))  # fmt: skip
    assert not store.has_merged(0)
    store.write_merged(frame)
    assert store.has_merged(0)
    np.testing.assert_array_equal(store.merged(0).flow, flow)
    torn = next(store.folder.glob("merged_*"))
    torn.write_bytes(torn.read_bytes()[:-40])
    assert not store.has_merged(0)
