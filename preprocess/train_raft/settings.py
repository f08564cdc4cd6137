"""Settings of a training of RAFT: what they mean and their range."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from omnimotion.errors import ConfigError
from omnimotion.settings import setting
from preprocess.raft_network import CELL


@dataclass(frozen=True)
class RaftSettings:
    """A training of torchvision's raft_small on pairs that are rendered for it."""

    width: int = setting(448, "of the rendered frames, a multiple of 8 px", 128, 4096)
    height: int = setting(320, "of the rendered frames, a multiple of 8 px", 128, 4096)
    layers: int = setting(9, "flat pieces of a scene, besides its background", 0, 64)
    solids: int = setting(2, "bodies of a scene", 0, 64)
    supersample: int = setting(2, "samples of a pixel, each way", 1, 8)
    max_gap: float = setting(
        16.0, "frames between the two of a pair, at most; every factor of two as likely", 1, 1000,
    )  # fmt: skip
    steps: int = setting(100_000, "updates of the weights, in all calls", 1, 100_000_000)
    batch: int = setting(12, "pairs a step", 1, 1024)
    updates: int = setting(12, "of the flow of a pair", 1, 64)
    fade: float = setting(0.8, "weight of each update's error, relative to the next one's", 0, 1)
    learning_rate: float = setting(4e-4, "at its height; from there it falls to 0", 1e-8, 1)
    warmup: float = setting(0.05, "share of the steps until the rate is at its height", 0, 1)
    weight_decay: float = setting(1e-5, "of AdamW", 0, 1)
    clip: float = setting(1.0, "bound of the gradient's norm", 1e-6, 1e6)
    precision: str = setting(
        "auto", "of the convolutions; auto is bfloat16 on a GPU and float32 on a CPU",
        choices=("auto", "float32", "bfloat16"),
    )  # fmt: skip
    seed: int = setting(0, "of every random draw", 0, 2**31 - 1)
    held_out: int = setting(
        48, "pairs that are never trained on, to find the best weights", 1, 4096
    )
    validate_every: int = setting(1000, "steps between looks at the held-out pairs", 1, 10_000_000)
    log_every: int = setting(50, "steps between lines of metrics.jsonl", 1, 1_000_000)
    checkpoint_minutes: float = setting(3.0, "between checkpoints", 0, 1e6)
    budget: str = setting(
        "", "time of this call, e.g. 8m; it then saves and leaves, and the same command goes on"
    )
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    threads: int = setting(0, "CPU threads; 0 is one for each core", 0, 1024)

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            if getattr(self, name) % CELL:
                found = getattr(self, name)
                raise ConfigError(f"{name}: found {found}, expected a multiple of {CELL}")

    @property
    def size(self) -> tuple[int, int]:
        """(W, H) of the frames."""
        return self.width, self.height

    def decisive(self) -> dict[str, Any]:
        """What the weights depend on, and what may therefore not change between calls."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in FREE}


FREE = ("checkpoint_minutes", "budget", "device", "threads", "precision")


def rate(settings: RaftSettings, step: int) -> float:
    """The learning rate of a step: one cycle, up and down in straight lines."""
    rising = max(1.0, settings.warmup * settings.steps)
    falling = max(1.0, settings.steps - rising)
    share = min((step + 1) / rising, (settings.steps - step) / falling)
    return settings.learning_rate * min(1.0, max(0.0, share))
