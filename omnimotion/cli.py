"""The command line: ``omnimotion COMMAND``, and the three scripts that call it.

Every error a user can cause ends as one line on stderr and its own exit code: 2 usage or config,
3 input, 4 checkpoint, 5 fit diverged, 6 disk or memory, 7 videos of a batch failed, 130 and 143
interrupted.
"""

import errno
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from omnimotion.config import Parser
from omnimotion.errors import ConfigError, OmniMotionError, ResourceError, is_out_of_memory
from omnimotion.files import shown

COMMANDS = (
    "preprocess", "train", "query", "view", "batch", "plan", "evaluate", "demo", "doctor",
)  # fmt: skip
INTERRUPTED, TERMINATED = 130, 143
LESS = {
    "preprocess": "a smaller --max-side",
    "train": "fewer --pairs, --points or --samples",
    "query": "fewer points at once",
}
"""What to ask for where memory is short."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: _command(words), LESS.get(words[0] if words else "", "less at once"))


def guarded(program: Callable[[], int], less: str) -> int:
    """The exit code of a program; an error that a user can cause is one line on stderr.

    ``less``: what to ask for where memory is short.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Said())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    try:
        return program()
    except OmniMotionError as error:
        print(f"error: {shown(' '.join(str(error).split()))}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # who reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, OSError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            print(f"error: {shown(str(error))}", file=sys.stderr)
            return ConfigError.exit_code
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        print(f"error: {shown(_resource(error, less))}", file=sys.stderr)
        return ResourceError.exit_code
    except KeyboardInterrupt:
        print("interrupted; give the same command again to go on", file=sys.stderr)
        return INTERRUPTED


class _Said(logging.Formatter):
    """What a command says, a line each; a warning says that it is one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"warning: {text}" if record.levelno >= logging.WARNING else text


def _command(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
        return 0 if words else ConfigError.exit_code
    if words[0] not in COMMANDS:
        raise ConfigError(f"unknown command {words[0]!r}: expected {', '.join(COMMANDS)}")
    command = importlib.import_module(f"omnimotion.commands.{words[0]}")
    parser = Parser(prog=f"omnimotion {words[0]}", description=command.__doc__)
    command.add_arguments(parser)
    return command.main(parser.parse_args(words[1:]))


def run(argv: Sequence[str] | None = None) -> NoReturn:
    """`main` as a program. SIGTERM leaves nothing half written, as Ctrl-C does."""
    with suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, _terminate)
    sys.exit(main(argv))


def _terminate(*_: object) -> NoReturn:
    sys.exit(TERMINATED)


def _resource(error: Exception, less: str) -> str:
    """One line about memory or disk that is short."""
    text = " ".join(str(error).split())
    if not is_out_of_memory(error):
        return text
    return f"out of memory ({text[:200] or 'no details'}); ask for {less}"


def _usage() -> str:
    lines = ["usage: omnimotion COMMAND ...   (omnimotion COMMAND --help)", ""]
    for name in COMMANDS:
        summary = importlib.import_module(f"omnimotion.commands.{name}").SUMMARY
        lines.append(f"  {name:<11} {summary}")
    return "\n".join(lines)
