"""The state of a preprocessing job in its scene folder: new, interrupted, or complete.

Conventions. ``preprocess.json`` is written before anything else and removed after ``scene.json``,
the mark of completion. Its fingerprint is None until all frames are stored. A folder with neither
file must be empty, so that nothing of the user's is ever touched.
"""

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from omnimotion.errors import ConfigError, FlowError, SceneError
from omnimotion.files import lock, read_json, shown, write_json
from omnimotion.flow import INDEX_NAME, SceneIndex
from omnimotion.kinds import NONE, Kinds, check_kinds
from omnimotion.temporary import is_temp

JOB_NAME = "preprocess.json"
LOCK_NAME = "lock"
PRODUCTS = ("frames", "flow", "pairs")
_KINDS: Kinds = {
    "settings": (dict,), "fingerprint": (str, NONE), "flow": (dict, NONE), "grown": (list,),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """What an interrupted job has decided; a later run must agree with it."""

    settings: dict[str, Any]
    fingerprint: str | None  # of the video; None while frames are being stored
    flow: dict[str, Any] | None  # `FlowEstimator.info`
    grown: list[tuple[int, str]] = field(default_factory=list)  # see `SceneIndex`

    def save(self, folder: Path) -> None:
        """Write ``preprocess.json``."""
        write_json(folder / JOB_NAME, asdict(self))


def require_ours(folder: Path) -> None:
    """ConfigError when the folder holds anything but a scene."""
    if not folder.is_dir():
        return
    # a temporary file: a job that was killed while it wrote its first one
    entries = {entry.name for entry in folder.iterdir() if not is_temp(entry)}
    if entries - {LOCK_NAME} and not entries & {INDEX_NAME, JOB_NAME}:
        raise ConfigError(f"{folder} is neither empty nor a scene folder: choose another folder")


def check_not_fitted(folder: Path) -> None:
    """ConfigError while a fit of the scene reads what is there."""
    for path in sorted((folder / "runs").rglob(LOCK_NAME)):
        with lock(path):
            pass


def find_job(folder: Path) -> Job | None:
    """The complete or interrupted job of a scene folder, None for an empty or new one."""
    if (folder / INDEX_NAME).is_file():
        index = SceneIndex.load(folder)
        return Job(index.settings, index.fingerprint, index.flow, index.grown)
    path = folder / JOB_NAME
    if not path.is_file():
        return None
    data = read_json(path, SceneError)
    try:
        job = Job(**data)
        check_kinds(vars(job), _KINDS)
    except (TypeError, ValueError) as error:
        raise SceneError(f"{shown(path)} is damaged ({error}): use overwrite") from error
    return job


def is_complete(folder: Path) -> bool:
    """True when ``scene.json`` is there."""
    return (folder / INDEX_NAME).is_file()


def check_settings(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """ConfigError naming the options in which the folder's job and the asked one differ."""
    differing = [
        f"{key} is {_said(found.get(key))} there, {_said(asked.get(key))} here"
        for key in sorted({*found, *asked})
        if found.get(key) != asked.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{folder} was preprocessed with other options: {'; '.join(differing)}; "
            "use the same, another folder, or overwrite"
        )


def _said(value: Any) -> str:
    return "not given" if value is None else repr(value)


def check_fingerprint(folder: Path, found: str | None, asked: str) -> None:
    """FlowError when the folder's frames are those of another video; None: not known yet."""
    if found is not None and found != asked:
        raise FlowError(
            f"{folder} holds another video (fingerprint {found[:12]}, this one {asked[:12]}): "
            "use another folder, append if it goes on where that one ends, or overwrite"
        )


def discard(folder: Path, job: Job) -> None:
    """Remove what preprocessing made, and begin ``job``; runs stay, and refuse another video.

    The new job is written first, so that a folder killed half way is still known to be ours.
    """
    job.save(folder)
    (folder / INDEX_NAME).unlink(missing_ok=True)
    for name in PRODUCTS:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)


def finish(folder: Path) -> None:
    """Remove the temporary files of a complete scene."""
    if (folder / "pairs").is_dir():
        shutil.rmtree(folder / "pairs")
    (folder / JOB_NAME).unlink(missing_ok=True)
