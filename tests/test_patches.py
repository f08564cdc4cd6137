"""Patches are found where the image of a query went, whatever its light; nowhere else."""

from types import SimpleNamespace

import numpy as np
import pytest

from omnimotion import patches as module
from omnimotion.patches import Patches
from omnimotion.views import Views

SIZE = 160, 120
CENTRE = np.array(SIZE) / 2
N_FRAMES = 5


def texture(xy):
    """A smooth pattern without a period in the frame, 0 to 255, at places (..., 2)."""
    random = np.random.default_rng(0)
    waves = random.normal(0, 0.35, (24, 2))
    phases = random.uniform(0, 2 * np.pi, 24)
    return 128 + 20 * np.cos(xy @ waves.T + phases).sum(-1)


def affine(t):
    """What frame t does to places of frame 0, about the centre: (2, 2) and (2,)."""
    angle, scale = 0.05 * t, 1 + 0.02 * t
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * turn, np.array([1.3, -0.7]) * t


def carried(xy, t):
    matrix, shift = affine(t)
    return (xy - CENTRE) @ matrix.T + CENTRE + shift


def image(t, size=SIZE):
    """Frame t, each brighter and of less contrast than the one before."""
    matrix, shift = affine(t)
    y, x = np.mgrid[: size[1], : size[0]]
    place = np.stack((x, y), axis=-1) * (SIZE[0] / size[0])
    grey = texture((place - CENTRE - shift) @ np.linalg.inv(matrix).T + CENTRE)
    grey = (1 - 0.08 * t) * grey + 5 * t
    return np.repeat(grey.clip(0, 255).round().astype(np.uint8)[..., None], 3, axis=-1)


def patches(frame=image, size=SIZE):
    index = SimpleNamespace(size=size, n_frames=N_FRAMES)
    return Patches(Views(SimpleNamespace(index=index, frame=frame)))


@pytest.fixture
def queries():
    random = np.random.default_rng(1)
    return random.uniform((40, 40), (120, 80), (6, 2))


@pytest.fixture
def truth(queries):
    return np.stack([carried(queries, t) for t in range(N_FRAMES)], axis=1)


@pytest.fixture
def warp():
    return np.stack([affine(t)[0] for t in range(N_FRAMES)])[None].repeat(6, 0).astype(np.float32)


OFFSETS, WINDOW = module.OFFSETS.numpy(), module.WINDOW.numpy()
FIRST, SHOWN = np.zeros(6, np.int64), np.ones((6, N_FRAMES), bool)


def test_a_patch_is_found_to_a_twentieth_of_a_pixel(queries, truth, warp):
    random = np.random.default_rng(2)
    track = truth + random.uniform(-0.9, 0.9, truth.shape)
    found = patches().around(FIRST, queries, warp).find(track, SHOWN)
    error = np.linalg.norm(found - truth, axis=-1)[:, 1:]
    assert np.isfinite(error).all()
    assert error.max() < 0.05


def test_large_frames_are_halved(queries, truth, warp):
    """Places stay those of the store's frames."""
    large = patches(lambda t: image(t, (640, 480)), (640, 480))
    assert large.views.grey_size == (320, 240)
    scaled = 4 * np.stack((queries, queries))[0]  # pixel (x, y) of the small is (4x, 4y) here
    found = large.around(FIRST, scaled, warp).find(4 * truth + 1.0, SHOWN)
    assert np.nanmax(np.abs(found - 4 * truth)) < 0.2


def test_it_is_not_looked_for_where_it_is_not_shown(queries, truth, warp):
    shown = SHOWN.copy()
    shown[2, 3] = False
    found = patches().around(FIRST, queries, warp).find(truth, shown)
    missing = np.isnan(found).any(-1)
    assert missing[:, 0].all()  # their own frame
    assert missing[2, 3]
    assert missing.sum() == 7


def test_other_images_are_not_alike(queries, truth, warp):
    """Frame 2 shows something else; so does the frame where the track is 30 px off."""

    def frame(t):
        return image(t)[::-1, ::-1] if t == 2 else image(t)

    track = truth.copy()
    track[:, 4] += 30 * np.sign(CENTRE - track[:, 4])
    around = patches(frame).around(FIRST, queries, warp)
    found = np.isfinite(around.find(track, SHOWN)).all(-1)
    assert found[:, [1, 3]].all()
    assert not found[:, [2, 4]].any()
    alike = around.likeness(track, SHOWN)
    assert alike[:, [0, 1, 3]].min() > 0.95
    assert alike[:, [2, 4]].max() < 0.7


