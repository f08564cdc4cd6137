"""``omnimotion evaluate TRUTH...``: score fitted scenes against ground truth."""

import logging
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from omnimotion.commands.options import add_device
from omnimotion.config import Parser
from omnimotion.errors import ConfigError, InputError, VideoError

if TYPE_CHECKING:
    from omnimotion.flow import SceneIndex
    from omnimotion.ground_truth import GroundTruth

SUMMARY = "score fitted scenes against ground truth"
log = logging.getLogger(__name__)


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("truth", type=Path, nargs="+", metavar="TRUTH",
        help="folders with gt.npz and frames/, or TAP-Vid pickles")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scene", type=Path, metavar="DIR", help="the scene, for a single clip")
    where.add_argument("--scenes", type=Path, default=Path("scenes"), metavar="DIR",
                       help="folder that holds a scene of each clip's name")  # fmt: skip
    add("--run", metavar="RUN",
        help="a run: its name in each scene, or its folder; default the newest complete one")
    add("--mode", default="given", choices=("given", "strided", "first"),
        help="queries: the file's own, every 5th frame, or first visible")  # fmt: skip
    add("--out", type=Path, metavar="FILE", help="scores as .json or .md")
    add("--extract", type=Path, metavar="DIR",
        help="only unpack TAP-Vid pickles into DIR/<clip>, ready for preprocess")  # fmt: skip
    add("--overwrite", action="store_true", help="replace an existing output file")
    add_device(parser, has_backend=False)


def main(args: Namespace) -> int:
    """Run the command; raises `OmniMotionError`."""
    from omnimotion.evaluation import Tracker, evaluate
    from omnimotion.export import check_output
    from omnimotion.files import atomic_write, make_folder
    from omnimotion.ground_truth import GroundTruth
    from omnimotion.long_runs import open_clip
    from omnimotion.runs import run_folder, set_threads

    if args.extract:
        return _extract(args.truth, args.extract)
    if args.out:
        check_output(args.out, (".json", ".md"), args.overwrite)
    if args.scene and (len(args.truth) > 1 or _is_pickle(args.truth[0])):
        raise ConfigError("--scene is for a single folder: use --scenes")
    set_threads(args.threads)

    def clips() -> Iterator[tuple[Tracker, GroundTruth]]:
        for folder, truth in _truths(args.truth):
            scene = args.scene or args.scenes / truth.name
            run = None if args.run is None else run_folder(scene, args.run)
            tracker = open_clip(scene, run, args.device)
            _check_clip(scene, tracker.index, truth)
            _warn_of_other_frames(scene, tracker.index, folder)
            yield tracker, truth

    result = evaluate(clips(), args.mode)
    print(result.to_markdown())
    if args.out:
        is_json = args.out.suffix.lower() == ".json"
        text = result.to_json() if is_json else result.to_markdown()
        make_folder(args.out.parent)
        atomic_write(args.out, text.encode())
        log.info("scores=%s", args.out)
    return 0


def _truths(paths: list[Path]) -> Iterator[tuple[Path | None, "GroundTruth"]]:
    """The truth of each clip, with its folder, if it has one."""
    from omnimotion.ground_truth import read_ground_truth, read_tapvid

    for path in paths:
        if _is_pickle(path):
            for clip in read_tapvid(path):
                yield None, clip.truth
        else:
            yield path, read_ground_truth(path)


def _check_clip(scene: Path, index: "SceneIndex", truth: "GroundTruth") -> None:
    """`InputError` where the two have other pixels or frames."""
    n_frames = truth.tracks.shape[1]
    if index.original_size != truth.size:
        own, other = ("{}x{}".format(*each) for each in (index.original_size, truth.size))
        raise InputError(
            f"{scene} is of a {own} video, {truth.name} has frames of {other}: preprocess these"
        )
    if index.n_frames != n_frames:
        raise InputError(
            f"{scene} has {index.n_frames} frames, {truth.name} {n_frames}: preprocess all of "
            "them, and no others"
        )


def _warn_of_other_frames(scene: Path, index: "SceneIndex", folder: Path | None) -> None:
    """The same clip may come as a video and as images, which no fingerprint tells."""
    from omnimotion.files import shown
    from omnimotion.video import open_video

    if folder is None:
        return
    frames = folder / "frames"
    try:
        is_same = open_video(frames).fingerprint == index.fingerprint
    except VideoError as problem:  # scores need none of them
        log.warning("whether %s was made of these frames is not known: %s", shown(scene), problem)
        return
    if not is_same:
        log.warning("%s was not made of %s: are they the same clip? Fingerprints differ",
                    shown(scene), shown(frames))  # fmt: skip


def _is_pickle(path: Path) -> bool:
    return path.suffix.lower() in (".pkl", ".pickle")


def _extract(paths: list[Path], folder: Path) -> int:
    """Write the frames of every clip of the pickles."""
    from omnimotion.files import atomic_folder
    from omnimotion.ground_truth import read_tapvid
    from omnimotion.images import save_png

    for path in paths:
        if not _is_pickle(path):
            raise ConfigError(f"--extract {path}: expected a .pkl file of TAP-Vid")
        for clip in read_tapvid(path):
            frames = folder / clip.truth.name / "frames"
            with atomic_folder(frames) as temp:
                for t, frame in enumerate(clip.frames):
                    save_png(temp / f"{t:05d}.png", frame)
            log.info("clip=%s frames=%d", frames.parent, len(clip.frames))
    return 0
