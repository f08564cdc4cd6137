"""The colour of a query's own pixel, held against those along its track.

A patch at an edge is mostly of what is beside the query; the query's own pixel is not. So its
colour is compared, too: as it is, and against the mean of what is around it. Light that changes,
or is reflected, changes both; what moves to other surroundings keeps the first.

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

    def _near(self, frames: Tensor, xy: np.ndarray) -> tuple[Tensor, Tensor]:
        """Colours (N, 9, 3) at places ``xy`` (N, 2) and nearby each way, bilinear.

        And the mean (N, 3) of what is around, that of the nearest pixel of a grey image.
        """
        views, images = self._views, self._views.images
        width, height = views.colour_size
        far = torch.tensor((width, height)) + 2.0  # beyond, float32 would lose the pixel
        own = views.to_colours(xy).clamp(min=torch.full((2,), -3.0), max=far)
        places = own[..., None] + self.nearby * torch.arange(-1, 2)  # (N, 2, 3)
        reach = torch.arange(2 + math.ceil(2 * self.nearby))
        columns, rows = (places[..., :1].floor().long() + reach).unbind(1)  # (N, n)
        share_x, share_y = (
            (1 - (axis[:, :, None] - pixels[:, None]).abs()).clamp_(min=0)
            for axis, pixels in zip(places.unbind(1), (columns, rows))
        )  # (N, 3, n): what a pixel's colour counts at a place
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        block = images.colours[frames[:, None, None], rows[:, :, None], columns[:, None]].float()
        near = share_x[:, None] @ (share_y @ block.flatten(2)).unflatten(2, block.shape[2:])
        column, row = views.to_grey(xy).round().long().unbind(1)
        width, height = views.grey_size
        around = images.around[frames, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return near.flatten(1, 2) / 255, around.float() / 255
