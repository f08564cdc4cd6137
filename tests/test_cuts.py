"""Cuts: told where nothing before is seen after, not where a frame is missing or dark."""

import shutil

import numpy as np
import pytest
from test_preprocess import moving_clip

from preprocess.compute import preprocess
from preprocess.cuts import find_cuts
from preprocess.options import PreprocessOptions


def coverage(shares, gaps):
    """Of all pairs in their order, of a table (T, T) of shares."""
    n = len(shares)
    return [shares[i, j] for i in range(n) for j in range(n) if abs(i - j) in gaps]


def of_shots(lengths, within=0.9, across=0.05):
    """Shares of frames in shots of such lengths."""
    shot = np.repeat(np.arange(len(lengths)), lengths)
    return np.where(shot[:, None] == shot, within, across)


@pytest.mark.parametrize("gaps", [[1], [1, 2, 4, 8], list(range(1, 19))])
def test_shots_begin_where_nothing_of_before_is_seen(gaps):
    assert find_cuts(coverage(of_shots([5, 1, 9, 4]), gaps), 19, gaps) == [5, 6, 15]
    assert find_cuts(coverage(of_shots([19]), gaps), 19, gaps) == []


def test_a_flash_is_no_cut():
    shares = of_shots([12])
    shares[5, :] = shares[:, 5] = 0.0
    assert find_cuts(coverage(shares, [1, 2, 4]), 12, [1, 2, 4]) == []
    assert find_cuts(coverage(shares, [1]), 12, [1]) == [5, 6]  # no pair skips it


def test_one_way_is_enough():
    """What comes in at the border has no match behind, the rest does."""
    shares = of_shots([4, 4])
    shares[4:, :4] = 0.9
    assert find_cuts(coverage(shares, [1, 2, 3]), 8, [1, 2, 3]) == []


def test_clips_that_share_little_everywhere_have_none():
    assert find_cuts(coverage(of_shots([9], within=0.1), [1, 2]), 9, [1, 2]) == []


def test_two_shots_are_told_and_the_scene_is_made(tmp_path, caplog):
    clip = moving_clip(tmp_path / "two", 5, occluder=False, seed=1)
    other = moving_clip(tmp_path / "other", 4, occluder=False, seed=2)
    for t in range(4):
        shutil.copy(other / f"{t}.png", clip / f"{5 + t}.png")
    preprocess(PreprocessOptions(clip, tmp_path / "scene", flow="dis"))
    assert "cut at frame 5? Hardly anything" in caplog.text
    preprocess(PreprocessOptions(clip, tmp_path / "part", flow="dis", frames="2:9"))
    assert caplog.text.count("cut at frame 5?") == 2  # of the video: what --frames is told in
    assert (tmp_path / "scene" / "scene.json").is_file()


def test_one_shot_is_not(tmp_path, caplog):
    clip = moving_clip(tmp_path / "one")
    preprocess(PreprocessOptions(clip, tmp_path / "scene", flow="dis"))
    assert "cut" not in caplog.text
