"""The start of a batch: one folder is of one config and one way to make flow."""

from collections.abc import Container, Sequence
from contextlib import suppress
from pathlib import Path

from omnimotion.batch.task import CONFIG_NAME, Record, Task
from omnimotion.config import Config
from omnimotion.errors import ConfigError, SceneError
from omnimotion.files import atomic_write, make_folder, read_json, shown, write_json
from omnimotion.temporary import is_temp, remove_stale_temps

KIND, NAME = "omnimotion-batch-settings", "batch.json"


def start_batch(folder: Path, config: Config, flow: Sequence[str], free: Container[str]) -> None:
    """Make the folder, or go on in it; its fits read their settings from its ``config.txt``.

    ``flow``: words of preprocess. ``free``: settings that may differ from before. Raises
    ConfigError where the folder holds a batch of other settings, or something else.
    """
    asked = {"preprocess": " ".join(flow), **config.values()}
    path = folder / NAME
    if path.is_file():
        found = read_json(path, SceneError)
        changed = [key for key in asked if key not in free and found.get(key) != asked[key]]
        if found.get("kind") != KIND:
            raise ConfigError(f"{shown(path)} is of something else: choose another --out")
        if changed:
            key = changed[0]
            raise ConfigError(
                f"{shown(folder)} was started with {key} = {found.get(key)}, now {asked[key]}: "
                "use the same, or another --out"
            )
    elif folder.is_dir() and not all(map(is_temp, folder.iterdir())):
        raise ConfigError(f"{shown(folder)} is neither empty nor a batch: choose another --out")
    make_folder(folder)
    remove_stale_temps(folder)
    write_json(path, {"kind": KIND, **asked})
    atomic_write(folder / CONFIG_NAME, config.to_text().encode())


def check_tracks(tasks: Sequence[Task]) -> None:
    """ConfigError where there are tracks of other points already: they would be replaced."""
    for task in tasks:
        record = None
        with suppress(SceneError):  # damaged: what was asked for cannot be told
            record = Record.load(task)
        if record is None or "query" not in record.stages or not task.tracks.is_file():
            continue
        if (found := record.stages["query"]["key"]) != task.key("query"):
            raise ConfigError(
                f"{shown(task.tracks)} has the points of {_in_words(found, 'it was then')}, now "
                f"those of {_in_words(task.asked['query'], 'it is now')} are asked for: give "
                "--overwrite to replace such files, or another --out"
            )


def _in_words(words: Sequence[str], state: str) -> str:
    """What a question's words say; of a table they hold but a mark of the file's state."""
    return " ".join(map(str, words)) if "--grid" in words else f"a table as {state}"
