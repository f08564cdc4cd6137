"""One training of RAFT in memory: rendered pairs in, a step of AdamW out.

Conventions. Every random draw follows from seed and step alone, so a training that goes on draws
what it would have drawn. Flow is (B, 2, H, W) in pixels, errors are lengths of its difference.
"""

import math

import torch
from torch import Tensor, nn

from omnimotion.errors import FitDiverged
from omnimotion.seeds import Purpose, generator
from omnimotion.synthetic.pairs import Pairs, render_pairs
from preprocess.raft_network import Raft, build_network, coarse_flows, encode, upsampled
from preprocess.train_raft.settings import RaftSettings, rate

MAX_FLOW = 2.0  # shares of the longer side; what goes farther is left out of the loss
MAX_SKIPPED = 20  # steps in a row whose gradient is not finite


class Training:
    """The network, its optimiser and how far they are."""

    def __init__(self, settings: RaftSettings, device: torch.device) -> None:
        self.settings, self.device = settings, device
        random = generator(settings.seed, 0, Purpose.WEIGHTS)
        self.module: Raft = build_network("small", random).to(device).train()
        self.optimizer = torch.optim.AdamW(
            self.module.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        _start_moments(self.optimizer)
        self.step = 0
        self.skipped = 0  # steps in a row
        self.best_px = math.inf

    def advance(self) -> dict[str, float]:
        """One step; its loss and error. FitDiverged after many without a finite gradient."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.settings, self.step)
        random = generator(self.settings.seed, self.step, Purpose.PAIRS, self.device)
        pairs = draw_pairs(self.settings, self.settings.batch, random)
        self.optimizer.zero_grad()
        flows = self.flows(pairs)
        loss = sequence_loss(flows, pairs.flow, self.settings)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), self.settings.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.skipped = 0
        else:
            self.skipped += 1
        self.step += 1
        if self.skipped > MAX_SKIPPED:
            raise FitDiverged(
                f"step {self.step}: {self.skipped} gradients in a row are not finite: "
                "give a smaller --learning_rate, or --precision float32"
            )
        return {"loss": float(loss.detach()), "flow_px": float(error_px(flows[-1], pairs).mean())}

    def flows(self, pairs: Pairs) -> list[Tensor]:
        """Flow of the pairs after each update."""
        device = self.device.type
        first, second = (2 * image.to(self.device) - 1 for image in (pairs.first, pairs.second))
        with torch.autocast(device, torch.bfloat16, enabled=self.is_half):
            one = encode(self.module, first)
            other = self.module.feature_encoder(second)
            coarse = coarse_flows(self.module, one, other, None, self.settings.updates)
            return [upsampled(self.module, *each).float() for each in coarse]

    @property
    def is_half(self) -> bool:
        """Whether convolutions are in bfloat16."""
        on_gpu = self.device.type == "cuda"
        return {"auto": on_gpu, "float32": False, "bfloat16": True}[self.settings.precision]


def _start_moments(optimizer: torch.optim.AdamW) -> None:
    """AdamW's state before its first step, which would make it: then it can be saved always."""
    for group in optimizer.param_groups:
        for each in group["params"]:
            optimizer.state[each] = {
                "step": torch.tensor(0.0),
                "exp_avg": torch.zeros_like(each),
                "exp_avg_sq": torch.zeros_like(each),
            }


def draw_pairs(settings: RaftSettings, count: int, random: torch.Generator) -> Pairs:
    """Pairs of all gaps up to the largest."""
    share = torch.rand(count, generator=random, device=random.device)
    return rendered(settings, settings.max_gap**share, random)


def rendered(settings: RaftSettings, gap: Tensor, random: torch.Generator) -> Pairs:
    """Pairs of the given gaps, as the settings say."""
    return render_pairs(
        gap, settings.size, random, layers=settings.layers, solids=settings.solids,
        supersample=settings.supersample,
    )  # fmt: skip


def sequence_loss(flows: list[Tensor], truth: Tensor, settings: RaftSettings) -> Tensor:
    """The absolute error of all updates, the later the more; hidden points count, too."""
    near = (truth.norm(dim=1, keepdim=True) < MAX_FLOW * max(settings.size)).float()
    total = torch.zeros((), device=truth.device)
    for age, flow in enumerate(reversed(flows)):
        total = total + settings.fade**age * ((flow - truth).abs() * near).mean()
    return total


def error_px(flow: Tensor, pairs: Pairs) -> Tensor:
    """The end-point error of each pixel, (B, H, W)."""
    return (flow.detach() - pairs.flow.to(flow.device)).norm(dim=1)
