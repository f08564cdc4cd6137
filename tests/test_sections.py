"""Matches made section by section: the same as at once, and little is kept on the way."""

import pytest
from test_preprocess import interrupted, moving_clip, same_bytes

from omnimotion.flow import SceneStore, flow_path
from preprocess import pairs, sections
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions
from preprocess.pair_store import PairStore

N_FRAMES, REACH, LENGTH = 16, 2, 3


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return moving_clip(tmp_path_factory.mktemp("clip") / "frames", N_FRAMES)


@pytest.fixture(scope="module")
def whole(clip, tmp_path_factory):
    """Made at once."""
    folder = tmp_path_factory.mktemp("scenes") / "moving"
    return preprocess(PreprocessOptions(clip, folder, flow="dis", max_gap=REACH))


@pytest.fixture
def options(clip, whole, tmp_path, monkeypatch):
    """Of the same scene, made in sections."""
    monkeypatch.setattr(pairs, "SECTION", LENGTH)
    monkeypatch.setattr(sections, "SECTION", LENGTH)
    return PreprocessOptions(clip, tmp_path / whole.name, flow="dis", max_gap=REACH)


def test_sections_give_the_same_bytes(options, whole):
    preprocess(options)
    assert same_bytes(options.scene, whole)


def test_pairs_are_computed_once_and_kept_for_a_few_frames_only(options, monkeypatch):
    written, kept = [], []
    write, forget = PairStore.write, PairStore.forget

    def recorded(self, i, j, pair):
        written.append((i, j))
        write(self, i, j, pair)

    def counted(self, merged, pairs):
        kept.append(len(list(self.folder.glob("[0-9]*.npz"))))
        forget(self, merged, pairs)

    monkeypatch.setattr(PairStore, "write", recorded)
    monkeypatch.setattr(PairStore, "forget", counted)
    preprocess(options)
    expected = [(i, i + gap) for gap in (1, 2) for i in range(N_FRAMES - gap)]
    assert sorted(written) == sorted(expected)
    assert len(kept) == -(-N_FRAMES // LENGTH)
    assert max(kept) <= len((1, 2)) * pairs.held_frames(N_FRAMES, [1, 2])
    assert max(kept) < len(expected)


@pytest.mark.parametrize("at", range(0, 29, 4))
def test_a_job_that_dies_in_any_section_ends_with_the_same_bytes(options, whole, at):
    with interrupted(at):
        preprocess(options)
    preprocess(options)
    assert same_bytes(options.scene, whole)


@pytest.mark.parametrize("at", [0, 5, 11])
def test_one_that_dies_while_matches_are_confirmed_does_too(options, whole, monkeypatch, at):
    write = sections.confirm_all

    def dying(folder, store, merged, frames, workers):
        write(folder, store, merged, [i for i in frames if i < at], workers)
        if at in frames:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sections, "confirm_all", dying)
        with pytest.raises(KeyboardInterrupt):
            preprocess(options)
    preprocess(options)
    assert same_bytes(options.scene, whole)


def test_repair_makes_only_the_pairs_around_a_damaged_frame_again(options, whole, monkeypatch):
    preprocess(options)
    flow_path(options.scene, 8).write_bytes(b"damaged")
    written, write = [], PairStore.write

    def recorded(self, i, j, pair):
        written.append((i, j))
        write(self, i, j, pair)

    monkeypatch.setattr(PairStore, "write", recorded)
    mended = PreprocessOptions(
        options.video, options.scene, flow="dis", max_gap=REACH, repair=True
    )
    preprocess(mended)
    assert same_bytes(options.scene, whole)
    assert {t for pair in written for t in pair} == set(range(8 - 2 * REACH, 8 + 2 * REACH + 1))


def test_no_pair_is_longer_than_asked(whole):
    store = SceneStore.open(whole)
    assert store.index.gaps == [1, 2]
    assert store.index.settings["max_gap"] == REACH
    for i in range(N_FRAMES):
        expected = [j for j in range(N_FRAMES) if 0 < abs(j - i) <= REACH]
        assert store.flow(i).targets.tolist() == expected == store.index.targets(i)
    assert len(store.index.coverage) == 2 * (15 + 14)
