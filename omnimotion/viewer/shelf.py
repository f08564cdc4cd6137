"""The folder of scenes that the page offers, and the names of new ones.

A video that the page sends is ``video_0001.upload``, its scene the folder ``video_0001`` beside
it. A name from a request is looked up among those that are there, and never made into a path.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

from omnimotion.errors import InputError, OmniMotionError, SceneError
from omnimotion.files import make_folder, shown
from omnimotion.flow import INDEX_NAME, SceneIndex, frame_path
from omnimotion.long_runs import PLAN_NAME, Plan
from omnimotion.report import REPORT_NAME
from omnimotion.runs import RUNS_NAME
from omnimotion.temporary import remove_stale_temps

UPLOAD = ".upload"  # whatever the container is: it is known by its first bytes
_OURS = re.compile(r"video_(\d{4,})", re.ASCII)


class Place(NamedTuple):
    """A scene, and the video that it is made of, where that was sent."""

    folder: Path
    video: Path | None

    @property
    def is_ready(self) -> bool:
        """Whether a fit of it is complete: a report comes last, of windows their plan says so."""
        runs = self.folder / RUNS_NAME
        return any(runs.glob(f"*/{REPORT_NAME}")) or any(
            Plan.load(path.parent).complete for path in runs.glob(f"*/{PLAN_NAME}")
        )


class Shelf:
    """The scenes of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path) -> "Shelf":
        """The shelf of a folder, made if need be.

        `SceneError` where it holds other things than scenes, `ConfigError` where it cannot be
        made.
        """
        make_folder(folder)
        remove_stale_temps(folder)
        shelf = cls(folder)
        if any(not each.name.startswith(".") for each in folder.iterdir()) and not shelf.places():
            raise SceneError(
                f"{shown(folder)} is no scene, nor a folder of scenes, nor empty: give another"
            )
        return shelf

    def places(self) -> dict[str, Place]:
        """What is there, by name: scenes, and videos whose scene is not complete.

        A name is as it may be shown, in case that its bytes are no text.
        """
        entries = list(self.folder.iterdir())
        scenes = [each for each in entries if (each / INDEX_NAME).is_file()]
        found = {shown(each.name): Place(each, None) for each in scenes}
        for video in entries:
            folder = video.with_name(video.name.removesuffix(UPLOAD))
            if video.name.endswith(UPLOAD) and _OURS.fullmatch(folder.name) and video.is_file():
                found[folder.name] = Place(folder, video)
        return dict(sorted(found.items()))

    def place(self, name: str) -> Place:
        """One of them; `InputError` for any other name."""
        places = self.places()
        if name not in places:
            raise InputError(f"no scene {name[:60]!r} here: reload the page")
        return places[name]

    def new(self) -> Place:
        """Where the next video and its scene go: names that nothing has."""
        numbers = [
            int(match[1])
            for path in self.folder.iterdir()
            if (match := _OURS.match(path.name)) is not None
        ]
        name = f"video_{max(numbers, default=0) + 1:04d}"
        return Place(self.folder / name, self.folder / (name + UPLOAD))

    def about(self) -> list[dict[str, Any]]:
        """What the page needs to know of each scene: ``name``, ``frames``, ``size``, ``ready``."""
        return [{"name": name, **_facts(place)} for name, place in self.places().items()]

    def picture(self, name: str) -> Path:
        """The middle frame of a scene, as it is stored; `InputError` where there is none."""
        folder = self.place(name).folder
        return frame_path(folder, _n_frames(folder) // 2)


def _facts(place: Place) -> dict[str, Any]:
    try:
        index, ready = SceneIndex.load(place.folder), place.is_ready
    except OmniMotionError:  # not complete, or not sound: whoever opens it is told
        return {"frames": 0, "size": None, "ready": False}
    return {"frames": index.n_frames, "size": index.original_size, "ready": ready}


def _n_frames(folder: Path) -> int:
    return SceneIndex.load(folder).n_frames
