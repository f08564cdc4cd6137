"""The preprocessing job: video -> frames, checked flow of pairs, merged matches, index.

Conventions. Every file is written atomically and is a function of the video and the options alone,
so a job that is killed at any time and run again ends with the same bytes. Order: frames, matches
section by section, ``scene.json``.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from omnimotion.errors import FlowError, SceneError
from omnimotion.files import lock, require_free
from omnimotion.flow import SceneIndex, frame_path
from omnimotion.folders import begun
from omnimotion.images import save_png
from omnimotion.temporary import remove_stale_temps
from omnimotion.video import Video, open_video
from omnimotion.windows import longest_gap
from preprocess.append import append
from preprocess.cuts import find_cuts
from preprocess.estimator import FlowEstimator, cached_frames
from preprocess.job import (
    LOCK_NAME,
    PRODUCTS,
    Job,
    check_fingerprint,
    check_not_fitted,
    check_settings,
    discard,
    find_job,
    finish,
    is_complete,
    require_ours,
)
from preprocess.methods import choose_estimator
from preprocess.options import PreprocessOptions
from preprocess.pair_store import PairStore
from preprocess.pairs import Lattice, count_pairs, disk_bytes, pair_gaps
from preprocess.repair import repair
from preprocess.sections import match_all
from preprocess.threads import in_threads

log = logging.getLogger(__name__)

CHANCE_SHARE = 0.02  # of points; frames of noise match on up to 1.6 %
NAMED = 8  # cuts, in one line


def preprocess(options: PreprocessOptions) -> Path:
    """Make the scene folder ``options.scene``, or complete it; returns the folder.

    Raises VideoError for an unusable video, FlowError when no flow is reliable or weights are
    missing, SceneError when there is none to append to or to repair, ConfigError when the folder
    belongs to something else, ResourceError when the disk is short.
    """
    folder = options.scene
    require_ours(folder)
    _require_what_is_kept(options)
    video = open_video(options.video, options.frames, allow_truncated=options.allow_truncated)
    size = options.working_size(video.size)
    frames = (at_size(frame, size) for frame in video)
    with begun(folder, LOCK_NAME), lock(folder / LOCK_NAME), one_cv2_thread():
        before = None
        if options.overwrite:
            check_not_fitted(folder)
            if is_complete(folder):  # is not lost to a job that cannot begin
                before = SceneIndex.load(folder).identity
                choose_estimator(options, cached_frames(folder, size), None)
                gaps = gaps_of(options, len(video))
                _require_space(folder, disk_bytes(len(video), gaps, Lattice.for_size(size)))
            discard(folder, Job(options.settings(), None, None))
        for place in (folder, *(folder / name for name in PRODUCTS)):
            if place.is_dir():
                remove_stale_temps(place)
        job = find_job(folder)
        if job is not None:
            check_settings(folder, job.settings, options.settings())
            if options.append and is_complete(folder) and job.fingerprint != video.fingerprint:
                gaps = gaps_of(options, len(video))
                job = append(folder, frames, len(video), video.fingerprint, gaps)
            check_fingerprint(folder, job.fingerprint, video.fingerprint)
        if options.repair and is_complete(folder) and repair(folder, frames):
            job = find_job(folder)
        if is_complete(folder):
            finish(folder)
            log.info("scene=%s already complete", folder)
        else:
            _run(options, video, job)
        if before not in (None, SceneIndex.load(folder).identity):
            _warn_of_runs(folder)
    return folder


def _require_what_is_kept(options: PreprocessOptions) -> None:
    """SceneError where a scene is to go on or to be mended and there is none.

    A slip in its name would make another one.
    """
    for name, does in (("append", "append to"), ("repair", "repair")):
        if getattr(options, name) and find_job(options.scene) is None:
            raise SceneError(
                f"{options.scene}: no scene there to {does}: correct the name, "
                f"or leave {name} out to make one"
            )


def _warn_of_runs(folder: Path) -> None:
    """Say which runs are of what was there before."""
    runs = sorted(path.name for path in (folder / "runs").glob("*") if path.is_dir())
    if runs:
        log.warning("runs of what was there before stay, but are of no use with this: %s; give "
                    "train.py a new name, --run NAME, or delete their folders in %s",
                    ", ".join(runs), folder / "runs")  # fmt: skip


def _run(options: PreprocessOptions, video: Video, job: Job | None) -> None:
    folder = options.scene
    size = options.working_size(video.size)
    n_frames = len(video)
    gaps = gaps_of(options, n_frames)
    lattice = Lattice.for_size(size)
    needed = disk_bytes(n_frames, gaps, lattice)
    log.info(
        "frames=%d size=%dx%d pairs=%d disk_mb=%.0f",
        n_frames, *size, count_pairs(n_frames, gaps), needed / 1e6,
    )  # fmt: skip
    _require_space(folder, needed)
    frames = cached_frames(folder, size)
    estimator = choose_estimator(options, frames, job.flow if job else None)
    _check_method(folder, job, estimator)
    job = _store_frames(options, video, size, job, estimator)
    store = PairStore(folder / "pairs", lattice)
    coverage = match_all(folder, estimator, store, n_frames, gaps)
    _require_reliable(coverage)
    _warn_of_cuts([video.source_indices[t] for t in find_cuts(coverage, n_frames, gaps)])
    SceneIndex(
        name=folder.resolve().name,
        source=options.video.name,
        fingerprint=job.fingerprint or "",
        original_size=video.size,
        size=size,
        n_frames=n_frames,
        fps=float(video.fps),
        times=[float(t) for t in video.times],
        source_indices=[int(index) for index in video.source_indices],
        flow=job.flow or estimator.info,  # the same but for how the weights were found
        stride=lattice.stride,
        gaps=gaps,
        coverage=coverage,
        settings=options.settings(),
        grown=job.grown,
    ).save(folder)
    finish(folder)


def _require_space(folder: Path, needed: int) -> None:
    """ResourceError unless the disk has room for so many bytes; those of the folder are reused."""
    require_free(folder, max(0, needed - _used_bytes(folder)), "preprocessing")


def gaps_of(options: PreprocessOptions, n_frames: int) -> list[int]:
    """The gaps of the pairs that a video of so many frames gets."""
    return pair_gaps(n_frames, options.pairs, options.max_gap or longest_gap(n_frames))


def _check_method(folder: Path, job: Job | None, estimator: FlowEstimator) -> None:
    """Flow of two networks must not mix in one scene."""
    if job is None or job.flow is None:
        return
    keys = ("method", "model", "weights")
    found, asked = ({key: info[key] for key in keys} for info in (job.flow, estimator.info))
    check_settings(folder, found, asked)


def _store_frames(
    options: PreprocessOptions,
    video: Video,
    size: tuple[int, int],
    job: Job | None,
    estimator: FlowEstimator,
) -> Job:
    """Write the frames at the working size, unless they are there already."""
    folder = options.scene
    if job is not None and job.fingerprint is not None:
        return job
    # frames of a job killed here may be those of another video
    discard(folder, Job(options.settings(), None, estimator.info))
    for name in PRODUCTS:
        (folder / name).mkdir(exist_ok=True)

    def save(numbered: tuple[int, np.ndarray]) -> None:
        t, frame = numbered
        save_png(frame_path(folder, t), at_size(frame, size))

    for _ in in_threads(save, enumerate(video), estimator.workers):
        pass
    job = Job(options.settings(), video.fingerprint, estimator.info)
    job.save(folder)
    return job


def at_size(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The frame, resized to ``size`` (W, H)."""
    if frame.shape[1::-1] == size:
        return frame
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def _require_reliable(coverage: list[float]) -> None:
    empty = sum(share < CHANCE_SHARE for share in coverage)
    if empty == len(coverage):
        raise FlowError(
            f"no reliable flow; {empty} of {len(coverage)} pairs empty (under {CHANCE_SHARE:.0%} "
            "of points matched): the frames do not show the same scene, or differ too much"
        )
    if empty:
        log.info("pairs_without_reliable_flow=%d of %d", empty, len(coverage))


def _warn_of_cuts(cuts: list[int]) -> None:
    """A fit is of one shot; the user decides what becomes of several. Frames are the video's."""
    if cuts:
        more = f" and {len(cuts) - NAMED} more" if len(cuts) > NAMED else ""
        where = ", ".join(map(str, cuts[:NAMED])) + more
        log.warning("cut at frame %s? Hardly anything before is seen after; a fit is of one shot: "
                    "make a scene of each, with --frames", where)  # fmt: skip


def _used_bytes(folder: Path) -> int:
    files = (path for name in PRODUCTS for path in (folder / name).glob("*"))
    return sum(path.stat().st_size for path in files if path.is_file())


@contextmanager
def one_cv2_thread() -> Iterator[None]:
    """Pairs run in threads of their own; OpenCV's would only compete, and order its sums."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