def test_likeness_is_the_correlation_under_the_window(queries, truth, warp):
    """Against numpy's, of the pattern itself; noise takes little from so much contrast."""
    track = truth + 1.5
    found = patches().around(FIRST, queries, warp).likeness(track, SHOWN)
    for q, t in ((0, 1), (3, 4)):
        matrix, shift = affine(t)
        back = (track[q, t] + OFFSETS @ matrix.T - CENTRE - shift) @ np.linalg.inv(matrix).T
        a, b = texture(queries[q] + OFFSETS), texture(back + CENTRE)
        shown = image(0)[..., 0].astype(float)  # red, green and blue are one
        x, y = np.rint(queries[q] + OFFSETS).astype(int).T
        off = shown[y, x] - shown[tuple(np.rint(queries[q]).astype(int)[::-1])]
        covariance = np.cov(a, b, aweights=WINDOW * np.exp(-np.abs(off) / module.COLOUR_OFF))
        expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert found[q, t] == pytest.approx(expected, abs=0.03)


def test_at_an_edge_a_patch_goes_with_what_has_the_colour_of_its_pixel():
    """Left of an edge all moves two pixels up a frame; right of it, brighter, nothing does."""

    def frame(t):
        y, x = np.mgrid[: SIZE[1], : SIZE[0]].astype(float)
        left = x < 80
        shown = texture(np.stack((x, y + 2 * t * left), axis=-1)) / 4 + np.where(left, 20, 160)
        return np.repeat(shown.round().astype(np.uint8)[..., None], 3, axis=-1)

    one = np.broadcast_to(np.eye(2, dtype=np.float32), (2, N_FRAMES, 2, 2)).copy()
    queries = np.array([[77.0, 60.0], [82.0, 60.0]])
    up = np.stack((np.zeros(N_FRAMES), -2.0 * np.arange(N_FRAMES)), axis=-1)
    truth = queries[:, None] + np.stack((up, 0 * up))
    begun = truth + np.array([0.0, 0.7])
    found = patches(frame).around(FIRST[:2], queries, one).find(begun, SHOWN[:2])
    assert np.abs(found - truth)[:, 1:].max() < 0.1


def test_what_is_flat_in_both_is_alike(queries, truth, warp):
    """Noise of a grey level says nothing of whether it is the same surface; a pattern does."""
    random = np.random.default_rng(3)
    flat = random.integers(90, 92, (N_FRAMES, SIZE[1], SIZE[0], 1), np.uint8).repeat(3, -1)

    def patterned_from_three(t):
        return image(t) if t > 2 else flat[t]

    around = patches(patterned_from_three).around(FIRST, queries, warp)
    alike = around.likeness(truth, SHOWN)
    assert alike[:, :3].min() > 0.9
    assert alike[:, 3:].max() < 0.8


def test_nothing_is_found_without_texture(queries, truth, warp):
    """A flat image, and one of stripes along which a patch may slide."""

    def stripes(t):
        return np.broadcast_to(image(0)[:1], (SIZE[1], SIZE[0], 3)).copy()

    def flat(t):
        return np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)

    still = np.repeat(queries[:, None], N_FRAMES, axis=1)
    one = np.broadcast_to(np.eye(2, dtype=np.float32), warp.shape).copy()
    for frame in (stripes, flat):
        found = patches(frame).around(FIRST, queries, one).find(still, SHOWN)
        assert np.isnan(found).all()


def test_near_the_edge_places_stay_finite(truth, warp):
    corner = np.array([[0.0, 0.0], [159.0, 119.0]])
    track = np.repeat(corner[:, None], N_FRAMES, axis=1)
    around = patches().around(FIRST[:2], corner, warp[:2])
    assert np.isfinite(around.likeness(track, SHOWN[:2])).all()
    around.find(track, SHOWN[:2])


def test_no_tracks():
    none = np.zeros((0, N_FRAMES))
    around = patches().around(np.zeros(0, np.int64), np.zeros((0, 2)),
                              np.zeros((0, N_FRAMES, 2, 2), np.float32))  # fmt: skip
    assert around.find(np.zeros((0, N_FRAMES, 2)), none > 0).shape == (0, N_FRAMES, 2)
    assert around.likeness(np.zeros((0, N_FRAMES, 2)), none > 0).shape == (0, N_FRAMES)
