"""How near a step of the fit comes to what this machine could do: counted work, measured rates.

    python benchmarks/floor.py --scene SCENE --out benchmarks/speed

times steps of the grid (``configs/cpu.txt``) and of the paper's networks (``configs/paper.txt``)
on one thread, in CPU time, and sets them against the floor: for each part the longest of its
operations, bytes and reads at computed places (`cost.py`), each at the rate that a small loop
which does nothing else reaches here (`rates.py`). Then the parts of some steps are timed. The
grid's steps are those of a fit on its way: samples that light no longer reaches are not
followed, and only the work of the others counts; beside it the floor of a step that follows all.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cost import (
    Grids,
    Networks,
    Step,
    Work,
    bound,
    grid_parts,
    network_parts,
    seconds,
    step_of,
    total,
)
from rates import rates
from torch import nn

from omnimotion.bijection import GridBijection, MlpBijection
from omnimotion.compositing import FAINT, stratified_depths
from omnimotion.config import load_config
from omnimotion.files import atomic_write
from omnimotion.fitting import Fit
from omnimotion.flow import SceneStore
from omnimotion.fused.adam import FusedAdam
from omnimotion.fused.step import Loop
from omnimotion.fused.tables import (
    MotionGradients,
    MotionTable,
    VolumeFeatures,
    VolumeGradients,
)
from omnimotion.networks import Mlp
from omnimotion.runs import set_threads, start_fit
from omnimotion.scene import Scene
from omnimotion.step_draws import Source
from omnimotion.volume import GridVolume, MlpVolume

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SECTOR = 32  # bytes that a GPU reads at least: a motion cell is two, a volume cell eight
H200 = Work(
    67e12, 67e12, 4.8e12, 4.8e12 / (2 * SECTOR), 4.8e12 / (4 * SECTOR), 4.8e12 / (8 * SECTOR),
    4.8e12 / (16 * SECTOR),
)  # fmt: skip
"""What a GPU does in a second: NVIDIA's data sheet of the H200 (SXM), float32, no tensor cores.

To add is to read and to write. Reads count as bytes of its memory, though grids fit its cache.
"""
PROFILED = 30  # steps
PLACES = (
    (Loop, "run", "couplings to losses, in one loop"),
    (MotionTable, "make", "motion tables"),
    (MotionGradients, "make", "motion tables"),
    (VolumeFeatures, "make", "volume table"),
    (VolumeGradients, "make", "volume table"),
    (Source, "draw", "draw of matches and depths"),
    (FusedAdam, "step", "optimiser"),
)
"""Where the parts of a step are done."""


def main() -> None:
    """Count, measure, and write the table."""
    args = parse_arguments()
    set_threads(1)
    with tempfile.TemporaryDirectory(prefix="omnimotion-floor-") as runs:
        grid = new_fit(args.scene, Path(runs) / "grid", "cpu")
        sizes = grids_of(grid.scene)
        here = rates(sizes)
        grid_ms = step_ms(grid, args.steps, args.after)
        step = step_of(grid.config)._replace(lit=lit_share(grid))
        spent = profiled(grid)
        texts = [rates_table(here),
                 step_table("grid", grid, grid_parts(step, sizes), here, grid_ms, spent),
                 all_samples(step, sizes, here, grid_ms)]  # fmt: skip
        if args.paper_steps:
            paper = new_fit(args.scene, Path(runs) / "paper", "paper", pairs=args.paper_pairs)
            networks = networks_of(paper.scene)
            parts = network_parts(step_of(paper.config), networks)
            paper_ms = step_ms(paper, args.paper_steps, 1)
            texts += [step_table("paper", paper, parts, here, paper_ms, {}),
                      whole_paper(networks, here)]  # fmt: skip
    args.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(args.out.with_suffix(".md"), "\n".join(texts).encode())
    print("\n".join(texts))


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", type=Path, required=True, help="a preprocessed scene")
    parser.add_argument("--out", type=Path, required=True, help="without suffix")
    parser.add_argument("--steps", type=int, default=100, help="of the grid that are timed")
    parser.add_argument("--after", type=int, default=600, help="steps before them")
    parser.add_argument("--paper-steps", type=int, default=2, help="of the networks; 0: none")
    parser.add_argument("--paper-pairs", type=int, default=1, help="a step of the networks: all 8 "
                        "take some 10 GB")  # fmt: skip
    return parser.parse_args()


def new_fit(scene: Path, run: Path, config: str, **changes: Any) -> Fit:
    """A fit on one thread of the CPU, at its first step."""
    settings = {"device": "cpu", "threads": 1, "preview_every": 0} | changes
    loaded = load_config(CONFIGS / f"{config}.txt").replace(**settings)
    return start_fit(SceneStore.open(scene), run, loaded)


def grids_of(scene: Scene) -> Grids:
    """The sizes of a scene of grids."""
    motion, volume = scene.bijection, scene.volume
    assert isinstance(motion, GridBijection)
    assert isinstance(volume, GridVolume)
    summed, levels = volume.levels[-1], motion.levels[0]
    assert isinstance(levels, nn.ParameterList)
    return Grids(
        frames=scene.n_frames, basis=motion.basis.shape[1], layers=len(motion.axes),
        table=sum(2 * b * a for b, a in motion.sizes), levels=len(levels),
        coefficients=count(motion), volume=summed.numel(), volume_levels=len(volume.levels),
        volume_coefficients=sum(level.numel() for level in volume.levels),
        channels=summed.shape[1], hidden=len(volume.decoder.first), parameters=count(scene),
    )  # fmt: skip


def networks_of(scene: Scene) -> Networks:
    """The sizes of a scene of the paper's networks."""
    maps, volume = scene.bijection, scene.volume
    assert isinstance(maps, MlpBijection)
    assert isinstance(volume, MlpVolume)
    layer, colour = maps.layers[0], volume.network
    assert isinstance(layer, Mlp)
    first, *hidden, _ = layer.layers
    assert isinstance(first, nn.Linear)
    return Networks(
        layers=len(maps.axes), inputs=first.in_features, width=first.out_features,
        depth=1 + len(hidden), volume_width=colour.last.in_features,
        volume_depth=len(colour.layers), parameters=count(scene),
    )  # fmt: skip


