"""What changes during a fit, as pure functions of progress (step / steps, in [0, 1])."""

from omnimotion.config import FitConfig, LossConfig

ROOT = 0.5  # the power of runs that do not say one: they are of before there was a choice
BUDGETED = ("num_iters", "pairs")  # settings that a budget decides
ROBUST_FALL = (0.4, 0.9)  # shares of a fit between which `robust_px` comes down
START_SHARE = 0.3  # of a fit's steps until it is compared with others, see `restarts`


def learning_rate(step: int, steps: int, config: FitConfig) -> float:
    """Linear warm-up, then an exponential fall by ``decay`` over the fit, at most ``rate_bound``.

    Near its full height a rate is one that a fit does not stand for long: of n times
    ``full_rate_steps`` steps, each is smaller by n to the ``rate_power``. With 1/2 the sum of
    random steps would stay the same, with 1 that of all steps one way.
    """
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    long = 1.0
    if 0 < config.full_rate_steps < steps:
        power = config.rate_power if config.rate_power >= 0 else ROOT
        long = (config.full_rate_steps / steps) ** power
    share = config.decay ** (-step / steps)
    if config.rate_bound > 0:
        share = min(share, config.rate_bound)
    return config.learning_rate * long * warm * share


def level_fade(progress: float, config: FitConfig) -> float:
    """How strongly finer motion grids fade: more and more, once things have found their places."""
    since = (progress - config.fade_start) / max(1e-9, 1 - config.fade_start)
    return config.level_fade * min(1.0, max(0.0, since))


def max_gap(progress: float, n_frames: int, config: FitConfig) -> float:
    """Frames between a pair: near pairs first, all of them after ``gap_ramp``."""
    ramp = 1.0 if config.gap_ramp == 0 else min(1.0, progress / config.gap_ramp)
    return config.first_gap + ramp * max(0, n_frames - 1 - config.first_gap)


def motion_share(progress: float, config: FitConfig) -> float:
    """The share of matches drawn by motion: the still background settles first."""
    ramp = (progress - config.motion_start) / max(1e-9, config.motion_full - config.motion_start)
    return config.motion_share * min(1.0, max(0.0, ramp))


def robust_px(progress: float, config: LossConfig) -> float:
    """Beyond how many px a sample's flow error counts as its logarithm; 0: never.

    Graduated non-convexity (Blake and Zisserman 1987): while things find their places, matches
    far off must pull, or two that pass one another end as one; later these are wrong matches.
    """
    last, first = config.robust_px, max(config.robust_px, config.robust_first)
    if last == 0:
        return 0.0
    begins, ends = ROBUST_FALL
    fallen = min(1.0, max(0.0, (progress - begins) / (ends - begins)))
    return first * (last / first) ** fallen


def loss_weights(progress: float, config: LossConfig) -> dict[str, float]:
    """The weight of each loss term, by its name in `losses.LossTerms`."""
    ramp = 1.0 if config.photometric_ramp == 0 else min(1.0, progress / config.photometric_ramp)
    since = (progress - config.distortion_start) / max(1e-9, 1 - config.distortion_start)
    return {
        "flow": 1.0,
        "flow_gradient": config.flow_gradient,
        "photometric": config.photometric * ramp,
        "photometric_gradient": config.photometric_gradient * ramp,
        "smoothness": config.smoothness,
        "depth_consistency": config.depth_consistency,
        "occlusion": config.occlusion,
        "depth_range": config.depth_range,
        "depth_order": config.depth_order,
        "distortion": config.distortion * min(1.0, max(0.0, since)),
    }
