"""The picture of the README: what a fit of the example clip has learned. See `make overview`."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import omnimotion
from omnimotion.files import atomic_write
from omnimotion.flow import SceneStore
from omnimotion.previews import preview_picture

MAX_BYTES = 500_000
COLOURS = 256


def encoded(picture: np.ndarray) -> bytes:
    """A PNG of uint8 (H, W, 3), with fewer colours where it would be too large."""
    image = Image.fromarray(picture)
    for each in (image, image.quantize(COLOURS, Image.Quantize.FASTOCTREE)):
        png = io.BytesIO()
        each.save(png, "PNG", optimize=True)
        if png.tell() <= MAX_BYTES:
            break
    return png.getvalue()


def main(scene: Path, target: Path) -> None:
    """Draw the scene's newest complete run."""
    tracker = omnimotion.load(scene).tracker
    atomic_write(target, encoded(preview_picture(SceneStore.open(scene), tracker.scene)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
