"""How sure a track is: the probability that it is within 4 px of the truth.

Conventions. The 4 px are TAP-Vid's, of a frame scaled to 256x256; the lengths in `Evidence` are in
px of a frame whose longer side is 256. Nothing here knows the truth: the model is a logistic one,
and each of its weights says how much likelier an error is made by one thing that the tracker sees
for itself. No weight is negative: confidence falls where any of them grows.

Calibrated on rendered clips. On three others, by ten bins of confidence, it is 5.5 points off the
share that is within 4 px, mostly on the careful side: at 0.95 99.6 % are, and at 0.03 20 %. Where
a fit is wrong but at one with itself it is too sure: 17.7 points off on a camel's thin legs.
"""

from typing import NamedTuple

import torch
from torch import Tensor

WITHIN_PX = 4.0  # at 256x256: what confidence is the probability of


class Evidence(NamedTuple):
    """What speaks against tracks in frames, each of one shape (...), 0 or more.

    Lengths are log(1 + length).
    """

    hidden: Tensor  # the occlusion there, 0 to 1
    cycle: Tensor  # from the query to where the surface seen there comes from; 0 if not shown
    spread: Tensor  # how far off the query's ray lands at other depths, by its weights
    path: Tensor  # length of its way between the two frames, against the camera


# Of 7 fits, good and bad, of 6 rendered clips: python benchmarks/confidence.py --work DIR
BIAS = 4.13
WEIGHTS = (
    1.048,  # hidden
    0.917,  # cycle
    2.471,  # spread
    0.330,  # path
)


def probability(evidence: Evidence) -> Tensor:
    """Confidence (...) in [0, 1]."""
    against = torch.stack(evidence, dim=-1) @ evidence.hidden.new_tensor(WEIGHTS)
    return torch.sigmoid(BIAS - against)
