"""Settings of a fit: what they mean, their range, and how they are read.

One frozen dataclass for each owner; together they are `Config`. A key has the same name in a
dataclass, in a config file (``key = value``) and as a flag (``--key value``). Flags win over the
file, the file over the defaults. Lengths are in pixels of a frame whose longer side is 256. What
goes "by size" is filled in when a fit starts (`omnimotion.resolved`).
"""

import dataclasses
from argparse import ArgumentTypeError
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omnimotion.errors import ConfigError
from omnimotion.parser import Parser
from omnimotion.settings import checked, setting


@dataclass(frozen=True)
class ModelConfig:
    """The scene's networks: what is stored in a checkpoint depends on these."""

    bijection: str = setting(
        "grid", "map between a frame and the canonical volume", choices=("grid", "mlp")
    )
    volume: str = setting("grid", "canonical density and colour", choices=("grid", "mlp"))
    camera: bool = setting(True, "a similarity per frame, started from the flow")
    couplings: int = setting(6, "coupling layers", 3, 24)
    cells: int = setting(
        0, "cells of the coarsest motion grid along the longer side; 0 goes by the frame's size",
        0, 64,
    )  # fmt: skip
    levels: int = setting(2, "motion grids, each twice as fine as the one before", 1, 6)
    z_cells: int = setting(16, "cells of a motion grid along z", 2, 128)
    time_basis: float = setting(0.5, "cosines in time for each frame of the clip", 0.02, 1)
    max_log_scale: float = setting(1.0, "bound of a coupling's log-scale", 0.1, 2)
    volume_cells: int = setting(32, "cells of the volume along the longer side of a frame", 8, 256)
    volume_z_cells: int = setting(12, "cells of the volume along z", 4, 128)
    volume_levels: int = setting(2, "volume grids, each twice as fine as the one before", 1, 6)
    volume_channels: int = setting(8, "features of a volume cell", 4, 32)
    density_gain: float = setting(5.0, "steepness of density in the network's output", 0.1, 100)
    width: int = setting(256, "width of the paper's coupling networks (mlp)", 8, 512)
    volume_width: int = setting(512, "width of the paper's colour network (mlp)", 8, 1024)


@dataclass(frozen=True)
class LossConfig:
    """Weights of the loss terms, at the end of their schedules."""

    per_sample: float = setting(
        1.0, "share of the flow loss taken sample by sample, not after compositing", 0, 1
    )
    robust_px: float = setting(
        -1.0, "a sample's flow error beyond this counts as its logarithm; 0 is never, -1 by size",
        -1, 1e4,
    )  # fmt: skip
    robust_first: float = setting(
        -1.0, "the same until 0.4 of the fit, if that is more, then less and less until 0.9; "
        "-1 by size", -1, 1e4,
    )  # fmt: skip
    texture: float = setting(
        -1.0, "texture, squared grey levels, at which a match counts half; 0: all count the same, "
        "-1 by size", -1, 1e6,
    )  # fmt: skip
    flow_gradient: float = setting(0.0, "flow between points against that of matches, px", 0, 1e3)
    photometric: float = setting(10.0, "squared error of colour", 0, 1e4)
    photometric_gradient: float = setting(0.0, "colour between points, absolute error", 0, 1e3)
    photometric_ramp: float = setting(0.0, "share of the fit until it has its full weight", 0, 1)
    smoothness: float = setting(-1.0, "acceleration of surface points, px; -1 by size", -1, 1e3)
    depth_consistency: float = setting(0.1, "disagreement of surface depth at a match, px", 0, 1e3)
    occlusion: float = setting(
        0.3, "points without a match lie behind the surface seen where they land", 0, 1e3
    )
    depth_range: float = setting(10.0, "squared excess of mapped depth, px", 0, 1e4)
    depth_order: float = setting(
        1.0, "order of depth in a frame against that of the maps of --depth", 0, 1e3
    )
    inverse_depth: bool = setting(False, "maps of --depth are larger where nearer, as disparity")
    distortion: float = setting(0.0, "spread of a ray's weights (mip-NeRF 360)", 0, 1e3)
    distortion_start: float = setting(0.4, "share of the fit before distortion counts", 0, 1)


