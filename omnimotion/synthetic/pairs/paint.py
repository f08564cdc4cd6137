"""Procedural textures: natural noise, flat patches, stripes, marks like text, plain gradients.

Conventions. A tile is float32 (4, K, K): RGB in [0, 1], and ``lace``, noise of unit deviation that
outlines may be cut by. Tiles repeat; they are sampled bilinearly, so what is painted is a
continuous function of the plane. Each surface shows one or two kinds of paint, in regions.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws

PALETTE = 6  # flat colours of a tile
GLYPH_ROWS, GLYPH_COLUMNS = 8, 6  # cells of a mark with the gaps below and beside it
GLYPH_CELL = 2  # texels
SECOND_KIND = 0.6  # deviations of a field above which a tile shows its second kind of paint


def paint(draws: Draws, count: int, texels: int) -> Tensor:
    """Tiles (count, 4, texels, texels) of all kinds; ``texels`` is a power of two from 32 on."""
    slopes = draws.uniform(count, low=0.8, high=1.7)
    grain = spectral_noise(draws, count, 3, texels, slopes)
    fields = spectral_noise(draws, count, 2, texels, draws.uniform(count, low=1.3, high=2.0))
    smooth = spectral_noise(draws, count, 1, texels, torch.full_like(slopes, 2.6))
    palette = _palette(draws, count)
    kinds = torch.stack(
        (
            _natural(draws, grain),
            _patches(draws, palette, fields[:, :1]),
            _stripes(draws, palette, fields[:, :1]),
            _marks(draws, palette, texels),
            _between(palette, 0.5 + 0.25 * smooth),
        )
    )
    first, second = draws.number(2, count, below=len(kinds))
    every = torch.arange(count, device=draws.device)
    is_second = fields[:, 1:] > SECOND_KIND
    rgb = torch.where(is_second, kinds[second, every], kinds[first, every])
    roughness = _each(draws.log_uniform(count, low=0.003, high=0.08))
    return torch.cat(((rgb + roughness * grain).clamp(0, 1), fields[:, :1]), 1)


def spectral_noise(
    draws: Draws, count: int, channels: int, texels: int, slope: Tensor
) -> Tensor:  # (count, channels, texels, texels)
    """Periodic noise of zero mean, unit deviation and amplitude spectrum 1 / f ** slope (count,).

    Natural images have a slope of about 1.
    """
    across = torch.fft.rfftfreq(texels, 1 / texels, device=draws.device)
    down = torch.fft.fftfreq(texels, 1 / texels, device=draws.device)
    frequency = torch.hypot(down[:, None], across[None]).clamp(min=1)  # cycles per tile
    spectrum = torch.fft.rfft2(draws.normal(count, channels, texels, texels))
    noise = torch.fft.irfft2(spectrum * frequency ** -_each(slope), s=(texels, texels))
    noise = noise - noise.mean((2, 3), keepdim=True)
    return noise / noise.std((2, 3), keepdim=True).clamp(min=1e-6)


def sample(tiles: Tensor, place: Tensor) -> Tensor:
    """Tiles (B, C, K, K) at ``place`` (B, N, 2), in tiles: (B, C, N); any place is on a tile."""
    padded = F.pad(tiles, (0, 1, 0, 1), mode="circular")
    grid = 2 * (place - place.floor()) - 1
    return F.grid_sample(padded, grid[:, None], align_corners=True)[:, :, 0]


def _natural(draws: Draws, grain: Tensor) -> Tensor:
    """Noise whose channels share most of their light, round a mean colour."""
    count = len(grain)
    light = torch.ones(count, 3, 1, device=draws.device) * _vector(draws.uniform(count, low=0.4))
    mix = 0.5 * draws.uniform(count, 1, 1) * draws.normal(count, 3, 3)
    mix[..., :1] += light  # the first channel of the noise is the light
    mix = mix * _vector(draws.uniform(count, low=0.06, high=0.26))
    mean = _palette(draws, count)[:, 0, :, None, None]
    return mean + torch.einsum("nij,njhw->nihw", mix, grain)


def _palette(draws: Draws, count: int) -> Tensor:
    """Colours (count, PALETTE, 3), together pale or strong, as things of one scene are."""
    colours = draws.uniform(count, PALETTE, 3, low=0.08, high=0.95)
    grey = colours.mean(-1, keepdim=True)
    return grey + (colours - grey) * _vector(draws.log_uniform(count, low=0.15, high=1.0))


def _patches(draws: Draws, palette: Tensor, field: Tensor) -> Tensor:
    """Flat colours with sharp borders, along the contours of a field."""
    scale = _each(draws.log_uniform(len(field), low=1.0, high=4.0))
    number = (field * scale + PALETTE * 8).floor().long() % PALETTE  # (n, 1, K, K)
    flat = number.flatten(1)[..., None].expand(-1, -1, 3)
    return palette.gather(1, flat).mT.unflatten(2, field.shape[2:])


def _stripes(draws: Draws, palette: Tensor, field: Tensor) -> Tensor:
    """Waves or a check of two colours, bent by a field, soft or sharp."""
    count, texels = len(field), field.shape[-1]
    axis = torch.arange(texels, device=draws.device) / texels
    waves = draws.number(count, 2, below=24) + 1  # whole ones in a tile, so that it repeats
    bend = _each(draws.uniform(count, high=1.5))
    turn = 2 * math.pi
    x = torch.sin(turn * _each(waves[:, 0]) * axis + bend * field)
    y = torch.sin(turn * _each(waves[:, 1]) * axis[:, None])
    is_check = _each(draws.chance(count, share=0.5))
    wave = torch.where(is_check, x * y, x)
    return _between(palette, 0.5 + wave * _each(draws.log_uniform(count, low=0.4, high=8)))


def _marks(draws: Draws, palette: Tensor, texels: int) -> Tensor:
    """Lines of marks such as a seven-segment display has, with gaps between words."""
    count, side = len(palette), texels // GLYPH_CELL
    rows, columns = side // GLYPH_ROWS + 1, side // GLYPH_COLUMNS + 1
    segments = draws.chance(count, 7, rows, columns, share=0.55)
    segments &= draws.chance(count, 1, rows, columns, share=0.8)
    segments = segments.repeat_interleave(GLYPH_ROWS, 2).repeat_interleave(GLYPH_COLUMNS, 3)
    row = (torch.arange(segments.shape[2], device=draws.device) % GLYPH_ROWS)[:, None]
    column = (torch.arange(segments.shape[3], device=draws.device) % GLYPH_COLUMNS)[None]
    inside = (row < GLYPH_ROWS - 3) & (column < GLYPH_COLUMNS - 1)
    last = GLYPH_COLUMNS - 2
    parts = (row == 0, row == 2, row == 4, (column == 0) & (row <= 2), (column == 0) & (row >= 2),
             (column == last) & (row <= 2), (column == last) & (row >= 2))  # fmt: skip
    is_ink = segments.new_zeros(count, *segments.shape[2:])
    for number, part in enumerate(parts):
        is_ink |= segments[:, number] & part & inside
    ink = is_ink[:, None, :side, :side].float()
    ink = ink.repeat_interleave(GLYPH_CELL, 2).repeat_interleave(GLYPH_CELL, 3)
    return _between(palette, ink)


def _between(palette: Tensor, share: Tensor) -> Tensor:
    """From the first colour of a palette, where ``share`` (n, 1, K, K) is 0, to the second."""
    first, second = palette[:, 0, :, None, None], palette[:, 1, :, None, None]
    return first + (second - first) * share.clamp(0, 1)


def _each(value: Tensor) -> Tensor:
    """(n,) as (n, 1, 1, 1)."""
    return value[:, None, None, None]


def _vector(value: Tensor) -> Tensor:
    return value[:, None, None]
