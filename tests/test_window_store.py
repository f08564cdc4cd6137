"""A window of a store is a clip of its own: the same frames and matches, counted from 0."""

import shutil

import numpy as np
import pytest

from omnimotion.errors import SceneError
from omnimotion.flow import SceneStore
from omnimotion.window_store import WindowStore

SPAN = range(2, 7)  # of 8 frames


@pytest.fixture
def window(tiny_store):
    return WindowStore(tiny_store, SPAN)


def test_frames_are_those_of_the_span(window, tiny_store):
    assert window.index.n_frames == len(SPAN)
    assert window.index.times == tiny_store.index.times[2:7]
    assert window.index.source_indices == tiny_store.index.source_indices[2:7]
    for t in range(len(SPAN)):
        np.testing.assert_array_equal(window.frame(t), tiny_store.frame(2 + t))


def test_matches_are_those_between_frames_of_the_span(window, tiny_store):
    for i in range(len(SPAN)):
        found, whole = window.flow(i), tiny_store.flow(2 + i)
        assert found.i == i
        assert set(found.targets.tolist()) == set(range(len(SPAN))) - {i}
        for m, j in enumerate(found.targets):
            there = int(np.flatnonzero(whole.targets == j + 2)[0])
            for name in ("flow", "state", "origin"):
                np.testing.assert_array_equal(getattr(found, name)[m], getattr(whole, name)[there])


def pairs(index):
    return [(i, j) for i in range(index.n_frames) for j in index.targets(i)]


def test_the_index_lists_the_pairs_of_the_span(window, tiny_store):
    index, whole = window.index, tiny_store.index
    assert pairs(index) == [(i, j) for i in range(5) for j in range(5) if i != j]
    of_pair = dict(zip(pairs(whole), whole.coverage))
    for (i, j), share in zip(pairs(index), index.coverage):
        assert share == of_pair[i + 2, j + 2]


def test_a_window_is_told_from_other_windows_and_from_the_clip(tiny_store):
    spans = (SPAN, range(2, 6), range(1, 7))
    known = {WindowStore(tiny_store, span).index.identity for span in spans}
    assert len(known | {tiny_store.index.identity}) == 4


def test_only_files_of_the_window_are_required(tiny_store, tmp_path):
    folder = tmp_path / "scene"
    shutil.copytree(tiny_store.folder, folder)
    store = SceneStore.open(folder)
    for path in (folder / "flow" / "000001.npz", folder / "frames" / "000007.png"):
        path.unlink()
    WindowStore(store, SPAN).require_files()
    (folder / "flow" / "000006.npz").unlink()
    with pytest.raises(SceneError, match=r"000006\.npz is missing \(1 of 10 files\)"):
        WindowStore(store, SPAN).require_files()
