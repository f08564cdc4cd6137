"""``omnimotion train --scene DIR``: fit a preprocessed scene."""

import logging
from argparse import Namespace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from omnimotion.config import Parser, add_settings, parsed_config

SUMMARY = "fit a scene"
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--scene", type=Path, required=True, metavar="DIR",
                        help="scene folder made by preprocess")  # fmt: skip
    parser.add_argument("--run", type=Path, metavar="DIR",
                        help="folder of the run; default <scene>/runs/default")  # fmt: skip
    add_settings(parser)


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from omnimotion.files import lock, make_folder, remove_stale_temps
    from omnimotion.fit import read_metrics, run_fit
    from omnimotion.flow import SceneStore
    from omnimotion.plots import plot_metrics
    from omnimotion.report import save_report
    from omnimotion.runs import run_folder, set_threads, start_fit
    from omnimotion.signals import catch_signals

    config = parsed_config(args)
    store = SceneStore.open(args.scene)
    set_threads(config.fit.threads)
    run = run_folder(args.scene, args.run)
    make_folder(run)
    with lock(run / "lock"), catch_signals() as stop:
        for folder in (run, *(path for path in run.iterdir() if path.is_dir())):
            remove_stale_temps(folder)
        fit = start_fit(store, run, config)
        board = _tensorboard(run)
        steps = fit.config.fit.num_iters
        with tqdm(total=steps, initial=fit.step, desc="fit", unit="step", disable=None) as bar:

            def progress(step: int, line: dict[str, float]) -> None:
                bar.set_postfix(flow_px=f"{line['flow_px']:.2f}", refresh=False)
                bar.update(step - bar.n)
                for name, value in line.items() if board else ():
                    board.add_scalar(name, value, step)

            report = run_fit(
                fit, stop, preview=lambda scene, step: _preview(store, scene, run, step),
                progress=progress,
            )  # fmt: skip
        plot_metrics(read_metrics(run / "metrics.jsonl"), run / "loss.png")
        save_report(fit, store)
    log.info("step=%d seconds=%.1f flow_error_px=%.2f skipped_steps=%d run=%s; next: query.py "
             "--scene %s --grid 16 --out tracks.npz --video overlay.mp4", report.step,
             report.seconds, report.flow_error_px, report.skipped, run, args.scene)  # fmt: skip
    return 0


def _preview(store: object, scene: object, run: Path, step: int) -> None:
    from omnimotion.fit import read_metrics
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
