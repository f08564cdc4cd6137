"""What a config leaves to the clip: steps by its length, some settings by its frames' size."""

import math

from omnimotion.config import Config
from omnimotion.errors import ConfigError

MIN_CELLS, CELL_PX = 4, 107  # of the coarsest motion grid: a larger frame shows finer motion
SMALL, LARGE = 256, 854  # longer sides between which settings go by the frame's size
BY_SIZE: dict[str, tuple[float, float]] = {
    "steps_per_frame": (180, 110), "smoothness": (0.3, 0.1), "robust_px": (2.0, 16.0),
    "robust_first": (16.0, 16.0), "texture": (0.0, 100.0), "motion_share": (0.5, 0.8),
    "motion_start": (0.2, 0.02), "motion_full": (0.6, 0.2), "level_fade": (5.0, 0.0),
    "rate_bound": (1.0, 0.5), "rate_power": (0.5, 1.0), "gap_ramp": (0.2, 0.4),
}  # fmt: skip
"""Settings at both ends. In a large frame flow is finer (in pixels of a frame of 256), so that it
needs less smoothing, and there is more of it to learn. A search's patch covers so little of it
that whole surfaces have no texture, and matches there count less. Thin parts that move by
themselves, legs say, cover little, too: they are found when they are drawn early and often, and
when far-off matches still pull. In a small frame that costs more than it gives: hidden points
drift, unless what the finer motion grids hold beyond the matches fades. But there flow over many
frames is as sound as over few, and pairs of any gap are drawn early: of two things that pass one
another, one does not end as the other began. And few matches are wrong there once things have
found their places, so that what is far off then counts for less and less. And in a large frame
much is still where it does not belong while the rate is at its height: too high a rate then, and
luck decides the order of surfaces. What flow has wrong there a longer fit follows, unless its rate
falls as fast as its steps grow."""
FULL_RATE = (120, 110)
"""Steps a frame that go at the full rate, at both ends; more go at a lower one."""


def resolved_config(config: Config, size: tuple[int, int], n_frames: int) -> Config:
    """The config with what it leaves to the clip filled in: steps, and what goes by the size.

    ConfigError where that leaves no step.
    """
    fit, side = config.fit, max(size)
    cells = config.model.cells or max(MIN_CELLS, round(side / CELL_PX))
    large = min(1.0, max(0.0, math.log(side / SMALL) / math.log(LARGE / SMALL)))
    values = config.values()
    by_size = {
        name: type(values[name])(round(low + large * (high - low), 3))
        for name, (low, high) in BY_SIZE.items()
        if values[name] == -1
    }
    if fit.full_rate_steps == -1:
        low, high = FULL_RATE
        by_size["full_rate_steps"] = round((low + large * (high - low)) * n_frames)
    config = config.replace(cells=cells, **by_size)
    steps = fit.num_iters or config.fit.steps_per_frame * n_frames
    if steps == 0:
        raise ConfigError("steps_per_frame: 0, expected 1 or more, or -1 for what the size needs")
    return config.replace(num_iters=steps)
