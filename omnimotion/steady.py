"""Trails without the camera's motion: where points were, seen as from the camera of one frame."""

from dataclasses import replace

import numpy as np
import torch

from omnimotion.geometry import (
    Frame,
    apply_similarity,
    compose_similarity,
    invert_similarity,
    resize_xy,
)
from omnimotion.tracker import Windowed
from omnimotion.tracks import Tracks


class Steady:
    """Takes the camera's motion, a similarity of the image for each frame, out of tracks."""

    def __init__(self, tracker: Windowed) -> None:
        self._index, self._frame = tracker.index, Frame(*tracker.index.size)
        self._cameras = _cameras(tracker)

    def __call__(self, tracks: Tracks, t: int) -> Tracks:
        """The tracks with all places (Q, T, 2) as they lie in the view of their frame ``t``.

        What stands still in the world then stays where it is.
        """
        cameras = self._cameras[torch.from_numpy(tracks.frames)]
        own, stored = self._index.original_size, self._index.size
        xy = self._frame.normalise(resize_xy(torch.from_numpy(tracks.xy), own, stored))
        seen = apply_similarity(invert_similarity(cameras[t]), apply_similarity(cameras, xy))
        places = resize_xy(self._frame.to_pixels(seen), stored, own).numpy()
        places[:, t] = tracks.xy[:, t]
        return replace(tracks, xy=places.astype(np.float32))


def _cameras(tracker: Windowed) -> torch.Tensor:
    """The cameras (T, 4) of all frames, into the panorama of the first window.

    A window's panorama is put on that of the one before by the middle frame that they share.
    """
    found = torch.zeros(0, 4)
    for k, window in enumerate(tracker.windows):
        own = tracker.window(k).scene.snapshot().cameras.detach().cpu()
        if k:
            middle = (window.start + len(found)) // 2
            back = invert_similarity(own[middle - window.start])
            own = compose_similarity(compose_similarity(found[middle], back).expand_as(own), own)
            found = found[:middle]
        found = torch.cat((found, own[len(found) - window.start :]))
    return found
