"""Tracks in the formats of other programs, and which file gets which.

`FORMATS` has one `Format` for each, by name; ``docs/formats.md`` says what they are for. A file's
ending names its format: ``tracks.nk`` is Nuke's, ``tracks.shake.txt`` Shake's.
"""

from collections.abc import Sequence
from pathlib import Path

from omnimotion.errors import ConfigError
from omnimotion.export import TRACK_SUFFIXES, check_output, save_tracks
from omnimotion.files import make_folder, shown
from omnimotion.formats.compositing import write_after_effects, write_blender
from omnimotion.formats.matchmove import write_3de, write_pftrack, write_syntheyes
from omnimotion.formats.nuke import write_shake, write_tracker
from omnimotion.formats.rerun import import_rerun, save_rerun
from omnimotion.formats.sheet import Format, Sheet, as_text
from omnimotion.formats.tables import write_deeplabcut, write_napari, write_trc
from omnimotion.formats.training import save_colmap, save_tapvid
from omnimotion.measure import Scale, measures

__all__ = ["FORMATS", "Format", "Sheet", "check_options", "outputs", "save"]


def _save_own(path: Path, sheet: Sheet) -> None:
    measured = measures(sheet.tracks, sheet.scale, sheet.whole)
    save_tracks(path, sheet.tracks, overwrite=True, measured=measured)


_ALL = (
    *(Format(suffix[1:], suffix, "omnimotion", _save_own, measured=True, numbered=False)
      for suffix in TRACK_SUFFIXES),
    Format("nuke", ".nk", "Nuke (Tracker)", as_text(write_tracker), 1),
    Format("shake", ".shake.txt", "Shake, Nuke (CameraTracker)", as_text(write_shake), 1),
    Format("3de", ".3de.txt", "3DEqualizer 4", as_text(write_3de), 1),
    Format("syntheyes", ".syntheyes.txt", "SynthEyes", as_text(write_syntheyes)),
    Format("pftrack", ".2dt", "PFTrack 5", as_text(write_pftrack, "\r\n")),
    Format("ae", ".ae.txt", "After Effects", as_text(write_after_effects, "\r\n")),
    Format("blender", ".blender.py", "Blender", as_text(write_blender), 1),
    Format("napari", ".napari.csv", "napari", as_text(write_napari)),
    Format("deeplabcut", ".dlc.csv", "DeepLabCut", as_text(write_deeplabcut)),
    Format("trc", ".trc", "OpenSim and others", as_text(write_trc), 1, units=("m", "mm")),
    Format("tapvid", ".pkl", "TAP-Vid", save_tapvid, numbered=False),
    Format("colmap", ".db", "COLMAP", save_colmap, numbered=False),
    Format("rerun", ".rrd", "Rerun", save_rerun, pictured=True, needed=import_rerun),
)  # fmt: skip
FORMATS = {each.name: each for each in _ALL}
MAX_START = 10**9  # as a number of a frame: of 32 bits in most programs


def outputs(out: Path, names: Sequence[str] | None, overwrite: bool) -> list[tuple[Format, Path]]:
    """The formats to write, and their files.

    Without ``names`` the ending of ``out`` decides. With one, ``out`` may have its suffix already;
    else each adds its own ending to ``out``. Raises `ConfigError` for a format or an ending that
    is unknown, and as `check_output` does; to be called before long work.
    """
    if len(set(names or ())) < len(names or ()):
        raise ConfigError(f"--export {','.join(names or ())}: a format is named twice")
    if not names:
        chosen = [(_by_ending(out), out)]
    else:
        chosen = [(each := _by_name(name), _named(out, each, len(names))) for name in names]
    for each, path in chosen:
        check_output(path, (each.suffix,), overwrite)
    return chosen


def check_options(
    formats: Sequence[Format], scale: str | None, motion: bool, start_frame: int | None
) -> None:
    """Raise `ConfigError` for an option that none of the formats can hold, or that one lacks.

    Also where a format needs an extra that is not installed; to be called before long work.
    """
    unit = Scale.parse(scale).unit if scale is not None else None
    for each in formats:
        if each.needed:
            each.needed()
        if each.units and unit not in each.units:
            raise ConfigError(
                f"{each.name} holds lengths in {' or '.join(each.units)}: give --scale, the "
                f"length of a pixel, 0.5{each.units[-1]} say"
            )
    if scale is not None and not any(each.measured or each.units for each in formats):
        raise ConfigError("--scale is for csv, json, npz and trc: export one of them")
    if motion and not any(each.measured for each in formats):
        raise ConfigError("--motion adds columns to csv, json and npz: export one of them")
    if start_frame is not None and not any(each.numbered for each in formats):
        raise ConfigError("--start-frame is for other programs: csv, json and npz count from 0")
    if start_frame is not None and not 0 <= start_frame <= MAX_START:
        raise ConfigError(f"--start-frame is {start_frame}, expected 0 to {MAX_START}")


def save(each: Format, path: Path, sheet: Sheet) -> None:
    """Write a file, whole or not at all, and the folders above it if need be."""
    make_folder(path.parent)
    each.save(path, sheet)


def _by_name(name: str) -> Format:
    if name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}: expected {', '.join(FORMATS)}")
    return FORMATS[name]


def _by_ending(path: Path) -> Format:
    """The format with the longest ending that the path has."""
    found = [each for each in _ALL if path.name.lower().endswith(each.ending)]
    if not found:
        endings = ", ".join(each.ending for each in _ALL)
        raise ConfigError(
            f"cannot write {shown(path)}: give --export FORMAT, or a name that ends in {endings}"
        )
    return max(found, key=lambda each: len(each.ending))


def _named(out: Path, each: Format, count: int) -> Path:
    if not out.name:
        raise ConfigError(f"{shown(out)} is a folder: give --out the name of a file")
    has_suffix = out.suffix.lower() in {other.suffix for other in _ALL}
    if has_suffix and count > 1:
        raise ConfigError(
            f"{shown(out)}: several formats add their own endings, so --out must have none"
        )
    if has_suffix and out.suffix.lower() != each.suffix:
        raise ConfigError(f"{shown(out)}: a file of format {each.name} ends in {each.ending}")
    return out if has_suffix else out.with_name(out.name + each.ending)
