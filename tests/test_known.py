"""Known points: tables and files of tracks mean the same, and a bad row is named."""

import numpy as np
import pytest
from some_tracks import make_tracks

from omnimotion.errors import InputError, PointsError
from omnimotion.export import save_tracks
from omnimotion.known import read_known
from omnimotion.supervision import Supervision

CLIP = (8, (64, 48))


def table(folder, *rows, header="track,t,x,y"):
    path = folder / "known.csv"
    path.write_text("\n".join((header, *rows)) + "\n", encoding="utf-8")
    return path


def test_a_table_by_hand(tmp_path):
    rows = ("7,0,1.5,2,0.5,1", "3,4,10,20,1,1", "7,2,3,4,0.25,0", "7,5,5,6,1,1", "3,0,9,19,1,1")
    path = table(tmp_path, *rows, header="track,t,x,y,confidence,visible")
    known = read_known(path, *CLIP, pins=True)
    assert known.xy.shape == (2, 8, 2)  # tracks 3 and 7, in this order
    assert known.xy[1, [0, 2, 5]].tolist() == [[1.5, 2], [3, 4], [5, 6]]
    assert known.weight[1].tolist() == [0.5, 0, 0.25, 0, 0, 1, 0, 0]
    assert known.weight[0].tolist() == [1, 0, 0, 0, 1, 0, 0, 0]
    assert np.flatnonzero(known.visible[1]).tolist() == [0, 5]
    seen = read_known(path, *CLIP)
    assert np.flatnonzero(seen.weight[1]).tolist() == [0, 5]


def test_columns_may_come_in_any_order(tmp_path):
    known = read_known(table(tmp_path, "2,1,0,5", "4,3,1,5", header="y, x ,T,track"), *CLIP)
    assert known.xy[0, :2].tolist() == [[1, 2], [3, 4]]
    assert known.weight.sum() == 2


def test_a_track_with_one_place_says_nothing(tmp_path):
    known = read_known(table(tmp_path, "0,0,1,1", "1,0,2,2", "1,3,3,3"), *CLIP)
    assert known.xy[:, 0].tolist() == [[2, 2]]
    with pytest.raises(PointsError, match="track 0 is not seen in a frame and known in another"):
        read_known(tmp_path / "known.csv", *CLIP, pins=True)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_files_of_tracks_count_where_visible(tmp_path, suffix):
    tracks = make_tracks(5, 7)
    tracks.xy[:] = tracks.xy % 40
    save_tracks(tmp_path / f"t{suffix}", tracks)
    known = read_known(tmp_path / f"t{suffix}", 9, tracks.size)
    expected = np.zeros((5, 9), np.float32)
    expected[:, :7] = np.where(tracks.visible, tracks.confidence, 0)
    assert (tracks.visible.sum(1) >= 2).all()
    np.testing.assert_array_equal(known.weight, expected)
    np.testing.assert_array_equal(known.xy[:, :7][tracks.visible], tracks.xy[tracks.visible])


def test_a_file_of_tracks_says_its_licence_and_a_table_may_be_told_it(tmp_path):
    tracks = make_tracks(5, 7, {"flow": {"licence": "free"}})
    tracks.xy[:] = tracks.xy % 40
    save_tracks(tmp_path / "t.npz", tracks)
    assert read_known(tmp_path / "t.npz", 9, tracks.size).licence == "free"
    assert read_known(tmp_path / "t.npz", 9, tracks.size, licence="mine").licence == "mine"
    rows = table(tmp_path, "2,1,0,5", "4,3,1,5", header="y, x ,T,track")
    assert read_known(rows, *CLIP).licence == ""
    known = read_known(rows, *CLIP, licence="CC-BY-NC-4.0")
    assert Supervision(tracks=known).fingerprints["tracks-licence"] == "CC-BY-NC-4.0"


def test_hidden_places_may_lie_anywhere(tmp_path):
    """Other trackers put them outside the frame; the line of a bad one that counts is named."""
    rows = ("0,0,1,1,1", "0,1,-50,9,0", "0,2,3,3,1")
    header = "track,t,x,y,visible"
    assert read_known(table(tmp_path, *rows, header=header), *CLIP).weight[0].sum() == 2
    with pytest.raises(PointsError, match="line 5: y is 99"):
        read_known(table(tmp_path, *rows, "0,3,3,99,1", header=header), *CLIP)


def test_the_fingerprint_is_of_what_is_said(tmp_path):
    def fingerprint(*rows):
        return read_known(table(tmp_path, *rows), *CLIP).fingerprint

    one = fingerprint("0,0,1,1", "0,3,2,2")
    assert fingerprint("5,3,2,2", "5,0,1,1") == one
    assert fingerprint("0,0,1,1", "0,3,2,2.5") != one


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["0,0,1,1", "0,8,1,1"], "line 3: t is 8, expected a whole number from 0 to 7"),
        (["0,0,1,1", "0,1,64,1"], "line 3: x is 64"),
        (["0,0,1,1", "0,1,nan,1"], "line 3: x is nan"),
        (["0,0,1,1", "0,1,2,2", "0,1,3,3"], "track 0 has two places in frame 1"),
        (["0,0,1,1", "1,1,2,2"], "no track is seen in a frame and known in another"),
        (["0,0,1,1", "0,1,two,2"], "line 3: x is 'two', expected a number"),
        (["0,0,1,1", "", "0,1,2"], "line 4: 3 values, 4 in the header"),
        (["0,0,1,1,5"], "5 values a row, 4 in the header"),
        (["0,0,1,1", "", "0,1,-3,1"], "line 4: x is -3"),
        (["0,0,1,1", "nan,1,3,1"], "line 3: track is nan"),
        ([], "no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, rows, said):
    with pytest.raises(PointsError, match=said) as caught:
        read_known(table(tmp_path, *rows), *CLIP)
    assert "known.csv" in str(caught.value)


@pytest.mark.parametrize("header", ["t,x,y", "track,t,x,x", "0,0,1,1"])
def test_a_header_is_needed(tmp_path, header):
    with pytest.raises(PointsError, match="expected track,t,x,y"):
        read_known(table(tmp_path, "0,0,1,1", header=header), *CLIP)


@pytest.mark.parametrize(("column", "value"), [("confidence", "1.5"), ("visible", "-1")])
def test_a_share_beyond_its_range_is_refused(tmp_path, column, value):
    path = table(tmp_path, f"0,0,1,1,{value}", header=f"track,t,x,y,{column}")
    with pytest.raises(PointsError, match=f"{column} is {value}, expected 0 to 1"):
        read_known(path, *CLIP)


def test_another_size_no_file_and_no_tracks(tmp_path):
    save_tracks(tmp_path / "t.npz", make_tracks(5, 7))
    with pytest.raises(PointsError, match="65x49 video, expected 64x48"):
        read_known(tmp_path / "t.npz", *CLIP)
    (tmp_path / "t.txt").write_text("hello")
    for name in ("t.txt", "none.csv", "none.npz"):
        with pytest.raises(InputError, match=name):
            read_known(tmp_path / name, *CLIP)


def test_what_is_hardly_known_is_not_known(tmp_path):
    rows = ("0,0,1,1,1e-25", "0,3,2,2,1e-25", "1,0,5,5,1", "1,2,6,6,0.5")
    known = read_known(table(tmp_path, *rows, header="track,t,x,y,confidence"), *CLIP)
    assert known.xy.shape[0] == 1
    path = table(tmp_path, *rows[:2], header="track,t,x,y,confidence")
    with pytest.raises(PointsError, match="no track is seen"):
        read_known(path, *CLIP)
