"""The frames of a scene: those of its video where that is at hand, else as they are stored."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from omnimotion.errors import VideoError
from omnimotion.files import shown
from omnimotion.flow import SceneStore
from omnimotion.video import open_video

log = logging.getLogger(__name__)


def images(scene: Path, source: Path | None, frames: Sequence[int]) -> Iterator[np.ndarray]:
    """Those ``frames``, uint8 RGB (H, W, 3), of the ``source`` video or as the scene stores them.

    Raises `VideoError` where the source is not the scene's video.
    """
    store = SceneStore.open(scene, matches=False)
    if source is None:
        yield from (store.frame(int(t)) for t in frames)
        return
    # the fingerprint tells whether it is as far as it was when the scene was made
    video = open_video(source, store.index.settings.get("frames"), allow_truncated=True)
    if video.fingerprint != store.index.fingerprint:
        raise VideoError(
            f"--source {shown(source)} is not the video of {shown(scene)}: fingerprints differ"
        )
    wanted = set(frames)
    yield from (image for t, image in enumerate(video) if t in wanted)


def enlarged(originals: Iterable[np.ndarray], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """The images at the size (W, H) of the original video; says so where that changes them."""
    is_told = False
    for image in originals:
        stored = image.shape[1::-1]
        if stored == size:
            yield image
            continue
        if not is_told:
            log.warning("video: frames are stored at %dx%d and enlarged to %dx%d; "
                        "--source VIDEO draws on the original", *stored, *size)  # fmt: skip
            is_told = True
        yield cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)
