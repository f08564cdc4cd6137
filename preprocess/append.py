"""A scene whose video has become longer: frames are added at its end.

The job is reopened for the longer video. Matches with the new frames are what its files lack, so
only the last of them are made again; and windows that end before the new frames are the same as
before, so that their fits still hold (see `SceneIndex.fingerprint_to`).
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from omnimotion.errors import FlowError
from omnimotion.flow import INDEX_NAME, SceneStore, frame_path
from omnimotion.images import save_png
from preprocess.job import PRODUCTS, Job
from preprocess.repair import is_frame

log = logging.getLogger(__name__)


def append(
    folder: Path, frames: Iterable[np.ndarray], n_frames: int, fingerprint: str, gaps: list[int]
) -> Job:
    """The job of a complete scene, reopened for a longer video.

    ``frames``: all ``n_frames`` of that, uint8 RGB at the working size; ``gaps`` of its pairs.
    FlowError where it does not begin with the frames of the scene; then nothing has changed.
    """
    store = SceneStore.open(folder, matches=False)
    index = store.index
    if n_frames <= index.n_frames:
        raise FlowError(
            f"{folder} has {index.n_frames} frames, the video {n_frames}: nothing to append"
        )
    for t, frame in enumerate(frames):
        if t >= index.n_frames:
            save_png(frame_path(folder, t), frame)
        elif not is_frame(frame_path(folder, t), frame):
            raise FlowError(
                f"{folder}: frame {t} of the video is not the one there: only a video that goes "
                "on where that one ends can be appended"
            )
    grown = [*index.grown, (index.n_frames, index.fingerprint)] if gaps == index.gaps else []
    if not grown:
        log.info("pairs of a longer clip have other gaps: all matches are made again")
    elif missing := store.missing():
        log.info("matches of %d frames were deleted and are made again", len(missing))
    job = Job(index.settings, fingerprint, index.flow, grown)
    job.save(folder)
    (folder / INDEX_NAME).unlink()
    for name in PRODUCTS:
        (folder / name).mkdir(exist_ok=True)
    log.info("frames=%d appended=%d", n_frames, n_frames - index.n_frames)
    return job
