"""Recordings for Rerun: read back chunk by chunk, as its own library finds them."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from some_tracks import make_tracks

import omnimotion
from omnimotion.cli import main
from omnimotion.clouds import BESIDE_TRACKS, PLY_POINT, canonical_cloud
from omnimotion.errors import ConfigError, InputError
from omnimotion.formats import FORMATS, Sheet, check_options, save
from omnimotion.formats.rerun import save_rerun


def rerun():
    return pytest.importorskip("rerun", reason="the extra rerun is not installed")


def read(path):
    """{entity: rows of {column: value}}, a row for each time, of a recording."""
    rerun()
    from rerun.chunk import RrdReader

    rows = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        columns = {
            name: batch.column(name) for name in batch.schema.names
            if name not in ("log_time", "log_tick", "rerun.controls.RowId")
        }  # fmt: skip
        for k in range(batch.num_rows):
            row = {name: values[k] for name, values in columns.items()}
            rows.setdefault(chunk.entity_path.strip("/"), []).append(row)
    return rows


def by_frame(rows):
    return {row["frame"].as_py(): row for row in rows}


def some_sheet(count=5, volume=None):
    tracks = make_tracks(count, 4, {"scene": "small", "flow": {"licence": "free"}})
    images = [np.full((49, 65, 3), 60 * t, np.uint8) for t in range(4)]
    return Sheet(tracks, [1001 + t for t in range(4)], images=images, volume=volume)


def cloud():
    points = np.zeros(7, PLY_POINT)
    points["xyz"] = np.random.default_rng(0).random((7, 3))
    points["rgb"] = np.arange(21).reshape(7, 3)
    return points


def test_every_point_is_found_with_its_track_frame_and_scores(tmp_path):
    rerun()
    sheet = some_sheet()
    save_rerun(tmp_path / "a.rrd", sheet)
    tracks, found = sheet.tracks, read(tmp_path / "a.rrd")
    for t, number in enumerate(sheet.numbers):
        for name, rows in (("seen", tracks.visible[:, t]), ("hidden", ~tracks.visible[:, t])):
            row = by_frame(found[f"video/{name}"])[number]
            assert row["track"].as_py() == np.flatnonzero(rows).tolist()
            assert row["time"].value == pytest.approx(tracks.times[t] * 1e9, abs=2)
            places = np.array(row["Points2D:positions"].as_py()).reshape(-1, 2) - 0.5
            np.testing.assert_allclose(places, tracks.xy[rows, t], atol=1e-3)
            for each in ("confidence", "occlusion", "depth"):
                np.testing.assert_array_equal(
                    np.array(row[each].as_py(), np.float32), getattr(tracks, each)[rows, t]
                )


def test_frames_have_the_size_of_the_video(tmp_path):
    rerun()
    from PIL import Image

    sheet = some_sheet()
    small = [image[::2, ::2] for image in sheet.images]
    save_rerun(tmp_path / "a.rrd", Sheet(sheet.tracks, sheet.numbers, images=small))
    frames = by_frame(read(tmp_path / "a.rrd")["video/frame"])
    assert sorted(frames) == sheet.numbers
    for t, number in enumerate(sheet.numbers):
        data = bytes(frames[number]["EncodedImage:blob"].as_py()[0])
        image = Image.open(io.BytesIO(data))
        assert (image.format, image.size) == ("JPEG", (65, 49))
        assert np.abs(np.asarray(image).astype(int) - 60 * t).max() <= 3


def test_the_volume_and_where_it_comes_from_are_there_at_all_times(tmp_path):
    rerun()
    save_rerun(tmp_path / "a.rrd", some_sheet(volume=cloud))
    found = read(tmp_path / "a.rrd")
    (row,) = found["canonical/volume"]
    assert "frame" not in row
    places = np.array(row["Points3D:positions"].as_py(), np.float32)
    np.testing.assert_array_equal(places, cloud()["xyz"])
    colours = np.array(row["Points3D:colors"].as_py(), np.uint32)
    r, g, b = cloud()["rgb"].T.astype(np.uint32)
    np.testing.assert_array_equal(colours, r << 24 | g << 16 | b << 8 | 255)
    (text,) = found["origin"]
    assert json.loads(text["TextDocument:text"].as_py()[0])["flow"] == {"licence": "free"}


def test_images_that_are_missing_are_refused_and_nothing_is_written(tmp_path):
    rerun()
    sheet = some_sheet()
    with pytest.raises(InputError, match="0 images for 4 frames"):
        save_rerun(tmp_path / "a.rrd", Sheet(sheet.tracks, sheet.numbers))
    assert not list(tmp_path.iterdir())


def test_a_query_writes_tracks_and_the_canonical_volume(tiny_scene, tmp_path):
    rerun()
    words = ["--points", "0,30,24;3,10,12", "--out", str(tmp_path / "a.rrd"), "--device", "cpu"]
    words += ["--backend", "torch", "--frames", "0:8:2", "--start-frame", "1001"]
    assert main(["query", "--scene", str(tiny_scene), *words]) == 0
    found = read(tmp_path / "a.rrd")
    scene = omnimotion.load(tiny_scene, device="cpu", backend="torch")
    tracks = scene.track([[0, 30, 24], [3, 10, 12]])
    assert sorted(by_frame(found["video/frame"])) == [1001, 1003, 1005, 1007]
    seen = by_frame(found["video/seen"])
    for t in range(0, 8, 2):
        places = np.array(seen[1001 + t]["Points2D:positions"].as_py()).reshape(-1, 2) - 0.5
        np.testing.assert_allclose(places, tracks.xy[tracks.visible[:, t], t], atol=1e-3)
    volume = canonical_cloud(scene.tracker, range(0, 8, 2), BESIDE_TRACKS)
    (row,) = found["canonical/volume"]
    np.testing.assert_array_equal(row["Points3D:positions"].as_py(), volume["xyz"])


def test_without_the_extra_it_says_what_to_install(tiny_scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigError, match=r'pip install "omnimotion\[rerun\]"'):
        check_options([FORMATS["rerun"]], None, False, None)
    words = ["--grid", "2", "--out", str(tmp_path / "a.rrd"), "--device", "cpu"]
    assert main(["query", "--scene", str(tiny_scene), *words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: the format rerun needs rerun: ")
    assert line.count("\n") == 1
    with pytest.raises(ConfigError, match="the format rerun needs"):
        save(FORMATS["rerun"], Path(tmp_path / "b.rrd"), some_sheet())
    assert not list(tmp_path.iterdir())