@dataclass(frozen=True)
class FitConfig:
    """The optimisation."""

    num_iters: int = setting(
        0, "steps in total, also after a resume; 0 is steps_per_frame times frames", 0, 10_000_000
    )
    steps_per_frame: int = setting(-1, "steps for each frame; -1 by size", -1, 100_000)
    budget: str = setting(
        "", "time to fit in, e.g. 60s, 10m, 2h, with loading and report: a few steps are timed at "
        "the start, and num_iters is what fits, with half the pairs where that is less than a "
        "quarter of full_rate_steps; a resumed run keeps it",
    )  # fmt: skip
    pairs: int = setting(64, "frame pairs a step", 1, 4096)
    points: int = setting(16, "matches a pair", 1, 65536)
    samples: int = setting(16, "samples on a ray", 2, 256)
    learning_rate: float = setting(6e-3, "of the bijection", 1e-7, 1)
    rate_bound: float = setting(
        -1.0, "share of learning_rate that the rate is at most, until it falls below; 0: no "
        "bound, -1 by size", -1, 1,
    )  # fmt: skip
    full_rate_steps: int = setting(
        -1, "more steps go at a lower rate; 0: never, -1: what suits the size", -1, 10_000_000
    )
    rate_power: float = setting(
        -1.0, "of how many times more they are, by which the rate is lower; -1 by size", -1, 2
    )
    code_rate: float = setting(1.0, "of the frame codes (mlp), relative likewise", 0, 100)
    volume_rate: float = setting(2.0, "of the volume, relative to the bijection's", 0, 100)
    camera_rate: float = setting(0.02, "of the cameras, relative to the bijection's", 0, 100)
    decay: float = setting(30.0, "the rate falls by this factor over the fit", 1, 1e6)
    warmup: int = setting(50, "steps until the rate is at its full height", 0, 100_000)
    adam_floor: float = setting(
        0.3, "Adam's denominator is at least this share of the mean over a grid", 0, 10
    )
    clip: float = setting(1.5, "bound of the gradient, in running means of it; 0 is none", 0, 1e6)
    level_fade: float = setting(
        -1.0, "what finer motion grids lose in the end, per rate, where no match holds them; "
        "-1 by size", -1, 1000,
    )  # fmt: skip
    fade_start: float = setting(0.4, "share of the fit before they begin to", 0, 1)
    first_gap: int = setting(8, "frames between a pair at the start of the curriculum", 1, 100_000)
    gap_ramp: float = setting(
        -1.0, "share of the fit until pairs of any gap are drawn; -1 by size", -1, 1
    )
    gap_bias: float = setting(0.5, "a pair's chance falls with its gap to this power", 0, 4)
    motion_share: float = setting(
        -1.0, "share of matches drawn by motion against the camera; -1 by size", -1, 1
    )
    motion_start: float = setting(-1.0, "share of the fit before motion counts; -1 by size", -1, 1)
    motion_full: float = setting(
        -1.0, "share of the fit from which it counts fully; -1 by size", -1, 1
    )
    mining: float = setting(0.0, "a pair's chance grows with its error to this power", 0, 4)
    tracks_share: float = setting(
        0.25, "pairs drawn from the file of --tracks, per pair drawn from the flow", 0.01, 100
    )
    pin_share: float = setting(
        1.0, "pairs drawn from the file of --pin, per pair drawn from the flow", 0.01, 100
    )
    pin_steps: int = setting(300, "steps of the refit with --pin", 1, 10_000_000)
    pool: int = setting(4_000_000, "matches held in memory", 1000, 200_000_000)
    checkpoint_every: int = setting(1000, "steps between checkpoints", 1, 10_000_000)
    preview_every: int = setting(2000, "steps between preview pictures; 0 is none", 0, 10_000_000)
    log_every: int = setting(50, "steps between lines of metrics.jsonl", 1, 1_000_000)
    seed: int = setting(0, "of every random draw", 0, 2**31 - 1)
    restarts: int = setting(
        0, "further seeds to begin; after 0.3 of the steps the fit goes on that maps best what "
        "moves, by matches never drawn; each takes 0.3 of a fit's time", 0, 100,
    )  # fmt: skip
    device: str = setting("auto", "where to compute", choices=("auto", "cpu", "cuda"))
    backend: str = setting(
        "auto",
        "numba on a CPU, tcnn (tinycudann) on a GPU, or torch; auto takes what works",
        choices=("auto", "torch", "numba", "tcnn"),
    )
    threads: int = setting(0, "CPU threads; 0 is one for each core", 0, 1024)


