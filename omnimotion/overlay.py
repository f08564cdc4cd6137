"""Pictures of tracks: points and fading trails over the frames, depth, and contact sheets.

Conventions. Images are uint8 RGB (H, W, 3) and are never changed in place. Tracks are in original
pixels with pixel centres at integers and are rescaled to the frame they are drawn on. A filled
disc is a visible point, a hollow one is hidden; colour tells where the query lies.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from omnimotion.colours import depth_colours, query_colours
from omnimotion.errors import InputError
from omnimotion.geometry import inside_frame, resize_xy
from omnimotion.tracks import Tracks

_SHIFT = 4  # sub-pixel bits of OpenCV's drawing functions
_FAR = 1e6  # a lost point may be anywhere; beyond this, arithmetic would overflow
_SHADOW = 0.55  # share of the light that a trail takes from the background beside it
_OLDEST = 0.1  # opacity at the tail of a trail
_UNKNOWN = 46  # grey level of depth that is not known
_THUMBNAIL = 480  # px of the longer side of a frame in a contact sheet
_SHEET = (24, 24, 27)  # background and text of a contact sheet
_INK = (205, 205, 210)


def draw_tracks(
    frame: np.ndarray, tracks: Tracks, t: int, trail: int = 12, dim: float = 0.0,
    colours: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """The frame with every track's place at frame ``t`` and its last ``trail`` frames.

    ``frame``: uint8 (H, W, 3) of any size. ``dim`` in [0, 1] darkens the background. ``colours``:
    uint8 RGB (Q, 3), by default those of the queries' places. Points outside the frame are not
    drawn. Raises `InputError` for an argument that does not fit.
    """
    _check_image(frame)
    if not 0 <= t < tracks.n_frames:
        raise InputError(f"overlay: frame {t} is not one of 0..{tracks.n_frames - 1}")
    height, width = frame.shape[:2]
    if trail < 0 or not 0 <= dim <= 1:
        raise InputError(f"overlay: trail {trail} and dim {dim}, expected 0 or more, and 0 to 1")
    recent = slice(max(0, t - trail), t + 1)
    visible = tracks.visible[:, recent]
    xy = tracks.xy[:, recent].clip(-_FAR, _FAR)
    xy = resize_xy(xy, tracks.size, (width, height))
    colours = query_colours(tracks.queries) if colours is None else colours
    pen = _Pen.for_image(width, height, len(tracks), colours)
    layer = np.zeros((height * pen.zoom, width * pen.zoom, 4), np.uint8)
    _draw_trails(layer, pen, xy, visible, trail)
    _draw_heads(layer, pen, xy[:, -1], visible[:, -1], (width, height))
    layer = cv2.resize(layer, (width, height), interpolation=cv2.INTER_AREA)
    return _composite(frame, layer, pen, dim)


@dataclass(frozen=True)
class Style:
    """How the tracks of a clip are drawn."""

    trail: int = 12  # frames
    dim: float = 0.0  # in [0, 1], darkens the background
    by_depth: bool = False  # colours by pseudo-depth, near is bright, not by the queries' places
    steady: Callable[[Tracks, int], Tracks] | None = None  # trails without the camera's motion

    def draw(self, frame: np.ndarray, tracks: Tracks, t: int) -> np.ndarray:
        """`draw_tracks` in this style."""
        colours = depth_colours(tracks.depth)[:, t] if self.by_depth else None
        seen = self.steady(tracks, t) if self.steady else tracks
        return draw_tracks(frame, seen, t, self.trail, self.dim, colours)


PLAIN = Style()


def overlay_video(
    frames: Iterable[np.ndarray], tracks: Tracks, style: Style = PLAIN
) -> Iterator[np.ndarray]:
    """The frames of a clip in order, each with the tracks drawn on it.

    Raises `InputError` where the clip has more or fewer frames than the tracks.
    """
    count = 0
    for t, frame in enumerate(frames):
        yield style.draw(frame, tracks, t)
        count = t + 1
    if count < tracks.n_frames:
        raise InputError(f"overlay: the clip has {count} frames, the tracks {tracks.n_frames}")


def spread(n_frames: int, count: int = 12) -> list[int]:
    """So many of the frames, or all, from the first to the last at even steps."""
    return sorted({round(k) for k in np.linspace(0, n_frames - 1, min(count, n_frames)).tolist()})


def track_sheet(
    frames: Iterable[np.ndarray], tracks: Tracks, shown: Sequence[int], style: Style = PLAIN
) -> np.ndarray:
    """A contact sheet: the ``frames``, which are those of the columns ``shown`` of the tracks.

    Frames over 480 px a side are made smaller.
    """
    pictures = []
    for frame, t in zip(frames, shown, strict=True):
        scale = min(1, _THUMBNAIL / max(frame.shape[:2]))
        small = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        pictures.append(style.draw(small, tracks, t))
    return contact_sheet(pictures, 4, [str(tracks.frames[t]) for t in shown])


def depth_picture(
    depth: np.ndarray, limits: tuple[float, float] | None = None
) -> np.ndarray:
    """Pseudo-depth float (H, W) as uint8 (H, W, 3): near is bright, far is dark; unknown is grey.

    ``limits`` (near, far) keeps the colours of several frames comparable; by default they are
    the 1st and 99th percentile.
    """
    known = np.isfinite(depth)
    if not known.any():
        return np.full((*depth.shape, 3), _UNKNOWN, np.uint8)
    near, far = limits or tuple(np.percentile(depth[known], (1, 99)))
    nearness = (far - np.where(known, depth, far)) / max(far - near, 1e-6)
    level = np.rint(255 * nearness.clip(0, 1)).astype(np.uint8)
    colours = cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1]
    return np.where(known[..., None], colours, np.uint8(_UNKNOWN))


def contact_sheet(
    images: Sequence[np.ndarray], columns: int, labels: Sequence[str] | None = None
) -> np.ndarray:
    """Images uint8 (H, W, 3) in rows of ``columns``, each in a cell under its label.

    Labels default to the images' numbers. Cells take the size of the largest image.
    """
    if not images or columns < 1:
        raise InputError(f"contact sheet: {len(images)} images in {columns} columns")
    for image in images:
        _check_image(image)
    labels = [str(number) for number in range(len(images))] if labels is None else labels
    if len(labels) != len(images):
        raise InputError(f"contact sheet: {len(labels)} labels for {len(images)} images")
    height, width = np.max([image.shape[:2] for image in images], axis=0).tolist()
    gap = max(4, round(0.012 * max(width, height)))
    text = min(28, max(11, round(0.045 * height)))
    step_x, step_y = width + gap, height + gap + text + gap // 2
    columns = min(columns, len(images))
    sheet = Image.new(
        "RGB", (columns * step_x + gap, -(-len(images) // columns) * step_y + gap), _SHEET
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(text)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        x, y = gap + number % columns * step_x, gap + number // columns * step_y
        draw.text((x, y + text // 2), label, fill=_INK, font=font, anchor="lm")
        sheet.paste(Image.fromarray(image), (x, y + text + gap // 2))
    return np.array(sheet)


@dataclass(frozen=True)
class _Pen:
    """Sizes in pixels of the frame, and colours; the layer is ``zoom`` times the frame.

    Zooming gives widths between whole pixels, which small frames need.
    """

    zoom: int
    radius: float
    colours: np.ndarray  # uint8 (Q, 3)

    @classmethod
    def for_image(cls, width: int, height: int, count: int, colours: np.ndarray) -> "_Pen":
        """Sizes follow the image, and shrink where the points would crowd."""
        side = (width * height) ** 0.5
        crowded = 0.24 * side / max(count, 1) ** 0.5
        radius = max(1.2, min(max(1.8, 0.0058 * side), crowded))
        zoom = min(4, max(1, round(2400 / max(width, height))))
        return cls(zoom, radius, colours)

    def fixed(self, xy: np.ndarray) -> np.ndarray:
        """Frame pixels (..., 2) to OpenCV's fixed-point pixels of the layer."""
        layer_xy = (xy + 0.5) * self.zoom - 0.5
        return np.rint(layer_xy * 2**_SHIFT).astype(np.int64)

    def ink(self, q: int, opacity: float) -> tuple[float, ...]:
        """The premultiplied RGBA of a track's colour, as the layer stores it."""
        return (*(self.colours[q] * opacity).tolist(), 255 * opacity)

    @property
    def rim_opacity(self) -> int:
        """Of the dark rim (0..255); fainter round small points, which it would swallow."""
        return round(min(200, 60 + 45 * self.radius))

    def thickness(self, pixels: float) -> int:
        return max(1, round(pixels * self.zoom))


