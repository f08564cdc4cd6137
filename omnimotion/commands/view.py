"""``omnimotion view [SCENE]``: click a pixel of a video in the browser, see its track.

Without a fitted scene the page takes a video, and makes one.

Needs the extra ``view``: pip install "omnimotion[view]".
"""

import logging
import webbrowser
from argparse import Namespace
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from omnimotion.commands.options import add_device
from omnimotion.config import Parser, load_config
from omnimotion.errors import ConfigError, SceneError

SUMMARY = "click in the video, in the browser"
PORT = 8765
SCENES = Path("scenes")
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("scene", type=Path, nargs="?", metavar="SCENE",
        help="a preprocessed and fitted scene; or a folder of scenes, or an empty one, to which "
             "the page adds scenes of videos that are dropped on it; default scenes, "
             "which is made where it is not there")  # fmt: skip
    add("--run", metavar="RUN",
        help="a run: its name in the scene, or its folder; default the newest complete one")
    add("--config", type=Path, metavar="FILE",
        help="settings of the fits of new videos, as train has them")  # fmt: skip
    add("--port", type=int, default=PORT, metavar="N",
        help="of this machine, which alone can reach it; 0 is any free one")  # fmt: skip
    add("--browser", action="store_true", help="open the page in the browser")
    add_device(parser)


def main(args: Namespace) -> int:
    """Run the command until Ctrl-C; raises `OmniMotionError`."""
    try:
        from omnimotion.viewer.server import HOST, build_app, listen, serve
    except ImportError as problem:
        raise ConfigError(
            f'the viewer needs {problem.name}: pip install "omnimotion[view]"'
        ) from problem
    from omnimotion.files import shown as shown_name
    from omnimotion.flow import INDEX_NAME
    from omnimotion.runs import run_folder, set_threads
    from omnimotion.viewer.shelf import Shelf
    from omnimotion.viewer.shown import Shown
    from omnimotion.viewer.studio import Studio

    set_threads(args.threads)
    if args.config:
        load_config(args.config)  # said now, not after a video was sent
    folder = args.scene or SCENES
    if args.scene and not folder.is_dir():
        raise SceneError(f"no folder {shown_name(folder)}: make it, or give a scene")
    shown = Shown(device=args.device, backend=args.backend, threads=args.threads)
    with ExitStack() as stack:
        stack.callback(shown.close)
        if (folder / INDEX_NAME).is_file():
            if args.config:
                raise ConfigError("--config is of new videos: give a folder of scenes, not one")
            shown.open(folder, None if args.run is None else run_folder(folder, args.run))
            studio = None
        elif args.run:
            raise ConfigError("--run is of a scene: give the scene, too")
        else:
            words = [f"--config={args.config}"] if args.config else []
            studio = stack.enter_context(closing(Studio(Shelf.open(folder), shown, words)))
        listener = stack.enter_context(listen(args.port))
        port = listener.getsockname()[1]
        app = build_app(shown, port, studio)
        log.info("view=http://%s:%d (Ctrl-C ends it)", HOST, port)
        if args.browser:
            webbrowser.open(f"http://{HOST}:{port}")
        with suppress(KeyboardInterrupt):
            serve(app, listener)
    return 0
