"""``omnimotion view SCENE``: look at a fitted scene in the browser; click a pixel, see its track.

Needs the extra ``view``: pip install "omnimotion[view]".
"""

import logging
import webbrowser
from argparse import Namespace
from contextlib import closing, suppress
from pathlib import Path

from omnimotion.config import Parser
from omnimotion.errors import ConfigError

SUMMARY = "click in the video, in the browser"
PORT = 8765
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("scene", type=Path, metavar="SCENE", help="a preprocessed and fitted scene")
    add("--run", type=Path, metavar="DIR", help="a run; default the scene's newest complete one")
    add("--port", type=int, default=PORT, metavar="N",
        help="of this machine, which alone can reach it; 0 is any free one")  # fmt: skip
    add("--browser", action="store_true", help="open the page in the browser")
    add("--device", default="auto", choices=("auto", "cpu", "cuda"), help="where to compute")
    add("--backend", default="auto", choices=("auto", "torch", "numba", "tcnn"),
        help="see train --help")  # fmt: skip
    add("--threads", type=int, default=0, metavar="N", help="CPU threads; 0 is one for each core")


def main(args: Namespace) -> int:
    """Run the command until Ctrl-C; raises `OmniMotionError`."""
    try:
        from omnimotion.viewer.server import HOST, build_app, listen, serve
    except ImportError as problem:
        raise ConfigError(
            f'the viewer needs {problem.name}: pip install "omnimotion[view]"'
        ) from problem
    from omnimotion.fitted import open_fitted
    from omnimotion.runs import set_threads
    from omnimotion.viewer.answers import open_answers
    from omnimotion.viewer.refits import Refits

    set_threads(args.threads)
    where = {"device": args.device, "backend": args.backend}
    answers = open_answers(open_fitted(args.scene, args.run, **where), args.scene)
    base = args.run or args.scene / "runs" / str(answers.scene.meta["run"])
    words = [f"--{name}={value}" for name, value in {**where, "threads": args.threads}.items()]
    refits = Refits(
        args.scene, base, lambda run: answers.adopt(open_fitted(args.scene, run, **where)), words
    )
    with closing(refits), listen(args.port) as listener:
        port = listener.getsockname()[1]
        answers.warm()
        log.info("view=http://%s:%d (Ctrl-C ends it)", HOST, port)
        if args.browser:
            webbrowser.open(f"http://{HOST}:{port}")
        with suppress(KeyboardInterrupt):
            serve(build_app(answers, refits, port), listener)
    return 0
