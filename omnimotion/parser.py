"""The parser of command lines and of the config files they name.

Conventions. A config file holds lines ``key = value`` and comments after ``#``. Whatever is wrong
is a ConfigError of one line; in a file it names the file and the line.
"""

import argparse
import dataclasses
import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import configargparse

from omnimotion.errors import ConfigError
from omnimotion.files import read_bytes, shown
from omnimotion.settings import checked

MAX_CONFIG_BYTES = 1 << 20


class _Help(configargparse.ArgumentDefaultsHelpFormatter):
    """Shows defaults, but of switches, which are off: of --no-x it would say that x is on."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.nargs == 0 else super()._get_help_string(action)


class Parser(configargparse.ArgumentParser):
    """configargparse with one-line errors, no abbreviations and no environment variables."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", _Help)
        options.setdefault("config_file_open_func", partial(open, encoding="utf-8-sig"))
        self.settings: dict[str, dataclasses.Field] = {}  # what a config file may set
        self._words: list[str] = []
        super().__init__(allow_abbrev=False, add_config_file_help=False, **options)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}{self._hint(message)} (see --help)")

    def parse_args(self, args: Any = None, namespace: Any = None, **options: Any) -> Any:
        """As argparse's; a config file that sets options of this parser is checked before."""
        self._words = list(args or [])
        given = self._words if self.settings else []
        for k, word in enumerate(given):
            if word == "--config" and k + 1 < len(given):
                self._check_config_file(Path(given[k + 1]))
            elif word.startswith("--config="):
                self._check_config_file(Path(word.partition("=")[2]))
        return super().parse_args(args, namespace, **options)

    def _hint(self, message: str) -> str:
        """How to write a value that begins with a minus, which argparse takes for an option."""
        match = re.match(r"argument ([^:]+): expected (one|at least one) argument", message)
        names = match[1].split("/") if match else []
        for option, word in pairwise(self._words):
            is_option = word.partition("=")[0] in self._option_string_actions
            if option in names and word.startswith("-") and not is_option:
                return f": write {option}={word}"
        return ""

    def _check_config_file(self, path: Path) -> None:
        """ConfigError where the file is missing, too large, no text, or sets a key oddly."""
        try:
            text = read_bytes(path, ConfigError, MAX_CONFIG_BYTES).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ConfigError(f"config {shown(path)}: not a text file in UTF-8") from None
        seen: dict[str, int] = {}
        for number, line in enumerate(text.splitlines(), 1):
            key = line.partition("#")[0].partition("=")[0].strip()
            if not key:
                continue
            where = f"config {shown(path)}, line {number}"
            if key not in self.settings:
                raise ConfigError(f"{where}: unknown key {key!r}{self._known(key)}")
            if key in seen:
                lines = f"{seen[key]} and {number}"
                raise ConfigError(f"config {shown(path)}: {key!r} is set in lines {lines}")
            seen[key] = number
            try:
                self._check_line(key, line)
            except ConfigError as problem:
                raise ConfigError(f"{where}: {problem}") from problem

    def _known(self, key: str) -> str:
        """What a config file may set instead of a key that it may not."""
        if key.replace("-", "_") in self.settings:
            return f": write {key.replace('-', '_')}"
        if f"--{key}" in self._option_string_actions:
            return f": it is no setting, give --{key} on the command line"
        return ": the settings are those of configs/default.txt, or of --help"

    def _check_line(self, key: str, line: str) -> None:
        """ConfigError unless the line gives the setting a value that it may have."""
        action = self._option_string_actions[f"--{key}"]
        try:
            text = str(configargparse.DefaultConfigFileParser().parse([line])[key])
            value = self._get_value(action, text)
            self._check_value(action, value)
        except configargparse.ConfigFileParserException:
            raise ConfigError(f"found {line.strip()!r}, expected key = value") from None
        except argparse.ArgumentError as problem:
            raise ConfigError(f"{key}: {problem.message}") from None
        checked(self.settings[key], value)
