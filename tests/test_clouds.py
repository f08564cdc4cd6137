"""The canonical volume as points: surfaces that frames show, and a file that others can read."""

import struct

import numpy as np
import torch

import omnimotion
from omnimotion.cli import main
from omnimotion.clouds import PLY_POINT, canonical_cloud, save_ply, volumes

WIDTH, HEIGHT = 64, 48


def canonical(cloud):
    """Points (N, 3) in the scene's own axes."""
    return torch.from_numpy(cloud["xyz"] * np.float32([1, -1, -1]))


def test_points_of_a_frame_are_where_its_pixels_look(tracker):
    """Carried back to the frame, each lies on the pixel whose ray found it, at the depth seen."""
    cloud = canonical_cloud(tracker, [3], 4)
    assert 0.5 * 16 * 12 < len(cloud) <= 16 * 12
    with torch.no_grad():
        local = tracker.scene.at(torch.tensor([3])).inverse(canonical(cloud)[None])[0]
    xy = tracker.frame.to_pixels(local[:, :2]).numpy()
    np.testing.assert_allclose(xy, 4 * np.rint(xy / 4), atol=0.02)
    depth, rgb = tracker.surface(3)
    x, y = np.rint(xy).astype(int).T
    np.testing.assert_allclose(local[:, 2], depth[y, x], atol=1e-3)
    np.testing.assert_allclose(cloud["rgb"].astype(int), rgb[y, x].astype(int), atol=1)


def test_what_several_frames_show_is_there_once(tracker):
    some, twice = canonical_cloud(tracker, [3], 2), canonical_cloud(tracker, [3, 3], 2)
    np.testing.assert_array_equal(some, twice)
    every = canonical_cloud(tracker, range(8), 2)
    assert len(some) < len(every) < 3 * len(some)
    side = 2 / tracker.frame.half
    cubes = np.floor(every["xyz"] / side)
    assert len(np.unique(cubes, axis=0)) == len(every)


def test_a_file_reads_back(tmp_path):
    cloud = np.zeros(3, PLY_POINT)
    cloud["xyz"] = [[0, 1, 2], [-0.5, 0.25, 1e-3], [3, 4, 5]]
    cloud["rgb"] = [[255, 0, 0], [1, 2, 3], [7, 8, 9]]
    save_ply(tmp_path / "new" / "c.ply", cloud)
    head, _, body = (tmp_path / "new" / "c.ply").read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii").splitlines()
    assert lines[:3] == ["ply", "format binary_little_endian 1.0", "element vertex 3"]
    assert [line.split() for line in lines[3:]] == [
        *(["property", "float", name] for name in "xyz"),
        *(["property", "uchar", name] for name in ("red", "green", "blue")),
    ]
    points = list(struct.iter_unpack("<fffBBB", body))
    np.testing.assert_array_equal([point[:3] for point in points], cloud["xyz"])
    np.testing.assert_array_equal([point[3:] for point in points], cloud["rgb"])


def test_windows_have_a_file_each_of_the_frames_that_they_hold(tmp_path):
    windows, path = [range(12), range(8, 20), range(16, 30)], tmp_path / "v.ply"
    assert volumes(path, windows[:1], [0, 11]) == {0: (path, [0, 11])}
    assert volumes(path, windows, [9, 18, 29]) == {
        0: (tmp_path / "v_0000.ply", [9]), 1: (tmp_path / "v_0001.ply", [9, 18]),
        2: (tmp_path / "v_0002.ply", [18, 29]),
    }  # fmt: skip
    assert set(volumes(path, windows, [2])) == {0}


def test_the_command_writes_the_volume_of_each_window(long_scene, tmp_path, capsys):
    words = ["query", "--scene", str(long_scene), "--canonical", "--frames", "20:30:9",
             "--step", "4", "--out", str(tmp_path / "v.ply"), "--device", "cpu",
             "--backend", "torch"]  # fmt: skip
    assert main(words) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["v_0002.ply"]
    tracker = omnimotion.load(long_scene, device="cpu", backend="torch").tracker.window(2)
    save_ply(tmp_path / "expected.ply", canonical_cloud(tracker, [4, 13], 4))
    data = [(tmp_path / name).read_bytes() for name in ("v_0002.ply", "expected.ply")]
    assert data[0] == data[1]
    assert main(words) == 2  # it is there already
    assert "v_0002.ply" in capsys.readouterr().err
