"""What a search over several frames starts from: shorter steps, put together.

A dense search goes from coarse to fine, and loses what moves farther than it is wide: of a running
dog, two thirds over four frames. Over a single frame it finds most of it.

Conventions. Flow is (H, W, 2) float32 pixels, of every pixel of its first frame.
"""

from collections.abc import Iterator

import numpy as np

from preprocess.filter import sample, targets
from preprocess.pair_store import PairStore
from preprocess.pairs import LINK_GAPS


def composed(store: PairStore, i: int, j: int) -> np.ndarray:
    """Flow i -> j put together of stored links, the longest first; over two frames or more."""
    sign, flow, at = (1 if j > i else -1), None, i
    for gap in steps(abs(j - i)):
        link = store.link_flow(at, at + sign * gap)
        flow = link if flow is None else flow + sample(link, *targets(flow))
        at += sign * gap
    if flow is None:
        raise ValueError(f"frames {i} and {j}: expected two frames or more between them")
    return flow


def steps(gap: int) -> Iterator[int]:
    """The gaps of links, each below ``gap``, the longest first, that add up to it."""
    left = gap
    for link in sorted(LINK_GAPS, reverse=True):
        while link < gap and link <= left:
            yield link
            left -= link
