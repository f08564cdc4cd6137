"""``omnimotion train --scene DIR``: fit a preprocessed scene."""

import gc
import logging
import shlex
import time
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from omnimotion.config import Config, Parser, add_settings, parsed_config
from omnimotion.errors import ConfigError
from omnimotion.windows import MOST, OVERLAP, WINDOW, plan_windows

if TYPE_CHECKING:
    from omnimotion.fitting import Fit
    from omnimotion.flow import SceneStore
    from omnimotion.long_refits import Refit
    from omnimotion.long_runs import Part
    from omnimotion.scene import Scene
    from omnimotion.signals import StopSignal
    from omnimotion.supervision import Supervision

SUMMARY = "fit a scene"
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--scene", type=Path, required=True, metavar="DIR",
                        help="scene folder made by preprocess")  # fmt: skip
    parser.add_argument("--run", metavar="RUN",
                        help="a name for the run in the scene, or a folder; default default")
    _add_given(parser)
    _add_windows(parser)
    add_settings(parser)


def _add_given(parser: Parser) -> None:
    """What is known of the video besides."""
    parser.add_argument(
        "--tracks", type=Path, metavar="FILE",
        help="any tracker's points of this video, to learn from as from the flow: a file of "
        "tracks (.npz, .csv, .json), or CSV with the header track,t,x,y and, if known, confidence "
        "(weighs 0 to 1) and visible (0 or 1); hidden points are left out; see tracks_share",
    )  # fmt: skip
    parser.add_argument(
        "--tracks-licence", metavar="TEXT",
        help="that the tracks of --tracks come under, CC-BY-NC-4.0 say: answers name it; by "
        "default what a file of tracks says itself",
    )  # fmt: skip
    parser.add_argument(
        "--pin", type=Path, metavar="FILE",
        help="points that must hold, CSV with the header track,t,x,y and, for places where the "
        "point is hidden, visible (0 or 1); each in two frames or more. Goes on from the complete "
        "run --run (of windows: where two places of a point are) for pin_steps steps, with its "
        "settings, into a folder beside it, <run>-pinned-<mark of the pins>; query.py takes a "
        "scene's newest run, and its tracks of these points go through the pins",
    )  # fmt: skip
    parser.add_argument(
        "--masks", type=Path, metavar="DIR",
        help="a mask PNG for each frame, indexed or black and white, in the order of the names: "
        "matches from one object to another, or to the background, are not learned from",
    )  # fmt: skip
    parser.add_argument(
        "--depth", type=Path, metavar="DIR",
        help="a depth map for each frame, PNG of 16 bits or NPY, in the order of the names, of "
        "any scale: what is farther in a frame lies deeper; see depth_order and inverse_depth",
    )  # fmt: skip


def _add_windows(parser: Parser) -> None:
    parser.add_argument(
        "--window", type=int, default=WINDOW, metavar="N",
        help=f"frames of a window: a clip of more than {MOST:g} windows is cut, and each window "
        "fitted by itself, in a folder of the run; num_iters counts for each of them, budget for "
        "all",
    )  # fmt: skip
    parser.add_argument("--overlap", type=int, default=OVERLAP, metavar="N",
                        help="frames that windows share, to hand tracks over in")  # fmt: skip
    parser.add_argument(
        "--shard", metavar="I/N",
        help="only every N-th window, from the I-th on, counted from 0: for processes and "
        "machines that share the scene's folder; the last one to end completes the run",
    )
    parser.add_argument(
        "--keep-flow", choices=("yes", "no"), default="yes",
        help="no: delete the matches of frames once every window that they are in is fitted; "
        "queries then give the scene's own tracks, not refined, and preprocess --repair makes "
        "the matches again",
    )  # fmt: skip


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    began = time.perf_counter()  # a budget includes the imports
    from omnimotion.parallel import together
    from omnimotion.runs import choose_device

    config = parsed_config(args)
    with together(choose_device(config.fit.device)) as rank:
        _train(args, config, rank, began)
    return 0


