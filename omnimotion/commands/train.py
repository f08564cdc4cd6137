"""``omnimotion train --scene DIR``: fit a preprocessed scene."""

import logging
import time
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from omnimotion.config import Config, Parser, add_settings, parsed_config

if TYPE_CHECKING:
    from omnimotion.fit import Fit, FitReport
    from omnimotion.flow import SceneStore
    from omnimotion.signals import StopSignal

SUMMARY = "fit a scene"
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--scene", type=Path, required=True, metavar="DIR",
                        help="scene folder made by preprocess")  # fmt: skip
    parser.add_argument("--run", type=Path, metavar="DIR",
                        help="folder of the run; default <scene>/runs/default")  # fmt: skip
    parser.add_argument(
        "--tracks", type=Path, metavar="FILE",
        help="any tracker's points of this video, to learn from as from the flow: a file of "
        "tracks (.npz, .csv, .json), or CSV with the header track,t,x,y and, if known, confidence "
        "(weighs 0 to 1) and visible (0 or 1); hidden points are left out; see tracks_share",
    )  # fmt: skip
    parser.add_argument(
        "--pin", type=Path, metavar="FILE",
        help="points that must hold, CSV with the header track,t,x,y and, for places where the "
        "point is hidden, visible (0 or 1); each in two frames or more. Goes on from the complete "
        "run --run for pin_steps steps, with its settings, into a folder beside it, "
        "<run>-pinned-<mark of the pins>; query.py takes a scene's newest run, and its tracks of "
        "these points go through the pins",
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
    add_settings(parser)


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
    from omnimotion.files import lock, make_folder, remove_stale_temps
    from omnimotion.flow import SceneStore
    from omnimotion.parallel import check_divided, help_fit, share
    from omnimotion.refit import refit_folder
    from omnimotion.restarts import best_start
    from omnimotion.runs import check_refit, run_folder, set_threads, start_fit
    from omnimotion.signals import catch_signals
    from omnimotion.supervision import read_supervision

    check_divided(config.fit)
    store = SceneStore.open(args.scene)
    supervision = read_supervision(
        store.index, tracks=args.tracks, pin=args.pin, masks=args.masks, depth=args.depth
    )
    set_threads(config.fit.threads)
    base, run = None, run_folder(args.scene, args.run)
    if supervision.pin:
        base, run = run, refit_folder(run, supervision.pin)
        check_refit(store, base, config, supervision)

    def begin(folder: Path, config: Config) -> "Fit":
        return start_fit(store, folder, config, supervision, base, began)

    if rank:
        help_fit(lambda copy: begin(copy, config), run, rank)
        return
    make_folder(run)
    with lock(run / "lock"), catch_signals() as stop:
        for folder in (run, *(path for path in run.iterdir() if path.is_dir())):
            remove_stale_temps(folder)
        compares = config.fit.restarts and base is None
        fit = best_start(begin, store, run, config, stop) if compares else begin(run, config)
        report = _to_its_end(fit, store, share(fit, stop, rank))
    log.info("step=%d seconds=%.1f flow_error_px=%.2f skipped_steps=%d run=%s; next: query.py "
             "--scene %s --grid 16 --out tracks.npz --video overlay.mp4", report.step,
             report.seconds, report.flow_error_px, report.skipped, run, args.scene)  # fmt: skip


def _to_its_end(fit: "Fit", store: "SceneStore", stop: "StopSignal") -> "FitReport":
    """Run a fit, showing how far it is, and write its report."""
    from omnimotion.fit import run_fit
    from omnimotion.history import read_metrics
    from omnimotion.plots import plot_metrics
    from omnimotion.report import save_report
    from omnimotion.restarts import restarts_report

    run, steps = fit.run, fit.config.fit.num_iters
    board = _tensorboard(run)
    with tqdm(total=steps, initial=fit.step, desc="fit", unit="step", disable=None) as bar:

        def progress(step: int, line: dict[str, float]) -> None:
            bar.set_postfix(flow_px=f"{line['flow_px']:.2f}", refresh=False)
            bar.update(step - bar.n)
            for name, value in line.items() if board else ():
                board.add_scalar(name, value, step)

        report = run_fit(fit, stop, partial(_preview, store, run), progress)
    plot_metrics(read_metrics(run / "metrics.jsonl"), run / "loss.png")
    save_report(fit, store, restarts_report(run))
    return report


def _preview(store: object, run: Path, scene: object, step: int) -> None:
    from omnimotion.history import read_metrics
    from omnimotion.plots import plot_metrics
    from omnimotion.previews import save_preview

    save_preview(store, scene, run, step)  # type: ignore[arg-type]
    plot_metrics(read_metrics(run / "metrics.jsonl"), run / "loss.png")


def _tensorboard(run: Path) -> Any:
    """TensorBoard's writer where it is installed, else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(run / "tensorboard"))
