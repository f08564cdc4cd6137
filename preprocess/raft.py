"""RAFT flow (Teed and Deng, ECCV 2020): torchvision's modules with a forward of our own.

Conventions. Images are float32 (B, 3, H, W) in [-1, 1], padded by replication to multiples of 8
and at least 128 px a side: below, the last correlation level is one pixel wide and torchvision's
flow is NaN throughout. Coarse flow is (B, 2, H/8, W/8) of the padded image, in its own pixels.
Differences from torchvision's forward: a frame is encoded once and not once per pair, a pair may
start from a given coarse flow, and only the last flow is upsampled.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.models.optical_flow._utils import make_coords_grid, upsample_flow

from omnimotion.errors import ConfigError, FlowError, ResourceError
from preprocess.estimator import Frames, PairFlow, Pixels
from preprocess.filter import colour_distance, sample
from preprocess.raft_weights import RaftWeights

MIN_SIDE, CELL = 128, 8  # px
UPDATES = 20  # of the flow; as in OmniMotion, torchvision's default is 12
COLOUR_LIMIT = 0.3  # RGB distance, channels in [0, 1]; the paper's, beside features
COSINE_LIMIT = 0.5  # of encoder features; the paper's, there of DINO features
CACHE_BYTES = 2 << 30  # of encoded frames
CHUNK_POINTS = 1 << 16  # whose features are compared at once
NETWORKS = {"large": raft_large, "small": raft_small}


@dataclass(frozen=True)
class Encoded:
    """What RAFT computes of a single frame."""

    features: Tensor  # (1, C, H/8, W/8)
    hidden: Tensor  # (1, D, H/8, W/8), initial state of the update block
    context: Tensor  # (1, E, H/8, W/8)


class RaftNetwork:
    """The network on padded images; FlowError when the weights do not fit it."""

    def __init__(self, weights: RaftWeights, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):  # building draws weights that are then replaced
            self.module = NETWORKS[weights.model](weights=None, progress=False)
        try:
            self.module.load_state_dict(weights.state, strict=True)
        except RuntimeError as error:
            raise FlowError(
                f"RAFT weights {weights.source} do not fit raft_{weights.model} of torchvision: "
                f"{len(weights.state)} tensors, expected {len(self.module.state_dict())}"
            ) from error
        self.module.eval().to(device)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Encoded:  # (1, 3, H, W)
        """Features and context of one frame."""
        features = self.module.feature_encoder(image)
        size = self.module.update_block.hidden_state_size
        both = self.module.context_encoder(image)
        hidden, context = torch.split(both, [size, both.shape[1] - size], dim=1)
        return Encoded(features, torch.tanh(hidden), F.relu(context))

    @torch.no_grad()
    def flow(
        self,
        first: Encoded,
        second: Encoded,
        start: Tensor | None = None,  # (B, 2, H/8, W/8) pixels of the coarse image
        updates: int = UPDATES,
    ) -> tuple[Tensor, Tensor]:  # (B, 2, H, W), (B, 2, H/8, W/8)
        """Flow and coarse flow from the first frames to the second ones."""
        module, hidden = self.module, first.hidden
        module.corr_block.build_pyramid(first.features, second.features)
        batch, _, height, width = first.features.shape
        here = make_coords_grid(batch, height, width).to(hidden.device)
        there = here if start is None else here + start
        for _ in range(updates):
            correlation = module.corr_block.index_pyramid(centroids_coords=there)
            hidden, change = module.update_block(hidden, first.context, correlation, there - here)
            there = there + change
        mask = None if module.mask_predictor is None else module.mask_predictor(hidden)
        coarse = there - here
        return upsample_flow(flow=coarse, up_mask=mask), coarse


class RaftEstimator:
    """RAFT on the frames of a scene, one pair at a time."""

    uses_start = True
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
            "licence": "BSD-3-Clause (torchvision)",
            "why": weights.why,
        }

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
    ) -> np.ndarray:  # (h, w) bool
        """Whether encoder features and colours of matched points agree."""
        colours_j = sample(self.frames(j), *xy_j)
        close = colour_distance(self.frames(i)[pixels_i], colours_j) < COLOUR_LIMIT
        y, x = np.mgrid[pixels_i]
        return close & (self._cosine(i, (x, y), j, xy_j) > COSINE_LIMIT)

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


def padded(side: int) -> int:
    """The next multiple of 8 that RAFT can use."""
    return max(MIN_SIDE, -(-side // CELL) * CELL)


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
