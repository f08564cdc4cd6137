"""A command run by another process: ``python -m omnimotion.child PID COMMAND ...``.

It stops, its work saved, when the process PID that started it is gone, however that ended. Else a
fit whose batch was killed would go on by itself, and be in the way of the next one.
"""

import os
import signal
import sys
import threading
import time

from omnimotion.cli import run

LOOK_S = 1.0  # between looks whether the parent still lives


def _stop_without(parent: int) -> None:
    """Send this process SIGTERM once it has another parent."""
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_stop_without, args=(int(sys.argv[1]),), daemon=True).start()
    run(sys.argv[2:])
