"""What a step of the fit is given besides the scene: its matches, and where rays are sampled.

All of it follows from the seed and the step's number, so that it can be drawn ahead; but with hard
mining pairs are drawn by their errors so far, too.
"""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from omnimotion.config import Config
from omnimotion.correspondences import CorrespondencePool, Correspondences, pair_chances
from omnimotion.depth_maps import DepthLookup
from omnimotion.losses import StepDepths
from omnimotion.schedule import max_gap, motion_share
from omnimotion.seeds import Purpose, generator
from omnimotion.supervision import Guide, joined

LOST_POINTS = 8  # points without a match drawn in each pair


class Guided(NamedTuple):
    """A guide of a fit."""

    guide: Guide
    share: float  # pairs drawn from it, in numbers of pairs of the pool
    purpose: Purpose


class StepDraws(NamedTuple):
    """What a step is given."""

    batch: Correspondences  # the pool's matches, then those of the guides
    depths: StepDepths
    order: Tensor | None  # (P, N) what depth maps say of the matches, where there are any


@dataclass(frozen=True)
class Source:
    """What steps draw from, the same for all of a fit."""

    pool: CorrespondencePool
    guides: tuple[Guided, ...]
    depth: DepthLookup | None
    n_frames: int

    def draw(self, config: Config, step: int, pair_error: Tensor) -> StepDraws:
        """What a step is given; ``pair_error`` (K,): running errors, for hard mining."""
        fit, device = config.fit, self.pool.i.device
        batch = self._matches(config, step, pair_error)
        random = generator(fit.seed, step, Purpose.DEPTHS, device)
        depths = StepDepths.drawn(batch, config.loss, fit.samples, random)
        order = self.depth.at(batch.i, batch.xy_i) if self.depth else None
        return StepDraws(batch, depths, order)

    def _matches(self, config: Config, step: int, pair_error: Tensor) -> Correspondences:
        fit, device, progress = config.fit, self.pool.i.device, step / config.fit.num_iters
        gap = max_gap(progress, self.n_frames, fit)
        chances = pair_chances(self.pool, gap, fit.gap_bias, pair_error, fit.mining)
        random = generator(fit.seed, step, Purpose.PAIRS, device)
        moving = motion_share(progress, fit)
        batch = self.pool.draw(chances, fit.pairs, fit.points, LOST_POINTS, moving, random)
        for guide, share, purpose in self.guides:
            chances = pair_chances(guide, gap, fit.gap_bias)
            random = generator(fit.seed, step, purpose, device)
            count = max(1, round(share * fit.pairs))
            batch = joined(batch, guide.draw(chances, count, fit.points, LOST_POINTS, random))
        return batch


class Ahead:
    """Draws of steps: the next one's on a thread of its own, while this one computes."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._next: tuple[Config, int, Future[StepDraws]] | None = None

    def take(
        self, config: Config, step: int, pair_error: Tensor, then: int | None
    ) -> StepDraws:
        """What a step is given; ``then``: the step to draw ahead, if any."""
        ready, self._next = self._next, None
        if ready and ready[0] is config and ready[1] == step:
            draws = ready[2].result()
        else:
            draws = self._source.draw(config, step, pair_error)
        if then is not None and not config.fit.mining:  # else it depends on this step's errors
            from omnimotion.fused.threads import aside

            self._next = config, then, aside(self._source.draw, config, then, pair_error)
        return draws
