"""Files of tracks: what is written is what is read, and damage is refused."""

import csv
import json
import os
import resource
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from some_tracks import make_tracks

from omnimotion.errors import ConfigError, InputError, ResourceError
from omnimotion.export import CSV_COLUMNS, check_output, load_tracks, save_tracks
from omnimotion.tracks import Tracks

ARRAYS = ("xy", "visible", "confidence", "occlusion", "depth", "queries", "frames", "times")
SUFFIXES = (".npz", ".csv", ".json")


def assert_same(found, expected):
    for name in ARRAYS:
        a, b = getattr(found, name), getattr(expected, name)
        assert a.dtype == b.dtype, name
        np.testing.assert_array_equal(a, b, err_msg=name)
    assert (found.fps, found.size) == (expected.fps, expected.size)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(("count", "n_frames"), [(5, 7), (1, 2), (40, 1)])
def test_tracks_read_back_bit_for_bit(tmp_path, suffix, count, n_frames):
    tracks = make_tracks(count, n_frames)
    save_tracks(tmp_path / f"a{suffix}", tracks)
    assert_same(load_tracks(tmp_path / f"a{suffix}"), tracks)
    assert os.listdir(tmp_path) == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_no_tracks_and_meta_read_back(tmp_path, suffix):
    tracks = make_tracks(0, 7, meta={"scene": "a/b", "note": "é\n", "step": 3})
    save_tracks(tmp_path / f"a{suffix}", tracks)
    found = load_tracks(tmp_path / f"a{suffix}")
    assert_same(found, tracks)
    assert found.meta == tracks.meta


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_some_frames_and_measured_columns_read_back(tmp_path, suffix):
    """Frames keep the numbers and times of the clip; queries may lie in other frames."""
    tracks = replace(make_tracks(5, 7), times=np.array([0, 0.1, 0.25, 1, 2, 3, 4.000001]))
    some = tracks.at(range(1, 7, 2))
    measured = {"speed_px_s": np.arange(15, dtype=np.float32).reshape(5, 3)}
    save_tracks(tmp_path / f"a{suffix}", some, measured=measured)
    found = load_tracks(tmp_path / f"a{suffix}")
    assert_same(found, some)
    assert found.frames.tolist() == [1, 3, 5]
    assert found.times.tolist() == [0.1, 1, 3]
    np.testing.assert_array_equal(found.xy, tracks.xy[:, 1::2])


def test_measured_columns_are_the_last_of_the_table(tmp_path):
    measured = {"a": np.arange(6, dtype=np.float32).reshape(2, 3)}
    save_tracks(tmp_path / "a.csv", make_tracks(2, 3), measured=measured)
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [float(row["a"]) for row in csv.DictReader(file)] == [0, 1, 2, 3, 4, 5]
    save_tracks(tmp_path / "a.json", make_tracks(2, 3), measured=measured)
    assert json.loads((tmp_path / "a.json").read_text())["tracks"][1]["a"] == [3, 4, 5]


def test_a_frame_that_tracks_lack_cannot_be_had():
    with pytest.raises(InputError, match="frame 7 is absent"):
        make_tracks().at(range(8))


def test_a_csv_of_no_tracks_is_a_header_and_is_not_read_back(tmp_path):
    save_tracks(tmp_path / "a.csv", make_tracks(0))
    assert (tmp_path / "a.csv").read_text() == ",".join(CSV_COLUMNS) + "\n"
    with pytest.raises(InputError, match="no rows"):
        load_tracks(tmp_path / "a.csv")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_equal_tracks_give_equal_bytes(tmp_path, suffix):
    for name in "ab":
        save_tracks(tmp_path / (name + suffix), make_tracks())
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_numpy_opens_the_archive_without_pickles(tmp_path):
    tracks = make_tracks()
    save_tracks(tmp_path / "a.npz", tracks)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["xy"], tracks.xy)
        assert archive["size"].tolist() == [65, 49]
        assert archive["fps"] == 29.97


def test_csv_is_one_row_per_track_and_frame(tmp_path):
    tracks = make_tracks(2, 3)
    save_tracks(tmp_path / "a.csv", tracks)
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["track_id"], row["frame"]) for row in rows] == [
        (q, t) for q in "01" for t in "012"
    ]
    row = rows[5]
    assert float(row["time_s"]) == pytest.approx(2 / 29.97, abs=1e-6)
    assert np.float32(row["y"]) == tracks.xy[1, 2, 1]
    assert row["visible"] == str(int(tracks.visible[1, 2]))