def _train(args: Namespace, config: Config, rank: int, began: float) -> None:
    """Fit as the process of this rank, one of those of torchrun, or the only one."""
    from omnimotion.flow import SceneStore
    from omnimotion.folders import begun
    from omnimotion.long_refits import LOCK, Refit, windows_of, with_earlier
    from omnimotion.long_runs import Part
    from omnimotion.parallel import check_divided, help_fit
    from omnimotion.runs import RUNS_NAME, run_folder, set_threads, start_fit
    from omnimotion.signals import catch_signals
    from omnimotion.supervision import read_supervision

    store = SceneStore.open(args.scene, matches=False)
    whole = Part(store, run_folder(args.scene, args.run), config)
    windows = windows_of(whole.run, store.index) if args.pin else plan_windows(
        store.index.n_frames, args.window, args.overlap)  # fmt: skip
    if len(windows) == 1 and not _is_over(args, whole.run):
        store.require_files()
    check_divided(config.fit, len(windows))
    _check_given(args, store.index.n_frames, len(windows))
    files = args.tracks, args.pin, args.masks, args.depth
    supervision = read_supervision(store.index, *files, licence=args.tracks_licence)
    set_threads(config.fit.threads)
    refit = None
    if supervision.pin:
        pins = with_earlier(supervision.pin, whole.run, store.index)
        supervision = supervision._replace(pin=pins)
        refit = Refit(whole, windows, supervision, pins)
    whole = whole._replace(run=refit.run) if refit else whole

    def begin(part: Part) -> "Fit":
        since = began if part.store is store else None  # a budget's share starts with its window
        given, base = refit.of(part) if refit else (supervision, None)
        return start_fit(part.store, part.run, part.config, given, base, since)

    def fit(part: Part) -> None:
        _fit(part, begin, stop, compares=refit is None)

    run = whole.run
    if rank:
        help_fit(lambda copy: begin(whole._replace(run=copy)), run)
        return
    with begun(run, LOCK), catch_signals() as stop:
        if len(windows) == 1:
            _fit_whole(args, whole, supervision, fit)
        elif not _fit_windows(args, whole, windows, fit, refit):
            return  # other shards are at work yet
    scene, own = shlex.quote(str(args.scene)), run.parent == args.scene / RUNS_NAME
    log.info("run=%s; next: query.py --scene %s%s --grid 16 --out tracks.npz --video overlay.mp4",
             run, scene, "" if own else f" --run {shlex.quote(str(run))}")


def _is_over(args: Namespace, run: Path) -> bool:
    """Whether a run of one window has nothing left to do, but perhaps to drop its flow."""
    from omnimotion.long_runs import is_fitted

    return args.keep_flow == "no" and not args.pin and is_fitted(run)


def _fit_whole(
    args: Namespace, whole: "Part", supervision: "Supervision", fit: Callable[["Part"], None]
) -> None:
    """Fit a clip of one window."""
    from omnimotion.files import lock
    from omnimotion.long_refits import LOCK
    from omnimotion.long_runs import check_whole, drop_flow
    from omnimotion.restarts import chosen_config
    from omnimotion.runs import check_resumed

    store, run, config = whole
    with lock(run / LOCK):
        check_whole(run)
        if _is_over(args, run):
            check_resumed(store, run, chosen_config(run, config), supervision)
        else:
            fit(whole)
        if args.keep_flow == "no":
            drop_flow(store, [])


def _check_given(args: Namespace, n_frames: int, n_windows: int) -> None:
    """Refuse what does not go with so many windows, before maps of a long clip are read."""
    if n_windows == 1 and args.shard:
        raise ConfigError(f"--shard {args.shard}: the clip has one window: leave it out")
    if args.tracks_licence is not None and not args.tracks:
        raise ConfigError("--tracks-licence is of imported tracks: give --tracks FILE")
    given = [name for name in ("depth", "masks", "tracks") if getattr(args, name)]
    if n_windows > 1 and given:
        raise ConfigError(
            f"--{given[0]} goes with clips of one window, this one has {n_windows}: give "
            f"--window {n_frames}, or cut the clip"
        )


