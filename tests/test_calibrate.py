"""What preprocessing is expected to cost: how much work there is, and what it leaves on disk."""

from collections import Counter
from dataclasses import replace

import pytest

from omnimotion.flow import SceneStore
from omnimotion.video import open_video
from preprocess import merge, pairs, sections
from preprocess.calibrate import KINDS, FlowCosts, Work, kind_of, plan_flow
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions
from preprocess.pair_store import PairStore
from preprocess.pairs import pair_gaps


@pytest.mark.parametrize("mode", ["all", "log"])
@pytest.mark.parametrize(("block", "stops"), [(3, 16), (3, 2), (32, 2), (1, 1)])
def test_the_work_is_what_preprocessing_does(
    tiny_clip, tmp_path, monkeypatch, mode, block, stops
):  # fmt: skip
    """Counted while it does it; no walk of the tiny clip loses all of its points."""
    done: Counter[str] = Counter()
    extend, link, pair = merge.extend, PairStore.link, sections.checked_pair

    def counted_extend(history, i, step, direct, alike):
        used = sum(k != i and k in history for k in step.links)
        done["moves"] += (direct is not None) + used + 1
        return extend(history, i, step, direct, alike)

    def counted_link(store, k, j):
        done["links"] += 1
        return link(store, k, j)

    def counted_pair(estimator, store, i, j, gaps):
        done[kind_of(j - i)] += 1
        return pair(estimator, store, i, j, gaps)

    monkeypatch.setattr(merge, "extend", counted_extend)
    monkeypatch.setattr(merge, "MAX_BLOCK", block)
    monkeypatch.setattr(pairs, "STOPS", stops)  # so that chains of 8 frames leave some out
    monkeypatch.setattr(PairStore, "link", counted_link)
    monkeypatch.setattr(sections, "checked_pair", counted_pair)
    preprocess(PreprocessOptions(tiny_clip / "frames", tmp_path / "s", flow="dis", pairs=mode))
    work = Work.of(8, pair_gaps(8, mode), block)
    assert {kind: work.pairs[kind] for kind in KINDS[:-1]} == {
        kind: done[kind] for kind in KINDS[:-1]
    }
    assert done["chained"] == 0
    assert work.flows == 2 * sum(done[kind] for kind in KINDS)
    assert work.ordered == len(SceneStore.open(tmp_path / "s").index.coverage)
    assert (work.moves, work.links) == (done["moves"], done["links"])


def test_of_the_first_frames_the_disk_of_all_is_told(tiny_clip, tiny_store, tmp_path, monkeypatch):
    monkeypatch.setattr("preprocess.calibrate.EXCERPT", 5)
    options = PreprocessOptions(tiny_clip / "frames", tmp_path / "scene", flow="dis")
    plan = plan_flow(options, open_video(options.video))
    folder = tiny_store.folder
    stored = sum(
        path.stat().st_size for name in ("frames", "flow") for path in (folder / name).iterdir()
    )
    assert plan.costs.bytes(plan.work) == pytest.approx(stored, rel=0.1)
    assert plan.peak_bytes > stored
    assert plan.work.ordered == len(tiny_store.index.coverage)
    excerpt = SceneStore.open(options.scene).index
    assert (excerpt.n_frames, len(excerpt.coverage)) == (5, plan.excerpt.ordered)
    assert plan.seconds > 0


def test_the_excerpt_has_the_gaps_of_the_whole_clip(tiny_clip, tmp_path, monkeypatch):
    """Which, by itself, is short enough for all."""
    monkeypatch.setattr("preprocess.pairs.ALL_PAIRS_UP_TO", 7)
    monkeypatch.setattr("preprocess.calibrate.EXCERPT", 6)
    options = PreprocessOptions(tiny_clip / "frames", tmp_path / "scene", flow="dis")
    plan = plan_flow(options, open_video(options.video))
    assert SceneStore.open(options.scene).index.gaps == [1, 2, 3, 4]
    assert plan.excerpt.ordered == 2 * (5 + 4 + 3 + 2)
    assert plan.work.ordered == 2 * (7 + 6 + 5 + 4 + 2)
    # 9 bytes a match, of 5 or 4 gaps both ways; 13 a chain, of 9 frames
    assert plan.held_bytes == 64 * 48 * (8 * (9 * 10 + 13 * 9) - 6 * (9 * 8 + 13 * 9))


def test_every_other_frame_of_a_part(tiny_clip, tmp_path):
    options = PreprocessOptions(tiny_clip / "frames", tmp_path / "scene", "dis", frames="1:8:3")
    plan = plan_flow(options, open_video(options.video, options.frames))
    assert plan.work.frames == 3
    assert SceneStore.open(options.scene).index.source_indices == [1, 4, 7]


def test_what_is_read_and_written_of_a_pair_does_not_go_with_the_moves():
    """A long clip moves its points more often a pair than the excerpt that costs are taken of."""
    costs = FlowCosts(
        frame=1.0, pair={"next": 9.0, "link": 2.0, "flow": 3.0}, move=0.5, link=0.25, direct=4.0,
        confirm=5.0, frame_bytes=0.0, flow_bytes=0.0,
    )  # fmt: skip
    pairs_of = {"next": 1, "link": 6, "flow": 2, "chained": 3}
    work = Work(frames=10, pairs=pairs_of, moves=100, links=8)
    assert costs.seconds(work) == 10 + 9 + 6 * 2 + 2 * 3 + 50 + 2 + 2 * 9 * 4 + 2 * 12 * 5
    assert costs.seconds(replace(work, moves=300)) == costs.seconds(work) + 100
