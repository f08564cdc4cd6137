"""Compile the loop of a step before it is called: ``python -m omnimotion.kernels.ahead``.

LLVM takes some 0.4 GB for it, which the process that compiles keeps. So a process of its own
does that, and a fit reads the code from disk.
"""

import os
import subprocess
import sys

from numba import float32, float64, int64, types

from omnimotion.kernels.batch import Batch
from omnimotion.kernels.bundle import Gradients, Model
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.step import run
from omnimotion.kernels.terms import Terms

_INTS, _LINE, _TABLE, _STACK = int64[::1], float32[::1], float32[:, ::1], float32[:, :, ::1]
_GRID = float32[:, :, :, ::1]
_LAYOUT = types.NamedTuple([_INTS] * 4 + [_LINE], Layout)
_BATCH = types.NamedTuple(
    [_INTS] * 2 + [_STACK] * 3 + [_TABLE] * 2 + [_STACK] * 3 + [_LINE] + [_STACK] * 2 + [_TABLE],
    Batch,
)  # fmt: skip
_MODEL = types.NamedTuple(
    [_TABLE, _LAYOUT, _TABLE, _GRID, _LINE, _LINE, _TABLE, _TABLE, _LINE], Model
)
_TERMS = types.NamedTuple(
    [_LINE, float64[::1], float32, float32, types.UniTuple(float32, 2), int64], Terms
)
_GRADIENTS = types.NamedTuple([_TABLE, _TABLE, _GRID, _TABLE, _TABLE], Gradients)
SIGNATURE = (types.UniTuple(int64, 2), _BATCH, _MODEL, _TERMS, _GRADIENTS, _LINE)
"""Of `step.run`, as a fit calls it."""


def compile_apart() -> str:
    """Have it compiled by another process; in one line what went wrong, if anything did.

    Then the first call compiles it.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__], env=environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    except OSError as error:
        return str(error)
    said = done.stderr.strip() or f"exit code {done.returncode}"
    return "" if done.returncode == 0 else said.splitlines()[-1]


if __name__ == "__main__":
    run.compile(SIGNATURE)
