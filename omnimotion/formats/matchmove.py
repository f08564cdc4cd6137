"""Text for matchmoving programs: 3DEqualizer, SynthEyes, PFTrack. Hidden frames are left out."""

from typing import TextIO

from omnimotion.formats.coordinates import centre_up, centres_at_one, corner_up
from omnimotion.formats.sheet import Sheet

_RUNS, _RETURNS = 7, 15  # SynthEyes: on, enabled and usable; and a key besides, after a gap


def write_3de(file: TextIO, sheet: Sheet) -> None:
    """3DEqualizer 4: for each point its name, its colour (0, red), how many frames, and these."""
    tracks = sheet.tracks
    places = corner_up(tracks.xy, tracks.size)
    file.write(f"{len(tracks)}\n")
    for q, name in enumerate(sheet.names()):
        seen = sheet.seen(q)
        file.write(f"{name}\n0\n{len(seen)}\n")
        for t in seen:
            file.write(f"{sheet.numbers[t]} {places[q, t, 0]:.6f} {places[q, t, 1]:.6f}\n")


def write_syntheyes(file: TextIO, sheet: Sheet) -> None:
    """SynthEyes tracker paths: ``name frame u v status``; a gap ends with a status of its own."""
    tracks = sheet.tracks
    places = centres_at_one(tracks.xy, tracks.size)
    for q, name in enumerate(sheet.names()):
        last = None
        for t in sheet.seen(q):
            number = sheet.numbers[t]
            status = _RUNS if last is None or number == last + 1 else _RETURNS
            file.write(f"{name} {number} {places[q, t, 0]:.9f} {places[q, t, 1]:.9f} {status}\n")
            last = number


def write_pftrack(file: TextIO, sheet: Sheet) -> None:
    """PFTrack 5: quoted name, camera, how many frames, and ``frame x y residual``."""
    tracks = sheet.tracks
    places = centre_up(tracks.xy, tracks.size)
    for q, name in enumerate(sheet.names()):
        seen = sheet.seen(q)
        file.write(f'\n\n"{name}"\n"Primary"\n{len(seen)}\n')
        for t in seen:
            (x, y), residual = places[q, t], 1 - tracks.confidence[q, t]
            file.write(f"{sheet.numbers[t]} {x:.5f} {y:.5f} {residual:.4f}\n")
