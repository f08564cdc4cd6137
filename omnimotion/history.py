"""The history of a fit: ``metrics.jsonl``, and whether its flow error ran away."""

import json
from pathlib import Path
from typing import Any

from omnimotion.archive import parse_object
from omnimotion.errors import CheckpointError
from omnimotion.files import atomic_write

AWAY_PX, AWAY_RATIO = 8.0, 3.0  # three lines of metrics in a row above this are no accident


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
        return len(self.lines) >= 3 and min(self._errors()[-3:]) > self._limit()

    def is_sound(self) -> bool:
        """Whether the flow error is well below where the fit would count as run away."""
        return not self.lines or self._errors()[-1] < self._limit() / 2

    def _errors(self) -> list[float]:
        return [line["flow_px"] for line in self.lines]

    def _limit(self) -> float:
        return max(AWAY_PX, AWAY_RATIO * min(self._errors()))

    def add(self, line: dict[str, float]) -> None:
        """Remember a line; `save` writes it."""
        self.lines.append(line)

    def save(self) -> None:
        """Write the file whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        atomic_write(self.path, text.encode())

    def recent(self, name: str, count: int = 10) -> float:
        """The mean of ``name`` over the last lines."""
        values = [line[name] for line in self.lines[-count:]]
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
