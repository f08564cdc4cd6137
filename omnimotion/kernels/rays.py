"""The canonical volume along rays through points: what lies in front of each, and what is seen.

Conventions. Points are (P, N, 3) float32, in frames (P,). A ray has S samples, at the centres of
equal strata of depths -1 to 1; its last sample is opaque. ``thickness`` (R, S + 1) is the optical
thickness in front of each sample of R rays, then of all: what comes through is exp(-thickness).
A ray is followed a slab of samples at a time, and only as far as its answer can still change.
"""

import math
from typing import Any

import numpy as np
from numba import float32

from omnimotion.kernels.cells import HALF, ONE, ZERO, inline, kernel
from omnimotion.kernels.couplings import FORWARD, map_frame
from omnimotion.kernels.decoder import decode
from omnimotion.kernels.elementary import exp, softplus
from omnimotion.kernels.layout import DensityTable
from omnimotion.kernels.volume import read

RAYS, SLAB = 64, 8  # rays at once; samples of each between two looks at which need more
OPAQUE = float32(16)  # lets 1e-7 through, less than a share's last digit
MEDIAN = float32(math.log(2))  # lets half through
TWO = float32(2)


@inline
def _depth(k: int, n_samples: int) -> Any:
    """Depth of sample k."""
    return (float32(k) + HALF) * (TWO / float32(n_samples)) - ONE


@kernel
def _densities(v: np.ndarray, table: DensityTable, density: np.ndarray) -> None:
    """Density (M,) at canonical points (3, M), which become their places in the grid."""
    n_points, (n_hidden, n_features) = v.shape[1], table.first.shape
    for d in range(3):
        scale = ONE / table.half_size[d]
        for m in range(n_points):
            v[d, m] = (v[d, m] - table.centre[d]) * scale
    rows = np.empty((n_points, n_features), np.float32)
    hidden, raw = np.empty((n_hidden, n_points), np.float32), np.empty((1, n_points), np.float32)
    read(v, table.grid, rows)
    decode(rows.T.copy(), table.first, table.second.reshape(n_hidden, 1), hidden, raw)
    for m in range(n_points):
        density[m], _ = softplus(raw[0, m] + table.bias[0])


@kernel
def _samples(points: np.ndarray, rays: np.ndarray, slab: tuple, v: np.ndarray) -> None:
    """Local points (3, M) of some rays' samples in a ``slab``: first, behind the last, of all."""
    start, end, n_samples = slab
    for k in range(len(rays)):
        for s in range(start, end):
            m = k * (end - start) + s - start
            v[0, m], v[1, m] = points[rays[k], 0], points[rays[k], 1]
            v[2, m] = _depth(s, n_samples)


@kernel
def _advance(rays: np.ndarray, slab: tuple, density: np.ndarray, needed: np.ndarray,
             thickness: np.ndarray) -> int:  # fmt: skip
    """Add a slab's thickness to each of ``rays`` (K,); how many, moved to the front, go on."""
    start, end, step = slab
    kept = 0
    for k in range(len(rays)):
        ray = thickness[rays[k]]
        for s in range(start, end):
            ray[s + 1] = ray[s] + step * density[k * (end - start) + s - start]
        at_least, behind = needed[rays[k], 0], needed[rays[k], 1]
        seen = end >= at_least and ray[max(end - behind, 0)] >= MEDIAN
        if seen or ray[end] > OPAQUE:
            ray[end:] = ray[end]
        else:
            rays[kept] = rays[k]
            kept += 1
    return kept


@kernel
def _follow(points: np.ndarray, needed: np.ndarray, tables: tuple, step: float,
            thickness: np.ndarray) -> None:  # fmt: skip
    """Thickness (R, S + 1) along rays through points (R, 3), as far as it matters.

    That is ``needed`` (R, 2): so many samples, and so many from where half comes through. Behind
    them nothing is counted, but that the last sample is opaque.
    """
    camera, grid, layout, table = tables
    n_samples, size = thickness.shape[1] - 1, len(points) * SLAB
    buffer, density = np.empty(3 * size, np.float32), np.empty(size, np.float32)
    nothing = np.empty((0, 0), np.float32)
    rays, count = np.arange(len(points)), len(points)
    thickness[:, 0] = ZERO
    for start in range(0, n_samples, SLAB):
        end = min(start + SLAB, n_samples)
        m = count * (end - start)
        v = buffer[: 3 * m].reshape(3, m)
        _samples(points, rays[:count], (start, end, n_samples), v)
        map_frame(v, camera, grid, layout, FORWARD, nothing)
        _densities(v, table, density[:m])
        count = _advance(rays[:count], (start, end, step), density, needed, thickness)
        if count == 0:
            break
    thickness[:, n_samples] = np.inf


@kernel
def _in_front(z: float, n_samples: int, reach: float) -> int:
    """How many samples lie in front of a point at depth z.

    Those within ``reach`` samples of the point are not in front of it.
    """
    place = (z + ONE) * (HALF * float32(n_samples)) - HALF
    return min(max(math.ceil(place - reach), 0), n_samples)


@kernel
def _surface(thickness: np.ndarray, within: int) -> float:
    """Mean depth of a ray's samples up to ``within`` from its median, by their weights."""
    n_samples = len(thickness) - 1
    median = 0
    while thickness[median + 1] < MEDIAN:
        median += 1
    share, total = ZERO, ZERO
    for k in range(max(median - within, 0), min(median + within + 1, n_samples)):
        weight = exp(-thickness[k]) - exp(-thickness[k + 1])
        share += weight
        total += weight * _depth(k, n_samples)
    return total / max(share, float32(1e-6))


@kernel
def look(points: np.ndarray, frames: np.ndarray, tables: tuple, sampling: tuple,
         seen: np.ndarray) -> None:  # fmt: skip
    """Look at points (P, N, 3) of ``frames``, in local coordinates, along their rays.

    ``seen`` (P, N, 2) becomes the share of the ray's weight in front of a point, and the depth of
    the surface that is seen. ``tables``: grids (T, G), their layout, cameras (T, 4), and the
    volume's `DensityTable`. ``sampling``: samples S of a ray, how many of them around a point or
    a surface belong to it, and the thickness of one where density is one.
    """
    grids, layout, cameras, table = tables
    n_samples, reach, step = sampling
    within, count = int(reach), points.shape[1]
    thickness = np.empty((RAYS, n_samples + 1), np.float32)
    needed = np.empty((RAYS, 2), np.int64)
    for p in range(len(frames)):
        t = frames[p]
        for start in range(0, count, RAYS):
            some, out = points[p, start : start + RAYS], seen[p, start : start + RAYS]
            rays = thickness[: len(some)]
            for r in range(len(some)):
                needed[r, 0] = _in_front(some[r, 2], n_samples, reach)
                needed[r, 1] = within + 1
            _follow(some, needed, (cameras[t], grids[t], layout, table), step, rays)
            for r in range(len(some)):
                out[r, 0] = ONE - exp(-rays[r, needed[r, 0]])
                out[r, 1] = _surface(rays[r], within)
