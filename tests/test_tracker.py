"""Answers of a fitted scene: through the query point, one independent of another, in pixels."""

import json
import shutil

import numpy as np
import pytest
import torch

import omnimotion
from omnimotion import patches
from omnimotion import tracker as tracker_module
from omnimotion.errors import CheckpointError, ConfigError, InputError, PointsError, SceneError
from omnimotion.evaluation import evaluate
from omnimotion.flow import SceneIndex
from omnimotion.geometry import resize_xy
from omnimotion.ground_truth import read_ground_truth
from omnimotion.rays import locate, surface_at
from omnimotion.refine import Asked
from omnimotion.tracks import QueryPoints, Tracks

BACKEND = "auto"
POINTS = np.array([(0, 20.25, 11.5), (7, 50, 40), (3, 31, 24), (3, -0.5, 47.5)], np.float32)


@pytest.fixture(scope="module")
def tracks(tracker):
    return tracker.track(POINTS)


def same(a, b, rows=slice(None)):
    for name in ("xy", "visible", "confidence", "occlusion", "depth"):
        found, expected = getattr(a, name), getattr(b, name)[rows]
        np.testing.assert_allclose(found, expected, atol=2e-4, err_msg=name)


def test_shapes_types_and_ranges(tracks, tiny_scene):
    index = SceneIndex.load(tiny_scene)
    assert tracks.xy.shape == (len(POINTS), index.n_frames, 2)
    assert tracks.xy.dtype == tracks.depth.dtype == np.float32
    assert tracks.visible.dtype == np.bool_
    for name in ("confidence", "occlusion"):
        assert ((getattr(tracks, name) >= 0) & (getattr(tracks, name) <= 1)).all()
    assert (tracks.fps, tracks.size) == (index.fps, index.original_size)
    np.testing.assert_array_equal(tracks.queries, POINTS)


def test_a_track_passes_through_its_query_point(tracks):
    t = POINTS[:, 0].astype(int)
    own = np.arange(len(POINTS))
    np.testing.assert_array_equal(tracks.xy[own, t], POINTS[:, 1:])
    assert tracks.visible[own, t].all()


@pytest.mark.parametrize("refined", [True, False])
def test_even_without_being_put_there(tracker, refined):
    """What scene and matches say of the query frame, before the query point is written in."""
    points, refiner = QueryPoints.from_array(POINTS), tracker.refiner
    with torch.no_grad():
        found = tracker.found(points, refiner)
        if refined:
            half = np.full(found.depth.shape, 0.5)
            asked = Asked(points.t, np.ones(len(POINTS), bool))
            found = refiner.refined(tracker.scene.snapshot(), asked, found, half)
    own = found.xy[np.arange(len(POINTS)), points.t]
    np.testing.assert_allclose(own, POINTS[:, 1:], atol=2e-3)


def test_unrefined_tracks_are_where_the_scene_says(tracker):
    with torch.no_grad():
        found = tracker.found(QueryPoints.from_array(POINTS), None)
    plain = tracker.track(POINTS, refine=False)
    elsewhere = np.arange(plain.n_frames) != POINTS[:, :1]
    np.testing.assert_allclose(plain.xy[elsewhere], found.xy[elsewhere], atol=1e-4)


def test_matches_bring_tracks_closer_to_the_truth(tracker, tiny_clip):
    truth = read_ground_truth(tiny_clip)

    class Alone:
        def track(self, queries):
            return tracker.track(queries, refine=False)

    refined, alone = (
        evaluate([(each, truth)], "given").clips[0].scores for each in (tracker, Alone())
    )
    assert refined["delta_avg"] > alone["delta_avg"]
    assert refined["AJ"] > alone["AJ"]


def test_without_matches_the_tracks_are_the_scenes_own(tracker, tiny_scene, tmp_path, caplog):
    folder = tmp_path / "scene"
    shutil.copytree(tiny_scene, folder)
    shutil.rmtree(folder / "flow")
    found = omnimotion.load(folder, device="cpu").track(POINTS)
    assert "not refined" in caplog.text
    same(found, tracker.track(POINTS, refine=False))


def test_round_trip_and_cycle_of_the_fitted_map(tracker):
    """Exact to a thousandth of a pixel, over the whole frame and through three frames."""
    scene = tracker.scene
    random = torch.Generator().manual_seed(0)
    x = 2 * torch.rand(1, 500, 3, generator=random) - 1
    maps = [scene.at(torch.tensor([t])) for t in (0, 4, 7)]
    with torch.no_grad():
        u = maps[0].forward(x)
        back = maps[0].inverse(u)
        around = maps[2].inverse(maps[1].forward(maps[1].inverse(u)))
        home = maps[0].inverse(maps[2].forward(around))
    for found in (back, home):
        assert float((found - x)[..., :2].abs().max()) * tracker.frame.half < 1e-3


