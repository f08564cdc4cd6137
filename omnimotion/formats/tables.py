"""Tables for science: napari tracks, DeepLabCut, and TRC for motion analysis."""

from typing import TextIO

from omnimotion.formats.coordinates import corner_up
from omnimotion.formats.sheet import Sheet
from omnimotion.tracks import frame_rate


def write_napari(file: TextIO, sheet: Sheet) -> None:
    """Rows of ``ID, T, Y, X``, then confidence and occlusion; hidden frames are left out.

    Pixel centres at integers, y down, frames from 0: as napari shows an image.
    """
    tracks = sheet.tracks
    file.write("ID,T,Y,X,confidence,occlusion\n")
    for q in range(len(tracks)):
        for t in sheet.seen(q):
            x, y = tracks.xy[q, t]
            scores = f"{tracks.confidence[q, t]:.5g},{tracks.occlusion[q, t]:.5g}"
            file.write(f"{q},{sheet.numbers[t]},{y:.5f},{x:.5f},{scores}\n")


def write_deeplabcut(file: TextIO, sheet: Sheet) -> None:
    """One row a frame: x, y and likelihood of each track as a body part.

    Pixel centres at integers, y down, frames from 0. Likelihood is the confidence, 0 where hidden.
    """
    tracks, names = sheet.tracks, list(sheet.names())
    likelihood = tracks.confidence * tracks.visible
    file.write(",".join(["scorer"] + ["omnimotion"] * 3 * len(names)) + "\n")
    file.write(",".join(["bodyparts"] + [name for name in names for _ in range(3)]) + "\n")
    file.write(",".join(["coords"] + ["x", "y", "likelihood"] * len(names)) + "\n")
    for t, number in enumerate(sheet.numbers):
        places = zip(tracks.xy[:, t], likelihood[:, t])
        cells = (f"{x:.5f},{y:.5f},{p:.5g}" for (x, y), p in places)
        file.write(",".join((str(number), *cells)) + "\n")


def write_trc(file: TextIO, sheet: Sheet) -> None:
    """Markers in the user's unit: x right, y up from the lower left corner, z 0; frames from 1.

    Cells are blank where a marker is hidden.
    """
    tracks, scale = sheet.tracks, sheet.scale
    places = corner_up(tracks.xy, tracks.size) * scale.per_px
    rate, count = f"{frame_rate(tracks.fps, sheet.numbers):g}", tracks.n_frames
    original = f"{tracks.fps:g}"
    names = list(sheet.names())
    lines: list[list[object]] = [
        ["PathFileType", "4", "(X/Y/Z)", "tracks.trc"],
        ["DataRate", "CameraRate", "NumFrames", "NumMarkers", "Units", "OrigDataRate",
         "OrigDataStartFrame", "OrigNumFrames"],
        [rate, original, count, len(names), scale.unit, original, sheet.numbers[0], count],
        ["Frame#", "Time", *(cell for name in names for cell in (name, "", ""))],
        ["", "", *(f"{axis}{q}" for q in range(1, len(names) + 1) for axis in "XYZ")],
        [],
    ]  # fmt: skip
    for t, number in enumerate(sheet.numbers):
        cells = (
            (f"{x:.9g}", f"{y:.9g}", "0") if seen else ("", "", "")
            for (x, y), seen in zip(places[:, t], tracks.visible[:, t])
        )
        lines.append([number, f"{tracks.times[t]:.6f}", *(c for three in cells for c in three)])
    file.writelines("\t".join(map(str, line)) + "\n" for line in lines)
