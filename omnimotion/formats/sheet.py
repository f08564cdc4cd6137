"""What a writer gets, and what it is to others.

A writer turns one `Sheet` into one file. Hidden frames are left out or marked, as the target
program expects; a number is written with enough digits for 1e-4 px.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from omnimotion.files import atomic_path
from omnimotion.measure import PIXELS, Scale
from omnimotion.tracks import Tracks


@dataclass(frozen=True)
class Sheet:
    """Tracks as they are to be written."""

    tracks: Tracks
    numbers: list[int]  # of the frames, T, as the target counts them
    scale: Scale = PIXELS
    whole: Tracks | None = None  # the same in all frames, where their motion is to be written
    images: Iterable[np.ndarray] = ()  # the same frames, uint8 RGB (H, W, 3), of any one size
    volume: Callable[[], np.ndarray] | None = None  # records (N,) of xyz, y up, and uint8 rgb

    def seen(self, q: int) -> np.ndarray:
        """Columns of the frames in which track ``q`` is visible."""
        return np.flatnonzero(self.tracks.visible[q])

    def names(self, prefix: str = "Track") -> Iterator[str]:
        """A name for each track: its number, that of the table and of the other formats."""
        return (f"{prefix}{q:04d}" for q in range(len(self.tracks)))

    def origin(self) -> str:
        """Where the tracks come from, licence of the flow included, as one line of JSON."""
        return json.dumps(dict(self.tracks.meta), sort_keys=True)


Save = Callable[[Path, Sheet], None]


@dataclass(frozen=True)
class Format:
    """A kind of file that tracks can be written to."""

    name: str
    ending: str  # of the file's name, no other format has it
    program: str
    save: Save
    first_frame: int = 0  # what the program calls the first frame
    units: tuple[str, ...] = ()  # of its lengths, where they are not pixels
    measured: bool = False  # whether it can hold measured columns
    numbered: bool = True  # whether its frames can begin at any number
    pictured: bool = False  # whether it holds the video's frames
    needed: Callable[[], object] | None = None  # `ConfigError` where that is not installed

    @property
    def suffix(self) -> str:
        """The last part of the ending: several formats may have it."""
        return Path(f"x{self.ending}").suffix


def as_text(write: Callable[[TextIO, Sheet], None], newline: str = "\n") -> Save:
    """The `Save` of a writer of text, whole or not at all."""

    def save(path: Path, sheet: Sheet) -> None:
        with atomic_path(path) as temp, temp.open("w", encoding="ascii", newline=newline) as file:
            write(file, sheet)

    return save
