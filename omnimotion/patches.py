"""The image around a query, found again along its track.

Lucas-Kanade alignment, inverse compositional (Baker and Matthews, "Lucas-Kanade 20 years on",
2004): the patch around a query is compared with the image at its track, turned and stretched as
the scene turns and stretches it there, and the track is moved to where the two are most alike.
Patches are compared with their mean taken away and their contrast made one, so brightness may
change. Unlike flow from frame to frame this does not drift.

A patch at an edge is mostly of what is beside the query; the query's own pixel is not. So the
colour of that pixel is compared, too: as it is, and against the mean of what is around it. Light
that changes, or is reflected, changes both; what moves to other surroundings keeps the first.

Conventions. q queries, T frames, N pairs of a query and a frame, P places of a patch. Places are
in pixels of the store's frames but within this module, where they are in pixels of its images.
"""

from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from omnimotion.flow import SceneStore
from omnimotion.geometry import PIXELS_PER_UNIT, resize_xy

LEAST_SIDE = 256  # frames are halved as long as the longer side stays above
RADIUS = 9  # of a patch, px of the image
WIDTH = 0.6  # standard deviation of its window, in radii
ITERATIONS = 6
ALIKE = 0.7  # correlation from which a patch counts as found
FAR_PX = 3.0  # a patch so far off the track, of a frame whose longer side is 256, is another
LEAST_TEXTURE = 0.02  # of a patch of contrast 1: its weaker gradient squared; less may slide
LEAST_CONTRAST = 1.0  # grey levels: less is noise
AT_ONCE = 8192  # pairs: 60 MB
COLOURS_AT_ONCE = 1 << 17  # places: 60 MB
AROUND_PX = 4.0  # of the image: standard deviation of the window of what is around a pixel


