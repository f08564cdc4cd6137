"""Random draws that depend on nothing but the seed, the step and the purpose.

A generator made this way needs no state in a checkpoint: a resumed fit draws what the
uninterrupted one would have drawn.
"""

import hashlib
from enum import IntEnum

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
    name = f"{seed} {step} {int(purpose)}".encode()
    state = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
    return torch.Generator(device).manual_seed(state >> 1)
