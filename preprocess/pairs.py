"""Which pairs of frames get matches, which of these flow, and on which lattice it is kept.

Conventions. A pair (i, j) with i < j is computed in both directions at once. A gap is j - i. The
order is by gap, then by i, so that a pair can start from flow of smaller gaps.
"""

import math
from dataclasses import dataclass

import numpy as np

from omnimotion.errors import ConfigError

ALL_PAIRS_UP_TO = 48  # frames; matches of N (N - 1) pairs stay affordable
MAX_LATTICE_POINTS = 32768  # per frame and target
LINK_GAPS = (1, 2, 4, 8)  # steps of a chain; their flow is kept dense while preprocessing
STOPS = 16  # of a chain, at least, while its length doubles
BYTES_PER_MATCH = 4.25  # two int16 and two bits, before and after the mutual check
BYTES_PER_FLOW = 5.0  # while preprocessing: two int16 and the cycle error
SECTION = 64  # source frames of a long video that are finished at once


def pair_gaps(n_frames: int, mode: str, longest: int | None = None) -> list[int]:
    """Increasing gaps of matches: ``all``, ``log`` (1, 2, 3, 4, 6, 8, 12, 16, ...), or ``auto``.

    ``log`` alternates powers of two and 1.5 times them, so pairs grow as N log N; with a bound of
    the ``longest`` gap, as N. See `flow_gaps` for what is computed.
    """
    if mode not in ("auto", "all", "log"):
        raise ConfigError(f"pairs: {mode!r}, expected auto, all or log")
    stop = min(n_frames, (longest or n_frames) + 1)
    if mode == "all" or (mode == "auto" and n_frames <= ALL_PAIRS_UP_TO):
        return list(range(1, stop))
    return [gap for gap in range(1, stop) if is_log_gap(gap)]


def flow_gaps(gaps: list[int]) -> list[int]:
    """Those of the gaps that get flow of their own: of ``log``; matches of others are chained."""
    return [gap for gap in gaps if is_log_gap(gap)]


def is_log_gap(gap: int) -> bool:
    """Whether a gap is a power of two, or 1.5 times one."""
    return gap.bit_count() == 1 or (gap % 3 == 0 and (gap // 3).bit_count() == 1)


def chain_stops(gaps: list[int]) -> list[int]:
    """The gaps at which a chain stops on its way to the longest of the ``gaps``, increasing.

    At each frame up to 31, then at every second, from 64 on at every fourth, from 128 on at every
    eighth, the longest step, and at all ``gaps``. So stops grow as pairs of ``log`` do. Points
    that only single steps lead so far are lost, and are wrong more often than others are: of
    matches over 65 to 96 frames of a rendered clip 64 % became 61 %, and of these 87.5 % were
    right where 85.4 % had been.
    """
    asked = frozenset(gaps)
    return [gap for gap in range(1, max(gaps) + 1) if gap in asked or gap % _spacing(gap) == 0]


def _spacing(gap: int) -> int:
    """Between the stops of a chain there: a power of two."""
    return min(max(LINK_GAPS), 1 << max(0, (gap // STOPS).bit_length() - 1))


def choose_pairs(n_frames: int, gaps: list[int]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of the given gaps: by gap, then by i."""
    return [(i, i + gap) for gap in gaps for i in range(n_frames - gap)]


def count_pairs(n_frames: int, gaps: list[int]) -> int:
    """How many ordered pairs there are of the given gaps."""
    return 2 * sum(n_frames - gap for gap in gaps)


def held_frames(n_frames: int, gaps: list[int]) -> int:
    """Frames of which pairs are kept at once: see `preprocess.sections`."""
    return min(n_frames, SECTION + 4 * max(gaps))


@dataclass(frozen=True)
class Lattice:
    """Every ``stride``-th pixel of a frame of size (W, H); the origin depends on the frame."""

    size: tuple[int, int]
    stride: int

    @classmethod
    def for_size(cls, size: tuple[int, int]) -> "Lattice":
        """The densest lattice of at most `MAX_LATTICE_POINTS`."""
        stride = 1
        while (size[0] // stride) * (size[1] // stride) > MAX_LATTICE_POINTS:
            stride += 1
        return cls(size, stride)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, the same for every origin."""
        return self.size[1] // self.stride, self.size[0] // self.stride

    def pixels(self, i: int, forward: bool) -> tuple[slice, slice]:
        """The rows and columns of frame i that lie on the lattice."""
        x0, y0 = self.origin(i, forward)
        (rows, columns), stride = self.shape, self.stride
        return np.s_[y0 : y0 + stride * rows : stride, x0 : x0 + stride * columns : stride]

    def origin(self, i: int, forward: bool) -> tuple[int, int]:
        """(x0, y0) of frame i: all of one direction share it, so that chains can be merged.

        Runs over all stride^2 origins as i grows, half a turn apart for the two directions.
        """
        turn = self.stride**2
        # a step near the golden ratio of a turn spreads neighbouring frames evenly
        index = (i * _coprime_step(turn) + (0 if forward else turn // 2)) % turn
        return index % self.stride, index // self.stride


def _coprime_step(turn: int) -> int:
    step = max(1, round(turn * 0.618))
    while math.gcd(step, turn) != 1:
        step += 1
    return step


def previous_gap(gap: int, gaps: list[int]) -> int | None:
    """The next smaller gap, None for the smallest."""
    return max((smaller for smaller in gaps if smaller < gap), default=None)


def disk_bytes(n_frames: int, gaps: list[int], lattice: Lattice) -> int:
    """Upper bound of the disk space while preprocessing: frames, matches, temporary pairs."""
    pixels = lattice.size[0] * lattice.size[1]
    points = lattice.shape[0] * lattice.shape[1]
    linked = [gap for gap in gaps if gap in LINK_GAPS]
    pairs, flows, links = (count_pairs(n_frames, some) for some in (gaps, flow_gaps(gaps), linked))
    temporary = points * (pairs * BYTES_PER_MATCH + flows * BYTES_PER_FLOW)
    temporary += links * pixels * BYTES_PER_FLOW
    kept = n_frames * pixels * 3 + pairs * points * BYTES_PER_MATCH
    return round(kept + temporary * held_frames(n_frames, gaps) / n_frames)
