"""The image around a query, found again along its track.

Lucas-Kanade alignment, inverse compositional (Baker and Matthews, "Lucas-Kanade 20 years on",
2004): the patch around a query is compared with the image at its track, turned and stretched as
the scene turns and stretches it there, and the track is moved to where the two are most alike.
Patches are compared with their mean taken away and their contrast made one, so brightness may
change. Unlike flow from frame to frame this does not drift. At an edge a patch holds two surfaces,
so what has the query's own colour counts most (Yoon and Kweon, "Adaptive support-weight approach
for correspondence search", 2006).

Conventions. q queries, T frames, N pairs of a query and a frame, P places of a patch. Places are
in pixels of the store's frames but within this module, where they are in pixels of the grey images
of `views`.
"""

from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from omnimotion.geometry import resize_xy
from omnimotion.views import Views

RADIUS = 9  # of a patch, px of the image
WIDTH = 0.6  # standard deviation of its window, in radii
COLOUR_OFF = 20.0  # levels, root mean square of RGB: a place so far off the query counts 1 / e
ITERATIONS = 6
ALIKE = 0.7  # of 1, from which a patch counts as found
FAR_PX = 3.0  # a patch so far off the track, of a frame whose longer side is 256, is another
LEAST_TEXTURE = 0.02  # of a patch of contrast 1: its weaker gradient squared; less may slide
NOISE = 2.0  # grey levels, added to a patch's contrast: what is flat in both is alike
AT_ONCE = 8192  # pairs: 60 MB


class Patches:
    """The patches of a scene's images."""

    def __init__(self, views: Views) -> None:
        self.views = views
        self.size, self.px = views.size, views.px

    def around(self, frames: np.ndarray, xy: np.ndarray, warp: np.ndarray) -> "Around":
        """The patches around queries ``xy`` (q, 2) in ``frames`` (q,).

        ``warp`` (q, T, 2, 2): how each frame turns and stretches what is near a query.
        """
        return Around(self, self.template(frames, xy), warp, frames)

    def template(self, frames: np.ndarray, xy: np.ndarray) -> "Template":
        """The patches around ``xy`` (q, 2) in ``frames`` (q,), to be found in any frames."""
        return Template.at(self, torch.from_numpy(frames), self.views.to_grey(xy))

    def read(self, frames: Tensor, xy: Tensor) -> Tensor:
        """Grey levels (N, P) at places (N, P, 2) of ``frames`` (N,), the edge's outside."""
        images = self.views.images.grey
        height, width = images.shape[1:]
        x, y = xy[..., 0].clamp(0, width - 1), xy[..., 1].clamp(0, height - 1)
        left, top = x.floor().clamp(max=width - 2), y.floor().clamp(max=height - 2)
        x, y = x - left, y - top
        at = (frames[:, None] * height + top.long()) * width + left.long()
        a, b, c, d = (images.view(-1)[at + k].float() for k in (0, 1, width, width + 1))
        upper, lower = a + x * (b - a), c + x * (d - c)
        return upper + y * (lower - upper)

    def windows(self, frames: Tensor, xy: Tensor) -> Tensor:
        """What places (q, P, 2) of patches in ``frames`` (q,) count: (q, P), of sum 1."""
        images = self.views.images.colours
        height, width = images.shape[1:3]
        xy = torch.from_numpy(resize_xy(xy.numpy(), self.views.grey_size, self.views.colour_size))
        x, y = xy.round().long().unbind(-1)  # the nearest pixel's colour
        colours = images[frames[:, None], y.clamp(0, height - 1), x.clamp(0, width - 1)].float()
        off = (colours - colours[:, CENTRE, None]).square().mean(-1).sqrt()
        window = WINDOW * torch.exp(-off / COLOUR_OFF)
        return window / window.sum(-1, keepdim=True)


