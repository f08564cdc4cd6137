"""Nuke's Tracker4 node, and Shake's text, which Nuke's CameraTracker imports too.

Pixels from the lower left corner; frames from 1. The root's format must be the video's size.
"""

from collections.abc import Iterable
from typing import TextIO

import numpy as np

from omnimotion.formats.coordinates import corner_up
from omnimotion.formats.sheet import Sheet

_COLUMNS = (
    *("5 1 20 enable e 1", "3 1 75 name name 1", "2 1 58 track_x track_x 1"),
    *("2 1 58 track_y track_y 1", "2 1 63 offset_x offset_x 1", "2 1 63 offset_y offset_y 1"),
    *("4 1 27 T T 1", "4 1 27 R R 1", "4 1 27 S S 1", "2 0 45 error error 1"),
    *(f"1 1 0 {bound} {bound} 1" for bound in ("error_min", "error_max")),
    *(f"1 1 0 {box}_{side} {box}_{side} 1" for box in ("pattern", "search") for side in "xyrt"),
    "2 1 0 key_track key_track 1",
    *(f"2 1 0 key_{box}_{side} key_{box}_{side} 1"
      for box in ("search", "track") for side in "xyrt"),
    *(f"2 1 0 key_centre_offset_{side} key_centre_offset_{side} 1" for side in "xy"),
)  # fmt: skip
"""The table of a Tracker4: type, visibility and width of each column, and its name."""

_PATTERN, _SEARCH = "-16 -16 16 16", "-32 -32 32 32"  # boxes round a track, px


def write_tracker(file: TextIO, sheet: Sheet) -> None:
    """A Tracker4: where a track is hidden it has no keys and is not enabled; error = 1 - sure."""
    tracks = sheet.tracks
    places, errors = corner_up(tracks.xy, tracks.size), 1 - tracks.confidence
    file.write(f"# {sheet.origin()}\nTracker4 {{\n inputs 0\n")
    file.write(f" tracks {{ {{ 1 {len(_COLUMNS)} {len(tracks)} }}\n{{")
    file.writelines(f" {{ {column} }}\n" for column in _COLUMNS)
    file.write("}\n{\n")
    for q, name in enumerate(sheet.names()):
        seen = sheet.seen(q)
        numbers = [sheet.numbers[t] for t in seen]
        x, y = (_curve(numbers, places[q, seen, axis]) for axis in (0, 1))
        still = f"{{curve K x{sheet.numbers[0]} 0}}"
        file.write(
            f' {{ {_switch(sheet.numbers, tracks.visible[q])} "{name}" {x} {y} {still} {still} '
            f"1 0 0 {_curve(numbers, errors[q, seen])} 0 1 {_PATTERN} {_SEARCH}{' {}' * 11} }}\n"
        )
    label = "{}x{}".format(*tracks.size)
    file.write(f'}}\n}}\n name omnimotion\n label "{label}"\n}}\n')


def write_shake(file: TextIO, sheet: Sheet) -> None:
    """Tables of the frames in which each track is seen; correlation is the confidence."""
    tracks = sheet.tracks
    places = corner_up(tracks.xy, tracks.size)
    for q, name in enumerate(sheet.names("usertrack")):
        file.write(f"TrackName {name}\n   Frame             X             Y   Correlation\n")
        for t in sheet.seen(q):
            x, y = places[q, t]
            sure = tracks.confidence[q, t]
            file.write(f"{sheet.numbers[t]:8.2f} {x:13.4f} {y:13.4f} {sure:13.4f}\n")
        file.write("\n")


def _curve(numbers: list[int], values: Iterable[float]) -> str:
    """Keys of an animation; a frame's number stands where it does not follow the one before."""
    words, last = [], None
    for number, value in zip(numbers, values, strict=True):
        if last is None or number != last + 1:
            words.append(f"x{number}")
        words.append(f"{value:.5f}")
        last = number
    return f"{{curve {' '.join(words)}}}" if words else "{}"


def _switch(numbers: list[int], on: np.ndarray) -> str:
    """A curve that keeps each value until the next (K), with a key where it changes."""
    turns = np.flatnonzero(np.diff(on, prepend=~on[:1]))
    return f"{{curve K {' '.join(f'x{numbers[t]} {int(on[t])}' for t in turns)}}}"
