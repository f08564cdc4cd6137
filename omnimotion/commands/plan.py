"""``omnimotion plan VIDEO``: what preprocess, train and query would take: time, disk, memory.

Measured: some frames of the video go through all stages here and now, in a temporary folder.
"""

import importlib
import json
import logging
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnimotion.commands.options import add_flow
from omnimotion.config import Config, Parser, load_config
from omnimotion.files import shown

if TYPE_CHECKING:
    from omnimotion.video import Video
    from preprocess.options import PreprocessOptions

SUMMARY = "time, disk and memory that a video would take here"
KIND = "omnimotion-plan"


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("video", type=Path, metavar="VIDEO", help="a video file, or a folder of images")
    add("--config", type=Path, metavar="FILE", help="settings of the fit")
    add("--grid", type=int, default=16, metavar="N",
        help="query: a grid of points, N along the longer side")  # fmt: skip
    add_flow(parser)
    add("--frames", metavar="A:B:STEP", help="frames to use, e.g. 0:90 or ::2; default all")
    add("--folder", type=Path, default=Path("."), metavar="DIR",
        help="where scenes would be written: its disk is measured")  # fmt: skip
    add("--json", action="store_true", help="print JSON")


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    config = load_config(args.config) if args.config else Config()
    plan = make_plan(args, config)
    print(json.dumps(plan, indent=1) if args.json else format_plan(plan))
    return 0


def make_plan(args: Namespace, config: Config) -> dict[str, Any]:
    """What all stages take, as a JSON object."""
    from omnimotion.errors import PointsError
    from omnimotion.files import free_bytes
    from omnimotion.memory import forget_peak, free_memory, peak_memory

    if args.grid < 1:
        raise PointsError(f"--grid {args.grid}: expected 1 or more")
    calibrate, light_s = _imported("preprocess.calibrate")
    with _quiet(), tempfile.TemporaryDirectory(prefix="omnimotion-plan-", dir=args.folder) as temp:
        folder = Path(temp)
        video, read_s, options = _opened(args, config, folder)
        forget_peak()
        flow = calibrate.plan_flow(options, video)
        peak = peak_memory()
        plan, heavy_s = _imported("omnimotion.plan")  # torch: only now, as in the stages
        start_s = light_s + flow.start_s + heavy_s
        size, work = options.working_size(video.size), flow.work
        clip = plan.Clip(len(video), size, work.ordered, flow.excerpt.ordered)
        fit = plan.plan_fit(folder, clip, config, start_s)
        query = plan.plan_query(folder, clip, config, args.grid)
    stages = {
        "preprocess": plan.Stage(
            light_s + 2 * read_s + flow.seconds, flow.costs.bytes(work),
            peak and peak + flow.held_bytes,
        ),
        "train": fit.stage, "query": query,
    }  # fmt: skip
    return {
        "kind": KIND, "video": args.video.name, "n_frames": len(video), "size": list(size),
        "flow": flow.method, "pairs": work.ordered, "windows": fit.windows, "steps": fit.steps,
        "step_s": round(fit.step_s, 5),
        "stages": {
            name: {
                "seconds": round(stage.seconds, 1), "disk_mb": _mb(stage.bytes),
                "memory_mb": stage.memory and _mb(stage.memory),
            }
            for name, stage in stages.items()
        },
        "peak_disk_mb": _mb(flow.peak_bytes), "free_disk_mb": _mb(free_bytes(args.folder)),
        "free_memory_mb": (free := free_memory()) and _mb(free),
    }  # fmt: skip


def format_plan(plan: dict[str, Any]) -> str:
    """The plan as a table."""
    width, height = plan["size"]
    lines = [
        f"{shown(plan['video'])}: {plan['n_frames']} frames of {width}x{height}, "
        f"{plan['pairs']} pairs by {plan['flow']}, windows of train: {plan['windows']}, "
        f"each {plan['steps']} steps of {1e3 * plan['step_s']:.1f} ms",
        "", f"{'':<12}{'time':>10}{'disk':>12}{'memory':>12}",
    ]  # fmt: skip
    stages = plan["stages"]
    total = {key: sum(stage[key] for stage in stages.values()) for key in ("seconds", "disk_mb")}
    known = [stage["memory_mb"] for stage in stages.values() if stage["memory_mb"] is not None]
    total["memory_mb"] = max(known, default=None)  # one stage after the other
    for name, stage in [*stages.items(), ("all", total)]:
        lines.append(f"{name:<12}{_clock(stage['seconds']):>10}{stage['disk_mb']:>9.0f} MB"
                     f"{_memory(stage['memory_mb']):>12}")  # fmt: skip
    peak, free = plan["peak_disk_mb"], plan["free_disk_mb"]
    lines += ["", f"disk: {peak:.0f} MB at its peak while preprocessing; {free:.0f} MB are free"]
    if plan["free_memory_mb"] is not None:
        lines.append(f"memory: {plan['free_memory_mb']:.0f} MB are free")
    return "\n".join(lines)


def _mb(count: float) -> float:
    return round(count / 1e6, 1)


def _memory(mb: float | None) -> str:
    """At the peak of a stage, where that is known."""
    return "-" if mb is None else f"{mb:.0f} MB"


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _imported(name: str) -> tuple[Any, float]:
    """A module, and how long importing it takes: each stage does so anew."""
    began = time.perf_counter()
    return importlib.import_module(name), time.perf_counter() - began


def _opened(
    args: Namespace, config: Config, folder: Path
) -> tuple["Video", float, "PreprocessOptions"]:
    """The video, how long reading it takes, and the options of its preprocessing."""
    from omnimotion.video import open_video
    from preprocess.options import PreprocessOptions

    options = PreprocessOptions(
        video=args.video, scene=folder, flow=args.flow, raft_weights=args.raft_weights,
        max_side=args.max_side, frames=args.frames, pairs=args.pairs, device=config.fit.device,
    )  # fmt: skip
    began = time.perf_counter()
    video = open_video(args.video, args.frames)
    return video, time.perf_counter() - began, options


@contextmanager
def _quiet() -> Iterator[None]:
    """What the stages say of the excerpt is of no use."""
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
