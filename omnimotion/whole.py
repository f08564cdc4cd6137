"""A video's whole job in one call: preprocess it, fit it, open what came out.

It runs the two commands as the command line does, so that files, locks, logs and resuming are the
same.
"""

from argparse import Action, Namespace
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from omnimotion.commands import preprocess as preprocess_command
from omnimotion.commands import train as train_command
from omnimotion.commands.preprocess import scene_name
from omnimotion.config import Parser, parsed_config
from omnimotion.errors import ConfigError
from omnimotion.fitted import FittedScene, open_fitted
from omnimotion.runs import run_folder

NOT_HERE = {"help", "video", "scene", "pin"}
"""Given as arguments, or, pins, for a refit of a run that is there."""


def fit_video(
    video: Path, scene: Path | None, preprocess: Mapping[str, Any], train: Mapping[str, Any]
) -> FittedScene:
    """Preprocess and fit a video, with options of these two commands, by name.

    ``scene``: the folder to write, by default the command's. Raises as the commands do, and
    `ConfigError` for an option that one lacks, or out of its range, before any work.
    """
    scene = scene or Path("scenes") / scene_name(video.resolve())
    jobs = [
        (command.main, _arguments(command, [*words, f"--scene={scene}"], options))
        for command, words, options in (
            (preprocess_command, [str(video)], preprocess),
            (train_command, [], train),
        )
    ]
    args = jobs[-1][1]
    parsed_config(args)  # settings out of range
    run = run_folder(scene, args.run)
    for main, each in jobs:
        main(each)
    return open_fitted(scene, run, device=args.device)


def _arguments(command: ModuleType, words: list[str], options: Mapping[str, Any]) -> Namespace:
    """What the command line would make of the words and the options."""
    parser = Parser()
    command.add_arguments(parser)
    known = {each.dest: each for each in parser._actions if each.dest not in NOT_HERE}
    for name in options:
        if name not in known:
            step = command.__name__.rpartition(".")[-1]
            raise ConfigError(f"unknown option {name!r} of {step}: see omnimotion {step} --help")
    given = (_word(known[name], value) for name, value in options.items())
    return parser.parse_args([*words, *filter(None, given)])


def _word(option: Action, value: Any) -> str:
    """The option as the command line has it; nothing where it is off or left to its default."""
    if value is None:
        return ""
    flag = option.option_strings[-1]
    if isinstance(value, bool) and option.nargs == 0:
        return flag if value else ""
    return f"{flag}={str(value).lower() if isinstance(value, bool) else value}"
