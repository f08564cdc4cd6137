"""Row 52, in short: files stay closed and memory stays where it is."""

import os
import resource
from pathlib import Path

from omnimotion.export import load_tracks, save_tracks
from omnimotion.flow import SceneStore
from omnimotion.points import grid_points
from omnimotion.runs import open_tracker

OPENINGS, QUERIES = 200, 16


def open_files():
    return len(os.listdir("/proc/self/fd"))


def resident_mb():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def test_52_stores_are_opened_and_closed(tiny_scene):
    before = open_files()
    for _ in range(OPENINGS):
        store = SceneStore.open(tiny_scene)
        store.frame(0)
        store.flow(1)
    assert open_files() == before


def test_52_queries_leave_no_memory_and_no_file_behind(tiny_scene, tmp_path):
    tracker = open_tracker(tiny_scene, device="cpu", backend="torch")
    points = grid_points(6, 0, tracker.index.original_size)

    def ask():
        save_tracks(tmp_path / "t.npz", tracker.track(points), overwrite=True)
        load_tracks(tmp_path / "t.npz")

    for _ in range(QUERIES // 4):  # until allocators have what they need
        ask()
    files, memory = open_files(), resident_mb()
    for _ in range(QUERIES):
        ask()
    assert open_files() == files
    assert resident_mb() - memory < 20