class Template(NamedTuple):
    """Patches as they are compared, and how they change when they move."""

    window: Tensor  # (q, P) what places count, of sum 1
    value: Tensor  # (q, P) mean 0, contrast 1
    gradient: Tensor  # (q, P, 2) of `value` by the patch's place
    solve: Tensor  # (q, 2, 2) inverse of the gradient's second moments
    textured: Tensor  # bool (q,)

    @classmethod
    def blank(cls, count: int) -> Self:
        """Patches to be `put` in."""
        value = torch.zeros(count, len(OFFSETS))
        return cls(value.clone(), value, torch.zeros(*value.shape, 2), torch.zeros(count, 2, 2),
                   torch.zeros(count, dtype=torch.bool))  # fmt: skip

    def put(self, rows: np.ndarray, some: Self) -> None:
        """Put in the patches of some rows."""
        for mine, new in zip(self, some):
            mine[rows] = new

    def part(self, which: "slice | np.ndarray | Tensor") -> Self:
        """Some of the patches."""
        return type(self)(*(field[which] for field in self))

    @classmethod
    def at(cls, patches: Patches, frames: Tensor, xy: Tensor) -> Self:
        """The patches around ``xy`` (q, 2)."""
        place = xy[:, None] + OFFSETS
        window = patches.windows(frames, place)
        value, contrast = _normal(patches.read(frames, place), window)
        half = torch.eye(2) / 2
        gradient = torch.stack([
            patches.read(frames, place + half[k]) - patches.read(frames, place - half[k])
            for k in range(2)
        ], dim=-1) / contrast[..., None]  # fmt: skip
        gradient = gradient - (window[..., None] * gradient).sum(1, keepdim=True)
        along = ((window * value)[..., None] * gradient).sum(1, keepdim=True)
        gradient = gradient - value[..., None] * along  # what only changes contrast
        moments = torch.einsum("qpa,qpb,qp->qab", gradient, gradient, window)
        textured = torch.linalg.eigvalsh(moments)[:, 0] > LEAST_TEXTURE
        solve = torch.linalg.inv(moments + 1e-4 * torch.eye(2))
        return cls(window, value, gradient, solve, textured)


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
        track = self._patches.views.to_grey(xy)
        shown = shown.copy()
        if self._frames is not None:
            shown[np.arange(len(shown)), self._frames] = False
        for q, t in self._pairs(shown & self._template.textured.numpy()[:, None]):
            place, alike = self._aligned(q, t, track[q, t])
            moved = self._patches.px * (place - track[q, t]).norm(dim=-1)
            is_it = (alike > ALIKE) & (moved < FAR_PX)
            found[q, t] = torch.where(is_it[:, None], place, torch.nan)
        return self._patches.views.from_grey(found)

    def likeness(self, xy: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """How alike (q, T) patches and images at tracks ``xy`` are, 0 where not ``inside``.

        1 less half of the mean square by which they differ: the correlation, but for noise.
        """
        alike = torch.zeros(inside.shape)
        track = self._patches.views.to_grey(xy)
        for q, t in self._pairs(inside):
            some = self._template.part(q)
            alike[q, t] = self._compared(some, self._warp[q, t], t, track[q, t])[1]
        return alike.numpy()

    def _pairs(self, which: np.ndarray) -> list[tuple[Tensor, Tensor]]:
        """Queries and frames (N,) where ``which`` (q, T) holds, some at a time."""
        q, t = torch.from_numpy(which).nonzero(as_tuple=True)
        return list(zip(q.split(AT_ONCE), t.split(AT_ONCE)))

    def _aligned(self, q: Tensor, t: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Places (N, 2) moved to where the image is most alike, and how much it is (N,)."""
        patch, warp = self._template.part(q), self._warp[q, t]
        for _ in range(ITERATIONS):
            off, _ = self._compared(patch, warp, t, place)
            pull = torch.einsum("np,npa->na", off * patch.window, patch.gradient)
            step = torch.einsum("nab,nb->na", patch.solve, pull)
            step = step / step.norm(dim=-1, keepdim=True).clamp(min=1)  # at most a pixel
            place = place - torch.einsum("nab,nb->na", warp, step)
        return place, self._compared(patch, warp, t, place)[1]

    def _compared(
        self, patch: Template, warp: Tensor, t: Tensor, place: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The image around places minus their patches (N, P), and how alike they are (N,)."""
        around = place[:, None] + torch.einsum("nab,pb->npa", warp, OFFSETS)
        value, _ = _normal(self._patches.read(t, around), patch.window)
        off = value - patch.value
        return off, 1 - (patch.window * off.square()).sum(-1) / 2


def _normal(grey: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """Values (N, P) of mean 0 and contrast 1, less noise, and what the contrast (N, 1) was."""
    value = grey - (window * grey).sum(-1, keepdim=True)
    contrast = ((window * value.square()).sum(-1, keepdim=True) + NOISE**2).sqrt()
    return value / contrast, contrast


def _patch() -> tuple[Tensor, Tensor]:
    """Offsets (P, 2) of a patch's places from its centre, and their window (P,), of sum 1."""
    side = torch.arange(-RADIUS, RADIUS + 1.0)
    offsets = torch.stack(torch.meshgrid(side, side, indexing="xy"), dim=-1).view(-1, 2)
    window = torch.exp(-offsets.square().sum(-1) / (2 * (WIDTH * RADIUS) ** 2))
    return offsets, window / window.sum()


OFFSETS, WINDOW = _patch()
CENTRE = len(OFFSETS) // 2