def test_json_is_plain(tmp_path):
    tracks = make_tracks(2, 3)
    save_tracks(tmp_path / "a.json", tracks)
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["tracks"][1]["visible"] == tracks.visible[1].tolist()
    assert document["frames"] == [0, 1, 2]


def test_an_existing_file_stays_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("mine")
    with pytest.raises(ConfigError, match="--overwrite"):
        save_tracks(path, make_tracks())
    assert path.read_text() == "mine"
    save_tracks(path, make_tracks(), overwrite=True)
    assert_same(load_tracks(path), make_tracks())


def test_a_missing_folder_is_made(tmp_path):
    save_tracks(tmp_path / "new" / "folder" / "a.csv", make_tracks())
    assert_same(load_tracks(tmp_path / "new" / "folder" / "a.csv"), make_tracks())


@pytest.mark.parametrize("name", ["a.txt", "a", "a.npz.bak", "a.pkl"])
def test_an_unknown_suffix_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"\.npz or \.csv or \.json"):
        save_tracks(tmp_path / name, make_tracks())
    with pytest.raises(InputError, match=r"\.npz or \.csv or \.json"):
        load_tracks(tmp_path / name)


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ConfigError, match="cannot make"):
        save_tracks(tmp_path / "file" / "a.csv", make_tracks())
    with pytest.raises(ConfigError, match="is a folder"):
        check_output(tmp_path / "folder.csv", (".csv",), overwrite=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_tracks(path, make_tracks())
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(ResourceError, match=f"a{suffix}"):
            save_tracks(path, make_tracks(100, 50), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert_same(load_tracks(path), make_tracks())
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_cut_file_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_tracks(path, make_tracks())
    whole = path.read_bytes()
    for size in (0, 1, len(whole) // 3, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=path.name) as caught:
            load_tracks(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_damaged_bytes_raise_nothing_but_input_errors(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_tracks(path, make_tracks(2, 2))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        path.write_bytes(damaged)
        with suppress(InputError):
            load_tracks(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "other"}, "kind is 'other'"),
        ({"format": 1}, "format is 1"),
        ({"size": [1, 2, 3]}, "too many values"),
        ({"fps": float("nan")}, r"a\.json: tracks: fps is nan"),
        ({"tracks": "no"}, "holds no tracks"),
        ({"tracks": [{}]}, "holds no tracks"),
        ({"frames": "x"}, "holds no tracks"),
        ({"frames": [0, 1]}, "holds no tracks|tracks: "),
        ({"times": [0, 1, 2, 3, 5, 4, 6]}, "times do not increase"),
        ({"meta": 3}, r"a\.json: tracks: meta"),
    ],
)
def test_json_of_something_else_is_refused(tmp_path, change, message):
    path = tmp_path / "a.json"
    save_tracks(path, make_tracks())
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=message):
        load_tracks(path)


def test_deeply_nested_json_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("[" * 200_000)
    with pytest.raises(InputError, match=r"a\.json"):
        load_tracks(path)


def test_csv_with_a_row_missing_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    save_tracks(path, make_tracks())
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:9] + lines[10:]))
    with pytest.raises(InputError, match=r"a\.csv holds no tracks"):
        load_tracks(path)


@pytest.mark.parametrize(
    "change",
    [
        {"xy": np.zeros((5, 7), np.float32)},
        {"xy": np.zeros((5, 7, 2))},
        {"xy": np.full((5, 7, 2), np.nan, np.float32)},
        {"visible": np.zeros((5, 7), np.float32)},
        {"depth": np.zeros((5, 8), np.float32)},
        {"queries": np.zeros((4, 3), np.float32)},
        {"queries": np.full((5, 3), -1, np.float32)},
        {"queries": np.full((5, 3), 0.5, np.float32)},
        {"frames": np.arange(6)},
        {"frames": np.array([0, 1, 2, 3, 4, 6, 5])},
        {"frames": np.arange(7) - 1},
        {"times": np.zeros(7)},
        {"times": np.full(7, np.nan)},
        {"fps": 0.0},
        {"size": (0, 49)},
        {"meta": {"a": object()}},
    ],
)
def test_tracks_that_do_not_fit_together_cannot_be_made(change):
    fields = {**vars(make_tracks()), **change}
    with pytest.raises(InputError, match="tracks: "):
        Tracks(**fields)
