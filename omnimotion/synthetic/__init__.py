"""Synthetic clips with exact ground truth: the embedded example, and the tests' material.

Conventions. Sizes are (W, H) in pixels; positions are (x, y) with pixel centres at integers;
queries are (t, x, y); frames are 0-based and uint8 RGB. Everything follows from the seed.

`motion` holds invertible maps, `textures` paint, `creatures` and `reef` what is painted, `scene`
the compositing, `staging` who moves where, and this module the clip: frames and tracks.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from omnimotion.errors import ConfigError, InputError
from omnimotion.files import atomic_folder, atomic_write
from omnimotion.synthetic.scene import Layer, Surface, SyntheticScene
from omnimotion.synthetic.staging import build_scene

__all__ = [
    "Layer",
    "Surface",
    "SyntheticClip",
    "SyntheticScene",
    "build_scene",
    "exact_flow",
    "film_clip",
    "render_clip",
    "write_clip",
]

SPRITE_SHARE = 0.6  # of the queries; the others are on the background
BORDER_PX = 1.0  # queries keep this distance from outlines, where pixels mix two surfaces
CANDIDATES = 64  # positions tried for each query


@dataclass(frozen=True)
class SyntheticClip:
    """A rendered clip and where Q of its points are in all T frames.

    ``frames`` uint8 (T, H, W, 3), or (H, W, 3) one after the other; ``queries`` float32 (Q, 3) as
    (t, x, y), each visible in its own frame; ``tracks`` float32 (Q, T, 2), true also where the
    point is hidden or outside the image; ``visible`` bool (Q, T); ``known`` bool (Q, T), all true;
    ``fps`` frames per second.
    """

    frames: NDArray[np.uint8] | Iterator[NDArray[np.uint8]]
    queries: NDArray[np.float32]
    tracks: NDArray[np.float32]
    visible: NDArray[np.bool_]
    known: NDArray[np.bool_]
    fps: float


def render_clip(
    seed: int,
    n_frames: int = 36,
    size: tuple[int, int] = (160, 120),
    n_sprites: int = 3,
    n_queries: int = 128,
    supersample: int = 2,
) -> SyntheticClip:
    """Render the scene `build_scene` makes of the same arguments, and track random points.

    The queries come from all frames, and more of them from sprites than their area would give.
    Raises ConfigError if an argument is out of range.
    """
    clip = film_clip(seed, n_frames, size, n_sprites, n_queries, supersample=supersample)
    return replace(clip, frames=np.stack(list(clip.frames)))


def film_clip(
    seed: int, n_frames: int, size: tuple[int, int], n_sprites: int = 3, n_queries: int = 128, *,
    supersample: int = 2,
) -> SyntheticClip:  # fmt: skip
    """`render_clip`, with frames that are rendered one by one, when they are asked for."""
    if n_queries < 0:
        raise ConfigError(f"n_queries: found {n_queries}, expected 0 or more")
    if supersample < 1:
        raise ConfigError(f"supersample: found {supersample}, expected 1 or more")
    scene = build_scene(seed, n_frames, size, n_sprites)
    frames = (scene.render(t, supersample) for t in range(n_frames))
    rng = np.random.default_rng((seed, n_frames))
    queries = _draw_queries(scene, rng, n_queries)
    tracks, visible = _track(scene, queries)
    return SyntheticClip(frames, queries, tracks, visible, np.ones_like(visible), scene.fps)


def exact_flow(scene: SyntheticScene, i: int, j: int) -> tuple[
    NDArray[np.float32], NDArray[np.bool_]
]:  # fmt: skip
    """Where each pixel of frame ``i`` goes in frame ``j``.

    Returns the displacement in pixels, float32 (H, W, 2), true for hidden points too, and
    whether the point is visible in frame ``j``, bool (H, W).
    """
    seen = scene.surface(i)
    xy = scene.position(seen.layer, seen.material, j)
    return (xy - scene.pixels()).astype(np.float32), scene.visible(seen.layer, xy, j)


def write_clip(clip: SyntheticClip, folder: Path) -> None:
    """Write ``folder/frames/00000.png``, ... and ``folder/gt.npz``.

    The archive has ``queries``, ``tracks``, ``visible``, ``known`` and ``occlusion_labels`` (True:
    visibility may be scored). The folder of frames comes last, and whole. Raises InputError if
    there are frames or another archive in the folder already, ResourceError if the disk is full.
    """
    frames, truth = folder / "frames", folder / "gt.npz"
    if frames.is_dir() and not any(frames.iterdir()):
        frames.rmdir()
    data = _truth(clip)
    if frames.exists() or (truth.exists() and truth.read_bytes() != data):
        raise InputError(f"{folder}: found files, expected an empty folder; choose another one")
    with atomic_folder(frames) as half:
        for t, frame in enumerate(clip.frames):
            png = io.BytesIO()
            Image.fromarray(frame).save(png, "PNG")
            atomic_write(half / f"{t:05d}.png", png.getvalue())
        atomic_write(truth, data)


def _truth(clip: SyntheticClip) -> bytes:
    """What ``gt.npz`` holds."""
    file = io.BytesIO()
    np.savez(
        file,
        queries=clip.queries,
        tracks=clip.tracks,
        visible=clip.visible,
        known=clip.known,
        occlusion_labels=np.array(True),
    )
    return file.getvalue()


def _draw_queries(
    scene: SyntheticScene, rng: np.random.Generator, count: int
) -> NDArray[np.float32]:
    """Points (count, 3) as (t, x, y), away from outlines."""
    width, height = scene.size
    queries = np.zeros((count, 3), np.float32)
    queries[:, 0] = rng.integers(scene.n_frames, size=count)
    around = BORDER_PX * np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
    for t in np.unique(queries[:, 0]):
        rows = np.flatnonzero(queries[:, 0] == t)
        xy = rng.uniform((0, 0), (width - 1, height - 1), (len(rows), CANDIDATES, 2))
        layer = scene.surface(int(t), xy[:, :, None] + around).layer  # (rows, CANDIDATES, 5)
        clear = (layer == layer[..., :1]).all(axis=-1)
        on_sprite = rng.uniform(size=(len(rows), 1)) < SPRITE_SHARE
        wanted = clear & ((layer[..., 0] > 0) == on_sprite)
        # argmax picks the first of the best: on the wanted side, else merely clear of outlines
        best = np.argmax(2 * wanted + clear, axis=1)
        queries[rows, 1:] = xy[np.arange(len(rows)), best]
    return queries


def _track(
    scene: SyntheticScene, queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Tracks (Q, T, 2) and visibility (Q, T) of queries (Q, 3)."""
    count = len(queries)
    layer, material = np.zeros(count, np.int16), np.zeros((count, 2))
    for t in np.unique(queries[:, 0]):
        chosen = queries[:, 0] == t
        seen = scene.surface(int(t), queries[chosen, 1:].astype(np.float64))
        layer[chosen], material[chosen] = seen.layer, seen.material
    tracks = np.zeros((count, scene.n_frames, 2), np.float32)
    visible = np.zeros((count, scene.n_frames), bool)
    for t in range(scene.n_frames):
        xy = scene.position(layer, material, t)
        tracks[:, t], visible[:, t] = xy, scene.visible(layer, xy, t)
    return tracks, visible
