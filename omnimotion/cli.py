"""The command line: ``omnimotion COMMAND``, and the three scripts that call it.

Every error a user can cause ends as one line on stderr and its own exit code: 2 usage or config,
3 input, 4 checkpoint, 5 fit diverged, 6 disk or memory, 130 and 143 interrupted.
"""

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from omnimotion.config import Parser
from omnimotion.errors import ConfigError, OmniMotionError, ResourceError

COMMANDS = ("preprocess", "train", "query", "evaluate", "demo", "doctor")
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_usage())
            return 0 if words else ConfigError.exit_code
        if words[0] not in COMMANDS:
            raise ConfigError(f"unknown command {words[0]!r}: expected {', '.join(COMMANDS)}")
        command = importlib.import_module(f"omnimotion.commands.{words[0]}")
        parser = Parser(prog=f"omnimotion {words[0]}", description=command.__doc__)
        command.add_arguments(parser)
        return command.main(parser.parse_args(words[1:]))
    except OmniMotionError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return error.exit_code
    except (MemoryError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # who reads our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"error: {' '.join(str(error).split()) or 'out of memory'}", file=sys.stderr)
        return ResourceError.exit_code
    except KeyboardInterrupt:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return INTERRUPTED


def run(argv: Sequence[str] | None = None) -> NoReturn:
    """`main` as a program."""
    sys.exit(main(argv))


def _usage() -> str:
    lines = ["usage: omnimotion COMMAND ...   (omnimotion COMMAND --help)", ""]
    for name in COMMANDS:
        summary = importlib.import_module(f"omnimotion.commands.{name}").SUMMARY
        lines.append(f"  {name:<11} {summary}")
    return "\n".join(lines)
