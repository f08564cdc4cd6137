"""Where the cameras start: a chain of similarities fitted to the flow between neighbours.

Conventions. A camera (4,) maps normalised coordinates of its frame into the canonical panorama,
see `geometry.apply_similarity`; the middle frame's is the identity.
"""

import logging

import cv2
import numpy as np
import torch
from torch import Tensor

from omnimotion.flow import SceneStore
from omnimotion.geometry import (
    PIXELS_PER_UNIT,
    Frame,
    compose_similarity,
    invert_similarity,
)

log = logging.getLogger(__name__)

MAX_MATCHES = 4000
MIN_MATCHES = 12
INLIER_PX = 1.0  # at a longer side of 256
IDENTITY = (1.0, 0.0, 0.0, 0.0)


def initial_cameras(store: SceneStore) -> Tensor:
    """Similarities (T, 4) of all frames, chained from RANSAC fits to each frame and the next."""
    frame = Frame(*store.index.size)
    chain = [torch.tensor(IDENTITY)]
    for t in range(1, store.index.n_frames):
        chain.append(compose_similarity(chain[-1], _step_back(store, frame, t)))
    cameras = torch.stack(chain)
    middle = cameras[len(cameras) // 2]
    return compose_similarity(invert_similarity(middle).expand_as(cameras), cameras)


def _step_back(store: SceneStore, frame: Frame, t: int) -> Tensor:
    """The similarity (4,) from frame t to frame t - 1; the identity where flow is too sparse."""
    flow = store.flow(t)
    where = np.flatnonzero(flow.targets == t - 1)
    if len(where):
        xy_i, xy_j, _ = flow.matches(int(where[0]))
        chosen = np.linspace(0, len(xy_i) - 1, min(len(xy_i), MAX_MATCHES)).astype(int)
        if len(chosen) >= MIN_MATCHES:
            source, target = (
                frame.normalise(torch.from_numpy(xy[chosen])).numpy() for xy in (xy_i, xy_j)
            )
            matrix, _ = cv2.estimateAffinePartial2D(
                source, target, ransacReprojThreshold=INLIER_PX / PIXELS_PER_UNIT
            )
            if matrix is not None and np.isfinite(matrix).all():
                (a, _, tx), (b, _, ty) = matrix
                return torch.tensor([a, b, tx, ty], dtype=torch.float32)
    log.warning("frame=%d camera motion unknown: too few matches with the frame before", t)
    return torch.tensor(IDENTITY)
