"""``omnimotion batch VIDEO... --out DIR``: preprocess, train and query many videos.

Each video is on its own: one that fails is named, and the others go on. What is done is not done
again: the same command goes on where an interrupted one stopped, and tries again what failed.
DIR/summary.html shows all; tracks are in DIR/tracks, scenes in DIR/scenes.
"""

import logging
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omnimotion.commands.options import add_flow
from omnimotion.config import Config, Parser, load_config
from omnimotion.errors import BatchFailed, ConfigError, Interrupted, PointsError

if TYPE_CHECKING:
    from omnimotion.batch.task import Record, Task

SUMMARY = "preprocess, train and query many videos"
POINTS = (".csv", ".json", ".npz")
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("videos", type=Path, nargs="+", metavar="VIDEO", help="video files, folders of images")
    add("--config", type=Path, metavar="FILE", help="settings of the fits; default the defaults")
    add("--out", type=Path, required=True, metavar="DIR", help="folder of the batch")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--grid", type=int, default=16, metavar="N",
                      help="track a grid of points, N along the longer side")  # fmt: skip
    what.add_argument("--points", type=Path, metavar="PATH",
                      help="track the points of a table (see query), or of the table NAME.csv, "
                           ".json or .npz that a folder holds for each video")  # fmt: skip
    add("--frame", type=int, metavar="T", help="frame of the grid; default 0")
    add_flow(parser)
    add("--jobs", type=int, default=0, metavar="N",
        help="videos at once on this machine; 0 is one for each GPU, or as many as it has cores "
             "for the setting threads")  # fmt: skip
    add("--shard", metavar="I/N",
        help="only every N-th video, from the I-th on, counted from 0: for arrays of jobs that "
             "share DIR")  # fmt: skip
    add("--ray", metavar="ADDRESS", help="run on the Ray cluster at this address, or auto")
    add("--memory", type=float, default=4.0, metavar="GB",
        help="that a video may need on a machine of the cluster")  # fmt: skip
    add("--overwrite", action="store_true", help="replace tracks of other points")


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from omnimotion.batch.progress import Progress
    from omnimotion.batch.start import check_tracks, start_batch
    from omnimotion.batch.summary import save_summary, table
    from omnimotion.batch.task import in_shard, parse_shard
    from omnimotion.resumed import FREE
    from omnimotion.signals import catch_signals

    _check(args)
    shard, config = parse_shard(args.shard), load_config(args.config) if args.config else Config()
    tasks = _tasks(args, config)
    start_batch(args.out, config, tasks[0].asked["preprocess"], FREE)
    mine = in_shard(tasks, shard)
    if not args.overwrite:
        check_tracks(mine)
    log.info("videos=%d of %d out=%s", len(mine), len(tasks), args.out)
    show = Progress(mine)
    with catch_signals() as stop:
        if args.ray:
            from omnimotion.batch.cluster import Needs, run_on_ray

            needs = Needs(config.fit.threads or 1, args.memory, config.fit.device)
            records = run_on_ray(mine, args.ray, needs, show, stop)
        else:
            from omnimotion.batch.local import gpus_here, places_here, run_here

            places = places_here(args.jobs, config.fit.threads, gpus_here(config.fit.device))
            records = run_here(mine, places, show, stop)
        content = save_summary(args.out, tasks, records)
    print(table(content))
    log.info("summary=%s", args.out / "summary.html")
    return _ended(records, stop.number, args.out)


def _check(args: Namespace) -> None:
    """Refuse what could not be done, before anything starts."""
    if args.jobs < 0:
        raise ConfigError(f"--jobs {args.jobs}: expected 0 or more")
    if args.ray and args.jobs:
        raise ConfigError("--jobs is of this machine, and Ray decides itself: drop one of the two")
    if not args.memory > 0:
        raise ConfigError(f"--memory {args.memory:g}: expected GB above 0")
    if args.grid < 1:
        raise PointsError(f"--grid {args.grid}: expected 1 or more")
    if args.frame is not None and (args.points or args.frame < 0):
        why = "points have their own frames" if args.points else "expected 0 or more"
        raise ConfigError(f"--frame {args.frame}: {why}")
    for path in (args.points, args.raft_weights):
        if path is not None and not path.exists():
            raise ConfigError(f"no such file: {path}")


def _tasks(args: Namespace, config: Config) -> list["Task"]:
    """A task for each video."""
    from omnimotion.batch.task import Task, check_names
    from omnimotion.commands.preprocess import scene_name

    # of links the names as given: the same clip may come under several
    videos = [Path(os.path.abspath(video)) for video in args.videos]
    named = [(scene_name(video), video) for video in videos]
    check_names(named)
    device = ["--device", config.fit.device]
    threads = ["--backend", config.fit.backend, "--threads", str(config.fit.threads)]
    flow = ["--flow", args.flow, "--max-side", str(args.max_side), "--pairs", args.pairs]
    if args.raft_weights:
        flow += ["--raft-weights", str(args.raft_weights.absolute())]
    grid = [] if args.points else ["--grid", str(args.grid), "--frame", str(args.frame or 0)]
    return [
        Task(
            name, video, args.out.absolute(),
            asked={"preprocess": flow, "train": [], "query": grid},
            how={"preprocess": device, "train": [], "query": [*device, *threads]},
            points=_points(args.points, name),
        )
        for name, video in named
    ]  # fmt: skip


def _points(path: Path | None, name: str) -> Path | None:
    """The table of a video's points: the one given, or that of its name in the given folder."""
    if path is None or not path.is_dir():
        return path and path.absolute()
    found = [path / f"{name}{suffix}" for suffix in POINTS if (path / f"{name}{suffix}").is_file()]
    if len(found) != 1:
        raise ConfigError(
            f"{path} holds {len(found)} tables of points for {name}, expected one: "
            + ", ".join(f"{name}{suffix}" for suffix in POINTS)
        )
    return found[0].absolute()


def _ended(records: Sequence["Record"], signal_number: int, out: Path) -> int:
    """0, or the error that says how the batch ended."""
    if signal_number:
        raise Interrupted(
            f"stopped; saved in {out}; give the same command again to go on", signal_number
        )
    failed = [record.name for record in records if record.failure]
    if failed:
        raise BatchFailed(
            f"{len(failed)} of {len(records)} videos failed, the first is {failed[0]}: see "
            f"{out / 'summary.html'}; the same command tries them again"
        )
    return 0
