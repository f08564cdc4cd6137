"""The colour of a query's own pixel, held against those along its track.

A patch at an edge is mostly of what is beside the query; the query's own pixel is not. So its
colour is compared, too: as it is, and against the mean of what is around it. Light that changes,
or is reflected, changes both; what moves to other surroundings keeps the first. And a track that
ends beside its pixel is moved onto it.

Conventions. q queries, N pairs of a query and a frame, K places for each, in pixels of the store's
frames. Colours are RGB in [0, 1], of larger images than patches are: in a small one the outermost
pixel of an object is half of what is behind it.
"""

import math

import numpy as np
import torch
from torch import Tensor

from omnimotion.geometry import PIXELS_PER_UNIT
from omnimotion.views import Views

NEARBY_PX = 0.25  # of a frame of 256: how far from a track its colour may be found
AT_ONCE = 1 << 17  # places: 100 MB
STEPS = 4  # of that length, each way: how far a track is moved onto its pixel
PLACE_OFF, COLOUR_OFF = 0.7, 0.035  # px of a frame of 256 and RGB: of a place that counts one
CLEARLY = 0.5  # by so much a place must be better than the track's own


class Pixels:
    """The pixels of a scene's frames."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self.nearby = NEARBY_PX * max(views.colour_size) / (2 * PIXELS_PER_UNIT)  # px of those

    def colours(self, frames: np.ndarray, xy: np.ndarray) -> Tensor:
        """Colours (q, 2, 3) at places ``xy`` (q, 2) of ``frames`` (q,), as they are compared.

        As it is, and less the mean of what is around.
        """
        near, around = self._near(torch.from_numpy(frames), xy)
        own = near[:, 4]
        return torch.stack((own, own - around), dim=1)

    def recoloured(self, colours: Tensor, frames: np.ndarray, xy: np.ndarray) -> np.ndarray:
        """How far ``colours`` (N, C, 3) are from those at K places ``xy`` (N, K, 2) of ``frames``.

        Distances (N, K, C): as it is, and for C = 2 less the mean of what is around, each of the
        most alike colour nearby. That of a place outside the frame is of the edge.
        """
        count, kinds = xy.shape[1], colours.shape[1]
        places = xy.reshape(-1, 2)
        t = torch.from_numpy(frames).repeat_interleave(count)
        own = colours.repeat_interleave(count, 0)
        found = []
        for n in torch.arange(len(places)).split(AT_ONCE):
            near, around = self._near(t[n], places[n.numpy()])
            there = (near, near - around[:, None])[:kinds]
            off = [(each - own[n, k, None]).square_().sum(-1).amin(-1)
                   for k, each in enumerate(there)]  # fmt: skip
            found.append(torch.stack(off, dim=-1).sqrt_())
        return torch.cat(found).view(*xy.shape[:2], kinds).numpy()

    def moved_onto(
        self, colours: Tensor, frames: np.ndarray, xy: np.ndarray, doubt: np.ndarray
    ) -> np.ndarray:
        """Places ``xy`` (N, 2) of ``frames`` (N,) moved to where pixels have ``colours`` (N, 3).

        To where, of all nearby, ``doubt (|colour off| / COLOUR_OFF)^2 + (|moved| / PLACE_OFF)^2``
        is the least; ``doubt`` (N,), 0 to 1, is of the places as they are.
        """
        steps = torch.arange(-STEPS, STEPS + 1)
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        shift = NEARBY_PX * torch.stack((x, y), dim=-1).flatten(0, 1)  # (K, 2)
        fixed, t = (shift / PLACE_OFF).square().sum(-1), torch.from_numpy(frames)
        own, doubts = len(shift) // 2, torch.from_numpy(doubt)
        chosen = []
        for n in torch.arange(len(xy)).split(AT_ONCE // 8):
            near = self._read(t[n], self._views.to_colours(xy[n.numpy()]), STEPS)
            off = (near - colours[n, None]).square().sum(-1) / COLOUR_OFF**2
            cost = doubts[n, None] * off + fixed
            least, best = cost.min(dim=1)
            chosen.append(torch.where(cost[:, own] - least > CLEARLY, best, own))
        moved = shift[torch.cat(chosen)] if chosen else shift[:0]
        return xy + (moved * max(self._views.size) / (2 * PIXELS_PER_UNIT)).numpy()

    def _near(self, frames: Tensor, xy: np.ndarray) -> tuple[Tensor, Tensor]:
        """Colours (N, 9, 3) at places ``xy`` (N, 2) and nearby each way, bilinear.

        And the mean (N, 3) of what is around, that of the nearest pixel of a grey image.
        """
        views = self._views
        column, row = views.to_grey(xy).round().long().unbind(1)
        width, height = views.grey_size
        around = views.images.around[frames, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return self._read(frames, views.to_colours(xy), 1), around.float() / 255

    def _read(self, frames: Tensor, xy: Tensor, steps: int) -> Tensor:
        """Colours (N, K, 3) at ``xy`` (N, 2), pixels of the colour images, and around, bilinear.

        K are rows and columns of ``2 steps + 1`` places each, `nearby` apart.
        """
        width, height = self._views.colour_size
        far = torch.tensor((width, height)) + 2.0  # beyond, float32 would lose the pixel
        own = xy.clamp(min=torch.full((2,), -3.0), max=far)
        places = own[..., None] + self.nearby * torch.arange(-steps, steps + 1)  # (N, 2, k)
        reach = torch.arange(2 + math.ceil(2 * steps * self.nearby))
        columns, rows = (places[..., :1].floor().long() + reach).unbind(1)  # (N, n)
        share_x, share_y = (
            (1 - (axis[:, :, None] - pixels[:, None]).abs()).clamp_(min=0)
            for axis, pixels in zip(places.unbind(1), (columns, rows))
        )  # (N, k, n): what a pixel's colour counts at a place
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        images = self._views.images.colours
        block = images[frames[:, None, None], rows[:, :, None], columns[:, None]].float()
        near = share_x[:, None] @ (share_y @ block.flatten(2)).unflatten(2, block.shape[2:])
        return near.flatten(1, 2) / 255
