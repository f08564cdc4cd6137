"""Options that several commands have."""

from pathlib import Path

from omnimotion.config import Parser

SEE_PREPROCESS = "see preprocess --help"


def add_flow(
    parser: Parser, flow: str = SEE_PREPROCESS, weights: str = SEE_PREPROCESS,
    pairs: str = SEE_PREPROCESS,
) -> None:  # fmt: skip
    """How flow is computed; the texts are for the command that others refer to."""
    add = parser.add_argument
    add("--flow", default="auto", choices=("auto", "raft", "dis"), help=flow)
    add("--raft-weights", type=Path, metavar="FILE", help=weights)
    add("--max-side", type=int, default=854, metavar="PX",
        help="longer side at which flow is computed")  # fmt: skip
    add("--pairs", default="auto", choices=("auto", "all", "log"), help=pairs)


def add_device(parser: Parser, has_backend: bool = True) -> None:
    """What a fitted scene is computed on."""
    add = parser.add_argument
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")
    if has_backend:
        add("--backend", default="auto", choices=("auto", "torch", "numba", "tcnn"),
            help="see train --help")  # fmt: skip
    add("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 is one for each core")
