"""Bundles of rays cast from a frame into the canonical volume, and the way back.

Conventions. N rays of one frame with S samples each, the rays side by side: M = S N points, point
s N + n is sample s of ray n. Points are (3, M) float32.
"""

from typing import NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.cells import ONE, ZERO, kernel
from omnimotion.kernels.compositing import weigh, weigh_back
from omnimotion.kernels.couplings import frame_back, map_frame
from omnimotion.kernels.decoder import decode, decode_back
from omnimotion.kernels.elementary import softplus
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.volume import read, read_back

DENSITY_BIAS = float32(-1)  # as `omnimotion.volume` has it
BLOCK = 256  # points whose hidden values stay in the cache
REFERENCE_SAMPLES = float32(16)  # as `omnimotion.compositing` has it


class Model(NamedTuple):
    """The numbers of a scene."""

    grids: np.ndarray  # (T, G) of the bijection's layers, as the layout says
    layout: Layout
    cameras: np.ndarray  # (T, 4)
    volume: np.ndarray  # (nz, ny, nx, C)
    centre: np.ndarray  # (3,) of the volume, canonical
    half_size: np.ndarray  # (3,)
    first: np.ndarray  # (H, C) of the volume's network
    second: np.ndarray  # (4, H)
    turned: tuple[np.ndarray, np.ndarray]  # both networks' weights the other way round
    density_gain: np.ndarray  # (1,)


class Gradients(NamedTuple):
    """Those of a model's numbers that are learned, added to."""

    grids: np.ndarray
    cameras: np.ndarray
    volume: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Rays(NamedTuple):
    """A bundle, what is kept of it for the way back, and gradients; (S, N) or (..., M).

    The network has O outputs: density, and colour where it is asked for.
    """

    points: np.ndarray  # (3, M) in the frame, then canonical
    kept: np.ndarray  # (L, M), see `couplings`
    places: np.ndarray  # (3, M) in the volume's grid
    rows: np.ndarray  # (M, C) features, and their gradient
    features: np.ndarray  # (C, M), and their gradient
    hidden: np.ndarray  # (H, M)
    raw: np.ndarray  # (O, M)
    slope: np.ndarray  # (M,) of density with the network's first output
    depths: np.ndarray  # (S, N) in the frame
    density: np.ndarray  # (S, N), and its gradient
    through: np.ndarray  # (S, N)
    weights: np.ndarray  # (S, N)
    points_g: np.ndarray
    places_g: np.ndarray
    hidden_g: np.ndarray
    raw_g: np.ndarray
    weights_g: np.ndarray


@kernel
def new_rays(n_samples: int, n_rays: int, n_outputs: int, model: Model) -> Rays:
    """Room for a bundle; its gradients are zero, as `cast_back` leaves them."""
    m, (n_hidden, n_features) = n_samples * n_rays, model.first.shape
    shape = (n_samples, n_rays)
    return Rays(
        np.empty((3, m), np.float32), np.empty((len(model.layout.axis), m), np.float32),
        np.empty((3, m), np.float32), np.empty((m, n_features), np.float32),
        np.empty((n_features, m), np.float32), np.empty((n_hidden, m), np.float32),
        np.empty((n_outputs, m), np.float32), np.empty(m, np.float32),
        np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.float32),
        np.empty(shape, np.float32), np.zeros((3, m), np.float32), np.empty((3, m), np.float32),
        np.empty((n_hidden, m), np.float32), np.zeros((n_outputs, m), np.float32),
        np.zeros(shape, np.float32),
    )  # fmt: skip


@kernel
def place(xy: np.ndarray, z: np.ndarray, rays: Rays) -> None:
    """Put samples at depths ``z`` (N, S) on the rays through ``xy`` (2, N)."""
    points, (n_rays, n_samples) = rays.points, z.shape
    for s in range(n_samples):
        for n in range(n_rays):
            points[0, s * n_rays + n] = xy[0, n]
            points[1, s * n_rays + n] = xy[1, n]
            points[2, s * n_rays + n] = z[n, s]
            rays.depths[s, n] = z[n, s]


@kernel
def cast(rays: Rays, t: int, model: Model) -> None:
    """Carry the points of a bundle of frame ``t`` to the canonical volume, and look at it."""
    points, raw, slope = rays.points, rays.raw, rays.slope
    map_frame(points, model.cameras[t], model.grids[t], model.layout, False, rays.kept)
    for d in range(3):
        scale = ONE / model.half_size[d]
        for m in range(points.shape[1]):
            rays.places[d, m] = (points[d, m] - model.centre[d]) * scale
    read(rays.places, model.volume, rays.rows)
    rays.features[:] = rays.rows.T
    decode(rays.features, model.first, model.second[: len(raw)], rays.hidden, raw)
    gain, density = model.density_gain[0], rays.density.reshape(rays.density.size)
    for m in range(len(density)):
        density[m], share = softplus(gain * raw[0, m] + DENSITY_BIAS)
        slope[m] = gain * share
    weigh(rays.density, REFERENCE_SAMPLES / float32(len(rays.density)), rays.through, rays.weights)


@kernel
def cast_back(rays: Rays, t: int, model: Model, gradients: Gradients) -> None:
    """The way back through `cast`, from the gradients of weights, colours and points.

    Those are zero afterwards; the points are where they were in the frame.
    """
    step = REFERENCE_SAMPLES / float32(len(rays.density))
    weigh_back(rays.weights_g, step, rays.through, rays.density)
    density_g, raw_g = rays.density.reshape(rays.density.size), rays.raw_g
    for m in range(len(density_g)):
        raw_g[0, m] = density_g[m] * rays.slope[m]
    decode_back(
        raw_g, (rays.features, rays.hidden), (model.turned[0], model.turned[1][:, : len(raw_g)]),
        (rays.features, rays.hidden_g), (gradients.first, gradients.second[: len(raw_g)]),
    )
    rays.rows[:] = rays.features.T
    points_g, places_g = rays.points_g, rays.places_g
    read_back(rays.rows, rays.places, model.volume, places_g, gradients.volume)
    for d in range(3):
        scale = ONE / model.half_size[d]
        for m in range(points_g.shape[1]):
            points_g[d, m] += scale * places_g[d, m]
    frame_back((rays.points, points_g), (model.cameras[t], gradients.cameras[t]),
               (model.grids[t], gradients.grids[t]), model.layout, False, rays.kept)  # fmt: skip
    points_g[:] = ZERO
    raw_g[:] = ZERO
    rays.weights_g[:] = ZERO


@kernel
def outputs(places: np.ndarray, volume: np.ndarray, first: np.ndarray, second: np.ndarray,
            results: np.ndarray) -> None:  # fmt: skip
    """What the network makes (N, O) of the volume's features at places (N, 3)."""
    n_hidden, n_features = first.shape
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK].T.copy()
        m = some.shape[1]
        rows, hidden = np.empty((m, n_features), np.float32), np.empty((n_hidden, m), np.float32)
        columns = np.empty((len(second), m), np.float32)
        read(some, volume, rows)
        decode(rows.T.copy(), first, second, hidden, columns)
        results[start : start + BLOCK] = columns.T
