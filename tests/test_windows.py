"""How a clip is cut: every frame in a window, neighbours overlapping, three never meeting."""

from itertools import pairwise

import pytest

from omnimotion.errors import ConfigError
from omnimotion.windows import MOST, longest_gap, plan_windows


@pytest.mark.parametrize("n_frames", [2, 149, 150, 151, 184, 300, 301, 1000, 10_000])
@pytest.mark.parametrize(("window", "overlap"), [(100, 16), (40, 20), (12, 4)])
def test_windows_cover_the_clip_and_overlap(n_frames, window, overlap):
    windows = plan_windows(n_frames, window, overlap)
    assert (windows[0].start, windows[-1].stop) == (0, n_frames)
    for one, other in pairwise(windows):
        assert one.stop - other.start == overlap
    for one, third in zip(windows, windows[2:]):
        assert one.stop <= third.start
    assert all(len(each) == window for each in windows[:-1])
    assert len(windows[-1]) <= MOST * window
    assert len(windows) == 1 or len(windows[-1]) > MOST * window - (window - overlap)


def test_windows_by_hand():
    assert plan_windows(150) == [range(150)]
    assert plan_windows(151) == [range(100), range(84, 151)]
    assert plan_windows(30, 12, 4) == [range(12), range(8, 20), range(16, 30)]


def test_frames_that_are_added_change_the_last_window_only():
    before, after = plan_windows(500), plan_windows(600)
    assert after[: len(before) - 1] == before[:-1]


@pytest.mark.parametrize(
    ("window", "overlap", "said"), [(31, 16, "window: 31"), (0, 16, "window"), (12, 1, "overlap"),
                                    (-5, -5, "overlap")],
)  # fmt: skip
def test_windows_that_are_too_small_are_refused(window, overlap, said):
    with pytest.raises(ConfigError, match=said):
        plan_windows(300, window, overlap)


def test_pairs_reach_across_a_clip_of_one_window_and_no_farther_than_a_window_in_others():
    assert (longest_gap(8), longest_gap(150)) == (7, 149)
    assert longest_gap(151) == longest_gap(10_000) == 99
    assert all(longest_gap(n) >= min(map(len, plan_windows(n))) - 1 for n in range(2, 1000))
