"""The history of a fit: ``metrics.jsonl``, and whether the fit ran away."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from omnimotion.archive import parse_object
from omnimotion.errors import CheckpointError
from omnimotion.files import atomic_write
from omnimotion.plots import plot_metrics

METRICS_NAME, PICTURE_NAME = "metrics.jsonl", "loss.png"
AWAY_PX, AWAY_RATIO = 32.0, 3.0
"""Three lines in a row above this are no accident; of hard clips three are above 9 px, once far
pairs are drawn."""
ROUGH_RATIO = 1.4  # of smoothness; in sound fits it rises to 1.3 times the least that it was
ROUGH_STEPS = 300  # over which it is a mean
SETTLED = 200  # steps until it is no longer that of a map that does nothing


class History:
    """``metrics.jsonl``: kept in memory, written whole, cut to the step a run resumes from."""

    def __init__(self, path: Path, step: int) -> None:
        self.path = path
        self.lines = read_metrics(path)
        self.cut(step)

    def cut(self, step: int) -> None:
        """Forget what came after ``step``."""
        self.lines = [line for line in self.lines if line["step"] <= step]

    def ran_away(self) -> bool:
        """Whether the flow error is far above the best there was."""
        recent = [line["flow_px"] for line in self.lines[-3:]]
        return len(recent) == 3 and min(recent) > self._limit()

    def grew_rough(self) -> bool:
        """Whether what is seen moves far less smoothly than it did.

        Such a fit may find back by itself, but not to where it would have come. The flow error
        does not tell: it grows with the gaps of pairs, too.
        """
        lines = [line for line in self.lines if line["step"] >= SETTLED and "smoothness" in line]
        steps = np.array([line["step"] for line in lines])
        total = np.cumsum([0.0, *(line["smoothness"] for line in lines)])
        first = np.searchsorted(steps, steps - ROUGH_STEPS, side="right")
        means = (total[1:] - total[first]) / (np.arange(len(steps)) + 1 - first)
        means = means[steps >= SETTLED + ROUGH_STEPS]
        return bool(len(means)) and bool(means[-1] > ROUGH_RATIO * means.min())

    def is_sound(self) -> bool:
        """Whether the flow error is well below where the fit would count as run away."""
        return not self.lines or self.lines[-1]["flow_px"] < self._limit() / 2

    def _limit(self) -> float:
        return max(AWAY_PX, AWAY_RATIO * min(line["flow_px"] for line in self.lines))

    def add(self, line: dict[str, float]) -> None:
        """Remember a line; `save` writes it."""
        self.lines.append(line)

    def save(self) -> None:
        """Write the file whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        atomic_write(self.path, text.encode())

    def recent(self, name: str) -> float:
        """The mean of ``name`` over the last ten lines."""
        values = [line[name] for line in self.lines[-10:]]
        return sum(values) / max(1, len(values))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``, none where there is no such file."""
    if not path.is_file():
        return []
    try:
        lines = [parse_object(line) for line in path.read_bytes().splitlines()]
        for line in lines:
            if not all(isinstance(line[key], int | float) for key in ("step", "loss", "flow_px")):
                raise ValueError(f"no numbers in {line}")
        return lines
    except (KeyError, RecursionError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}): remove it to go on") from error


def plot_history(run: Path) -> None:
    """Draw the metrics of a run beside them. Raises as `read_metrics` does."""
    plot_metrics(read_metrics(run / METRICS_NAME), run / PICTURE_NAME)
