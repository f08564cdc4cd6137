"""After Effects keyframe data, and a Python script for Blender.

Both hold every frame: a point that is hidden has its place, and opacity 0 or a muted marker.
"""

import json
from typing import TextIO

import numpy as np

from omnimotion.formats.coordinates import corner_down, share_up
from omnimotion.formats.sheet import Sheet

_SCRIPT = """

def main():
    clips = [clip for clip in bpy.data.movieclips if tuple(clip.size) == SIZE]
    if len(clips) != 1:
        raise RuntimeError(f"{len(clips)} movie clips are {SIZE[0]}x{SIZE[1]}, expected one: "
                           "load the video in the Movie Clip Editor, then run this again")
    for name, weight, markers in TRACKS:
        track = clips[0].tracking.tracks.new(name=name, frame=markers[0][0])
        track.weight = weight
        for frame, u, v, hidden in markers:
            marker = track.markers.insert_frame(frame)
            marker.co, marker.mute = (u, v), bool(hidden)


main()
"""


def write_after_effects(file: TextIO, sheet: Sheet) -> None:
    """One piece of keyframe data for each track, to be pasted to a layer: position, opacity.

    Pixels from the upper left corner, frames from 0, columns parted by tabs.
    """
    tracks = sheet.tracks
    places = corner_down(tracks.xy)
    for q in range(len(tracks)):
        file.write("Adobe After Effects 8.0 Keyframe Data\n\n")
        file.write(f"\tUnits Per Second\t{tracks.fps:g}\n")
        file.write("\tSource Width\t{}\n\tSource Height\t{}\n".format(*tracks.size))
        file.write("\tSource Pixel Aspect Ratio\t1\n\tComp Pixel Aspect Ratio\t1\n\n")
        file.write("Transform\tPosition\n\tFrame\tX pixels\tY pixels\tZ pixels\n")
        for number, (x, y) in zip(sheet.numbers, places[q]):
            file.write(f"\t{number}\t{x:.5f}\t{y:.5f}\t0\n")
        file.write("\nTransform\tOpacity\n\tFrame\tpercent\n")
        for number, seen in zip(sheet.numbers, tracks.visible[q]):
            file.write(f"\t{number}\t{100 * int(seen)}\n")
        file.write("\n\nEnd of Keyframe Data\n\n")


def write_blender(file: TextIO, sheet: Sheet) -> None:
    """A script that adds the tracks to the movie clip of the video's size.

    Shares of the frame from the lower left corner; frames from 1. In a frame without a marker
    Blender shows one nearby, so that each hidden frame, each that is left out, and those before
    the first and after the last have muted markers. A track's weight is its mean confidence where
    it is seen.
    """
    tracks, numbers = sheet.tracks, np.array(sheet.numbers)
    every = np.arange(numbers[0] - 1, numbers[-1] + 2)
    column = np.searchsorted(numbers, every, side="right").clip(1) - 1
    left_out = numbers[column] != every
    places = share_up(tracks.xy, tracks.size).round(9)
    file.write(f'"""Run in Blender\'s text editor. {len(tracks)} tracks."""\n\nimport bpy\n\n')
    file.write(f"# {sheet.origin()}\nSIZE = {tuple(map(int, tracks.size))}\nTRACKS = [\n")
    for q, name in enumerate(sheet.names()):
        muted = (left_out | ~tracks.visible[q, column]).astype(int).tolist()
        markers = [
            (number, *place, mute)
            for number, place, mute in zip(every.tolist(), places[q, column].tolist(), muted)
        ]
        sure = tracks.confidence[q, tracks.visible[q]]
        weight = round(float(sure.mean()), 4) if len(sure) else 0.0
        file.write(f"    ({json.dumps(name)}, {weight}, {markers}),\n")
    file.write(f"]\n{_SCRIPT}")
