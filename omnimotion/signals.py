"""Ctrl-C and SIGTERM as a flag: the loop finishes its step, saves, and leaves.

A second signal ends the program at once, as it would without this.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANDLED = (signal.SIGINT, signal.SIGTERM)


class StopSignal:
    """``number`` is the signal that asked to stop, 0 while none did."""

    number = 0


@contextmanager
def catch_signals() -> Iterator[StopSignal]:
    """Turn the first SIGINT or SIGTERM into a flag; handlers are put back at the end."""
    stop = StopSignal()
    before = {number: signal.getsignal(number) for number in HANDLED}

    def handle(number: int, _: FrameType | None) -> None:
        stop.number = number
        for each, handler in before.items():
            signal.signal(each, handler)

    try:
        for number in HANDLED:
            signal.signal(number, handle)
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