@torch.no_grad()
def test_a_query_comes_back_exactly_from_wherever_it_goes(tracker):
    """From its surface to each frame, and from there to its own: within rounding of float32."""
    now, t = tracker.scene.snapshot(), torch.tensor([3])
    xy = tracker.frame.normalise(torch.tensor([[[20.25, 11.5], [50, 40], [-0.5, 47.5]]]))
    seen = surface_at(now, now.at(t), xy)
    for other in range(now.n_frames):
        there = locate(now, now.at(torch.tensor([other])), seen.u)
        place = torch.cat((there.xy, there.depth[..., None]), dim=-1)
        u = now.at(torch.tensor([other])).forward(place)
        back = tracker.frame.half * (now.at(t).inverse(u)[..., :2] - xy).abs().max()
        assert float(back) < 1e-9


def test_a_point_that_left_the_frame_is_not_visible(tracks):
    width, height = tracks.size
    outside = ((tracks.xy < -0.5) | (tracks.xy > np.array([width, height]) - 0.5)).any(-1)
    assert not (tracks.visible & outside).any()


def test_order_and_repetition_of_points_do_not_matter(tracker, tracks):
    order = [2, 0, 0, 3, 1]
    same(tracker.track(POINTS[order]), tracks, order)


def test_a_track_does_not_depend_on_the_other_queries(tracker, tracks):
    for k in range(len(POINTS)):
        same(tracker.track(POINTS[k : k + 1]), tracks, slice(k, k + 1))


def test_the_size_of_chunks_does_not_matter(tracker, tracks, monkeypatch):
    monkeypatch.setattr(tracker_module, "RAYS_AT_ONCE", tracks.n_frames)
    monkeypatch.setattr(omnimotion.refine, "AT_ONCE", 1)
    monkeypatch.setattr(omnimotion.patches, "AT_ONCE", 3)
    same(tracker.track(POINTS), tracks)


def test_the_same_points_give_the_same_answer(tracker, tracks):
    again = tracker.track(POINTS)
    for name in ("xy", "visible", "confidence", "occlusion", "depth"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tracks, name))


def test_no_points_give_no_tracks_and_a_warning(tracker, caplog):
    for nothing in ([], np.zeros((0, 3), np.float32)):
        caplog.clear()
        assert tracker.track(nothing).xy.shape == (0, tracker.index.n_frames, 2)
        assert caplog.messages == ["no points are asked for: there will be no tracks"]


def test_many_points(tracker, monkeypatch):
    """More than are worked on at once."""
    monkeypatch.setattr(tracker_module, "RAYS_AT_ONCE", 4096)
    monkeypatch.setattr(patches, "AT_ONCE", 1024)
    random = np.random.default_rng(0)
    t = random.integers(0, tracker.index.n_frames, 1200)
    points = np.column_stack((t, random.uniform(0, (63, 47), (1200, 2)))).astype(np.float32)
    found = tracker.track(points)
    np.testing.assert_array_equal(found.queries, points)
    same(tracker.track(points[1021:1022]), found, slice(1021, 1022))


@pytest.mark.parametrize(
    ("point", "said"),
    [((8, 1, 1), "frame 8"), ((0, 64, 1), "outside"), ((0, 1, -0.6), "outside"),
     ((-1, 1, 1), "negative"), ((0.5, 1, 1), "whole"), ((0, np.nan, 1), "finite"),
     ((0, np.inf, 1), "finite")],
)  # fmt: skip
def test_a_point_that_is_none_is_refused(tracker, point, said):
    with pytest.raises(PointsError, match=said):
        tracker.track([(0, 1, 1), point])


@pytest.mark.parametrize("shape", [(2,), (3, 2), (6, 4), (2, 3, 3)])
def test_points_of_another_shape_are_refused(tracker, shape):
    with pytest.raises(PointsError):
        tracker.track(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "points", [[["a", 1, 1]], [[0, 1, 1], [0, 1]], [[0, 1, 1 + 2j]]], ids=str
)
def test_points_that_are_no_numbers_are_refused(tracker, points):
    with pytest.raises(PointsError, match="expected rows of numbers t, x, y"):
        tracker.track(points)


