"""Pictures of a fit: what it has learned so far, for a person to look at."""

from pathlib import Path

import numpy as np

from omnimotion.flow import SceneStore
from omnimotion.images import save_png
from omnimotion.overlay import contact_sheet, depth_picture, draw_tracks
from omnimotion.points import grid_points
from omnimotion.scene import Scene
from omnimotion.tracker import Tracker

COLUMNS = 4  # frames shown, spread over the clip
GRID = 12  # tracked points along the longer side
LONGEST_SIDE = 320  # px of a picture in the sheet: rays are cast for this many


def preview_picture(store: SceneStore, scene: Scene) -> np.ndarray:
    """uint8 (H, W, 3): tracks, pseudo-depth and rendered colour of some frames, one a column."""
    tracker = Tracker(scene, store.index)
    scene.train()
    n_frames, size = store.index.n_frames, store.index.original_size
    step = shown_step(store.index.size)
    frames = sorted({round(k * (n_frames - 1) / (COLUMNS - 1)) for k in range(COLUMNS)})
    tracks = tracker.track(grid_points(GRID, n_frames // 2, size))
    rendered = [tracker.surface(t, step) for t in frames]
    depths = [depth for depth, _ in rendered]
    limits = (float(min(d.min() for d in depths)), float(max(d.max() for d in depths)))
    images = [draw_tracks(store.frame(t)[::step, ::step], tracks, t) for t in frames]
    images += [depth_picture(depth, limits=limits) for depth in depths]
    images += [rgb for _, rgb in rendered]
    labels = [f"{name} {t}" for name in ("tracks", "depth", "colour") for t in frames]
    return contact_sheet(images, len(frames), labels)


def shown_step(size: tuple[int, int]) -> int:
    """Every how many pixels of frames of ``size`` (W, H) one is shown."""
    return -(-max(size) // LONGEST_SIDE)


def preview_path(run: Path, step: int) -> Path:
    """Where the preview of a step is kept."""
    return run / "previews" / f"step_{step:08d}.png"


def save_preview(store: SceneStore, scene: Scene, run: Path, step: int) -> Path:
    """Write `preview_picture` into the run's folder ``previews``."""
    path = preview_path(run, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_png(path, preview_picture(store, scene))
    return path
