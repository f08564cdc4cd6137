"""Depth maps: read in order, of any scale, and heeded by a fit; what is no map is named."""

import numpy as np
import pytest
import torch
from PIL import Image

from omnimotion.depth_maps import ClipDepth, DepthLookup, read_depth
from omnimotion.errors import InputError
from omnimotion.fitting import run_fit
from omnimotion.geometry import Frame
from omnimotion.runs import open_tracker, start_fit
from omnimotion.signals import StopSignal
from omnimotion.supervision import Supervision

SIZE = (48, 32)
RAMP = np.tile(np.arange(48.0), (32, 1))


def test_png_and_npy_of_any_scale_mean_the_same(tmp_path):
    Image.fromarray((1000 + 40 * RAMP).astype(np.uint16)).save(tmp_path / "d9.png")
    np.save(tmp_path / "d10.npy", (1e-3 * RAMP - 7).astype(np.float64))
    np.save(tmp_path / "d11.npy", np.full((32, 48), 3))
    found = read_depth(tmp_path, 3, SIZE, SIZE).values
    assert found.dtype == np.float32
    for values in found[:2]:  # a column is 2.1 % of them: none is beyond the ends of the range
        np.testing.assert_allclose(values, RAMP / 47, atol=1e-5)
    assert (found[2] == 0).all()  # a flat map says nothing
    small = read_depth(tmp_path, 3, SIZE, (16, 32)).values
    np.testing.assert_allclose(small, found[:, :, 1::3])  # the middle one of three columns


@pytest.mark.parametrize("inverse", [False, True])
def test_a_place_has_the_depth_of_its_nearest_pixel(inverse):
    values = np.random.default_rng(0).random((2, 16, 24)).astype(np.float32)
    lookup = DepthLookup(ClipDepth(values), inverse, torch.device("cpu"))
    px = torch.tensor([[[3.4, 7.6], [23.4, -0.4]], [[0.0, 15.0], [11.0, 2.0]]])
    found = lookup.at(torch.tensor([1, 0]), Frame(24, 16).normalise(px)).numpy()
    expected = np.stack((values[1, [8, 0], [3, 23]], values[0, [15, 2], [0, 11]]))
    np.testing.assert_allclose(found, 1 - expected if inverse else expected, atol=1e-6)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_fit_heeds_the_order(tiny_store, tiny_config, tmp_path, inverse):
    """Nothing else says that the left of the still background is nearer than its right."""
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (8, 48, 1))
    config = tiny_config.replace(num_iters=40, pairs=8, inverse_depth=inverse)
    start = start_fit(tiny_store, tmp_path, config, Supervision(depth=ClipDepth(ramp)))
    run_fit(start, StopSignal())
    depth, _ = open_tracker(tiny_store.folder, tmp_path).surface(3)
    left, right = np.median(depth[:, :16]), np.median(depth[:, -16:])
    assert (right - left) * (-1 if inverse else 1) > 0.1


def write_grey8(path):
    Image.fromarray(RAMP.astype(np.uint8)).save(path)


def write_pickle(path):
    with path.open("wb") as file:
        np.save(file, np.array([{}], object))


def write_numbers(values):
    def write(path):
        with path.open("wb") as file:
            np.save(file, values)

    return write


@pytest.mark.parametrize(
    ("name", "write", "said"),
    [
        ("a.png", write_grey8, "mode L; expected PNG of 16 bits"),
        ("a.png", lambda path: path.write_bytes(b"no picture"), "expected PNG of 16 bits"),
        ("a.npy", lambda path: path.write_bytes(b""), "expected PNG of 16 bits or NPY"),
        ("a.npy", write_pickle, "expected PNG of 16 bits or NPY"),
        ("a.npy", write_numbers(RAMP.T), r"shape \(48, 32\), expected the video's \(32, 48\)"),
        ("a.npy", write_numbers(RAMP * np.nan), "not finite"),
        ("a.npy", write_numbers(RAMP > 3), "no array of numbers"),
    ],
)
def test_what_is_no_map_is_named(tmp_path, name, write, said):
    write(tmp_path / name)
    with pytest.raises(InputError, match=said) as caught:
        read_depth(tmp_path, 1, SIZE, SIZE)
    assert name in str(caught.value)


def test_too_little_memory_is_no_fault_of_a_png(tmp_path, monkeypatch):
    def fails(data):
        raise MemoryError

    Image.fromarray(RAMP.astype(np.uint16)).save(tmp_path / "a.png")
    monkeypatch.setattr("omnimotion.depth_maps.open_checked", fails)
    with pytest.raises(MemoryError):
        read_depth(tmp_path, 1, SIZE, SIZE)