def _draw_trails(
    layer: np.ndarray, pen: _Pen, xy: np.ndarray, visible: np.ndarray, trail: int
) -> None:
    """Segments from old to new, so that the fresh lie on top; those that touch the frame."""
    # a segment that ends too far outside would overflow OpenCV's fixed point
    near = (np.abs(xy) < 4 * max(layer.shape) / pen.zoom).all(axis=-1)
    inside = inside_frame(xy, (layer.shape[1] // pen.zoom, layer.shape[0] // pen.zoom))
    drawn = near[:, 1:] & near[:, :-1] & (inside[:, 1:] | inside[:, :-1])
    points = pen.fixed(xy)
    for k in range(xy.shape[1] - 1):
        fresh = 1 - (xy.shape[1] - 2 - k) / max(trail, 1)
        for q in np.flatnonzero(drawn[:, k]).tolist():
            seen = visible[q, k] and visible[q, k + 1]
            opacity = (_OLDEST + (1 - _OLDEST) * fresh) * (1.0 if seen else 0.5)
            width = pen.radius * (0.25 + 0.55 * fresh) * (1.0 if seen else 0.55)
            cv2.line(
                layer,
                points[q, k].tolist(),
                points[q, k + 1].tolist(),
                pen.ink(q, opacity),
                pen.thickness(width),
                cv2.LINE_AA,
                _SHIFT,
            )


def _draw_heads(
    layer: np.ndarray, pen: _Pen, xy: np.ndarray, visible: np.ndarray, size: tuple[int, int]
) -> None:
    """Hidden points first, so that they never cover visible ones."""
    inside = inside_frame(xy, size)
    scale = pen.zoom * 2**_SHIFT
    for q in np.flatnonzero(inside)[np.argsort(visible[inside], kind="stable")].tolist():
        centre = pen.fixed(xy[q]).tolist()
        if visible[q]:
            rim, disc = round(pen.radius * 1.3 * scale), round(pen.radius * scale)
            cv2.circle(layer, centre, rim, (0, 0, 0, pen.rim_opacity), -1, cv2.LINE_AA, _SHIFT)
            cv2.circle(layer, centre, disc, pen.ink(q, 1), -1, cv2.LINE_AA, _SHIFT)
        else:
            ring = round(pen.radius * 1.05 * scale)
            rim, width = pen.thickness(pen.radius * 0.75), pen.thickness(pen.radius * 0.35)
            cv2.circle(layer, centre, ring, (0, 0, 0, 110), rim, cv2.LINE_AA, _SHIFT)
            cv2.circle(layer, centre, ring, pen.ink(q, 1), width, cv2.LINE_AA, _SHIFT)


def _composite(frame: np.ndarray, layer: np.ndarray, pen: _Pen, dim: float) -> np.ndarray:
    """The premultiplied layer over the frame, with a soft shadow to part it from like colours."""
    alpha = layer[..., 3].astype(np.float32) / 255
    shadow = cv2.GaussianBlur(alpha, (0, 0), max(0.6, 0.45 * pen.radius))
    light = (1 - dim) * (1 - _SHADOW * shadow.clip(0, 1)) * (1 - alpha)
    return np.rint(frame * light[..., None] + layer[..., :3]).clip(0, 255).astype(np.uint8)


def _check_image(image: np.ndarray) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"picture: {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
