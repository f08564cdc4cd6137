"""Looking through the files of a complete scene, and making damaged ones again.

Frames are compared with the video's. Matches are checked by their checksums; where a file of them
is damaged, the job is reopened without it: its pairs are computed again, for chains pass through
all frames, but no other file changes, and the result is what it was, byte for byte on a CPU.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from omnimotion.errors import FlowError, VideoError
from omnimotion.flow import INDEX_NAME, SceneIndex, flow_path, frame_path, read_flow
from omnimotion.images import load_image, save_png
from preprocess.job import PRODUCTS, Job

log = logging.getLogger(__name__)


def repair(folder: Path, frames: Iterable[np.ndarray]) -> bool:
    """Make damaged files of a complete scene again, or reopen its job; whether it was reopened.

    ``frames``: all of the video, uint8 RGB at the working size.
    """
    index = SceneIndex.load(folder)
    for t, frame in enumerate(frames):
        if not is_frame(frame_path(folder, t), frame):
            log.info("repaired=%s", frame_path(folder, t))
            save_png(frame_path(folder, t), frame)
    damaged = [i for i in range(index.n_frames) if not _is_flow_of(index, folder, i)]
    if not damaged:
        log.info("scene=%s all files are sound", folder)
        return False
    Job(index.settings, index.fingerprint, index.flow, index.grown).save(folder)
    (folder / INDEX_NAME).unlink()
    there = [path for i in damaged if (path := flow_path(folder, i)).exists()]
    if len(there) < len(damaged):
        log.info("matches of %d frames are missing and made again", len(damaged) - len(there))
    for path in there:
        log.info("damaged=%s", path)
        path.unlink()
    for name in PRODUCTS:
        (folder / name).mkdir(exist_ok=True)
    return True


def is_frame(path: Path, frame: np.ndarray) -> bool:
    """Whether a file holds a frame, uint8 RGB (H, W, 3)."""
    try:
        return np.array_equal(load_image(path), frame)
    except VideoError:
        return False


def _is_flow_of(index: SceneIndex, folder: Path, i: int) -> bool:
    """Whether the file of frame i holds the matches that the scene says."""
    try:
        found = read_flow(flow_path(folder, i))
    except FlowError:
        return False
    fits = found.i == i and found.fits(index.n_frames, index.size)
    return fits and found.targets.tolist() == index.targets(i)
