"""Coordinates: the pixel-centre rule, normalisation, similarities."""

import math

import numpy as np
import pytest
import torch

from omnimotion.geometry import (
    Frame,
    apply_similarity,
    compose_similarity,
    inside_frame,
    invert_similarity,
    resize_xy,
    to_raster,
)

SIZES = [(64, 48), (48, 64), (17, 100), (854, 480)]


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def similarities(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    angle, scale = (torch.rand(2, count, generator=random, dtype=torch.float64) + 0.2) * 2
    shift = torch.randn(count, 2, generator=random, dtype=torch.float64)
    ab = torch.stack((scale * angle.cos(), scale * angle.sin()), dim=-1)
    return torch.cat((ab, shift), dim=-1)


def test_resizing_keeps_the_outer_corners_of_the_image():
    corners = np.array([(-0.5, -0.5), (9.5, 3.5)])
    np.testing.assert_allclose(resize_xy(corners, (10, 4), (30, 2)), [(-0.5, -0.5), (29.5, 1.5)])


def test_resizing_agrees_with_averaging_pixels():
    """Halving an image averages two pixels; the new pixel's centre lies between theirs."""
    x = np.arange(8, dtype=np.float64)
    expected = x.reshape(4, 2).mean(axis=1)
    there = resize_xy(np.stack((np.arange(4.0), np.zeros(4)), axis=-1), (4, 1), (8, 1))
    np.testing.assert_allclose(there[:, 0], expected)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_resizing_numpy_and_torch_agree_and_keep_their_type(kind):
    xy = np.random.default_rng(0).uniform(-1, 60, (5, 3, 2)).astype(kind)
    found, tensor = resize_xy(xy, (64, 48), (50, 31)), torch.from_numpy(xy)
    assert found.dtype == kind
    same = resize_xy(tensor, (64, 48), (50, 31))
    assert same.dtype == tensor.dtype
    np.testing.assert_allclose(found, same.numpy(), rtol=1e-6, atol=1e-5)


def test_resizing_there_and_back():
    xy = np.random.default_rng(1).uniform(0, 60, (100, 2))
    np.testing.assert_allclose(resize_xy(resize_xy(xy, (7, 9), (5, 4)), (5, 4), (7, 9)), xy)


def test_raster_coordinates_start_at_the_corner():
    np.testing.assert_array_equal(to_raster(np.array([-0.5, 0.0])), [0.0, 0.5])


@pytest.mark.parametrize("size", SIZES)
def test_normalised_frame_spans_one_along_its_longer_side(size):
    frame = Frame(*size)
    edges = double([(-0.5, -0.5), (size[0] - 0.5, size[1] - 0.5)])
    expected = double([(size[0] / max(size), size[1] / max(size))])
    torch.testing.assert_close(frame.normalise(edges), torch.cat((-expected, expected)))
    assert max(frame.extent) == 1
    torch.testing.assert_close(double([frame.extent]), expected)


@pytest.mark.parametrize("size", SIZES)
def test_normalising_has_one_scale_and_an_inverse(size):
    frame = Frame(*size)
    xy = double(np.random.default_rng(0).uniform(-20, 900, (50, 2)).tolist())
    torch.testing.assert_close(frame.to_pixels(frame.normalise(xy)), xy)
    step = frame.normalise(double([(4, 7)])) - frame.normalise(double([(3, 6)]))
    torch.testing.assert_close(step, torch.full_like(step, 2 / max(size)))


def test_a_similarity_is_scale_rotation_and_shift():
    quarter_turn_twice_as_large = double([0, 2, 5, -1])
    found = apply_similarity(quarter_turn_twice_as_large, double([(1, 0), (0, 1)]))
    torch.testing.assert_close(found, double([(5, 1), (3, -1)]))


def test_similarity_keeps_angles():
    camera = similarities(1)[0]
    a, b = apply_similarity(camera, double([(1, 0), (0, 1)])) - apply_similarity(
        camera, double([(0, 0), (0, 0)])
    )
    assert abs(float(a @ b)) < 1e-12
    assert math.isclose(float(a.norm()), float(b.norm()))


def test_inverse_undoes_a_similarity():
    camera, xy = similarities(20), torch.randn(20, 2, dtype=torch.float64)
    torch.testing.assert_close(
        apply_similarity(invert_similarity(camera), apply_similarity(camera, xy)), xy
    )


def test_composition_applies_the_inner_one_first():
    outer, inner, xy = similarities(9), similarities(9, 1), torch.randn(9, 2, dtype=torch.float64)
    torch.testing.assert_close(
        apply_similarity(compose_similarity(outer, inner), xy),
        apply_similarity(outer, apply_similarity(inner, xy)),
    )


def test_composition_with_the_inverse_is_the_identity():
    camera = similarities(5)
    identity = double([1, 0, 0, 0]).expand(5, 4)
    torch.testing.assert_close(compose_similarity(camera, invert_similarity(camera)), identity)


def test_inside_frame_counts_the_outer_half_pixel():
    xy = np.array([[-0.5, 0], [-0.6, 0], [9.5, 7.5], [9.5, 7.6]])
    assert inside_frame(xy, (10, 8)).tolist() == [True, False, True, False]
