"""Images of frames: of moderate size, whatever the frames are, and places in them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from omnimotion.views import Views, colour_size, frame_bytes, grey_size


def views(size, n_frames=2):
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (n_frames, size[1], size[0], 3), np.uint8)
    store = SimpleNamespace(index=SimpleNamespace(size=size, n_frames=n_frames),
                            frame=lambda t: frames[t])  # fmt: skip
    return Views(store), frames


@pytest.mark.parametrize(
    ("longer", "grey", "colour"),
    [(16, 16, 16), (511, 511, 511), (512, 256, 512), (1023, 255 + 256, 1023), (1024, 256, 512),
     (8192, 256, 512)],
)  # fmt: skip
def test_sizes_are_bounded(longer, grey, colour):
    assert grey_size((longer, 16))[0] == grey
    assert colour_size((16, longer))[1] == colour
    assert min(grey_size((8192, 16)) + colour_size((16, 8192))) >= 1


def test_small_frames_stay_as_they_are():
    seen, frames = views((30, 20))
    np.testing.assert_array_equal(seen.images.colours.numpy(), frames)
    mean = seen.images.around.float().mean((1, 2))
    torch.testing.assert_close(mean, torch.from_numpy(frames).float().mean((1, 2)), atol=6, rtol=0)


def test_the_memory_is_what_is_said():
    size = 1030, 40
    seen, _ = views(size)
    assert sum(each.nbytes for each in seen.images) == 2 * frame_bytes(size)


def test_places_go_to_the_images_and_back():
    """The middle of a frame's first four pixels is the first pixel of an image half its size."""
    seen, _ = views((600, 400))
    xy = np.array([[0.5, 0.5], [599.0, 7.25]])
    torch.testing.assert_close(seen.to_grey(xy), torch.tensor([[0.0, 0.0], [299.25, 3.375]]))
    np.testing.assert_allclose(seen.from_grey(seen.to_grey(xy)), xy, atol=1e-4)
    torch.testing.assert_close(seen.to_colours(xy), torch.from_numpy(xy).float())
