"""Bundles of rays cast from a frame into the canonical volume, and the way back.

Conventions. N rays of one frame with S samples each, as in `compositing`: M = S N. All that
samples have is in the rows of one array (R, M) float32, the room of a bundle: first those named
here, then as many as the model needs. Those that light reaches get a room of their own, with the
same rows, and only they are followed any further.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import float32

from omnimotion.kernels.cells import ONE, ZERO, inline, kernel
from omnimotion.kernels.compositing import weigh, weigh_back
from omnimotion.kernels.copies import clear, pick_columns, pick_rows, turn
from omnimotion.kernels.couplings import FORWARD, frame_back, map_frame
from omnimotion.kernels.decoder import decode, decode_back
from omnimotion.kernels.elementary import softplus
from omnimotion.kernels.lanes import WIDE
from omnimotion.kernels.layout import Layout
from omnimotion.kernels.volume import read, read_back

DENSITY_BIAS = float32(-1)  # as `omnimotion.volume` has it
BLOCK = 256  # points whose hidden values stay in the cache
REFERENCE_SAMPLES, FAINT = float32(16), float32(1e-4)  # as `omnimotion.compositing` has them

DENSITY_ONLY, WITH_COLOUR = np.int64(1), np.int64(4)  # outputs; of numpy's type, see `couplings`
POINTS, POINTS_G = 0, 3  # three rows each: in the frame, then canonical; and their gradient
PLACES, PLACES_G = 6, 9  # three rows each: in the volume's grid
DEPTHS, DENSITY, SLOPE = 12, 13, 14  # in the frame; of the volume, and its slope
THROUGH, WEIGHTS, WEIGHTS_G = 15, 16, 17
RAW, RAW_G = 18, 22  # four rows each: what the network makes, density first
X, X_G, RGB = 26, 29, 32  # three rows each, for `step`
NAMED = 35


class Model(NamedTuple):
    """The numbers of a scene."""

    grids: np.ndarray  # (T, G) of the bijection's layers, as the layout says
    layout: Layout
    cameras: np.ndarray  # (T, 4)
    volume: np.ndarray  # (nz, ny, nx, C)
    centre: np.ndarray  # (3,) of the volume, canonical
    half_size: np.ndarray  # (3,)
    first: np.ndarray  # (H, C) of the volume's network
    second: np.ndarray  # (H, 4), turned
    density_gain: np.ndarray  # (1,)


class Gradients(NamedTuple):
    """Those of a model's numbers that are learned, added to."""

    grids: np.ndarray  # (T, 2 G), in two parts: see `couplings`
    cameras: np.ndarray
    volume: np.ndarray
    first: np.ndarray
    second: np.ndarray


class Lit(NamedTuple):
    """The samples of a bundle that light reaches, K of them, and some that weigh nothing behind
    them, since the kernels work on whole lanes: M in all.
    """

    room: np.ndarray  # (R, M)
    at: np.ndarray  # (M,) int64 among all samples
    ray: np.ndarray  # (M,) int64
    n_lit: int  # K


class Bundle(NamedTuple):
    """Rooms for a bundle."""

    room: np.ndarray  # (R, M) of all samples
    lit: np.ndarray  # flat: for those that are lit
    at: np.ndarray  # (M,) int64
    ray: np.ndarray  # (M,) int64
    n_rays: int


@kernel
def new_bundle(n_samples: int, n_rays: int, model: Model) -> Bundle:
    """Room for a bundle."""
    n_hidden, n_features = model.first.shape
    n_rows = NAMED + 2 * len(model.layout.axis) + 2 * n_features + n_hidden
    most = _whole(n_samples * n_rays)
    return Bundle(
        np.empty((n_rows, n_samples * n_rays), np.float32), np.empty(n_rows * most, np.float32),
        np.empty(most, np.int64), np.empty(most, np.int64), n_rays,
    )  # fmt: skip


@inline
def _whole(count: Any) -> Any:
    """At least so many points, in whole lanes."""
    return (count + WIDE - 1) // WIDE * WIDE


@inline
def kept(room: Any, model: Any, which: Any) -> Any:
    """(L, M) what couplings keep for the way back, of the first or second map of the points."""
    n_layers = len(model.layout.axis)
    return room[NAMED + which * n_layers : NAMED + (which + 1) * n_layers]


@inline
def _network(room: Any, model: Any) -> Any:
    """Features (M, C) as they are read, (C, M), and hidden values (H, M)."""
    n_features = model.first.shape[1]
    start = NAMED + 2 * len(model.layout.axis)
    rows = room[start : start + n_features].reshape(room.shape[1], n_features)
    start += n_features
    features = room[start : start + n_features]
    start += n_features
    return rows, features, room[start:]


@kernel
def place(xy: np.ndarray, z: np.ndarray, room: np.ndarray) -> None:
    """Put samples at depths ``z`` (N, S) on the rays through ``xy`` (2, N)."""
    n_rays, n_samples = z.shape
    for s in range(n_samples):
        for n in range(n_rays):
            room[POINTS, s * n_rays + n] = xy[0, n]
            room[POINTS + 1, s * n_rays + n] = xy[1, n]
            room[POINTS + 2, s * n_rays + n] = z[n, s]
            room[DEPTHS, s * n_rays + n] = z[n, s]


