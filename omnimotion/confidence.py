"""How sure a track is, and how likely its point is seen.

Conventions. The evidence is what the tracker sees for itself; nothing here knows the truth. A
probability is a logistic function of it, and no weight is negative: it falls where any piece of
the evidence grows. Confidence is the probability of being within 4 px (TAP-Vid's, of a frame
scaled to 256x256); other lengths are in px of a frame whose longer side is 256.

The weights come from fits of rendered clips, clean ones and worn ones: python
benchmarks/confidence.py --work DIR. What they are worth on others is in
benchmarks/results/confidence.md.
"""

from typing import NamedTuple

import numpy as np
from torch import Tensor

WITHIN_PX = 4.0  # at 256x256: what confidence is the probability of
ON_IT_PX = 11.0  # at 256x256: a track farther off has lost its point, and sees something else


class Evidence(NamedTuple):
    """What speaks against tracks in frames, each of one shape (...), 0 or more.

    Lengths are log(1 + length).
    """

    hidden: Tensor  # the share of the ray there that ends in front of the point, 0 to 1
    cycle: Tensor  # from the query to where the surface seen there comes from; 0 if not shown
    spread: Tensor  # how far off the query's ray lands at other depths, by its weights
    path: Tensor  # length of its way between the two frames, against the camera
    unmatched: Tensor  # share of a track's usual matches that do not end there; 0 if none asked
    elsewhere: Tensor  # share of the matches that start there and leave it; likewise
    unlike: Tensor  # of the images around it and around the query, 0 to 1; 0 if not asked
    colour: Tensor  # root of the distance of its colour, RGB in [0, 1], from the query's; likewise
    contrast: Tensor  # the same of its colour less the mean of what is around; light keeps it
    # Root mean squares over the frames on the way, from the query's to this, where the track is
    # shown: one that has lost its point goes on without it.
    way_elsewhere: Tensor
    way_unlike: Tensor
    way_colour: Tensor


class Logistic(NamedTuple):
    """A probability that falls with the evidence against."""

    bias: float
    weights: tuple[float, ...]  # one for each field of `Evidence`, none negative

    def probability(self, evidence: np.ndarray) -> np.ndarray:
        """(...) in [0, 1] of evidence (..., F), the fields of `Evidence` last."""
        against = evidence @ np.asarray(self.weights, evidence.dtype)
        return np.exp(-np.logaddexp(0, against - self.bias))


# In the order of `Evidence`: hidden, cycle, spread, path, unmatched, elsewhere, unlike, colour,
# contrast, then those on the way: elsewhere, unlike, colour.
SCENE = Logistic(4.65, (1.976, 1.281, 2.175, 0.486, *(0.0,) * 8))
"""That a track of the scene alone is within `WITHIN_PX` of the truth."""
REFINED = Logistic(7.91, (1.961, 0.284, 0.698, 0.536, 0.038, 0.477, 1.601, 2.108, 1.403,
                          2.489, 0.816, 4.027))  # fmt: skip
"""That a refined track is."""
SEEN = Logistic(7.29, (2.440, 0.295, 0.275, 0.000, 1.541, 0.778, 2.228, 6.548, 0.000,
                       1.760, 0.421, 1.884))  # fmt: skip
"""That the point of a refined track is seen there, within `ON_IT_PX`, where that is in the frame.

Of contrast nothing is left beside the others: of clips whose light drifts colour and patch say it.
"""
