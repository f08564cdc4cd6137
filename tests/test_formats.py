"""Formats of other programs: what an independent reader finds, and that nothing has changed."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import format_readers
import numpy as np
import pytest
from some_tracks import make_tracks

from omnimotion.errors import ConfigError, InputError, ResourceError
from omnimotion.export import load_tracks
from omnimotion.formats import FORMATS, Sheet, check_options, outputs, save
from omnimotion.formats.coordinates import (
    centre_up,
    centres_at_one,
    corner_down,
    corner_up,
    share_down,
    share_up,
)
from omnimotion.measure import PIXELS, Scale
from omnimotion.restricted_pickle import load_plain_pickle
from omnimotion.tracks import LEFT_OUT

EVERY = [
    pytest.param(
        name, marks=pytest.mark.skipif(not find_spec("rerun"), reason="the extra rerun is missing")
    ) if name == "rerun" else name
    for name in FORMATS
]  # fmt: skip
GOLDEN = Path(__file__).parent / "golden"
OWN = ("npz", "csv", "json")
OTHERS = tuple(name for name in FORMATS if name not in (*OWN, "rerun"))  # see test_rerun.py
MARKED = ("ae", "blender", "deeplabcut", "tapvid")
"""These hold hidden frames too, and say that they are hidden; the others leave them out."""
FIRST = {"nuke": 1, "shake": 1, "3de": 1, "syntheyes": 0, "pftrack": 0, "ae": 0, "blender": 1,
         "napari": 0, "deeplabcut": 0, "trc": 1, "tapvid": 0, "colmap": 0}  # fmt: skip
"""What each program calls the first frame of a clip."""
SIZE = (64, 48)
MM = Scale(0.25, "mm")


def small_tracks():
    """Three tracks with gaps: at the start, in the middle, at the end; one leaves the frame."""
    visible = np.array([[1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1], [1, 0, 1, 1, 0, 0]], bool)
    t = np.arange(6)
    xy = np.array([
        np.stack((10.25 + 2 * t, 20.5 - t / 4), axis=-1),
        np.stack((0.0 * t - 0.5, 47.5 + 0 * t), axis=-1),
        np.stack((60 + 3.125 * t, 30 + t / 3), axis=-1),
    ], np.float32)  # fmt: skip
    scores = np.linspace(0.25, 1, 18, dtype=np.float32).reshape(3, 6)
    tracks = replace(
        make_tracks(3, 6), xy=xy, visible=visible, confidence=scores, occlusion=1 - scores,
        queries=np.array([[0, 10.25, 20.5], [1, -0.5, 47.5], [0, 60, 30]], np.float32),
        fps=25.0, size=SIZE, meta={"scene": "small", "flow": {"licence": "free"}},
        times=(t / 25).round(6), depth=np.zeros_like(scores),
    )  # fmt: skip
    return tracks


def sheet_of(tracks, first, **options):
    images = [np.full((6, 8, 3), t, np.uint8) for t in tracks.frames]
    return Sheet(tracks, (tracks.frames + first).tolist(), scale=MM, images=images, **options)


def written(folder, name, tracks, first):
    path = folder / f"tracks{FORMATS[name].ending}"
    save(FORMATS[name], path, sheet_of(tracks, first))
    return path


def found_in(path, name):
    reader = {"3de": "read_3de", "ae": "read_after_effects"}.get(name, f"read_{name}")
    more = {"mm_per_px": 0.25} if name == "trc" else {}
    return getattr(format_readers, reader)(path, SIZE, **more)


def expected_frames(tracks, q, first, name):
    numbers = range(tracks.n_frames) if name == "tapvid" else (tracks.frames + first).tolist()
    if name == "blender":  # hidden in those that are left out, at the place before
        return {
            number: (*tracks.xy[q, t].tolist(), bool(tracks.visible[q, t]) and number in numbers)
            for number in range(numbers[0], numbers[-1] + 1)
            for t in [max(k for k in range(len(numbers)) if numbers[k] <= number)]
        }
    return {
        number: (*tracks.xy[q, t].tolist(), bool(tracks.visible[q, t]))
        for t, number in enumerate(numbers)
        if tracks.visible[q, t] or name in MARKED
    }


def assert_same_tracks(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert list(one) == list(other), "not the same frames"
        for number, (x, y, visible) in other.items():
            assert one[number][:2] == pytest.approx((x, y), abs=1e-3)
            assert one[number][2] == visible


def many_tracks():
    """Tracks that are all over a frame of the usual size of this file, and beyond it."""
    tracks = make_tracks(23, 17)
    rng = np.random.default_rng(3)
    xy = (rng.random((23, 17, 2)) * 90 - 15).astype(np.float32)
    visible = rng.random((23, 17)) < 0.7
    visible[:, 4] = True
    queries = np.column_stack((np.full(23, 4), xy[:, 4])).astype(np.float32)
    confidence = tracks.confidence.clip(0.01)
    return replace(tracks, xy=xy, visible=visible, queries=queries, size=SIZE,
                   confidence=confidence)  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("first", [None, 1001])
@pytest.mark.parametrize("step", [1, 2])
def test_a_reader_of_its_own_finds_every_place_frame_and_gap(tmp_path, name, first, step):
    tracks = many_tracks().at(range(0, 17, step))
    first = FIRST[name] if first is None or name == "colmap" else first
    assert FORMATS[name].first_frame == FIRST[name]
    found = found_in(written(tmp_path, name, tracks, first), name)
    expected = [expected_frames(tracks, q, first, name) for q in range(len(tracks))]
    if name == "colmap":  # keypoints have no track number, only their frames and places

        def order(frames):
            return sorted((n, round(x, 3), round(y, 3)) for n, (x, y, _) in frames.items())

        found, expected = ([dict(sorted(frames.items())) for frames in sorted(each, key=order)]
                           for each in (found, expected))  # fmt: skip
    assert_same_tracks(found, expected)


@pytest.mark.parametrize("name", OTHERS)
def test_files_are_as_they_were(tmp_path, name):
    """Golden files; of binary ones, what they hold. Written anew by running this file."""
    path = written(tmp_path, name, small_tracks(), FIRST[name])
    golden = GOLDEN / path.name
    if name == "tapvid":
        (new,), (old,) = (load_plain_pickle(each).values() for each in (path, golden))
        assert new.keys() == old.keys()
        for key in new:
            np.testing.assert_array_equal(new[key], old[key])
    elif name == "colmap":
        assert dump(path) == golden.with_suffix(".sql").read_text()
    else:
        assert path.read_bytes() == golden.read_bytes()


def dump(path):
    with closing(sqlite3.connect(path)) as database:
        return "\n".join(database.iterdump()) + "\n"


def test_places_that_are_known():
    """The centre of the upper left pixel of a 64x48 frame, and of the lower right one."""
    xy = np.array([[0, 0], [63, 47]], np.float32)
    for found, expected in [
        (corner_down(xy), [(0.5, 0.5), (63.5, 47.5)]),
        (corner_up(xy, SIZE), [(0.5, 47.5), (63.5, 0.5)]),
        (centre_up(xy, SIZE), [(0, 47), (63, 0)]),
        (share_down(xy, SIZE), [(0.5 / 64, 0.5 / 48), (63.5 / 64, 47.5 / 48)]),
        (share_up(xy, SIZE), [(0.5 / 64, 47.5 / 48), (63.5 / 64, 0.5 / 48)]),
        (centres_at_one(xy, SIZE), [(-1, -1), (1, 1)]),
    ]:
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["nuke", "shake", "3de", "syntheyes", "pftrack", "blender", "trc",
                                  "ae", "colmap"])  # fmt: skip
def test_large_frames_keep_their_places(tmp_path, name):
    """Enough digits for 8192 px."""
    tracks = replace(small_tracks(), size=(8192, 4320))
    tracks.xy[0, :, 0] = 8191 - np.arange(6) / 7
    path = written(tmp_path, name, tracks, 0)
    reader = {"3de": "read_3de", "ae": "read_after_effects"}.get(name, f"read_{name}")
    more = {"mm_per_px": 0.25} if name == "trc" else {}
    found = getattr(format_readers, reader)(path, (8192, 4320), **more)
    (track,) = [frames for frames in found if frames.get(0, (0,))[0] > 8000]
    for t in range(6):
        assert track[t][0] == pytest.approx(8191 - t / 7, abs=1e-3)


@pytest.mark.parametrize("name", ["nuke", "blender", "tapvid"])
def test_the_licence_of_the_flow_goes_along(tmp_path, name):
    assert b'"licence": "free"' in written(tmp_path, name, small_tracks(), 1).read_bytes()


def test_confidence_goes_along(tmp_path):
    """In the units of each: error and residual fall with it."""
    tracks = small_tracks()
    rows = np.loadtxt(written(tmp_path, "napari", tracks, 0), delimiter=",", skiprows=1)
    seen = tracks.visible
    np.testing.assert_allclose(rows[:, 4], tracks.confidence[seen], atol=1e-4)
    np.testing.assert_allclose(rows[:, 5], tracks.occlusion[seen], atol=1e-4)
    lines = written(tmp_path, "pftrack", tracks, 0).read_text().splitlines()
    residuals = [float(line.split()[3]) for line in lines if len(line.split()) == 4]
    np.testing.assert_allclose(residuals, 1 - tracks.confidence[seen], atol=1e-4)
    lines = written(tmp_path, "shake", tracks, 1).read_text().splitlines()
    scores = [float(line.split()[3]) for line in lines if line[:1] == " " and "F" not in line]
    np.testing.assert_allclose(scores, tracks.confidence[seen], atol=1e-4)


@pytest.mark.parametrize("name", EVERY)
def test_tracks_that_are_never_seen_and_no_tracks(tmp_path, name):
    unseen = small_tracks().at(range(3, 4))  # of three tracks, the second is hidden there
    written(tmp_path / "unseen", name, unseen, 1)
    none = replace(make_tracks(0, 5), size=SIZE)
    path = written(tmp_path / "none", name, none, 1)
    if name in ("3de", "syntheyes", "nuke", "blender", "pftrack", "shake"):
        assert found_in(path, name) == []


@pytest.mark.parametrize("name", OWN)
def test_own_formats_keep_the_clip_and_add_measured_columns(tmp_path, name):
    path = tmp_path / f"t.{name}"
    save(FORMATS[name], path, sheet_of(small_tracks(), 0, whole=small_tracks()))
    np.testing.assert_array_equal(load_tracks(path).xy, small_tracks().xy)
    content = path.read_bytes()
    for column in (b"x_mm", b"y_mm", b"speed_mm_s", b"acceleration_mm_s2"):
        assert column in content


def test_a_pickle_is_plain_and_read_by_the_restricted_reader(tmp_path):
    tracks = small_tracks()
    clip = load_plain_pickle(written(tmp_path, "tapvid", tracks, 0))["small"]
    np.testing.assert_array_equal(clip["occluded"], ~tracks.visible)
    assert clip["video"].shape == (6, 6, 8, 3)
    with pytest.raises(InputError, match="0 images for 6 frames"):
        save(FORMATS["tapvid"], tmp_path / "b.pkl", Sheet(tracks, list(range(6))))
    assert not (tmp_path / "b.pkl").exists()


@pytest.mark.parametrize("name", EVERY)
def test_a_full_disk_leaves_nothing(tmp_path, name):
    import resource

    tracks = many_tracks()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, old[1]))
    try:
        with pytest.raises(ResourceError, match="tracks"):
            written(tmp_path, name, tracks, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert list(tmp_path.iterdir()) == []


# which file gets which format -------------------------------------------------------------------


def chosen(out, names=None):
    return [(each.name, str(path)) for each, path in outputs(Path(out), names, False)]


@pytest.mark.parametrize("name", FORMATS)
def test_every_ending_names_its_format(name):
    ending = FORMATS[name].ending
    assert chosen(f"a/t{ending}") == [(name, f"a/t{ending}")]
    assert chosen("a/t", [name]) == [(name, f"a/t{ending}")]


def test_one_format_may_have_any_name_of_its_kind():
    assert chosen("t.txt", ["shake"]) == [("shake", "t.txt")]
    assert chosen("v1.2", ["3de", "nuke"]) == [("3de", "v1.2.3de.txt"), ("nuke", "v1.2.nk")]
    assert chosen("T.NPZ") == [("npz", "T.NPZ")]


@pytest.mark.parametrize(
    ("out", "names", "message"),
    [
        ("t.txt", None, "give --export FORMAT"),
        ("t", None, "give --export FORMAT"),
        ("t.nk", ["3de"], "a file of format 3de ends in .3de.txt"),
        ("t.nk", ["3de", "nuke"], "--out must have none"),
        ("t", ["houdini"], "unknown format 'houdini': expected npz, csv"),
        ("t", ["nuke", "nuke"], "named twice"),
        ("t", [""], "unknown format ''"),
    ],
)
def test_a_name_that_does_not_fit_is_refused(out, names, message):
    with pytest.raises(ConfigError, match=message):
        outputs(Path(out), names, False)


def test_no_output_is_replaced_unasked(tmp_path):
    (tmp_path / "t.nk").write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        outputs(tmp_path / "t", ["3de", "nuke"], False)
    assert len(outputs(tmp_path / "t", ["3de", "nuke"], True)) == 2


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["nuke"], {"scale": "1mm"}, "--scale is for"),
        (["nuke"], {"motion": True}, "--motion adds columns"),
        (["csv"], {"start_frame": 1001}, "--start-frame is for other programs"),
        (["nuke"], {"start_frame": -1}, "expected 0 to 1000000000"),
        (["nuke"], {"start_frame": 10**30}, "expected 0 to 1000000000"),
        (["trc"], {}, "trc holds lengths in m or mm: give --scale"),
        (["trc"], {"scale": "1inch"}, "trc holds lengths in m or mm"),
        (["csv"], {"scale": "long"}, "scale is 'long'"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(names, options, message):
    given = {"scale": None, "motion": False, "start_frame": None} | options
    with pytest.raises(ConfigError, match=message):
        check_options([FORMATS[name] for name in names], **given)


def test_options_that_one_of_the_formats_can_hold_are_accepted():
    chosen = [FORMATS[name] for name in ("csv", "nuke", "trc")]
    check_options(chosen, scale="1mm", motion=True, start_frame=1001)
    assert PIXELS.unit == "px"


def test_docs_have_a_row_for_every_format():
    text = (Path(__file__).parents[1] / "docs" / "formats.md").read_text(encoding="utf-8")
    for each in FORMATS.values():
        assert f"| `{each.name}` | `{each.ending}` |" in text


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in OTHERS:
        made = written(GOLDEN, each, small_tracks(), FIRST[each])
        if each == "colmap":
            made.with_suffix(".sql").write_text(dump(made))
            made.unlink()


def test_the_rate_of_a_table_is_that_of_its_frames(tmp_path):
    """Every tenth frame of 25 a second."""
    tracks = small_tracks()
    tenth = replace(tracks, frames=10 * np.arange(tracks.n_frames), times=LEFT_OUT)
    lines = written(tmp_path, "trc", tenth, 0).read_text().split("\n")
    rate, camera, count, _, _, original, *_ = lines[2].split("\t")
    assert (rate, camera, count, original) == ("2.5", "25", str(tracks.n_frames), "25")


def test_a_folder_is_no_name_for_a_file(tmp_path):
    for out in (".", "/"):
        with pytest.raises(ConfigError, match="give --out the name of a file"):
            outputs(Path(out), ["csv"], False)


def test_images_of_colmap_are_named_as_the_scene_names_them(tmp_path):
    """Whatever number a shot begins with."""
    tracks = small_tracks()
    with closing(sqlite3.connect(written(tmp_path, "colmap", tracks, 1001))) as database:
        names = [name for (name,) in database.execute("SELECT name FROM images")]
    assert names == [f"{t:06d}.png" for t in tracks.frames]