def count(module: nn.Module) -> int:
    """The numbers that a module learns."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def step_ms(fit: Fit, steps: int, warm: int) -> float:
    """Median milliseconds of CPU time of a step, after some that do not count."""
    times = []
    for _ in range(warm + steps):
        began = time.process_time()
        fit.advance()
        times.append(time.process_time() - began)
    return 1e3 * median(times[warm:])


@torch.no_grad()
def lit_share(fit: Fit) -> float:
    """Of samples on rays through matches, the share that light reaches."""
    held, now = fit.pool.held_out, fit.scene.snapshot()
    z = stratified_depths((len(held.i), 1), fit.config.fit.samples, None, held.xy_i)
    seen = now.render(now.at(held.i), held.xy_i[:, None], z, FAINT)
    return float(seen.counts.float().mean())


def profiled(fit: Fit) -> dict[str, float]:
    """Milliseconds of CPU time of a step by part, means of some steps."""
    spent = dict.fromkeys((part for *_, part in PLACES), 0.0)
    for owner, name, part in PLACES:
        setattr(owner, name, timed(getattr(owner, name), part, spent))
    began = time.process_time()
    for _ in range(PROFILED):
        fit.advance()
    whole = time.process_time() - began
    spent["rest"] = whole - sum(spent.values())
    return {part: 1e3 * took / PROFILED for part, took in spent.items()}


def timed(act: Callable, part: str, spent: dict[str, float]) -> Callable:
    """The same function, which adds what it takes to what is spent on a part."""

    def run(*args: Any, **options: Any) -> Any:
        began = time.process_time()
        found = act(*args, **options)
        spent[part] += time.process_time() - began
        return found

    return run


def rates_table(here: Work) -> str:
    """What a core does in a second."""
    matrix, plain, moved, *places = here
    names = ("motion cell read", "added to", "volume cell read", "added to")
    cells = ", ".join(f"{name} {1e9 / rate:.1f} ns" for name, rate in zip(names, places))
    return (
        f"One core: products of matrices {matrix / 1e9:.0f} GFLOP/s, other operations "
        f"{plain / 1e9:.0f} GFLOP/s, copies {moved / 1e9:.0f} GB/s; {cells}.\n"
    )


def step_table(
    name: str, fit: Fit, parts: dict[str, Work], here: Work, ms: float, spent: dict[str, float]
) -> str:
    """The parts of a step, their floor, and what was measured."""
    step = fit.config.fit
    rows = parts | {"all": total(parts)}
    lines = [
        f"## {name}: {step.pairs} x {step.points} rays of {step.samples} samples", "",
        "| part | MFLOP in products | other MFLOP | MB | cells, read and added to, 1000 | "
        "floor, ms | by its | timed, ms | H200, us |",
        "|" + " --- |" * 9,
    ]  # fmt: skip
    floors = {part: 1e3 * seconds(work, here) for part, work in parts.items()}
    gpu = {part: 1e6 * seconds(work, H200) for part, work in parts.items()}
    for part, work in rows.items():
        whole = part == "all"
        floor, there = (sum(each.values()) if whole else each[part] for each in (floors, gpu))
        by = "" if whole else bound(work, here).replace("_", " ")
        took = f"{spent[part]:.2f}" if part in spent else ""
        lines.append(
            f"| {part} | {work.matrix / 1e6:.1f} | {work.plain / 1e6:.1f} | "
            f"{work.bytes / 1e6:.2f} | {sum(work[3:]) / 1e3:.0f} | {floor:.2f} | {by} | {took} | "
            f"{there:.1f} |"
        )
    lines += [f"| {part} | | | | | | | {took:.2f} | |" for part, took in spent.items()
              if part not in rows]  # fmt: skip
    floor = sum(floors.values())
    lines += ["", f"Measured: {ms:.1f} ms a step (median, CPU time): {ms / floor:.1f} times the "
              f"floor of {floor:.2f} ms.", ""]  # fmt: skip
    return "\n".join(lines)


def all_samples(step: Step, sizes: Grids, here: Work, ms: float) -> str:
    """How a step compares with one that follows all samples."""
    parts = grid_parts(step._replace(lit=1.0), sizes).values()
    floor = 1e3 * sum(seconds(work, here) for work in parts)
    return (
        f"Light reaches {step.lit:.0%} of the samples. Were all of them followed, the floor "
        f"would be {floor:.2f} ms: {ms / floor:.1f} times that.\n"
    )


def whole_paper(networks: Networks, here: Work) -> str:
    """The floor of a step with all of the paper's pairs."""
    config = load_config(CONFIGS / "paper.txt")
    parts = network_parts(step_of(config), networks).values()
    cpu, gpu = (sum(seconds(work, machine) for work in parts) for machine in (here, H200))
    products = sum(work.matrix for work in parts)
    return (
        f"All of a step's {config.fit.pairs} pairs: {products / 1e12:.2f} TFLOP in products, a "
        f"floor of {cpu:.1f} s here, {1e3 * gpu:.0f} ms on an H200.\n"
    )


if __name__ == "__main__":
    main()
