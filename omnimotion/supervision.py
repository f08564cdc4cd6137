"""What a user gives the fit besides the video: points whose places are known, masks, depth.

A step draws from known points as from the flow's matches: first a pair of frames, then points that
are known in both. What they weigh is their share of the step; within a pair a point is drawn in
proportion to its confidence at both ends.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from omnimotion.correspondences import Correspondences, Pairs
from omnimotion.depth_maps import ClipDepth, read_depth
from omnimotion.flow import SceneIndex, SceneStore
from omnimotion.geometry import Frame, resize_xy
from omnimotion.known import KnownTracks, read_known
from omnimotion.masked import ClipMasks, read_masks

REMAP_AT_ONCE = 32_000  # rows that OpenCV takes
LICENCE = "tracks-licence"


class Supervision(NamedTuple):
    """Everything that is given; None where it is not."""

    tracks: KnownTracks | None = None
    pin: KnownTracks | None = None
    masks: ClipMasks | None = None
    depth: ClipDepth | None = None

    @property
    def fingerprints(self) -> dict[str, str]:
        """What tells each thing given from others, by its name; and the licence of tracks."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        found = {name: value.fingerprint for name, value in given.items()}
        if self.tracks and self.tracks.licence:
            found[LICENCE] = self.tracks.licence
        return found


def read_supervision(
    index: SceneIndex,
    tracks: Path | None = None,
    pin: Path | None = None,
    masks: Path | None = None,
    depth: Path | None = None,
    licence: str | None = None,
) -> Supervision:
    """What the files hold; ``licence`` is that of the tracks, where it is said.

    Raises as `read_known`, `read_masks` and `read_depth` do.
    """
    clip = index.n_frames, index.original_size
    return Supervision(
        tracks=read_known(tracks, *clip, licence=licence) if tracks else None,
        pin=read_known(pin, *clip, pins=True) if pin else None,
        masks=read_masks(masks, *clip, index.size) if masks else None,
        depth=read_depth(depth, *clip, index.size) if depth else None,
    )


@dataclass(frozen=True)
class Guide(Pairs):
    """Known tracks to draw matches from: Q tracks, T frames, K pairs of frames.

    A match starts where a track is visible, and may end where it is hidden.
    """

    xy: Tensor  # (T, Q, 2) float32 normalised
    rgb: Tensor  # (T, Q, 3) float32 in [0, 1]
    start_weight: Tensor  # (T, Q) float32 in [0, 1], 0 where unknown or hidden
    end_weight: Tensor  # (T, Q) float32 in [0, 1], 0 where unknown

    def draw(self, chances: Tensor, n_pairs: int, n_points: int, n_lost: int,
             random: torch.Generator) -> Correspondences:  # fmt: skip
        """Draw pairs by ``chances`` (K,), then known points, with replacement.

        All ``n_lost`` points without a match have no weight: here none is known to be lost.
        """
        pair = torch.multinomial(chances, n_pairs, replacement=True, generator=random)
        i, j = self.i[pair], self.j[pair]
        weight = self.start_weight[i] * self.end_weight[j]  # (P, Q)
        q = torch.multinomial(weight, n_points, replacement=True, generator=random)
        i_, j_ = i[:, None], j[:, None]
        return Correspondences(
            pair=pair, i=i, j=j, xy_i=self.xy[i_, q], xy_j=self.xy[j_, q], rgb_i=self.rgb[i_, q],
            covisible=self.start_weight[j_, q] > 0,
            certainty=torch.ones_like(q, dtype=torch.float32),
            lost_i=self.xy[i_, q[:, :1]].expand(-1, n_lost, -1),
            lost_weight=torch.zeros_like(chances[pair]),
        )  # fmt: skip


def build_guide(store: SceneStore, known: KnownTracks, device: torch.device) -> Guide:
    """Known tracks with the colours of the store's frames, for drawing."""
    index = store.index
    px = resize_xy(known.xy, index.original_size, index.size).swapaxes(0, 1)  # (T, Q, 2)
    rgb = np.stack([_colours(store.frame(t), px[t]) for t in range(index.n_frames)])
    end = torch.from_numpy(known.weight.T.copy())
    start = end * torch.from_numpy(known.visible.T)
    count = (start > 0).float() @ (end > 0).float().T  # (T, T), whole numbers
    count.fill_diagonal_(0)
    i, j = count.nonzero().unbind(-1)
    return Guide(
        i=i.to(device), j=j.to(device), count=count[i, j].long().to(device),
        xy=Frame(*index.size).normalise(torch.from_numpy(px.copy())).to(device),
        rgb=torch.from_numpy(rgb).to(device),
        start_weight=start.to(device), end_weight=end.to(device),
    )  # fmt: skip


def _colours(image: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Bilinear colours float32 (Q, 3) in [0, 1] at places (Q, 2) of an image uint8 (H, W, 3)."""
    parts = [
        cv2.remap(
            image, part[:, :1], part[:, 1:], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        for part in np.split(xy, range(REMAP_AT_ONCE, len(xy), REMAP_AT_ONCE))
    ]
    colours: np.ndarray = np.concatenate(parts)[:, 0].astype(np.float32) / 255
    return colours


def joined(batch: Correspondences, more: Correspondences) -> Correspondences:
    """Both as one step's matches; those of ``batch`` come first."""
    return Correspondences(*(torch.cat(fields) for fields in zip(batch, more)))
