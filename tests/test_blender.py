"""The script for Blender, run in Blender: what its movie clip then holds, in numbers.

Needs ``blender`` (Debian: apt install blender), which runs without a screen.
"""

import json
import shutil
import subprocess

import numpy as np
import pytest
from some_tracks import make_tracks
from test_formats import SIZE, many_tracks, sheet_of

from omnimotion.formats import FORMATS, save
from omnimotion.images import save_png

BLENDER = shutil.which("blender")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BLENDER is None, reason="there is no blender here"),
]

LOOK = """
import bpy, json, runpy

clips = [bpy.data.movieclips.load(path) for path in {images}]
said = ""
try:
    runpy.run_path({script}, run_name="__main__")
except RuntimeError as problem:
    said = str(problem)
tracks = [
    {{"name": track.name, "weight": track.weight,
      "markers": [(each.frame, *each.co, each.mute) for each in track.markers],
      "shown": [(n, track.markers.find_frame(n, exact=False).mute) for n in {asked}]}}
    for track in clips[0].tracking.tracks
]
with open({found}, "w") as file:
    json.dump({{"said": said, "size": list(clips[0].size), "tracks": tracks}}, file)
"""


def in_blender(folder, script, asked=(), clips=1):
    """What Blender has after the script has run in it; ``asked``: frames to look at."""
    random = np.random.default_rng(0)
    images = [str(folder / f"clip{k}" / "0001.png") for k in range(clips)]
    for k in range(clips):
        for n in range(1, 18):  # a folder of images is a clip of so many frames
            path = folder / f"clip{k}" / f"{n:04d}.png"
            path.parent.mkdir(exist_ok=True)
            save_png(path, random.integers(0, 256, (SIZE[1], SIZE[0], 3)).astype(np.uint8))
    words = {"images": images, "script": str(script), "found": str(folder / "found.json"),
             "asked": list(asked)}  # fmt: skip
    look = folder / "look.py"
    look.write_text(LOOK.format(**{name: repr(value) for name, value in words.items()}))
    done = subprocess.run(
        [BLENDER, "--background", "--factory-startup", "--python-exit-code", "3", "--python",
         str(look)], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("first", [1, 1001])
def test_markers_are_in_their_frames_and_places_and_muted_where_hidden(tmp_path, first):
    """Places from 0 to 1, from the lower left corner of the frame."""
    tracks, script = many_tracks(), tmp_path / "t.blender.py"
    save(FORMATS["blender"], script, sheet_of(tracks, first))
    found = in_blender(tmp_path, script)
    assert found["size"] == list(SIZE)
    assert [track["name"] for track in found["tracks"]] == [
        f"Track{q:04d}" for q in range(len(tracks))
    ]
    for q, track in enumerate(found["tracks"]):
        numbers, u, v, muted = (np.array(each) for each in zip(*track["markers"]))
        assert numbers.tolist() == list(range(first - 1, first + 18))
        places = np.stack((u * SIZE[0] - 0.5, (1 - v) * SIZE[1] - 0.5), axis=-1)
        np.testing.assert_allclose(places[1:-1], tracks.xy[q], atol=1e-4)
        np.testing.assert_array_equal(muted[1:-1], ~tracks.visible[q])
        assert muted[0]  # or the first and the last place would be shown for ever
        assert muted[-1]
        mean = tracks.confidence[q, tracks.visible[q]].mean()
        assert track["weight"] == pytest.approx(mean, abs=1e-3)


def test_a_track_is_shown_in_its_own_frames_only(tmp_path):
    """Blender looks for a marker nearby where a frame has none."""
    tracks, script = many_tracks().at(range(4, 17, 4)), tmp_path / "t.blender.py"
    save(FORMATS["blender"], script, sheet_of(tracks, 1))
    found = in_blender(tmp_path, script, asked=range(1, 30))
    for q, track in enumerate(found["tracks"]):
        shown = [number for number, muted in track["shown"] if not muted]
        assert shown == (tracks.frames[tracks.visible[q]] + 1).tolist()


def test_it_says_what_is_missing_where_the_clip_is_not_one(tmp_path):
    script = tmp_path / "t.blender.py"
    save(FORMATS["blender"], script, sheet_of(many_tracks(), 1))
    found = in_blender(tmp_path, script, clips=2)
    assert found["said"].startswith("2 movie clips are 64x48, expected one: ")
    assert found["tracks"] == []


def test_no_tracks_are_no_harm(tmp_path):
    from dataclasses import replace

    script = tmp_path / "t.blender.py"
    save(FORMATS["blender"], script, sheet_of(replace(make_tracks(0, 5), size=SIZE), 1))
    found = in_blender(tmp_path, script)
    assert (found["said"], found["tracks"]) == ("", [])
