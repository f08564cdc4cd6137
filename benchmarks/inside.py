"""Points on an object must stay in its mask: how many do, wherever they are called visible.

    python benchmarks/inside.py --clip CLIP SCENE RUN ... --out benchmarks/results/inside

``CLIP``: a folder with ``masks/``, a PNG a frame. Asked are grid points on the first mask, one
every 4 px; counted are their places in all other frames where they are called visible. All of
a mask counts as one object. "Near": in it or within 2 px, about as well as its border is drawn.
"""

import cv2
import numpy as np
import torch
from masks import annotated, parse_arguments

from omnimotion.files import atomic_write
from omnimotion.runs import open_tracker
from omnimotion.tracks import Tracks

GRID = 4  # px
NEAR = 2  # px
EDGE = 8.0  # px: points as close to the mask's border are at an edge
SURE = 0.9  # of confidence


def main() -> None:
    """Measure each clip and write the table."""
    args = parse_arguments(__doc__)
    torch.set_num_threads(1)
    columns = ["clip", "run", "tracks", "points", "visible", "inside", "near", "inside of edge",
               "of the rest", f"of confidence {SURE}"]  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for clip, scene, run in args.clip:
        tracker = open_tracker(scene, run, "cpu")
        masks = annotated(clip, tracker)
        points = grid_on(masks[0])
        for name, refine in (("refined", True), ("the scene's own", False)):
            found = shares(tracker.track(points, refine=refine), masks)
            cells = (f"{100 * share:.1f}" for share in found)
            lines.append(f"| {clip.name} | {run.name} | {name} | {len(points)} | "
                         + " | ".join(cells) + " |")  # fmt: skip
            print(lines[-1], flush=True)
    atomic_write(args.out.with_suffix(".md"), ("\n".join(lines) + "\n").encode())


def grid_on(mask: np.ndarray) -> np.ndarray:
    """Queries (Q, 3) in frame 0: the grid's points on a mask (H, W)."""
    y, x = np.mgrid[: mask.shape[0] : GRID, : mask.shape[1] : GRID]
    on = mask[y, x]
    return np.column_stack((np.zeros(on.sum()), x[on], y[on]))


def shares(tracks: Tracks, masks: np.ndarray) -> list[float]:
    """Visible; of these inside, and near; inside of those at the edge, of the rest, of the sure.

    Of all frames but the first.
    """
    inside = _read(masks, tracks.xy)
    wide = np.stack([cv2.dilate(mask.astype(np.uint8), _disc()) > 0 for mask in masks])
    x, y = tracks.queries[:, 1:].astype(int).T
    border = cv2.distanceTransform(masks[0].astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    at_edge = (border[y, x] <= EDGE)[:, None]
    visible = tracks.visible.copy()
    visible[:, 0] = False
    counted = [visible & at_edge, visible & ~at_edge, visible & (tracks.confidence >= SURE)]
    return [
        float(visible[:, 1:].mean()), float(inside[visible].mean()),
        float(_read(wide, tracks.xy)[visible].mean()),
        *(float(inside[which].mean()) for which in counted),
    ]  # fmt: skip


def _read(masks: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Whether places (Q, T, 2) are in the masks (T, H, W) of their frames; not outside those."""
    height, width = masks.shape[1:]
    x, y = np.rint(xy).astype(int).transpose(2, 0, 1)
    in_frame = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    t = np.arange(len(masks))[None]
    return masks[t, y.clip(0, height - 1), x.clip(0, width - 1)] & in_frame


def _disc() -> np.ndarray:
    side = np.arange(-NEAR, NEAR + 1)
    return (np.hypot(side, side[:, None]) <= NEAR).astype(np.uint8)


if __name__ == "__main__":
    main()