@kernel
def cast(bundle: Bundle, n_outputs: int, t: int, model: Model) -> Lit:
    """Carry the points of a bundle of frame ``t`` to the canonical volume, and look at it.

    What the network makes is known of the samples that light reaches; ``n_outputs`` of it,
    `DENSITY_ONLY` or `WITH_COLOUR`. Their gradients are zero.
    """
    room, n_rays = bundle.room, bundle.n_rays
    points, places = room[POINTS:POINTS_G], room[PLACES:PLACES_G]
    map_frame(points, model.cameras[t], model.grids[t], model.layout, FORWARD,
              kept(room, model, 0))  # fmt: skip
    for d in range(3):
        scale, centre = ONE / model.half_size[d], model.centre[d]
        source, target = points[d], places[d]
        for m in range(len(source)):
            target[m] = (source[m] - centre) * scale
    rows, features, hidden = _network(room, model)
    read(places, model.volume, rows)
    turn(rows, features)
    raw = room[RAW : RAW + DENSITY_ONLY]
    decode(features, model.first, model.second, hidden, raw)
    gain, first, density, slope = model.density_gain[0], raw[0], room[DENSITY], room[SLOPE]
    for m in range(len(density)):
        density[m], share = softplus(gain * first[m] + DENSITY_BIAS)
        slope[m] = gain * share
    weigh(density, _step(room, n_rays), n_rays, (room[THROUGH], room[WEIGHTS]))
    lit = _pick(bundle, model)
    rows, features, hidden = _network(lit.room, model)
    turn(rows, features)
    decode(features, model.first, model.second, hidden, lit.room[RAW : RAW + n_outputs])
    return lit


@kernel
def _pick(bundle: Bundle, model: Model) -> Lit:
    """The samples that light reaches, with all that is known of them."""
    room, n_rays, through = bundle.room, bundle.n_rays, bundle.room[THROUGH]
    at, ray, count = bundle.at, bundle.ray, 0
    for start in range(0, len(through), n_rays):
        for n in range(n_rays):
            if not through[start + n] < FAINT:  # NaN is lit
                at[count], ray[count] = start + n, n
                count += 1
    m = _whole(count)
    for k in range(count, m):
        at[k], ray[k] = at[count - 1], ray[count - 1]
    found = bundle.lit[: len(room) * m].reshape(len(room), m)
    lit = Lit(found, at[:m], ray[:m], count)
    pick_columns(room[POINTS:POINTS_G], lit.at, found[POINTS:POINTS_G])
    pick_columns(room[PLACES:PLACES_G], lit.at, found[PLACES:PLACES_G])
    pick_columns(room[DEPTHS:DENSITY], lit.at, found[DEPTHS:DENSITY])
    pick_columns(room[WEIGHTS:WEIGHTS_G], lit.at, found[WEIGHTS:WEIGHTS_G])
    pick_columns(kept(room, model, 0), lit.at, kept(found, model, 0))
    pick_rows(_network(room, model)[0], lit.at, _network(found, model)[0])
    weights = found[WEIGHTS]
    for k in range(count, m):
        weights[k] = ZERO
    clear(found[POINTS_G:PLACES])
    clear(found[WEIGHTS_G : WEIGHTS_G + 1])
    clear(found[RAW_G:X])
    return lit


@inline
def _step(room: Any, n_rays: Any) -> Any:
    """Thickness of a sample whose density is one."""
    return REFERENCE_SAMPLES * float32(n_rays) / float32(room.shape[1])


@kernel
def _dim(bundle: Bundle, lit: Lit, raw_g: np.ndarray) -> None:
    """From the gradients of weights to those ``raw_g`` (M,) of what density is made of."""
    room, density_g = bundle.room, bundle.room[DENSITY]  # density is not needed any more
    weights_g, slope, found = room[WEIGHTS_G], room[SLOPE], lit.room[WEIGHTS_G]
    for m in range(len(weights_g)):
        weights_g[m] = ZERO
    for k in range(lit.n_lit):
        weights_g[lit.at[k]] = found[k]
    weigh_back(weights_g, _step(room, bundle.n_rays), bundle.n_rays, room[THROUGH], density_g)
    for k in range(lit.n_lit):
        m = lit.at[k]
        raw_g[k] = density_g[m] * slope[m]


@kernel
def cast_back(bundle: Bundle, lit: Lit, n_outputs: int, t: int, model: Model,
              gradients: Gradients) -> None:  # fmt: skip
    """The way back through `cast`, from the gradients of weights, colours and points."""
    room = lit.room
    raw_g = room[RAW_G : RAW_G + n_outputs]
    _dim(bundle, lit, raw_g[0])
    rows, features, hidden = _network(room, model)
    weights_g = gradients.first, gradients.second
    decode_back(raw_g, (features, hidden), (model.first, model.second), weights_g)
    turn(features, rows)
    points, points_g = room[POINTS:POINTS_G], room[POINTS_G:PLACES]
    places_g = room[PLACES_G:DEPTHS]
    read_back(rows, room[PLACES:PLACES_G], model.volume, places_g, gradients.volume)
    for d in range(3):
        scale, source, target = ONE / model.half_size[d], places_g[d], points_g[d]
        for m in range(len(source)):
            target[m] += scale * source[m]
    frame_back((points, points_g), (model.cameras[t], gradients.cameras[t]),
               (model.grids[t], gradients.grids[t]), model.layout, FORWARD,
               kept(room, model, 0))  # fmt: skip


@kernel
def outputs(places: np.ndarray, volume: np.ndarray, first: np.ndarray, second: np.ndarray,
            results: np.ndarray) -> None:  # fmt: skip
    """What the network makes (N, O) of the volume's features at places (N, 3)."""
    (n_hidden, n_features), turned = first.shape, second.T.copy()
    for start in range(0, len(places), BLOCK):
        some = places[start : start + BLOCK].T.copy()
        m = some.shape[1]
        rows, hidden = np.empty((m, n_features), np.float32), np.empty((n_hidden, m), np.float32)
        columns = np.empty((len(second), m), np.float32)
        read(some, volume, rows)
        decode(rows.T.copy(), first, turned, hidden, columns)
        results[start : start + BLOCK] = columns.T
