"""What is to be done with one video of a batch, and the record of what has been done.

Conventions. A stage is done when its record holds the key of what is asked for now, and its file
is there. Seconds are of the wall, memory is the peak of the stage's process.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from omnimotion.errors import ConfigError, SceneError
from omnimotion.files import read_json, shown, write_json
from omnimotion.kinds import NONE, NUMBER, Kinds, check_kinds

KIND = "omnimotion-batch-result"
CONFIG_NAME = "config.txt"
STAGES = ("preprocess", "train", "query")
_KINDS: Kinds = {"name": (str,), "video": (str,), "stages": (dict,), "begun": (str, NONE)}


@dataclass(frozen=True)
class Task:
    """One video of a batch. Words are those of `omnimotion.commands`, without folders."""

    name: str
    video: Path
    folder: Path  # of the batch
    asked: dict[str, list[str]]  # of each stage: words that shape its result
    how: dict[str, list[str]]  # and words that do not: device, threads
    points: Path | None = None  # table of query points

    @property
    def scene(self) -> Path:
        """The scene folder."""
        return self.folder / "scenes" / self.name

    @property
    def tracks(self) -> Path:
        """The file of tracks."""
        return self.folder / "tracks" / f"{self.name}.npz"

    @property
    def log(self) -> Path:
        """What the stages said."""
        return self.folder / "logs" / f"{self.name}.log"

    @property
    def result(self) -> Path:
        """The file of the record."""
        return self.folder / "results" / f"{self.name}.json"

    @property
    def lock(self) -> Path:
        """Held by whoever works on this video."""
        return self.folder / "results" / f"{self.name}.lock"

    @property
    def report(self) -> Path:
        """What the fit says about itself, as JSON."""
        return self.scene / "runs" / "default" / "report.json"

    def product(self, stage: str) -> Path:
        """The file that a stage writes last."""
        made = {
            "preprocess": self.scene / "scene.json", "train": self.report, "query": self.tracks,
        }  # fmt: skip
        return made[stage]

    def command(self, stage: str) -> list[str]:
        """The words of a stage's command."""
        scene = ["--scene", str(self.scene)]
        inputs = {
            "preprocess": [str(self.video), *scene],
            "train": [*scene, "--config", str(self.folder / CONFIG_NAME)],
            "query": [*scene, "--out", str(self.tracks), "--overwrite"],
        }
        points = ["--points", str(self.points)] if stage == "query" and self.points else []
        return [stage, *inputs[stage], *points, *self.asked[stage], *self.how[stage]]

    def key(self, stage: str) -> list[str]:
        """What decides a stage's result, besides the stages before it and the batch's config."""
        files = {"preprocess": self.video, "query": self.points}
        file = files.get(stage)
        return [*self.asked[stage], *([mark_of(file)] if file else [])]


@dataclass(frozen=True)
class Failure:
    """Why a video was given up."""

    stage: str
    exit_code: int  # minus the signal's number, where one ended the process
    error: str  # one line


@dataclass
class Record:
    """What has been done with a video."""

    name: str
    video: str
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # those done: key, s, mb
    begun: str | None = None  # the stage that was started last and has not ended
    failure: Failure | None = None

    def has(self, task: Task, stage: str) -> bool:
        """Whether the stage is done as the task asks for it."""
        made = self.stages.get(stage, {})
        return made.get("key") == task.key(stage) and task.product(stage).is_file()

    def is_done(self, task: Task) -> bool:
        """Whether nothing is left to do."""
        return all(self.has(task, stage) for stage in STAGES)

    def is_whole(self, task: Task) -> bool:
        """Whether every stage is done, whatever was asked for then."""
        return all(stage in self.stages and task.product(stage).is_file() for stage in STAGES)

    def begin(self, task: Task, stage: str) -> None:
        """A stage starts: what came after it is void."""
        for later in STAGES[STAGES.index(stage) :]:
            self.stages.pop(later, None)
        self.begun, self.failure = stage, None
        self.save(task)

    def save(self, task: Task) -> None:
        """Write the record."""
        write_json(task.result, {"kind": KIND, **asdict(self)})

    @classmethod
    def load(cls, task: Task) -> Self | None:
        """The record of a task, None where there is none; SceneError where it is damaged."""
        if not task.result.exists():
            return None
        found = read_json(task.result, SceneError)
        try:
            if found.pop("kind") != KIND:
                raise ValueError("of another kind")
            failure = found.pop("failure")
            check_kinds(found, _KINDS)
            for made in found["stages"].values():
                check_kinds(made, {"key": (list,), "s": NUMBER, "mb": NUMBER})
            if failure:
                check_kinds(failure, {"stage": (str,), "exit_code": (int,), "error": (str,)})
            return cls(failure=Failure(**failure) if failure else None, **found)
        except (KeyError, TypeError, ValueError) as problem:
            raise SceneError(f"{shown(task.result)} is damaged ({problem}): delete it") from None


def mark_of(path: Path) -> str:
    """A mark of a file or folder: names, sizes and times, since bytes take long to read."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    facts = [
        [each.name, status.st_size, status.st_mtime_ns]
        for each in files
        if each.exists() and (status := each.stat())
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def check_names(named: Sequence[tuple[str, Path]]) -> None:
    """Raise ConfigError unless every name is a folder's, and of one video only."""
    seen: dict[str, Path] = {}
    for name, video in named:
        if name in ("", ".", ".."):
            raise ConfigError(f"{shown(video)}: {name!r} cannot name a scene: rename the video")
        if name in seen:
            raise ConfigError(
                f"{shown(seen[name])} and {shown(video)} would both be the scene {shown(name)!r}: "
                "rename one, or give another --out"
            )
        seen[name] = video


def parse_shard(text: str | None) -> tuple[int, int]:
    """I and N of ``I/N``, shards counted from 0; of None, the whole; ConfigError otherwise."""
    if text is None:
        return 0, 1
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if match is None or not int(match[1]) < int(match[2]):
        raise ConfigError(f"--shard {text!r}: expected I/N with I from 0 to N - 1, e.g. 0/4")
    return int(match[1]), int(match[2])


def in_shard(tasks: Sequence[Task], shard: tuple[int, int]) -> list[Task]:
    """The tasks of shard (I, N): every N-th by name, in whatever order they were given."""
    return sorted(tasks, key=lambda task: task.name)[shard[0] :: shard[1]]
