"""One fit in several processes, as torchrun starts them: each renders a part of a step's pairs.

All processes draw the same matches and hold the same scene. Maps and volume, which take the time,
are asked for a part of the pairs each, and the answers put together, so that every process knows
the whole loss. Its gradient is that of its own part; the parameters' are summed. A step is thus
the step of one process, up to the order of sums. The first process alone writes to the run.

Conventions. What is divided has the pairs P first. Ranks are counted from 0.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from omnimotion.config import FitConfig
from omnimotion.errors import ConfigError
from omnimotion.fitting import Fit, run_fit
from omnimotion.history import METRICS_NAME
from omnimotion.scene import FrameMap, Snapshot
from omnimotion.signals import StopSignal, catch_signals
from omnimotion.volume import Look


def n_processes() -> int:
    """How many processes torchrun has started for this fit; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def together(device: torch.device) -> Iterator[int]:
    """The processes of torchrun as a group; yields this one's rank, 0 where it is alone.

    ConfigError where they do not meet, as when one of them has been refused already.
    """
    if n_processes() == 1:
        yield 0
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    except RuntimeError as problem:
        reason = str(problem).partition("\n")[0]
        raise ConfigError(
            f"the processes of torchrun do not meet: see what the others say ({reason})"
        ) from problem
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def check_divided(config: FitConfig, n_windows: int = 1) -> None:
    """Raise ConfigError for a fit that cannot be divided among the processes of torchrun.

    There are more of them than pairs to divide; each would take a budget for another number of
    steps, and windows and restarts are begun by one.
    """
    if n_processes() == 1:
        return
    if n_windows > 1:
        raise ConfigError(f"torchrun divides one window, not {n_windows}: give a larger --window")
    least = 2 * n_processes()  # some terms look at every other pair
    if config.pairs < least:
        raise ConfigError(
            f"pairs: found {config.pairs}, expected at least {least}, two for each process"
        )
    if config.budget:
        raise ConfigError("budget: torchrun needs a number of steps: give num_iters")
    if config.restarts:
        raise ConfigError("restarts: torchrun divides one fit: choose a seed without it first")


def share(fit: Fit, stop: StopSignal) -> StopSignal:
    """Divide the fit's steps among the processes; the signal that stops all of them.

    Where this process is alone, nothing changes. The others wait in `help_fit` until the first one
    comes here, with what they start from.
    """
    if n_processes() == 1:
        return stop
    if dist.get_rank() == 0:
        dist.barrier()
        dist.barrier()  # until the others have copied what is there
    fit.scene.shared = SharedSnapshot.of
    for parameter in () if fit.scene.fused else fit.scene.parameters():
        if parameter.requires_grad:  # the compiled loop's gradients are summed where they are made
            parameter.register_post_accumulate_grad_hook(_sum_gradient)
    return SharedStop(stop, fit.device)


def help_fit(start: Callable[[Path], Fit], run: Path) -> None:
    """Take part in the fit of the first process, whose run this is; writes to a copy of it.

    ``start``: makes the fit of a run. Raises as `run_fit` does.
    """
    logging.disable(logging.INFO)  # the first process says it
    with tempfile.TemporaryDirectory(prefix="omnimotion-run-") as folder, catch_signals() as stop:
        dist.barrier()
        copy = Path(folder) / run.name
        copy.mkdir()
        if (run / "checkpoints").is_dir():
            shutil.copytree(run / "checkpoints", copy / "checkpoints")
        if (run / METRICS_NAME).is_file():  # whether it runs away is told by these
            shutil.copy(run / METRICS_NAME, copy)
        dist.barrier()
        fit = start(copy)
        run_fit(fit, share(fit, stop))


class SharedStop(StopSignal):
    """Set for all processes in the same step, as soon as it is for one."""

    def __init__(self, own: StopSignal, device: torch.device) -> None:
        self.own = own
        self.device = device

    @property
    def number(self) -> int:  # type: ignore[override]
        """The signal, as every process sees it; each must ask equally often."""
        number = torch.tensor(self.own.number, device=self.device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)


class SharedSnapshot(Snapshot):
    """A snapshot that asks maps and volume for the pairs of this process."""

    @classmethod
    def of(cls, now: Snapshot) -> "SharedSnapshot":
        """The snapshot, divided."""
        volume = now.volume if now.scene.fused else SharedVolume(now.volume)
        return cls(now.scene, now.table, now.cameras, volume)

    @property
    def part(self) -> tuple[int, int]:
        """See `Snapshot`."""
        return dist.get_rank(), dist.get_world_size()

    def summed(self, numbers: Tensor) -> Tensor:
        """See `Snapshot`."""
        dist.all_reduce(numbers)
        return numbers

    def at(self, frames: Tensor) -> FrameMap:
        """See `Snapshot`."""
        return SharedFrameMap(super().at(frames[_rows(len(frames))]), len(frames))


class SharedFrameMap(NamedTuple):
    """`FrameMap` of P frames, of which this process maps its part."""

    own: FrameMap
    n_pairs: int  # P

    def forward(self, x: Tensor) -> Tensor:
        """See `FrameMap`."""
        return _Whole.apply(self.own.forward(_Part.apply(x)), self.n_pairs)

    def inverse(self, u: Tensor) -> Tensor:
        """See `FrameMap`."""
        return _Whole.apply(self.own.inverse(_Part.apply(u)), self.n_pairs)


class SharedVolume(NamedTuple):
    """A volume of which this process reads its part of the points."""

    own: Callable[[Tensor], Look]

    def __call__(self, u: Tensor) -> Look:
        """See `Volume`."""
        look = self.own(_Part.apply(u))
        return Look(*(_Whole.apply(field, len(u)) for field in look))


class _Part(Function):
    """The rows of this process; their gradients are those of all."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor) -> Tensor:
        """Rows of ``whole`` (P, ...)."""
        ctx.count = len(whole)
        return whole[_rows(len(whole))]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Of all rows, each from the process that has it."""
        return _joined(gradients[0], ctx.count)


class _Whole(Function):
    """The rows of all processes; the gradient is that of the own ones."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, count: int) -> Tensor:
        """All ``count`` rows."""
        ctx.count = count
        return _joined(part, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Of the own rows: every process has the whole gradient."""
        return gradients[0][_rows(ctx.count)], None


def _rows(count: int) -> slice:
    """Which of so many rows are this process's."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    return slice(rank * count // processes, (rank + 1) * count // processes)


def _joined(part: Tensor, count: int) -> Tensor:
    """All rows (count, ...) from the parts of all processes."""
    whole = part.new_zeros((count, *part.shape[1:]))
    whole[_rows(count)] = part
    dist.all_reduce(whole)
    return whole


def _sum_gradient(parameter: Tensor) -> None:
    if parameter.grad is not None:
        dist.all_reduce(parameter.grad)
