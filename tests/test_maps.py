"""ST maps as OpenEXR: read by a reader written from the format's description, and by OpenEXR's."""

import struct
import sys
import zlib

import cv2
import numpy as np
import pytest

import omnimotion
from omnimotion.cli import main
from omnimotion.errors import ConfigError
from omnimotion.formats.maps import save_exr, save_stmap
from omnimotion.maps import check_kinds, write_maps

ZIP, FLOAT, LINES = 3, 2, 16  # a kind of compression, a type of pixels, scan lines of a block


def text(data, at):
    """A string that ends in 0, and what comes after it."""
    end = data.index(0, at)
    return data[at:end].decode("ascii"), end + 1


def read_exr(path):
    """{channel: float32 (H, W)} of an OpenEXR file of scan lines, float32, ZIP."""
    data = path.read_bytes()
    assert data[:8] == struct.pack("<II", 20000630, 2)  # magic; version 2, one part of scan lines
    at, header = 8, {}
    while data[at]:
        name, at = text(data, at)
        kind, at = text(data, at)
        (size,) = struct.unpack_from("<i", data, at)
        header[name] = kind, data[at + 4 : at + 4 + size]
        at += 4 + size
    at += 1
    channels, place, listed = [], 0, header["channels"][1]
    while listed[place]:
        name, place = text(listed, place)
        assert struct.unpack_from("<i4xii", listed, place) == (FLOAT, 1, 1)
        channels, place = [*channels, name], place + 16
    assert channels == sorted(channels)
    assert header["compression"] == ("compression", bytes([ZIP]))
    assert header["lineOrder"][1] == b"\0"
    left, top, right, bottom = struct.unpack("<4i", header["dataWindow"][1])
    assert header["displayWindow"] == header["dataWindow"]
    assert (left, top) == (0, 0)
    width, height = right + 1, bottom + 1
    pixels = np.zeros((height, len(channels), width), np.float32)
    for block in range(-(-height // LINES)):
        (offset,) = struct.unpack_from("<Q", data, at + 8 * block)
        y, size = struct.unpack_from("<ii", data, offset)
        lines = pixels[y : y + LINES]
        lines[:] = unzipped(data[offset + 8 : offset + 8 + size], lines.nbytes, lines.shape)
    return {name: pixels[:, k] for k, name in enumerate(channels)}


def unzipped(packed, size, shape):
    """Bytes are differences, even ones first, unless packing would have made them more."""
    if len(packed) < size:
        steps = np.frombuffer(zlib.decompress(packed), np.uint8).astype(np.int64)
        steps[1:] -= 128
        ordered = np.cumsum(steps).astype(np.uint8)
        half = (size + 1) // 2
        packed = np.zeros(size, np.uint8)
        packed[::2], packed[1::2] = ordered[:half], ordered[half:]
    return np.frombuffer(bytes(packed), "<f4").reshape(shape)


def some_map():
    """Places in a frame of 37x41, some of them outside it, and which are seen."""
    random = np.random.default_rng(3)
    return random.uniform(-9, 50, (41, 37, 2)).astype(np.float32), random.random((41, 37)) < 0.7


def test_exr_has_the_values_of_tiff(tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    save_exr(tmp_path / "a.exr", *some_map())
    save_stmap(tmp_path / "a.tif", *some_map())
    tiff = cv2.imdecode(np.fromfile(tmp_path / "a.tif", np.uint8), cv2.IMREAD_UNCHANGED)
    found = read_exr(tmp_path / "a.exr")
    np.testing.assert_array_equal(np.stack([found[name] for name in "BGRA"], axis=-1), tiff)


def test_exr_holds_places_and_what_is_seen(tmp_path):
    exr = pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    xy, visible = some_map()
    save_exr(tmp_path / "a.exr", xy, visible)
    found = read_exr(tmp_path / "a.exr")
    np.testing.assert_allclose(found["R"] * 37 - 0.5, xy[..., 0], atol=1e-4)
    np.testing.assert_allclose((1 - found["G"]) * 41 - 0.5, xy[..., 1], atol=1e-4)
    np.testing.assert_array_equal(found["A"], visible)
    assert not found["B"].any()
    with exr.File(str(tmp_path / "a.exr"), separate_channels=True) as file:
        for name, channel in file.channels().items():
            np.testing.assert_array_equal(channel.pixels, found[name])


def test_a_map_as_exr_is_the_same_file_again(tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    for name in ("a", "b"):
        save_exr(tmp_path / f"{name}.exr", *some_map())
    assert (tmp_path / "a.exr").read_bytes() == (tmp_path / "b.exr").read_bytes()


def test_maps_as_exr_go_both_ways(tiny_scene, tmp_path):
    pytest.importorskip("OpenEXR", reason="the extra exr is not installed")
    tracker = omnimotion.load(tiny_scene, device="cpu", backend="torch").tracker
    write_maps(tmp_path / "maps", tracker, 2, [2, 6], ["stmap", "exr"])
    for name in ("backward_0002", "backward_0006", "forward_0002", "forward_0006"):
        tiff = np.fromfile(tmp_path / "maps" / f"{name}.tif", np.uint8)
        found = read_exr(tmp_path / "maps" / f"{name}.exr")
        expected = cv2.imdecode(tiff, cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(np.stack([found[c] for c in "BGRA"], axis=-1), expected)


def test_without_the_extra_it_says_what_to_install(tiny_scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ConfigError, match=r'pip install "omnimotion\[exr\]"'):
        check_kinds(["exr"])
    words = ["--maps", "--export", "exr", "--out", str(tmp_path / "maps"), "--device", "cpu"]
    assert main(["query", "--scene", str(tiny_scene), *words]) == 2
    line = capsys.readouterr().err
    assert line.startswith("error: maps of the kind exr need OpenEXR: ")
    assert line.count("\n") == 1
    assert not (tmp_path / "maps").exists()
    check_kinds(["stmap", "flo"])  # these need nothing