@dataclass(frozen=True)
class Config:
    """Everything that decides a fit."""

    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    fit: FitConfig = FitConfig()

    def values(self) -> dict[str, Any]:
        """All settings in one flat dict."""
        return {
            name: getattr(getattr(self, group), name)
            for group, names in _groups().items()
            for name in names
        }

    def replace(self, **changes: Any) -> "Config":
        """A checked copy with some settings changed."""
        return config_from_values(self.values() | changes)

    def to_text(self) -> str:
        """The settings as a config file, which reads back equal."""
        lines = []
        for name, value in self.values().items():
            if value != "":
                text = str(value).lower() if isinstance(value, bool) else str(value)
                lines.append(f"{name} = {text}")
        return "\n".join(lines) + "\n"


def config_from_values(values: dict[str, Any]) -> Config:
    """A checked `Config`; ConfigError naming key, value and range."""
    unknown = sorted(set(values) - {name for names in _groups().values() for name in names})
    if unknown:
        raise ConfigError(f"unknown setting {unknown[0]!r}")
    return Config(**{group: checked_settings(owner, values) for group, owner in _OWNERS.items()})


def checked_settings(owner: type, values: Mapping[str, Any]) -> Any:
    """An ``owner``, a dataclass of settings, made of those of its values that are there."""
    fields = dataclasses.fields(owner)
    return owner(**{each.name: checked(each, values.get(each.name, each.default))
                    for each in fields})  # fmt: skip


def add_settings(parser: Parser, owners: Mapping[str, type] | None = None) -> None:
    """Give a parser ``--config`` and one flag for each setting of a fit, or of other owners."""
    owners = _OWNERS if owners is None else owners
    parser.add_argument("--config", is_config_file=True, metavar="FILE", help="settings file")
    for group, owner in owners.items():
        section = parser.add_argument_group(group, (owner.__doc__ or "").strip())
        for field in dataclasses.fields(owner):
            _add_flag(section, field.name, field)
            parser.settings[field.name] = field


def parsed_config(namespace: Any) -> Config:
    """The `Config` of a parsed command line."""
    names = [name for names in _groups().values() for name in names]
    return config_from_values({name: getattr(namespace, name) for name in names})


def load_config(path: Path) -> Config:
    """Read a config file by itself; ConfigError naming file, key or line."""
    parser = Parser(add_help=False)
    add_settings(parser)
    return parsed_config(parser.parse_args(["--config", str(path)]))


_OWNERS: dict[str, type] = {"model": ModelConfig, "loss": LossConfig, "fit": FitConfig}


def _groups() -> dict[str, dict[str, dataclasses.Field]]:
    return {
        group: {field.name: field for field in dataclasses.fields(owner)}
        for group, owner in _OWNERS.items()
    }


def _add_flag(section: Any, name: str, field: dataclasses.Field) -> None:
    flags = [f"--{name}"] + ([f"--{name.replace('_', '-')}"] if "_" in name else [])
    options: dict[str, Any] = {"default": field.default, "help": field.metadata["help"]}
    if isinstance(field.default, bool):
        options["type"] = _boolean
        options["metavar"] = "true|false"
    elif field.metadata["choices"]:
        options["choices"] = field.metadata["choices"]
    else:
        options["type"] = type(field.default)
        options["metavar"] = {int: "N", float: "X", str: "TEXT"}[type(field.default)]
    section.add_argument(*flags, dest=name, **options)


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ArgumentTypeError(f"found {text!r}, expected true or false")
    return text.lower() == "true"
