"""Train RAFT on rendered motion, or export what was trained.

    python -m preprocess.train_raft --config configs/raft_small.txt --run runs/raft --budget 8m
    python -m preprocess.train_raft --run runs/raft --export raft.npz

The same command goes on where it was stopped: by Ctrl-C, SIGTERM, a kill, or its budget.
"""

import sys
import time
from pathlib import Path

from omnimotion.cli import guarded
from omnimotion.config import Parser, add_settings, checked_settings
from preprocess.train_raft.settings import RaftSettings

LESS = "a smaller --batch"


def parser_of_training() -> Parser:
    """The options of the command."""
    parser = Parser(prog="python -m preprocess.train_raft", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR",
                        help="folder of the training")  # fmt: skip
    parser.add_argument("--export", type=Path, metavar="FILE",
                        help="write the best weights in half precision to FILE, its SHA-256 "
                        "beside it, and train nothing")  # fmt: skip
    add_settings(parser, {"training": RaftSettings})
    return parser


def main(words: list[str]) -> int:
    """Run the command; raises `OmniMotionError`."""
    began = time.perf_counter()
    args = parser_of_training().parse_args(words)
    settings = checked_settings(RaftSettings, vars(args))
    if args.export:
        from preprocess.train_raft.export import export

        export(args.run, args.export)
    else:
        _train(args.run, settings, began)
    return 0


def _train(run: Path, settings: RaftSettings, began: float) -> None:
    import torch

    from omnimotion.files import lock, make_folder
    from omnimotion.signals import catch_signals
    from omnimotion.temporary import remove_stale_temps
    from preprocess.raft import choose_device
    from preprocess.train_raft.loop import train

    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = choose_device(settings.device)
    make_folder(run)
    with lock(run / "lock"), catch_signals() as stop:
        remove_stale_temps(run)
        train(run, settings, device, stop, began)


if __name__ == "__main__":
    sys.exit(guarded(lambda: main(sys.argv[1:]), LESS))