class Patches:
    """The images of a scene's store, of moderate size. SceneError for a damaged one."""

    def __init__(self, store: SceneStore) -> None:
        longer = max(store.index.size)
        self.size = store.index.size
        level = max(0, int(np.log2(longer / LEAST_SIDE)))
        width, height = self.size
        self.image_size = max(1, width >> level), max(1, height >> level)
        self.px = 2 * PIXELS_PER_UNIT / max(self.image_size)  # of 256, in one of an image's
        self._store = store
        self._images: tuple[Tensor, Tensor, Tensor] | None = None

    def around(self, frames: np.ndarray, xy: np.ndarray, warp: np.ndarray) -> "Around":
        """The patches around queries ``xy`` (q, 2) in ``frames`` (q,).

        ``warp`` (q, T, 2, 2): how each frame turns and stretches what is near a query.
        """
        return Around(self, self.template(frames, xy), warp, frames)

    def template(self, frames: np.ndarray, xy: np.ndarray) -> "Template":
        """The patches around ``xy`` (q, 2) in ``frames`` (q,), to be found in any frames."""
        return Template.at(self, torch.from_numpy(frames), self.to_image(xy))

    def to_image(self, xy: np.ndarray) -> Tensor:
        """Places in pixels of the images."""
        return torch.from_numpy(resize_xy(xy.astype(np.float32), self.size, self.image_size))

    def from_image(self, xy: Tensor) -> np.ndarray:
        """Inverse of `to_image`."""
        return resize_xy(xy.numpy(), self.image_size, self.size)

    def read(self, frames: Tensor, xy: Tensor) -> Tensor:
        """Grey levels (N, P) at places (N, P, 2) of ``frames`` (N,), the edge's outside."""
        images, _, _ = self._all()
        height, width = images.shape[1:]
        x, y = xy[..., 0].clamp(0, width - 1), xy[..., 1].clamp(0, height - 1)
        left, top = x.floor().clamp(max=width - 2), y.floor().clamp(max=height - 2)
        x, y = x - left, y - top
        at = (frames[:, None] * height + top.long()) * width + left.long()
        a, b, c, d = (images.view(-1)[at + k].float() for k in (0, 1, width, width + 1))
        upper, lower = a + x * (b - a), c + x * (d - c)
        return upper + y * (lower - upper)

    def colours(self, frames: np.ndarray, xy: np.ndarray) -> Tensor:
        """Colours (q, 2, 3) at places ``xy`` (q, 2) of ``frames`` (q,), as they are compared.

        RGB in [0, 1]: as it is, and less the mean of what is around.
        """
        near, around = self._near(torch.from_numpy(frames), self.to_image(xy))
        own = near[:, 4]
        return torch.stack((own, own - around), dim=1)

    def recoloured(self, colours: Tensor, frames: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """How far ``colours`` (N, C, 3) are from those at K places ``xy`` (N, K, 2) of ``frames``.

        Distances (N, K, C) of RGB in [0, 1]: as it is, and for C = 2 less the mean of what is
        around, each of the most alike colour within a pixel of the image. That of a place outside
        the frame is of the edge.
        """
        count, kinds = xy.shape[1], colours.shape[1]
        place = self.to_image(xy.reshape(-1, 2))
        t = torch.from_numpy(frames).repeat_interleave(count)
        own = colours.repeat_interleave(count, 0)
        found = []
        for n in torch.arange(len(place)).split(COLOURS_AT_ONCE):
            near, around = self._near(t[n], place[n])
            there = (near, near - around[:, None])[:kinds]
            off = [(each - own[n, k, None]).square_().sum(-1).amin(-1)
                   for k, each in enumerate(there)]  # fmt: skip
            found.append(torch.stack(off, dim=-1).sqrt_())
        return torch.cat(found).view(*xy.shape[:2], kinds).numpy()

    def _near(self, frames: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
        """Colours (N, 9, 3) at places ``xy`` (N, 2) and a pixel from it each way, bilinear.

        And the mean (N, 3) of what is around, that of the nearest pixel.
        """
        _, images, means = self._all()
        height, width = images.shape[1:3]
        low = xy.floor()
        x, y = (xy - low)[..., None, None, None].unbind(1)  # (N, 1, 1, 1)
        side = torch.arange(-1, 3)
        columns, rows = (axis.long()[:, None] + side for axis in low.unbind(1))
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        block = images[frames[:, None, None], rows[:, :, None], columns[:, None]].float()
        block = block[:, :-1] + y * (block[:, 1:] - block[:, :-1])
        block = block[:, :, :-1] + x * (block[:, :, 1:] - block[:, :, :-1])
        column, row = xy.round().long().unbind(1)
        mean = means[frames, row.clamp(0, height - 1), column.clamp(0, width - 1)].float()
        return block.flatten(1, 2) / 255, mean / 255

    def _all(self) -> tuple[Tensor, Tensor, Tensor]:
        """The images of all frames, uint8: grey (T, h, w), in colour (T, h, w, 3), and blurred."""
        if self._images is None:
            kinds = zip(*(self._kinds(t) for t in range(self._store.index.n_frames)))
            grey, colours, means = (torch.from_numpy(np.stack(some)) for some in kinds)
            self._images = grey, colours, means
        return self._images

    def frame(self, t: int) -> np.ndarray:
        """A frame of the store, uint8 (h, w, 3)."""
        return self._store.frame(t)

    def _kinds(self, t: int) -> tuple[np.ndarray, ...]:
        import cv2

        frame, size = self.frame(t), self.image_size
        grey, colours = (
            cv2.resize(each, size, interpolation=cv2.INTER_AREA)
            for each in (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), frame)
        )
        return grey, colours, cv2.GaussianBlur(colours, (0, 0), AROUND_PX)


class Template(NamedTuple):
    """Patches as they are compared, and how they change when they move."""

    value: Tensor  # (q, P) mean 0, contrast 1
    gradient: Tensor  # (q, P, 2) of `value` by the patch's place
    solve: Tensor  # (q, 2, 2) inverse of the gradient's second moments
    textured: Tensor  # bool (q,)

    @classmethod
    def blank(cls, count: int) -> Self:
        """Patches to be `put` in."""
        value = torch.zeros(count, len(OFFSETS))
        return cls(value, torch.zeros(*value.shape, 2), torch.zeros(count, 2, 2),
                   torch.zeros(count, dtype=torch.bool))  # fmt: skip

    def put(self, rows: np.ndarray, some: Self) -> None:
        """Put in the patches of some rows."""
        for mine, new in zip(self, some):
            mine[rows] = new

    def part(self, which: "slice | np.ndarray") -> Self:
        """Some of the patches."""
        return type(self)(*(field[which] for field in self))

    @classmethod
    def at(cls, patches: Patches, frames: Tensor, xy: Tensor) -> Self:
        """The patches around ``xy`` (q, 2)."""
        place = xy[:, None] + OFFSETS
        value, contrast = _normal(patches.read(frames, place))
        half = torch.eye(2) / 2
        gradient = torch.stack([
            patches.read(frames, place + half[k]) - patches.read(frames, place - half[k])
            for k in range(2)
        ], dim=-1) / contrast[..., None]  # fmt: skip
        gradient = gradient - (WINDOW[:, None] * gradient).sum(1, keepdim=True)
        along = (WINDOW[:, None] * value[..., None] * gradient).sum(1, keepdim=True)
        gradient = gradient - value[..., None] * along  # what only changes contrast
        moments = torch.einsum("qpa,qpb,p->qab", gradient, gradient, WINDOW)
        textured = torch.linalg.eigvalsh(moments)[:, 0] > LEAST_TEXTURE
        solve = torch.linalg.inv(moments + 1e-4 * torch.eye(2))
        return cls(value, gradient, solve, textured)


class Around:
    """The patches around q queries."""

    def __init__(
        self, patches: Patches, template: Template, warp: np.ndarray,
        frames: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """``warp`` (q, T, 2, 2) from the patches to each frame; ``frames`` (q,) are their own."""
        self._patches, self._template, self._frames = patches, template, frames
        self._warp = torch.from_numpy(warp)

    def find(self, xy: np.ndarray, shown: np.ndarray) -> np.ndarray:
        """Where the patches are near tracks ``xy`` (q, T, 2), NaN where they are not found.

        Only where ``shown`` (q, T), and not in the queries' own frames.
        """
        found = torch.full(xy.shape, torch.nan)
        track = self._patches.to_image(xy)
        shown = shown.copy()
        if self._frames is not None:
            shown[np.arange(len(shown)), self._frames] = False
        for q, t in self._pairs(shown & self._template.textured.numpy()[:, None]):
            place, alike = self._aligned(q, t, track[q, t])
            moved = self._patches.px * (place - track[q, t]).norm(dim=-1)
            is_it = (alike > ALIKE) & (moved < FAR_PX)
            found[q, t] = torch.where(is_it[:, None], place, torch.nan)
        return self._patches.from_image(found)

    def likeness(self, xy: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Correlation (q, T) of patches and images at tracks ``xy``; 0 where not ``inside``."""
        alike = torch.zeros(inside.shape)
        track = self._patches.to_image(xy)
        for q, t in self._pairs(inside):
            alike[q, t] = self._compared(q, t, track[q, t])[1]
        return alike.numpy()

    def _pairs(self, which: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        """Queries and frames (N,) where ``which`` (q, T) holds, some at a time."""
        q, t = torch.from_numpy(which).nonzero(as_tuple=True)
        return list(zip(q.split(AT_ONCE), t.split(AT_ONCE)))

    def _aligned(self, q: Tensor, t: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Places (N, 2) moved to where the image is most alike, and how much it is (N,)."""
        for _ in range(ITERATIONS):
            off, _ = self._compared(q, t, place)
            pull = torch.einsum("np,npa->na", off * WINDOW, self._template.gradient[q])
            step = torch.einsum("nab,nb->na", self._template.solve[q], pull)
            step = step / step.norm(dim=-1, keepdim=True).clamp(min=1)  # at most a pixel
            place = place - torch.einsum("nab,nb->na", self._warp[q, t], step)
        return place, self._compared(q, t, place)[1]

    def _compared(self, q: Tensor, t: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """The image around places minus the patch (N, P), and their correlation (N,)."""
        around = place[:, None] + torch.einsum("nab,pb->npa", self._warp[q, t], OFFSETS)
        value, _ = _normal(self._patches.read(t, around))
        patch = self._template.value[q]
        return value - patch, (WINDOW * value * patch).sum(-1)


def _normal(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N, P) of mean 0 and contrast 1, and what the contrast (N, 1) was."""
    value = grey - (WINDOW * grey).sum(-1, keepdim=True)
    contrast = (WINDOW * value.square()).sum(-1, keepdim=True).sqrt().clamp(min=LEAST_CONTRAST)
    return value / contrast, contrast


def _patch() -> tuple[Tensor, Tensor]:
    """Offsets (P, 2) of a patch's places from its centre, and their window (P,), of sum 1."""
    side = torch.arange(-RADIUS, RADIUS + 1.0)
    offsets = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).view(-1, 2)
    window = torch.exp(-offsets.square().sum(-1) / (2 * (WIDTH * RADIUS) ** 2))
    return offsets, window / window.sum()


OFFSETS, WINDOW = _patch()
