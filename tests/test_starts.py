"""Flow put together of shorter steps."""

import numpy as np
import pytest

from preprocess.filter import UNRELIABLE, CheckedFlow
from preprocess.pair_store import CheckedPair, PairStore
from preprocess.pairs import LINK_GAPS, Lattice
from preprocess.starts import composed, steps

SIZE = (40, 30)  # W, H
CENTRE, TURN, GROWTH = np.array((18.0, 14.0)), 0.03, 1.02  # a frame


def moved(xy, frames):
    """Where points (..., 2) are some frames later: they turn around CENTRE, and spread."""
    sin, cos = np.sin(TURN * frames), np.cos(TURN * frames)
    off = (xy - CENTRE) @ np.array(((cos, sin), (-sin, cos)))
    return CENTRE + GROWTH**frames * off


def flow_over(frames):
    """Exact flow (H, W, 2), the same from any frame."""
    xy = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in SIZE)), -1)
    return (moved(xy, frames) - xy).astype(np.float32)


@pytest.fixture
def store(tmp_path):
    """Links of that motion; none of them passes a check."""
    store = PairStore(tmp_path, Lattice(SIZE, 1))
    nowhere = np.full(SIZE[::-1], UNRELIABLE, np.float32)
    for gap in LINK_GAPS:
        ways = (CheckedFlow(flow_over(way * gap), nowhere, nowhere < 0) for way in (1, -1))
        pair = CheckedPair(*ways)
        for i in range(20 - gap):
            store.write(i, i + gap, pair)
    return store


@pytest.mark.parametrize(("i", "j"), [(0, 2), (3, 6), (9, 1), (0, 13), (19, 2)])
def test_steps_make_up_the_motion_over_a_gap(store, i, j):
    inner = np.s_[8:22, 10:28]  # whence no step leaves the frame
    error = np.abs(composed(store, i, j) - flow_over(j - i))[inner]
    assert error.max() < 0.02  # px; each step is kept in 1/128


def test_a_single_frame_has_no_steps(store):
    with pytest.raises(ValueError, match="frames 4 and 5"):
        composed(store, 4, 5)


@pytest.mark.parametrize("gap", [2, 3, 4, 7, 8, 16, 24, 47])
def test_steps_are_shorter_than_the_gap_and_as_few_as_can_be(gap):
    found = list(steps(gap))
    assert sum(found) == gap
    assert set(found) <= {link for link in LINK_GAPS if link < gap}
    longest = max(link for link in LINK_GAPS if link < gap)
    assert len(found) == gap // longest + (gap % longest).bit_count()
