"""RAFT flow of the frames of a scene.

Conventions. Frames are padded by replication to what `raft_network` can use; coarse flow is
(B, 2, H/8, W/8) of the padded image, in its own pixels.
"""

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omnimotion.errors import ConfigError, ResourceError
from preprocess.estimator import Frames, PairFlow
from preprocess.filter import Pixels, colour_distance, sample
from preprocess.pair_store import PairStore
from preprocess.pairs import previous_gap
from preprocess.raft_network import CELL, Encoded, RaftNetwork, padded
from preprocess.raft_weights import RaftWeights

COLOUR_LIMIT = 0.3  # RGB distance, channels in [0, 1]; the paper's, beside features
COSINE_LIMIT = 0.5  # of encoder features; the paper's, there of DINO features
CACHE_BYTES = 2 << 30  # of encoded frames
CHUNK_POINTS = 1 << 16  # whose features are compared at once


class RaftEstimator:
    """RAFT on the frames of a scene, one pair at a time."""

    workers = 1  # the correlation block keeps the pair's state
    finds_hidden = True  # its flow of hidden points is learned

    def __init__(self, frames: Frames, weights: RaftWeights, device: str) -> None:
        self.frames = frames
        self.device = choose_device(device)
        self.network = RaftNetwork(weights, self.device)
        self.encoded: OrderedDict[int, Encoded] = OrderedDict()
        self.info: dict[str, Any] = {
            "method": "raft",
            "model": f"raft_{weights.model}",
            "weights": weights.source,
            "licence": weights.licence,
            "why": weights.why,
        }

    def start(self, store: PairStore, i: int, j: int, gaps: list[int]) -> np.ndarray | None:
        """Coarse flow (2, 2, H/8, W/8) of the next smaller gap, where there is one."""
        smaller = previous_gap(j - i, gaps)
        if smaller is None:
            return None
        there, back = store.coarse(i, i + smaller), store.coarse(j, j - smaller)
        return None if there is None or back is None else np.stack((there, back))

    def pair(self, i: int, j: int, start: np.ndarray | None) -> PairFlow:
        """Flow i -> j and j -> i, started from coarse flow (2, 2, H/8, W/8) where given."""
        try:
            one, other = self._encode(i), self._encode(j)
            initial = None if start is None else torch.from_numpy(start).to(self.device)
            flow, coarse = self.network.flow(_stack(one, other), _stack(other, one), initial)
        except torch.OutOfMemoryError as error:
            raise ResourceError(
                f"not enough memory on {self.device} for RAFT: use a smaller max_side"
            ) from error
        left, top, width, height = self._place(i)
        cropped = flow[:, :, top : top + height, left : left + width]
        forward, backward = cropped.permute(0, 2, 3, 1).float().cpu().contiguous().numpy()
        return PairFlow(forward, backward, coarse.float().cpu().numpy())

    def alike(
        self,
        i: int,
        pixels_i: Pixels,
        j: int,
        xy_j: tuple[np.ndarray, np.ndarray],  # x and y, each (h, w)
        known: np.ndarray,  # (h, w) bool
    ) -> np.ndarray:  # (h, w) bool
        """Whether encoder features and colours of matched points agree."""
        colours_j = sample(self.frames(j), *xy_j)
        close = colour_distance(self.frames(i)[pixels_i], colours_j) < COLOUR_LIMIT
        y, x = np.mgrid[pixels_i]
        return known & close & (self._cosine(i, (x, y), j, xy_j) > COSINE_LIMIT)

    def _cosine(
        self, i: int, xy_i: tuple[np.ndarray, np.ndarray], j: int, xy_j: tuple[np.ndarray, ...]
    ) -> np.ndarray:
        shape = xy_i[0].shape
        points_i, points_j = (
            torch.from_numpy(np.stack([x.ravel(), y.ravel()], -1).astype(np.float32))
            for x, y in (xy_i, xy_j)
        )
        one, other = self._encode(i).features, self._encode(j).features
        offset = torch.tensor(self._place(i)[:2], dtype=torch.float32)
        parts = [
            F.cosine_similarity(self._at(one, a + offset), self._at(other, b + offset), dim=0)
            for a, b in zip(points_i.split(CHUNK_POINTS), points_j.split(CHUNK_POINTS))
        ]
        return torch.cat(parts).cpu().numpy().reshape(shape)

    def _at(self, features: Tensor, xy: Tensor) -> Tensor:  # (N, 2) padded pixels -> (C, N)
        height, width = features.shape[-2:]
        size = torch.tensor([width * CELL, height * CELL], dtype=torch.float32)
        grid = (xy + 0.5) / size * 2 - 1  # raster coordinates, align_corners=False
        grid = grid.to(features.device)[None, None]
        return F.grid_sample(features, grid, padding_mode="border", align_corners=False)[0, :, 0]

    @torch.no_grad()
    def _encode(self, t: int) -> Encoded:
        if t not in self.encoded:
            image = torch.from_numpy(self.frames(t)).to(self.device).permute(2, 0, 1)[None]
            left, top, width, height = self._place(t)
            right, bottom = padded(width) - width - left, padded(height) - height - top
            image = F.pad(image.float() / 127.5 - 1, (left, right, top, bottom), mode="replicate")
            self.encoded[t] = self.network.encode(image)
        self.encoded.move_to_end(t)
        one = self.encoded[t]
        size = sum(x.numel() * x.element_size() for x in (one.features, one.hidden, one.context))
        while len(self.encoded) > max(4, CACHE_BYTES // size):
            self.encoded.popitem(last=False)
        return one

    def _place(self, t: int) -> tuple[int, int, int, int]:
        """Left, top, width, height of the frame in its padded image."""
        height, width = self.frames(t).shape[:2]
        return (padded(width) - width) // 2, (padded(height) - height) // 2, width, height


def choose_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; ConfigError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        message = f"device: {name!r} cannot be used ({reason}): try auto or cpu"
        raise ConfigError(message) from error
    return device


def _stack(first: Encoded, second: Encoded) -> Encoded:
    return Encoded(
        torch.cat((first.features, second.features)),
        torch.cat((first.hidden, second.hidden)),
        torch.cat((first.context, second.context)),
    )
