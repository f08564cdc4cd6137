"""Random draws that depend on nothing but the seed, the step and the purpose.

A generator made this way needs no state in a checkpoint: a resumed fit draws what the
uninterrupted one would have drawn.
"""

from enum import IntEnum

import numpy as np
import torch


class Purpose(IntEnum):
    """What a draw is for; draws for different purposes are independent."""

    WEIGHTS = 0
    POOL = 1
    PAIRS = 2
    DEPTHS = 3
    HELD_OUT = 4
    HEALTH = 5
    TRACKS = 6
    PINS = 7


def generator(
    seed: int, step: int, purpose: Purpose, device: torch.device | str = "cpu"
) -> torch.Generator:
    """A generator on ``device`` for one step and one purpose."""
    state = np.random.SeedSequence((seed, step, int(purpose))).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))
