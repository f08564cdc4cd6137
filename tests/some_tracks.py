"""Tracks of any number and length, made by chance, for tests of what is done with them."""

import numpy as np

from omnimotion.tracks import Tracks


def make_tracks(count=5, n_frames=7, meta=None):
    rng = np.random.default_rng(count)
    shape = (count, n_frames)
    queries = np.column_stack((rng.integers(0, n_frames, count), rng.random((count, 2)) * 60))
    return Tracks(
        xy=(rng.random((*shape, 2)) * 1e3 - 100).astype(np.float32),
        visible=rng.random(shape) < 0.6,
        confidence=rng.random(shape).astype(np.float32),
        occlusion=(rng.random(shape) * 1e-6).astype(np.float32),
        depth=(rng.random(shape) - 0.5).astype(np.float32),
        queries=queries.astype(np.float32),
        fps=29.97,
        size=(65, 49),
        meta={} if meta is None else meta,
    )


def wandering(n_frames):
    """Places of three points, float64 (3, T, 2); each is some px from the one before."""
    random = np.random.default_rng(0)
    return 100 + np.cumsum(random.normal(0, 5, (3, n_frames, 2)), axis=1)
