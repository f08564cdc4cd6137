"""Maps of whole frames: where each pixel of a frame is in the others, and back, as files.

A clip in several windows hands maps over as `omnimotion.relay` does layers. Forward a layer says
where the pixels of the reference frame are in some frame, and its places move on. Backward it says
how far each pixel of some frame is from its place in the reference frame, and is read as what is
drawn there is. What is hidden where a map is handed over stays hidden beyond.

Conventions are those of `omnimotion.tracks`. Layers are float32 (H, W, 3) of the original size:
x, y, and 1 where it is seen, else 0.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from omnimotion.errors import ConfigError
from omnimotion.files import atomic_folder
from omnimotion.formats.maps import import_openexr, save_exr, save_flo, save_stmap
from omnimotion.tracker import Windowed
from omnimotion.warps import Carrier, lattice, relay

log = logging.getLogger(__name__)

Map = tuple[np.ndarray, np.ndarray]
"""Places float32 (H, W, 2), and whether they are seen, bool (H, W)."""

KINDS = {"stmap": (".tif", save_stmap), "exr": (".exr", save_exr), "flo": (".flo", save_flo)}
"""Kinds of maps: the suffix of a file, and what writes it."""

EDGE_PX = 1.0  # from the nearest pixel's, beyond which a displacement is a mix of two surfaces'


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise `ConfigError` unless there are kinds of maps, all known, and what they need is
    installed.
    """
    expected = f"expected one or more of {', '.join(KINDS)}"
    if not kinds:
        raise ConfigError(f"--maps: give --export, which names the format: {expected}")
    if not set(kinds) <= KINDS.keys():
        raise ConfigError(f"maps: --export {','.join(kinds)}, {expected}")
    if "exr" in kinds:
        import_openexr()


def forward_maps(tracker: Windowed, t: int) -> Callable[[int], Map]:
    """What says where the pixels of frame t are in a frame."""
    places = _pixels(tracker)
    carried = relay(tracker, _moved, _with(places, np.ones(places.shape[:2], bool)), t)

    def found(j: int) -> Map:
        layer = carried.at(j)
        return layer[..., :2], layer[..., 2] > 0

    return found


def backward_maps(tracker: Windowed, t: int) -> Callable[[int], Map]:
    """What says where the pixels of a frame are in frame t."""
    places = _pixels(tracker)
    carried = relay(tracker, _joined, _with(0 * places, np.ones(places.shape[:2], bool)), t)

    def found(j: int) -> Map:
        layer = carried.at(j)
        return places + layer[..., :2], layer[..., 2] > 0

    return found


def write_maps(
    folder: Path, tracker: Windowed, t: int, frames: Sequence[int], kinds: Sequence[str]
) -> None:
    """Maps of the reference frame t and each of the frames, both ways, in a new folder.

    ``forward_0007`` says of each pixel of frame t where it is in frame 7, ``backward_0007`` of
    each pixel of frame 7 where it is in frame t. Raises as `atomic_folder` does.
    """
    ways = {"forward": forward_maps(tracker, t), "backward": backward_maps(tracker, t)}
    with atomic_folder(folder) as temp:
        for name, found in ways.items():  # one after the other: each opens a window twice at most
            for j in frames:
                xy, visible = found(j)
                for kind in kinds:
                    suffix, save = KINDS[kind]
                    save(temp / f"{name}_{j:04d}{suffix}", xy, visible)
                log.info("map=%s_%04d", name, j)


def _moved(carrier: Carrier, layer: np.ndarray, i: int, j: int) -> np.ndarray:
    """The places of frame i, in frame j."""
    shape = layer.shape[:2]
    xy, visible = carrier.carry(np.ascontiguousarray(layer[..., :2]).reshape(-1, 2), i, j)
    return _with(xy.reshape(*shape, 2), visible.reshape(shape) & (layer[..., 2] > 0))


def _joined(carrier: Carrier, layer: np.ndarray, i: int, j: int) -> np.ndarray:
    """The way from frame j to frame i, and from there as the layer of frame i says."""
    xy, visible = carrier.map(j, i)
    on, seen = _read(layer, xy)
    own = lattice(xy.shape[1::-1]).reshape(xy.shape)
    return _with(xy - own + on, visible & seen)


def _read(layer: np.ndarray, xy: np.ndarray) -> Map:
    """Displacements at places (H, W, 2), and whether they are seen: between pixels, but the
    nearest pixel's where its neighbours are of another surface.
    """
    linear, nearest = (
        cv2.remap(layer, xy[..., 0], xy[..., 1], how, borderMode=cv2.BORDER_REPLICATE)
        for how in (cv2.INTER_LINEAR, cv2.INTER_NEAREST)
    )
    off = np.linalg.norm((linear - nearest)[..., :2], axis=-1)
    displacement = np.where((off < EDGE_PX)[..., None], linear[..., :2], nearest[..., :2])
    return displacement, nearest[..., 2] > 0


def _pixels(tracker: Windowed) -> np.ndarray:
    """The places of a frame's own pixels, (H, W, 2)."""
    width, height = tracker.index.original_size
    return lattice((width, height)).reshape(height, width, 2)


def _with(xy: np.ndarray, visible: np.ndarray) -> np.ndarray:
    return np.concatenate((xy, visible[..., None]), axis=-1, dtype=np.float32)
