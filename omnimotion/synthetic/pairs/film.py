"""What a camera does to a rendered frame: blur, light, colour, noise, compression.

Conventions. Frames are float32 RGB in [0, 1], (B, 3, H, W). All of it changes colours only, never
where things are. Two parts are approximations, made for speed: motion blur gathers along each
pixel's own motion (so at an edge the sharp side stays sharp), and compression is the rounding of
JPEG alone (8x8 cosine transform, its usual tables, no halving of the colour planes).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from omnimotion.synthetic.pairs.draws import Draws

BLUR_TAPS, MAX_BLUR_PX = 7, 16.0
DEFOCUS_TAPS = 4  # px on either side
BLOCK = 8
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = tuple(
    99 if x + y > 4 else (17, 18, 24, 47, 66)[max(x, y, x + y)] for y in range(8) for x in range(8)
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def film(
    draws: Draws, frames: tuple[Tensor, Tensor], motions: tuple[Tensor, Tensor], gap: Tensor
) -> tuple[Tensor, Tensor]:
    """Both frames as a camera records them, in steps of 1/255.

    ``motions`` (B, 2, H, W): of each frame's pixels to the other frame, px, over ``gap`` (B,)
    frames, of which the shutter is open for less than one.
    """
    count = len(gap)
    exposure = draws.uniform(count, high=0.9) * draws.chance(count, share=0.4) / gap
    sigma = draws.log_uniform(count, low=0.3, high=1.6) * draws.chance(count, share=0.4)
    change = (gap / 8).clamp(0.1, 1)  # of light, from one frame to the other
    lights = _lights(draws, frames[0].shape, change)
    noise = draws.log_uniform(count, low=0.002, high=0.05) * draws.chance(count, share=0.6)
    quality = draws.log_uniform(count, low=0.15, high=2.5)
    is_compressed = draws.chance(count, share=0.6)[:, None, None, None]
    filmed = []
    for frame, motion, light in zip(frames, motions, lights):
        image = _blurred(frame, motion * exposure[:, None, None, None])
        image = _defocused(image, sigma)
        image = light(image)
        image = image + _each(noise) * (0.4 + image.clamp(min=0)).sqrt() * draws.normal(
            *image.shape
        )
        image = image.clamp(0, 1)
        image = torch.where(is_compressed, _compressed(image, quality), image)
        filmed.append((image.clamp(0, 1) * 255).round() / 255)
    return filmed[0], filmed[1]


class _Light:
    """Gain, colour, gamma and a field of soft shadows of one frame."""

    def __init__(self, gain: Tensor, gamma: Tensor, field: Tensor) -> None:
        self.gain, self.gamma, self.field = gain, gamma, field

    def __call__(self, image: Tensor) -> Tensor:
        lit = image * self.gain[..., None, None] * self.field
        return lit.clamp(1e-4, 1) ** _each(self.gamma)


def _lights(draws: Draws, shape: torch.Size, change: Tensor) -> tuple[_Light, _Light]:
    """Of both frames, which differ the more the larger ``change`` (B,) is."""
    count, height, width = shape[0], shape[2], shape[3]
    exposure = 0.2 * draws.normal(count, 1) + 0.06 * draws.normal(count, 3)
    gamma = 0.15 * draws.normal(count)
    cells = 0.5 * draws.uniform(count, 1, 1, 1) * draws.normal(count, 1, 4, 5)
    cells = cells * draws.chance(count, 1, 1, 1, share=0.5)
    lights = []
    for share in (0.0, change):  # one frame as it is, the other changed
        drift = 0.12 * draws.normal(count, 1) + 0.03 * draws.normal(count, 3)
        bend = 0.08 * draws.normal(count)
        wander = 0.15 * draws.normal(count, 1, 4, 5)
        each = torch.as_tensor(share, device=draws.device).expand(count)
        field = F.interpolate(cells + _each(each) * wander, (height, width), mode="bicubic")
        lights.append(
            _Light((exposure + each[:, None] * drift).exp(), (gamma + each * bend).exp(),
                   field.clamp(-1.2, 0.5).exp())
        )  # fmt: skip
    return lights[0], lights[1]


def _blurred(image: Tensor, motion: Tensor) -> Tensor:
    """The mean of an image along each pixel's ``motion`` (B, 2, H, W), px in the exposure."""
    height, width = image.shape[2:]
    length = motion.norm(dim=1, keepdim=True).clamp(min=1e-6)
    motion = motion * (MAX_BLUR_PX / length).clamp(max=1)
    x, y = (torch.arange(side, device=image.device).float() for side in (width, height))
    here = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)
    size = torch.tensor((width, height), device=image.device)
    total = torch.zeros_like(image)
    for tap in range(BLUR_TAPS):
        there = here + motion.permute(0, 2, 3, 1) * (tap / (BLUR_TAPS - 1) - 0.5)
        grid = (there + 0.5) / size * 2 - 1
        total = total + F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    return total / BLUR_TAPS


def _defocused(image: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian blur of ``sigma`` (B,) px; 0 is none."""
    count, channels = image.shape[:2]
    taps = torch.arange(-DEFOCUS_TAPS, DEFOCUS_TAPS + 1, device=image.device)
    weights = (-0.5 * (taps / sigma.clamp(min=0.05)[:, None]) ** 2).exp()
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)[
        :, None, None
    ]
    reach = (DEFOCUS_TAPS,) * 4
    flat = F.pad(image, reach, mode="replicate").flatten(0, 1)[None]
    flat = F.conv2d(flat, weights, groups=count * channels)
    flat = F.conv2d(flat, weights.mT, groups=count * channels)
    return flat[0].unflatten(0, (count, channels))


def _compressed(image: Tensor, quality: Tensor) -> Tensor:
    """Rounded as JPEG does, by its tables times ``quality`` (B,): larger is worse."""
    height, width = image.shape[2:]
    ycc = image.new_tensor(TO_YCC)
    tables = image.new_tensor((LUMINANCE, CHROMINANCE, CHROMINANCE)).unflatten(1, (BLOCK, BLOCK))
    step = quality[:, None, None, None, None, None] * tables[:, None, None] / 255
    planes = torch.einsum("ij,bjhw->bihw", ycc, image)
    planes = F.pad(planes, (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    blocks = planes.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)  # (B, 3, rows, columns, 8, 8)
    transform = _cosines(image.device)
    coefficients = transform @ blocks @ transform.T
    rounded = transform.T @ ((coefficients / step).round() * step) @ transform
    planes = rounded.transpose(3, 4).flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(ycc), planes)


def _cosines(device: torch.device) -> Tensor:
    """The orthonormal cosine transform of a block, (8, 8)."""
    k = torch.arange(BLOCK, device=device)
    waves = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / (2 * BLOCK))
    waves[0] /= math.sqrt(2)
    return waves * math.sqrt(2 / BLOCK)


def _each(value: Tensor) -> Tensor:
    return value[:, None, None, None]
