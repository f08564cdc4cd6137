"""Query points: what is read, and what is refused and where."""

import io
import sys
from contextlib import suppress

import numpy as np
import pytest

from omnimotion.errors import PointsError
from omnimotion.points import grid_points, parse_points, read_points

SIZE = (64, 48)
FRAMES = 10


def write(tmp_path, content):
    path = tmp_path / "points.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(tmp_path, content):
    return parse_points(str(write(tmp_path, content)), FRAMES, SIZE)


def test_inline_points_are_frame_x_y():
    points = parse_points("0,1.5,2; 9,63,47;", FRAMES, SIZE)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[0, 1.5, 2], [9, 63, 47]])


@pytest.mark.parametrize(
    "content",
    [
        "t,x,y\n3,10,20\n",
        "y,t,x\n20,3,10\n",
        "\ufeffT, X ,y\r\n\r\n3,10,20\r\n",
        'label,t,x,y\n"nose, left",3,10,20',
        "t,x,y\n3.0, 1e1,+20",
    ],
)
def test_columns_are_found_by_their_names(tmp_path, content):
    np.testing.assert_array_equal(read(tmp_path, content), [[3, 10, 20]])


@pytest.mark.parametrize("content", ["", "\n\n", "t,x,y\n", "t,x,y"])
def test_an_empty_file_gives_no_points(tmp_path, content):
    assert read(tmp_path, content).shape == (0, 3)


def test_a_point_may_lie_on_the_border_of_the_frame():
    points = parse_points("0,-0.5,-0.5;0,63.5,47.5", FRAMES, SIZE)
    assert len(points) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("-1,5,5", "line 3: t is -1, expected a whole number from 0 to 9"),
        ("10,5,5", "line 3: t is 10, expected a whole number from 0 to 9"),
        ("1.5,5,5", "line 3: t is 1.5, expected a whole number from 0 to 9"),
        ("nan,5,5", "line 3: t is nan"),
        ("inf,5,5", "line 3: t is inf"),
        ("0,nan,5", "line 3: x is nan"),
        ("0,5,1e400", "line 3: y is inf"),
        ("0,64,5", "line 3: x is 64, expected a number from -0.5 to 63.5"),
        ("0,5,-0.6", "line 3: y is -0.6, expected a number from -0.5 to 47.5"),
        ("0,5", "line 3: 2 values, expected 3"),
        ("0,5,5,5", "line 3: 4 values, expected 3"),
        ("0,five,5", "line 3: '0,five,5' holds something that is not a number"),
        ("0,1_0,5", "line 3: '0,1_0,5' holds something that is not a number"),
        ("0,,5", "line 3: '0,,5' holds something that is not a number"),
        ("0,5,5\0", "line 3: not a row of numbers"),
        ("0,5," + "5" * 10000, "line 3: not a row of numbers"),
        ('0,"5,5', "not valid CSV"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, row, message):
    with pytest.raises(PointsError) as caught:
        read(tmp_path, f"t,x,y\n0,1,1\n{row}\n0,2,2\n")
    assert message in str(caught.value)
    assert "points.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_line_is_right_beyond_the_first_block(tmp_path):
    content = "t,x,y\n" + "0,1,1\n" * 70000 + "0,99,1\n"
    with pytest.raises(PointsError, match="line 70002: x is 99"):
        read(tmp_path, content)


def test_a_long_file_is_read_in_order(tmp_path):
    t = np.arange(140_000) % FRAMES
    points = read(tmp_path, "t,x,y\n" + "".join(f"{i},1,2\n" for i in t))
    np.testing.assert_array_equal(points[:, 0], t)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0,1,2\n0,3,4\n", "not a header"),
        ("frame,x,y\n0,1,2\n", "the header is 'frame,x,y', expected t,x,y"),
        ("t,x,y,t\n", "the header is 't,x,y,t'"),
        ("t;x;y\n0;1;2\n", "separated by commas"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "is not text"),
    ],
)
def test_a_table_without_a_clear_header_is_refused(tmp_path, content, message):
    with pytest.raises(PointsError, match=message):
        read(tmp_path, content)


def test_a_linked_file_is_read(tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to(write(tmp_path, "t,x,y\n1,2,3\n"))
    np.testing.assert_array_equal(read_points(link, FRAMES, SIZE), [[1, 2, 3]])


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(PointsError, match="no such points file: absent"):
        parse_points("absent.csv", FRAMES, SIZE)
    with pytest.raises(PointsError, match="not a regular file"):
        parse_points(str(tmp_path), FRAMES, SIZE)
    with pytest.raises(PointsError, match="not a regular file"):
        parse_points("/dev/zero", FRAMES, SIZE)


@pytest.mark.parametrize("spec", ["", "  "])
def test_no_text_is_not_a_point(spec):
    with pytest.raises(PointsError, match="no query points given"):
        parse_points(spec, FRAMES, SIZE)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("0,1,2;0,1", "point 2: 2 values, expected 3"),
        ("0,1,2;;0,1,2", "point 2: 1 values"),
        ("0,a,2", "point 1: '0,a,2' holds something"),
        ("0,1," + "9" * 5000, "point 1: y is inf"),
        ("0,1,2,x" * 2000, "point 1"),
    ],
)
def test_bad_inline_points_are_refused_by_number(spec, message):
    with pytest.raises(PointsError, match=message):
        parse_points(spec, FRAMES, SIZE)