def _fit_windows(
    args: Namespace, whole: "Part", windows: list[range], fit: Callable[["Part"], None],
    refit: "Refit | None",
) -> bool:  # fmt: skip
    """Fit the windows of a clip that are left, or this shard's part of them; whether all are."""
    from omnimotion.batch.task import parse_shard
    from omnimotion.batch.work import waiting_lock
    from omnimotion.budget import shared_budget
    from omnimotion.files import lock, make_folder
    from omnimotion.heap import give_back
    from omnimotion.long_refits import LOCK
    from omnimotion.long_runs import drop_flow, finish_windows, start_windows

    store, run, config = whole
    n_fitted = refit.n_fitted if refit else len(windows)
    shard, n_shards = parse_shard(args.shard)
    with waiting_lock(run / LOCK):  # which another shard may hold for a moment
        if refit:
            refit.take_over()
        left = start_windows(store, run, config, windows, n_fitted)
    mine = [part for part in left if windows.index(part.store.span) % n_shards == shard]
    for part in mine:
        make_folder(part.run)
        with lock(part.run / LOCK), shared_budget(config.fit.budget, n_fitted):
            fit(part)
        left.remove(part)
        gc.collect()  # a fit is part of a cycle, and holds its window's matches
        give_back()
        if args.keep_flow == "no":
            drop_flow(store, left)
    is_whole = finish_windows(run)
    if is_whole and args.keep_flow == "no":
        drop_flow(store, [])
    return is_whole


def _fit(
    part: "Part", begin: Callable[["Part"], "Fit"], stop: "StopSignal", compares: bool = True
) -> None:
    """Fit a clip, or a window of it, to its end, and write its report.

    ``compares``: restarts, if there are any; a refit has none.
    """
    from omnimotion.files import make_folder
    from omnimotion.fitting import run_fit
    from omnimotion.history import plot_history
    from omnimotion.parallel import share
    from omnimotion.report import save_report
    from omnimotion.restarts import best_start, check_none_begun, restarts_report
    from omnimotion.temporary import remove_stale_temps

    store, run, config = part
    make_folder(run)
    for folder in (run, *(path for path in run.iterdir() if path.is_dir())):
        remove_stale_temps(folder)

    def begin_in(folder: Path, config: Config) -> "Fit":
        return begin(part._replace(run=folder, config=config))

    if compares and not config.fit.restarts:
        check_none_begun(run)
    compares = compares and config.fit.restarts > 0
    fit = best_start(begin_in, store, run, config, stop) if compares else begin(part)
    board = _tensorboard(run)
    steps = fit.config.fit.num_iters
    with tqdm(total=steps, initial=fit.step, desc="fit", unit="step", disable=None) as bar:

        def progress(step: int, line: dict[str, float]) -> None:
            bar.set_postfix(flow_px=f"{line['flow_px']:.2f}", refresh=False)
            bar.update(step - bar.n)
            for name, value in line.items() if board else ():
                board.add_scalar(name, value, step)

        report = run_fit(fit, share(fit, stop), partial(_preview, store, run), progress)
    plot_history(run)
    save_report(fit, store, restarts_report(run))
    log.info("step=%d seconds=%.1f flow_error_px=%.2f skipped_steps=%d", report.step,
             report.seconds, report.flow_error_px, report.skipped)  # fmt: skip


def _preview(store: "SceneStore", run: Path, scene: "Scene", step: int) -> None:
    from omnimotion.history import plot_history
    from omnimotion.previews import save_preview

    save_preview(store, scene, run, step)
    plot_history(run)


def _tensorboard(run: Path) -> Any:
    """TensorBoard's writer where it is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"))
