"""Tracks of a scene, drawn to the matches along them.

A fitted scene is one smooth map of the whole clip. It knows what is hidden and does not drift
through an occlusion, but it is coarser than flow where thin parts move fast. Flow is sharp, but it
knows neither. A track of the scene is therefore moved by offsets ``d_s``, one a frame, that
minimise

    sum_s |d_s|^2 / scene_s^2  +  sum_s |d_s+1 - d_s|^2 / step_s^2
        +  sum_sj  rho(|d_j - d_s - r_sj| / match_sj),

where ``r_sj`` is how far off the track the match from frame s to j ends, ``scene_s`` grows as the
scene's confidence falls, ``match_sj`` grows with the gap, and rho is Cauchy's robust loss: a pose
graph with a node a frame, solved by iteratively reweighted least squares. Where a point is not
seen no match counts, and the offsets go on smoothly.

Conventions. Q queries, T frames; s and j are the first and the second frame of a match. Lengths
are in pixels of a frame whose longer side is 256, but where a docstring says otherwise.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.matches import Matches

SURE_PX, UNSURE_PX, SHARPNESS = 0.2, 8.0, 1.5
"""How far off the scene is taken to be: sure + unsure (1 - confidence)^sharpness."""
STEP_SHARE = 0.2  # of that: how much of it comes from one frame to the next
MATCH_PX, MATCH_PX_PER_FRAME = 0.35, 0.03  # how far off a match is, and its share by the gap
ROBUST = 3.0  # a match off by so many times that counts half
TOO_FAR = 2.0  # a match off the track by so many times what is expected is of something else
AGREES_PX = 3.0  # a match that ends so close to the track speaks for the point being seen
LEAST_USUAL = 0.05  # share of matches: what is less is chance
ITERATIONS = 4
QUERY_PX = 1e-3  # the query itself is known
AT_ONCE = 64_000_000  # bytes of one array (q, T, T)
FAR_PX = 16.0  # a match that ends farther from a candidate tells no more against it
CLEARLY_PX = 1.0  # by so much another candidate must be closer to the matches than the first


class Refined(NamedTuple):
    """What matches say of tracks."""

    offset: np.ndarray  # (Q, T, 2) to be added to the tracks, pixels of the store's frames
    unmatched: np.ndarray  # (Q, T) share of the usual matches that do not end at the track


def refine(
    matches: Matches, xy: np.ndarray, shown: np.ndarray, confidence: np.ndarray,
    query_frames: np.ndarray, sure: np.ndarray | None = None,
) -> Refined:  # fmt: skip
    """Refine tracks ``xy`` (Q, T, 2), pixels of the store's frames.

    ``shown`` (Q, T): where the scene says that they are seen, so that matches start there;
    ``confidence`` (Q, T) of the scene; ``query_frames`` (Q,), where the offset is zero;
    ``sure`` (Q, T): how far off tracks are known to be at most, inf where that is not known.
    """
    if sure is None:
        sure = np.full(shown.shape, np.inf)
    n_frames = xy.shape[1]
    at_once = max(1, AT_ONCE // (8 * n_frames**2))
    parts = [Refined(np.zeros((0, n_frames, 2)), np.zeros((0, n_frames)))]
    for k in range(0, len(xy), at_once):
        part = slice(k, k + at_once)
        off, asked = _off(matches, xy[part], shown[part])
        known = sure[part].copy()
        known[np.arange(len(known)), query_frames[part]] = QUERY_PX
        offset, error = _solve(off, shown[part], confidence[part], known)
        agree = (error < AGREES_PX).sum(1).numpy()
        parts.append(Refined(offset.numpy() / matches.px, _unmatched(agree, asked, shown[part])))
    return Refined(*(np.concatenate(field) for field in zip(*parts)))


def _unmatched(agree: np.ndarray, asked: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """How many fewer matches of those asked end at the track than usual for it: (q, T) in [0, 1].

    Usual is the median over the frames in which it is shown: some points have hardly a match
    though all see them. Of a point that is never shown none is asked.
    """
    share = (agree + 0.5) / (asked + 1)  # without any asked: 1/2
    usual = np.array(
        [np.median(each[seen]) if seen.any() else 0 for each, seen in zip(share, shown)]
    )
    return 1 - np.minimum(1, share / np.maximum(usual, LEAST_USUAL)[:, None])


def choose(
    matches: Matches, frames: np.ndarray, xy: np.ndarray, carried: np.ndarray
) -> np.ndarray:
    """Which of the points that queries may mean agrees with the matches: (q,) numbers.

    ``xy`` (q, 2) are the queries in ``frames`` (q,), ``carried`` (q, K, T, 2) where their K
    candidates are in every frame, all in pixels of the store's frames. The first, the surface that
    the scene shows there, stands unless another is clearly better: at an edge a ray sees more than
    one surface, and which of them the query is on shows in how its pixel moves.
    """
    ends = np.full((len(xy), matches.n_frames, 2), np.nan)
    for t in np.unique(frames):
        here = frames == t
        ends[here] = matches.ends(int(t), xy[here])[0]
    error = matches.px * np.linalg.norm(carried - ends[:, None], axis=-1)  # (q, K, T)
    known = np.isfinite(error)
    total = np.where(known, np.minimum(error, FAR_PX), 0).sum(-1)
    mean = total / np.maximum(known.sum(-1), 1)
    best = mean.argmin(-1)
    better = mean[:, 0] - mean[np.arange(len(mean)), best] > CLEARLY_PX
    return np.where(better, best, 0)


def _off(matches: Matches, xy: np.ndarray, shown: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """How far off the track matches end, (q, s, j, 2), NaN where none is; number asked (q, j)."""
    count, n_frames = shown.shape
    off = np.full((count, n_frames, n_frames, 2), np.nan, np.float32)
    number = np.zeros((count, n_frames))
    for s in range(n_frames):
        here = np.flatnonzero(shown[:, s])
        if len(here):
            ends, asked = matches.ends(s, xy[here, s])
            off[here, s] = (ends - xy[here]) * matches.px
            number[here] += asked
    return torch.from_numpy(off), number


def _solve(
    off: Tensor, shown: np.ndarray, confidence: np.ndarray, sure: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Offsets (q, T, 2), and how far off the moved tracks matches end (q, s, j), NaN likewise."""
    count, n_frames = confidence.shape
    scene = SURE_PX + UNSURE_PX * (1 - torch.from_numpy(confidence).double()) ** SHARPNESS
    step = STEP_SHARE * torch.minimum(scene[:, 1:], scene[:, :-1])
    frame = torch.arange(n_frames)
    match = (MATCH_PX**2 + (MATCH_PX_PER_FRAME * (frame[:, None] - frame)) ** 2).sqrt()
    too_far = TOO_FAR * (scene[:, :, None] ** 2 + scene[:, None] ** 2 + match**2).sqrt()
    use = (off.norm(dim=-1) < too_far) & torch.from_numpy(shown)[:, None]  # false where NaN
    known = off.double().nan_to_num()
    scene = torch.minimum(scene, torch.from_numpy(sure))  # one place holds, not the steps from it
    fixed = torch.diag_embed(scene**-2) + _laplacian(torch.diag_embed(step**-2, 1))
    offset = torch.zeros(count, n_frames, 2, dtype=torch.float64)
    for _ in range(ITERATIONS):
        error = _between(offset, known).norm(dim=-1)
        weight = use / (match**2 + (error / ROBUST) ** 2)
        pull = weight[..., None] * known
        factor = torch.linalg.cholesky(fixed + _laplacian(weight))
        offset = torch.cholesky_solve(pull.sum(1) - pull.sum(2), factor)
    return offset, _between(offset, off).norm(dim=-1)


def _between(offset: Tensor, off: Tensor) -> Tensor:
    """(q, s, j, 2) how far matches are ``off`` once the tracks are moved by ``offset``."""
    return off + offset[:, :, None] - offset[:, None]


def _laplacian(weight: Tensor) -> Tensor:
    """The matrix of sum w_sj |d_j - d_s|^2; ``weight`` (q, T, T) is that of the edges s -> j."""
    both = weight + weight.transpose(1, 2)
    return torch.diag_embed(both.sum(-1)) - both
