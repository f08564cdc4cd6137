"""Run in Blender's text editor. 3 tracks."""

import bpy

# {"flow": {"licence": "free"}, "scene": "small"}
SIZE = (64, 48)
TRACKS = [
    ("Track0000", 0.3603, [(0, 0.16796875, 0.5625, 1), (1, 0.16796875, 0.5625, 0), (2, 0.19921875, 0.567708333, 0), (3, 0.23046875, 0.572916667, 0), (4, 0.26171875, 0.578125, 0), (5, 0.29296875, 0.583333333, 0), (6, 0.32421875, 0.588541667, 0), (7, 0.32421875, 0.588541667, 1)]),
    ("Track0001", 0.6618, [(0, 0.0, 0.0, 1), (1, 0.0, 0.0, 1), (2, 0.0, 0.0, 0), (3, 0.0, 0.0, 1), (4, 0.0, 0.0, 1), (5, 0.0, 0.0, 0), (6, 0.0, 0.0, 0), (7, 0.0, 0.0, 1)]),
    ("Track0002", 0.8529, [(0, 0.9453125, 0.364583333, 1), (1, 0.9453125, 0.364583333, 0), (2, 0.994140625, 0.357638876, 1), (3, 1.04296875, 0.350694458, 0), (4, 1.091796875, 0.34375, 0), (5, 1.140625, 0.336805542, 1), (6, 1.189453125, 0.329861124, 1), (7, 1.189453125, 0.329861124, 1)]),
]


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
