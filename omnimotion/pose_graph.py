"""Tracks of a scene, drawn to the matches along them and the image around their queries.

A fitted scene is one smooth map of the whole clip. It knows what is hidden and does not drift
through an occlusion, but it is coarser than flow where thin parts move fast. Flow is sharp, but it
knows neither. A track of the scene is therefore moved by offsets ``d_s``, one a frame, that
minimise

    sum_s |d_s|^2 / scene_s^2  +  sum_s |d_s+1 - d_s|^2 / step_s^2
        +  sum_sj  rho(|d_j - d_s - r_sj| / match)  +  sum_s  rho(|d_s - p_s| / patch),

where ``r_sj`` is how far off the track the match from frame s to j ends and ``p_s`` how far off
it the patch around the query is found, ``scene_s`` grows as the scene's confidence falls,
``match`` is one number, at all gaps, and rho is Cauchy's robust loss: a pose graph with a node a
frame, solved by iteratively reweighted least squares. First without patches, which are found only
near a track.
Where a point is not seen no match counts, and the offsets go on smoothly.

Conventions. Q queries, T frames; s and j are the first and the second frame of a match. Lengths
are in pixels of a frame whose longer side is 256, but where a docstring says otherwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from omnimotion.matches import Matches

SURE_PX, UNSURE_PX, SHARPNESS = 0.2, 8.0, 1.5
"""How far off the scene is taken to be: sure + unsure (1 - confidence)^sharpness."""
STEP_SHARE = 0.2  # of that: how much of it comes from one frame to the next
MATCH_PX = 0.5  # how far off a match is, over 96 frames as over 12: where there is one, it is good
PATCH_PX = 0.15  # how far off a patch is found
ROBUST = 3.0  # what is off by so many times that counts half
TOO_FAR = 2.0  # a match off the track by so many times what is expected is of something else
AGREES_PX = 3.0  # a match that ends so close to the track speaks for the point being seen
LEAST_USUAL = 0.05  # share of matches: what is less is chance
ITERATIONS = 4
QUERY_PX = 1e-3  # the query itself is known


class Refined(NamedTuple):
    """What matches say of tracks."""

    offset: np.ndarray  # (Q, T, 2) to be added to the tracks, pixels of the store's frames
    unmatched: np.ndarray  # (Q, T) share of the usual matches that do not end at the track
    elsewhere: np.ndarray  # (Q, T) share of the matches from the track that leave it


def refine(
    matches: Matches, xy: np.ndarray, shown: np.ndarray, confidence: np.ndarray,
    query_frames: np.ndarray, *, sure: np.ndarray | None = None,
    find: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None,
    unsure_px: float = UNSURE_PX,
) -> Refined:  # fmt: skip
    """Refine tracks ``xy`` (Q, T, 2), pixels of the store's frames; takes Q T^2 numbers of memory.

    ``shown`` (Q, T): where the scene says that they are seen, so that matches start there;
    ``confidence`` (Q, T) of the scene; ``query_frames`` (Q,), where the offset is zero;
    ``sure`` (Q, T): how far off tracks are known to be at most, inf where that is not known;
    ``find``: where patches are, as `patches.Around.find`;
    ``unsure_px``: how far off the scene is taken to be where its confidence is 0.
    """
    scene = SURE_PX + unsure_px * (1 - torch.from_numpy(confidence).double()) ** SHARPNESS
    known = np.full(shown.shape, np.inf) if sure is None else sure.copy()
    known[np.arange(len(known)), query_frames] = QUERY_PX
    off, asked = _off(matches, xy, shown)
    offset, error = _solve(off, shown, scene, known)
    if find is not None:
        places = find(xy + offset.numpy() / matches.px, shown)
        patch = torch.from_numpy((places - xy) * matches.px)
        offset, error = _solve(off, shown, scene, known, patch)
    agree = (error < AGREES_PX).sum(1).numpy()
    share = (agree + 0.5) / (asked + 1)  # without any asked: 1/2
    own = np.arange(len(share)), query_frames
    share[own] = np.where(shown[own], 1, share[own])  # there the point is seen for certain
    return Refined(offset.numpy() / matches.px, _unmatched(share, shown), _elsewhere(error, shown))


def _elsewhere(error: Tensor, shown: np.ndarray) -> np.ndarray:
    """The share (q, s) of matches from tracks that do not end at them, where they are shown.

    ``error`` (q, s, j): how far off they end. One more is taken to end there: few say little.
    What is seen there moves otherwise, so that it is another surface.
    """
    asked = error.isfinite() & torch.from_numpy(shown)[:, None]
    asked.diagonal(dim1=1, dim2=2).fill_(False)
    away = (asked & (error > AGREES_PX)).sum(2)
    return (away / (asked.sum(2) + 1)).numpy()


def _unmatched(share: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """How much smaller the ``share`` of matches that end at tracks is than usual: in [0, 1].

    All (q, T). Usual is a track's median over the frames in which it is shown: some points have
    hardly a match though all see them. Of a point that is never shown none is asked.
    """
    usual = np.array(
        [np.median(each[seen]) if seen.any() else 0 for each, seen in zip(share, shown)]
    )
    return 1 - np.minimum(1, share / np.maximum(usual, LEAST_USUAL)[:, None])


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
    off: Tensor, shown: np.ndarray, scene: Tensor, sure: np.ndarray, patch: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Offsets (q, T, 2), and how far off the moved tracks matches end (q, s, j), NaN likewise.

    ``scene`` (q, T): how far off the scene is taken to be; ``patch`` (q, T, 2): how far off the
    tracks patches are found, NaN where they are not.
    """
    count, n_frames = shown.shape
    step = STEP_SHARE * torch.minimum(scene[:, 1:], scene[:, :-1])
    too_far = TOO_FAR * (scene[:, :, None] ** 2 + scene[:, None] ** 2 + MATCH_PX**2).sqrt()
    use = (off.norm(dim=-1) < too_far) & torch.from_numpy(shown)[:, None]  # false where NaN
    known = off.double().nan_to_num()
    scene = torch.minimum(scene, torch.from_numpy(sure))  # one place holds, not the steps from it
    fixed = torch.diag_embed(scene**-2) + _laplacian(torch.diag_embed(step**-2, 1))
    offset = torch.zeros(count, n_frames, 2, dtype=torch.float64)
    place = offset if patch is None else patch.double().nan_to_num()
    found = torch.zeros(shown.shape) if patch is None else patch[..., 0].isfinite()
    for _ in range(ITERATIONS):
        error = _between(offset, known).norm(dim=-1)
        weight = use / (MATCH_PX**2 + (error / ROBUST) ** 2)
        pull = weight[..., None] * known
        away = (offset - place).norm(dim=-1)
        held = found / (PATCH_PX**2 + (away / ROBUST) ** 2)
        factor = torch.linalg.cholesky(fixed + _laplacian(weight) + torch.diag_embed(held))
        right = pull.sum(1) - pull.sum(2) + held[..., None] * place
        offset = torch.cholesky_solve(right, factor)
    return offset, _between(offset, off).norm(dim=-1)


def _between(offset: Tensor, off: Tensor) -> Tensor:
    """(q, s, j, 2) how far matches are ``off`` once the tracks are moved by ``offset``."""
    return off + offset[:, :, None] - offset[:, None]


def _laplacian(weight: Tensor) -> Tensor:
    """The matrix of sum w_sj |d_j - d_s|^2; ``weight`` (q, T, T) is that of the edges s -> j."""
    both = weight + weight.transpose(1, 2)
    return torch.diag_embed(both.sum(-1)) - both