def test_grid_points_are_centres_of_equal_cells():
    points = grid_points(4, 7, (64, 48))
    assert points.shape == (12, 3)
    assert set(points[:, 0]) == {7}
    assert sorted(set(points[:, 1].tolist())) == [7.5, 23.5, 39.5, 55.5]
    assert sorted(set(points[:, 2].tolist())) == [7.5, 23.5, 39.5]


def test_grid_of_every_pixel_is_every_pixel():
    points = grid_points(5, 0, (5, 3))
    np.testing.assert_array_equal(points[:, 1], list(range(5)) * 3)
    np.testing.assert_array_equal(points[:, 2], np.repeat(range(3), 5))


@pytest.mark.parametrize(("n", "t"), [(0, 0), (4, -1), (100_000, 0)])
def test_an_impossible_grid_is_refused(n, t):
    with pytest.raises(PointsError, match="grid"):
        grid_points(n, t, SIZE)


# JSON, NPZ, stdin -------------------------------------------------------------------------------


def write_as(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return parse_points(str(path), FRAMES, SIZE)


@pytest.mark.parametrize(
    "content",
    [
        "[[3, 10, 20.5], [0, -0.5, 47]]",
        '{"points": [[3, 10.0, 20.5], [0, -0.5, 47]]}',
        '[{"y": 20.5, "x": 10, "t": 3, "name": "nose"}, {"t": 0, "x": -0.5, "y": 47}]',
    ],
)
def test_json_holds_rows_or_objects(tmp_path, content):
    points = write_as(tmp_path, "p.json", content)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, [[3, 10, 20.5], [0, -0.5, 47]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[[0, 1, 2], [0, 1]]", "point 2: 2 values, expected 3"),
        ("[[0, 1, 2], [99, 1, 2]]", "point 2: t is 99, expected a whole number from 0 to 9"),
        ('[[0, 1, "2"]]', "point 1: expected [t, x, y]"),
        ("[[0, 1, NaN]]", "point 1: y is nan"),
        ("[[0, 1, true]]", "point 1: '0,1,True' holds something that is not a number"),
        ("[[0, [1], 2]]", "not a number"),
        ('[{"t": 0, "x": 1}]', "point 1: expected [t, x, y]"),
        ("[0, 1, 2]", "point 1: expected [t, x, y]"),
        ('{"queries": []}', 'expected a list of [t, x, y], or {"points": [...]}'),
        ("3", "expected a list"),
        ("[[0, 1, 2]", "is not valid JSON"),
        (b"\xff\xfe\x00", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
    ],
)
def test_json_of_something_else_is_refused(tmp_path, content, message):
    with pytest.raises(PointsError) as caught:
        write_as(tmp_path, "p.json", content)
    assert message in str(caught.value)
    assert "p.json" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_npz_gives_its_queries(tmp_path, dtype):
    queries = np.array([[3, 10, 20], [9, 63, 47]], dtype)
    np.savez_compressed(tmp_path / "p.npz", queries=queries, tracks=np.zeros(3))
    points = parse_points(str(tmp_path / "p.npz"), FRAMES, SIZE)
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, queries)


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        (np.zeros((4, 2)), r"\(4, 2\), expected numbers \(Q, 3\)"),
        (np.zeros((4, 3), bool), "bool"),
        (np.array([["0", "1", "2"]]), "expected numbers"),
        (np.array([[0, 1, 2], [0, 64, 2]]), "row 1: x is 64"),
        (np.array([[0, 1, 2], [0.5, 6, 2]]), "row 1: t is 0.5"),
        (np.array([[0, 1, 2], [0, 6, np.nan]]), "row 1: y is nan"),
        (np.array([[0, 1, None]], object), "is damaged"),
    ],
)
def test_npz_of_other_queries_is_refused(tmp_path, queries, message):
    np.savez(tmp_path / "p.npz", queries=queries)
    with pytest.raises(PointsError, match=message):
        parse_points(str(tmp_path / "p.npz"), FRAMES, SIZE)


def test_npz_that_is_damaged_or_has_no_queries_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "p.npz", points=np.zeros((1, 3)))
    with pytest.raises(PointsError, match="holds no array queries"):
        parse_points(str(tmp_path / "p.npz"), FRAMES, SIZE)
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "p.npz", queries=rng.random((99, 3)) * (0, 60, 40))
    whole = (tmp_path / "p.npz").read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        (tmp_path / "p.npz").write_bytes(damaged[: rng.choice([len(whole), len(whole) // 2])])
        with suppress(PointsError):
            parse_points(str(tmp_path / "p.npz"), FRAMES, SIZE)


def test_a_small_file_that_unpacks_to_more_points_than_allowed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("omnimotion.points.MAX_POINTS", 1000)
    np.savez_compressed(tmp_path / "p.npz", queries=np.zeros((2000, 3)))
    with pytest.raises(PointsError, match="more than 1000 points"):
        parse_points(str(tmp_path / "p.npz"), FRAMES, SIZE)


def on_stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    return parse_points("-", FRAMES, SIZE)


def test_stdin_is_a_table_and_stays_open(monkeypatch):
    points = on_stdin(monkeypatch, b"y,t,x,label\n20,3,10,\xc3\xa9\n")
    np.testing.assert_array_equal(points, [[3, 10, 20]])
    assert not sys.stdin.buffer.closed


def test_a_bad_row_of_stdin_is_refused_with_its_line(monkeypatch):
    with pytest.raises(PointsError, match="points on stdin, line 3: x is 99"):
        on_stdin(monkeypatch, b"t,x,y\n0,1,1\n0,99,1\n")
    with pytest.raises(PointsError, match="points on stdin: is not text"):
        on_stdin(monkeypatch, b"\xff\xfe\x00")