def test_tracks_are_close_to_the_truth(tracker, tiny_clip):
    """A working fit has about 80; one that learned nothing has below 50, still points 37."""
    scores = evaluate([(tracker, read_ground_truth(tiny_clip))], "given").clips[0].scores
    assert scores["delta_avg"] > 65
    assert scores["OA"] > 80
    assert scores["delta_avg"] > 20 + still_scores(tiny_clip)["delta_avg"]


def still_scores(clip):
    class Still:
        def track(self, queries):
            n_frames = 8  # of the tiny clip
            xy = np.repeat(queries[:, None, 1:], n_frames, axis=1)
            visible = np.ones(xy.shape[:2], bool)
            zero = np.zeros(xy.shape[:2], np.float32)
            return Tracks(xy, visible, zero, zero, zero, queries, 1.0, (64, 48))

    return evaluate([(Still(), read_ground_truth(clip))], "given").clips[0].scores


def test_rendered_frames_look_like_the_frames(tracker, tiny_store):
    """Colour is learned: closer to its frame than that frame's mean is."""
    depth, rgb = tracker.surface(3)
    frame = tiny_store.frame(3).astype(float)
    assert rgb.shape == frame.shape
    assert depth.shape == frame.shape[:2]
    assert ((depth >= -1) & (depth <= 1)).all()
    off = np.abs(rgb - frame).mean()
    assert off < 0.8 * np.abs(frame - frame.mean((0, 1))).mean()


def test_every_second_pixel_is_what_every_pixel_shows(tracker):
    for whole, some in zip(tracker.surface(0), tracker.surface(0, step=2)):
        np.testing.assert_allclose(whole[::2, ::2], some, atol=1.01)


def test_answers_are_in_pixels_of_the_original(tracker, tiny_scene, tmp_path):
    """The same scene, as if its video had been twice as large and reduced for the flow."""
    folder = tmp_path / "large"
    shutil.copytree(tiny_scene, folder)
    index = json.loads((folder / "scene.json").read_text())
    index["original_size"] = [128, 96]
    del index["sha256"]
    (folder / "scene.json").write_text(json.dumps(index))
    small, large = (64, 48), (128, 96)
    points = POINTS.copy()
    points[:, 1:] = resize_xy(POINTS[:, 1:], small, large)
    found = omnimotion.load(folder, device="cpu").track(points)
    assert found.size == large
    np.testing.assert_allclose(
        found.xy, resize_xy(tracker.track(POINTS).xy, small, large), atol=1e-3
    )


# opening ----------------------------------------------------------------------------------------


def test_a_scene_without_a_run_says_so(tiny_store):
    with pytest.raises(SceneError, match="train"):
        omnimotion.load(tiny_store.folder)


def test_no_scene_at_all(tmp_path):
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(SceneError, match=str(folder)):
            omnimotion.load(folder)


def test_a_run_that_is_not_there(tiny_scene, tmp_path):
    with pytest.raises((CheckpointError, SceneError), match="none"):
        omnimotion.load(tiny_scene, run=tmp_path / "none")


def test_the_newest_complete_run_is_taken(tiny_scene, tiny_config, tmp_path):
    from omnimotion.fitting import run_fit
    from omnimotion.flow import SceneStore
    from omnimotion.runs import run_folder, start_fit
    from omnimotion.signals import StopSignal

    folder = tmp_path / "scene"
    shutil.copytree(tiny_scene, folder)
    store = SceneStore.open(folder)
    short = tiny_config.replace(num_iters=3)
    run_fit(start_fit(store, folder / "runs" / "second", short), StopSignal())
    assert omnimotion.load(folder).meta["run"] == "second"
    assert omnimotion.load(folder, run=run_folder(folder, None)).meta["run"] == "default"


def test_no_gpu_no_cuda(tiny_scene):
    if torch.cuda.is_available():
        pytest.skip("a CUDA device is available")
    with pytest.raises(ConfigError, match="cuda"):
        omnimotion.load(tiny_scene, device="cuda")


def test_the_tracks_say_where_they_come_from(tracks):
    assert tracks.meta["coord_convention"] == "pixel_center"
    assert tracks.meta["flow"]["method"] == "dis"
    json.dumps(tracks.meta)


def test_tracks_that_are_not_finite_are_refused():
    zero = np.zeros((1, 2), np.float32)
    xy = np.full((1, 2, 2), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        Tracks(xy, zero > 0, zero, zero, zero, np.zeros((1, 3), np.float32), 1.0, (4, 4))
