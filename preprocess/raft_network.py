"""torchvision's RAFT (Teed and Deng, ECCV 2020) with a forward of our own, for use and training.

Conventions. Images are float32 (B, 3, H, W) in [-1, 1], sides multiples of 8 and at least 128 px:
below, the last correlation level is one pixel wide and torchvision's flow is NaN throughout.
Coarse flow is (B, 2, H/8, W/8), in its own pixels. Differences from torchvision's forward: a frame
is encoded once and not once per pair, a pair may start from a given coarse flow, correlation is in
float32 also under autocast, and only the flows that are asked for are upsampled.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.optical_flow import raft_large, raft_small
from torchvision.models.optical_flow._utils import make_coords_grid, upsample_flow

from omnimotion.errors import FlowError
from preprocess.raft_weights import RaftWeights

MIN_SIDE, CELL = 128, 8  # px
UPDATES = 20  # of the flow; as in OmniMotion, torchvision's default is 12
NETWORKS = {"large": raft_large, "small": raft_small}
Raft = Any  # torchvision's network, whose parts have no types


@dataclass(frozen=True)
class Encoded:
    """What RAFT computes of a single frame."""

    features: Tensor  # (1, C, H/8, W/8)
    hidden: Tensor  # (1, D, H/8, W/8), initial state of the update block
    context: Tensor  # (1, E, H/8, W/8)


def build_network(model: str, random: torch.Generator | None = None) -> Raft:
    """torchvision's network with random weights, those of ``random`` where it is given.

    The global generator is left alone.
    """
    with torch.random.fork_rng(devices=[]):
        if random is not None:
            torch.set_rng_state(random.get_state())
        return NETWORKS[model](weights=None, progress=False)


def encode(module: Raft, image: Tensor) -> Encoded:
    """Features and context of frames."""
    size = module.update_block.hidden_state_size
    both = module.context_encoder(image)
    hidden, context = torch.split(both, [size, both.shape[1] - size], dim=1)
    return Encoded(module.feature_encoder(image), torch.tanh(hidden), F.relu(context))


def coarse_flows(
    module: Raft, first: Encoded, features: Tensor, start: Tensor | None, updates: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Coarse flow to frames with ``features`` after each update, and the hidden state behind it.

    Gradients go through an update, not through the place at which it begins.
    """
    hidden = first.hidden
    batch, _, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        module.corr_block.build_pyramid(first.features.float(), features.float())
    here = make_coords_grid(batch, height, width).to(features.device)
    there = here if start is None else here + start
    for _ in range(updates):
        there = there.detach()
        correlation = module.corr_block.index_pyramid(centroids_coords=there)
        hidden, change = module.update_block(hidden, first.context, correlation, there - here)
        there = there + change
        yield there - here, hidden


def upsampled(module: Raft, coarse: Tensor, hidden: Tensor) -> Tensor:
    """Flow (B, 2, H, W) of coarse flow."""
    mask = None if module.mask_predictor is None else module.mask_predictor(hidden)
    return upsample_flow(flow=coarse, up_mask=mask)


class RaftNetwork:
    """The network with given weights; FlowError when they do not fit it."""

    def __init__(self, weights: RaftWeights, device: torch.device) -> None:
        self.module = build_network(weights.model)
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
        return encode(self.module, image)

    @torch.no_grad()
    def flow(
        self,
        first: Encoded,
        second: Encoded,
        start: Tensor | None = None,  # (B, 2, H/8, W/8) pixels of the coarse image
        updates: int = UPDATES,
    ) -> tuple[Tensor, Tensor]:  # (B, 2, H, W), (B, 2, H/8, W/8)
        """Flow and coarse flow from the first frames to the second ones."""
        batch, _, height, width = first.features.shape
        coarse = first.features.new_zeros(batch, 2, height, width) if start is None else start
        last = coarse, first.hidden
        for last in coarse_flows(self.module, first, second.features, start, updates):  # noqa: B007
            pass
        return upsampled(self.module, *last), last[0]


def padded(side: int) -> int:
    """The next multiple of 8 that RAFT can use."""
    return max(MIN_SIDE, -(-side // CELL) * CELL)
