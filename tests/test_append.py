"""A video that becomes longer: what is there stays, and the end is as if made at once."""

import json
import shutil

import pytest
from test_preprocess import interrupted, moving_clip

from omnimotion.errors import ConfigError, FlowError, SceneError
from omnimotion.flow import SceneIndex, flow_path
from omnimotion.video import open_video
from preprocess.compute import preprocess
from preprocess.options import PreprocessOptions

BEFORE, AFTER, REACH = 10, 14, 2


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    return moving_clip(tmp_path_factory.mktemp("long") / "frames", AFTER)


@pytest.fixture(scope="module")
def whole(long, tmp_path_factory):
    """Made at once of the longer video."""
    return preprocess(options(long, tmp_path_factory.mktemp("scenes") / "moving"))


@pytest.fixture
def clip(long, tmp_path):
    """The video as it was first."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for t in range(BEFORE):
        shutil.copy(long / f"{t}.png", folder)
    return folder


@pytest.fixture
def scene(clip, tmp_path):
    return preprocess(options(clip, tmp_path / "moving"))


def options(clip, scene, **more):
    return PreprocessOptions(clip, scene, flow="dis", max_gap=REACH, **more)


def grow(clip, long):
    for t in range(BEFORE, AFTER):
        shutil.copy(long / f"{t}.png", clip)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.suffix in (".png", ".npz")
    }


def test_the_scene_is_that_of_the_longer_video(clip, scene, long, whole):
    first = SceneIndex.load(scene)
    times = {i: flow_path(scene, i).stat().st_mtime_ns for i in range(BEFORE - REACH)}
    grow(clip, long)
    preprocess(options(clip, scene, append=True))
    assert contents(scene) == contents(whole)
    assert times == {i: flow_path(scene, i).stat().st_mtime_ns for i in times}
    found, expected = (json.loads((each / "scene.json").read_text()) for each in (scene, whole))
    assert found["grown"] == [[BEFORE, first.fingerprint]]
    assert {key for key in found if found[key] != expected[key]} == {"grown", "sha256"}


def test_frames_to_an_earlier_end_are_known_by_the_earlier_fingerprint(clip, scene, long):
    first = SceneIndex.load(scene).fingerprint
    grow(clip, long)
    index = SceneIndex.load(preprocess(options(clip, scene, append=True)))
    assert index.fingerprint == open_video(long).fingerprint != first
    assert [index.fingerprint_to(stop) for stop in (1, BEFORE)] == [first] * 2
    assert index.fingerprint_to(BEFORE + 1) == index.fingerprint


def test_matches_that_a_fit_deleted_are_made_again(clip, scene, long, whole, caplog):
    shutil.rmtree(scene / "flow")
    grow(clip, long)
    with caplog.at_level("INFO"):
        preprocess(options(clip, scene, append=True))
    assert f"matches of {BEFORE} frames were deleted and are made again" in caplog.text
    assert contents(scene) == contents(whole)


@pytest.mark.parametrize("at", [0, 3, 7])
def test_one_that_dies_goes_on_without_being_told(clip, scene, long, whole, at):
    grow(clip, long)
    with interrupted(at):
        preprocess(options(clip, scene, append=True))
    preprocess(options(clip, scene))
    assert contents(scene) == contents(whole)


def test_another_video_is_not_appended(clip, scene, long, tmp_path):
    before = (scene / "scene.json").read_bytes()
    other = moving_clip(tmp_path / "other", AFTER, seed=5)
    with pytest.raises(FlowError, match="frame 0 of the video is not the one there"):
        preprocess(options(other, scene, append=True))
    (clip / "9.png").unlink()
    with pytest.raises(FlowError, match="10 frames, the video 9: nothing to append"):
        preprocess(options(clip, scene, append=True))
    shutil.copy(long / "9.png", clip)
    grow(clip, long)
    with pytest.raises(FlowError, match="append if it goes on"):
        preprocess(options(clip, scene))
    assert (scene / "scene.json").read_bytes() == before


def test_a_video_with_nothing_new_is_left_alone(clip, scene, caplog):
    with caplog.at_level("INFO"):
        preprocess(options(clip, scene, append=True))
    assert "already complete" in caplog.text


def test_where_pairs_get_other_gaps_all_matches_are_made_again(clip, long, tmp_path):
    scene = tmp_path / "all"
    preprocess(PreprocessOptions(clip, scene, flow="dis"))
    grow(clip, long)
    preprocess(PreprocessOptions(clip, scene, flow="dis", append=True))
    index = SceneIndex.load(scene)
    assert index.grown == []
    assert index.gaps == list(range(1, AFTER))


def test_append_and_overwrite_exclude_each_other(clip, tmp_path):
    with pytest.raises(ConfigError, match="drop one"):
        options(clip, tmp_path, append=True, overwrite=True)


@pytest.mark.parametrize("asked", ["append", "repair"])
def test_without_a_scene_none_is_begun(clip, tmp_path, asked):
    """The name is wrong then, and another scene beside the right one helps nobody."""
    with pytest.raises(SceneError, match=f"no scene there.*leave {asked} out to make one"):
        preprocess(options(clip, tmp_path / "misspelt", **{asked: True}))
    assert not (tmp_path / "misspelt").exists()
