"""Rendered pairs: flow and visibility against formulas, brute force and the other renderer."""

import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from omnimotion.errors import ConfigError
from omnimotion.synthetic import Layer as ClipLayer
from omnimotion.synthetic import SyntheticScene, exact_flow
from omnimotion.synthetic.motion import Motion, Signal, Similarity
from omnimotion.synthetic.pairs import PairScene, draw_scene, render_pairs
from omnimotion.synthetic.pairs.draws import Draws
from omnimotion.synthetic.pairs.film import _blurred, _compressed, _cosines, _defocused, film
from omnimotion.synthetic.pairs.layers import BEND_NODES, Layer
from omnimotion.synthetic.pairs.motion import about, about_centre, translation
from omnimotion.synthetic.pairs.outlines import SIDES, WAVES, Outline
from omnimotion.synthetic.pairs.paint import paint, sample, spectral_noise
from omnimotion.synthetic.pairs.solids import FOCAL, Solid, rotation
from omnimotion.synthetic.textures import Canvas, bake

SIZE = (64, 48)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(seed=3, gap=(1.0, 4.0, 16.0), layers=5, solids=2):
    return draw_scene(Draws(seeded(seed)), torch.tensor(gap), SIZE, layers, solids, is_lit=False)


def layer(motion, pose=None, outline=None, depth=8.0):
    return Layer(
        pose=translation(torch.zeros(1, 2)) if pose is None else pose, motion=motion,
        bend=torch.zeros(1, 2, BEND_NODES, BEND_NODES), depth=torch.tensor([depth]),
        outline=outline, tile=paint(Draws(seeded()), 1, 64), tiling=torch.tensor([0.5]),
        is_there=torch.tensor([True]),
    )  # fmt: skip


def disc():
    """An outline of radius 0.8."""
    return Outline(
        kind=torch.tensor([0]), waves=torch.zeros(1, WAVES, 2), sides=torch.ones(1, 2),
        roundness=torch.tensor([2.0]), normals=torch.zeros(1, SIDES, 2),
        distances=torch.ones(1, SIDES), cut=torch.tensor([1e9]),
    )  # fmt: skip


def pixel_grid():
    return np.stack(np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1])), -1).astype(float)


# flow -------------------------------------------------------------------------------------------


def test_flow_of_a_translation_is_the_translation():
    flow, visible = PairScene([layer(translation(torch.tensor([[0.25, -0.125]])))], SIZE).flow()
    # the longer side, 64 px, is from -1 to 1
    assert torch.allclose(flow[0, 0], torch.tensor(8.0), atol=1e-4)
    assert torch.allclose(flow[0, 1], torch.tensor(-4.0), atol=1e-4)
    moved = pixel_grid() + np.array((8, -4))
    assert (visible[0].numpy() == ((moved >= 0) & (moved < SIZE)).all(-1)).all()


def test_flow_of_an_affine_map_is_its_formula():
    angle, scale, centre = 0.3, 1.2, np.array([0.4, -0.1])
    turn = about_centre(torch.tensor([angle]), torch.tensor([math.log(scale)]))
    matrix = about(torch.tensor(centre[None]).float(), turn)
    flow, _ = PairScene([layer(matrix)], SIZE).flow()
    pivot = centre * 32 + (31.5, 23.5)
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    moved = (pixel_grid() - pivot) @ np.array([[c, s], [-s, c]]) + pivot
    assert np.abs(flow[0].permute(1, 2, 0).numpy() - (moved - pixel_grid())).max() < 1e-3


def test_flow_of_a_ball_is_that_of_its_surface():
    near, dx = 3.0, 0.4
    ball = Solid(
        half=torch.full((1, 3), 0.5), is_box=torch.tensor([False]),
        turn=(torch.eye(3)[None], torch.eye(3)[None]),
        centre=(torch.tensor([[0.0, 0, near + 0.5]]), torch.tensor([[dx, 0, near + 0.5]])),
        view=torch.eye(3)[None], tile=paint(Draws(seeded()), 1, 64), tiling=torch.tensor([0.5]),
        light=torch.tensor([[0.0, 0, -1]]), ambient=torch.tensor([1.0]),
        is_there=torch.tensor([True]),
    )  # fmt: skip
    size = (65, 49)  # with a pixel in the middle
    flow, visible = PairScene([layer(torch.eye(3)[None]), ball], size).flow()
    assert flow[0, 0, 24, 32].item() == pytest.approx(FOCAL * dx / near * 32.5, rel=1e-3)
    assert visible[0, 24, 32]
    assert not visible[0, 24, 32 + 14]  # background that it comes to hide
    assert flow[0, 0, 24, 60].abs() < 1e-4


def test_nothing_moves_without_time():
    still = scene(gap=(0.0,))
    flow, visible = still.flow()
    assert flow.abs().max() < 2e-3
    assert visible.float().mean() > 0.995  # but for outlines, where rounding decides
    assert (still.render(0, 1) - still.render(1, 1)).abs().mean() < 2e-3


def test_a_visible_point_keeps_its_colour_and_its_material():
    drawn = scene()
    flow, visible = drawn.flow()
    pixels = drawn.pixels()
    first = drawn.surface(drawn.normalised(pixels).expand(3, -1, -1), 0)
    there = drawn.surface(drawn.normalised(pixels + flow.flatten(2).mT), 1)
    shown = visible.flatten(1)
    same = (first.piece == there.piece) & ((first.material - there.material).norm(dim=-1) < 1e-2)
    # brute force: what the other frame shows there is the point itself, or hides it
    place = pixels + flow.flatten(2).mT
    inside = ((place > -0.5) & (place < torch.tensor(SIZE) - 0.5)).all(-1)
    assert not shown[~inside].any()
    assert (same == shown)[inside].float().mean() > 0.998
    assert 0.3 < shown.float().mean() < 0.99
    error = (first.rgb - there.rgb).abs().amax(1)[shown & same]
    assert error.quantile(0.99) < 0.02


def test_the_nearest_piece_is_seen():
    """Against a depth test of all pieces in numpy."""
    drawn = scene()
    for frame in (0, 1):
        xy = drawn.normalised(drawn.pixels()).expand(3, -1, -1)
        hits = [piece.hit(xy, frame) for piece in drawn.pieces]
        depth = np.stack([np.where(h.covered.numpy(), h.depth.numpy(), np.inf) for h in hits])
        assert len(np.unique(depth.argmin(0))) > 4
        assert (drawn.surface(xy, frame).piece.numpy() == depth.argmin(0)).all()


def test_the_second_frame_warped_by_the_flow_is_the_first():
    pairs = render_pairs(torch.tensor([2.0, 4.0]), (96, 64), seeded(1), is_filmed=False)
    x, y = np.meshgrid(np.arange(96, dtype=np.float32), np.arange(64, dtype=np.float32))
    for first, second, flow, visible in zip(pairs.first, pairs.second, pairs.flow, pairs.visible):
        image, there = (each.permute(1, 2, 0).numpy() for each in (second, flow))
        warped = cv2.remap(image, x + there[..., 0], y + there[..., 1], cv2.INTER_LINEAR)
        error = np.abs(warped - first.permute(1, 2, 0).numpy()).mean(-1)
        assert np.median(error[visible.numpy()]) < 0.01
        assert error[visible.numpy()].mean() < 0.5 * error[~visible.numpy()].mean()


def test_both_renderers_mean_the_same_by_flow_and_visibility():
    """A turning, growing disc in front of a panning background, in either."""
    shift, pan, angle, growth = (9.0, -5.0), (3.0, 2.0), 0.4, 0.2
    middle, radius = (31.5, 23.5), 16.0  # px of a material unit
    place = (middle[0] - 4, middle[1] + 3)
    path = (Signal(place[0], shift[0]), Signal(place[1], shift[1]))
    move = Similarity(target=path, angle=Signal(0, angle),
                      log_scale=Signal(math.log(radius), growth))  # fmt: skip
    canvas = Canvas((-1, -1), (1, 1), 400.0)
    level = 0.8 - np.hypot(*canvas.grid())
    piece = ClipLayer(bake(canvas, np.zeros((*level.shape, 3)), level), Motion((move,)))
    ground = Similarity(target=(Signal(0, pan[0]), Signal(0, pan[1])))
    far = Canvas((-9, -9), (80, 80), 0.1)
    wall = bake(far, np.zeros((len(far.rows), len(far.columns), 3)), None)
    clip = SyntheticScene((ClipLayer(wall, Motion((ground,)), bounded=False), piece), 2, SIZE)
    expected, shown = exact_flow(clip, 0, 1)

    at = torch.tensor([[-4 / 32, 3 / 32]])
    own = translation(torch.tensor([shift]) / 32) @ about(
        at, about_centre(torch.tensor([angle]), torch.tensor([growth]))
    )
    pose = translation(at) @ torch.diag(torch.tensor([radius / 32, radius / 32, 1.0]))
    pair = PairScene([layer(translation(torch.tensor([pan]) / 32)),
                      layer(own, pose, disc(), depth=3.0)], SIZE)  # fmt: skip
    flow, visible = pair.flow()
    wrong = np.abs(flow[0].permute(1, 2, 0).numpy() - expected).max(-1) > 1e-2
    assert wrong.mean() < 0.01  # outlines
    assert (visible[0].numpy() != shown).mean() < 0.01
    assert 0.5 < shown.mean() < 0.95


# draws ------------------------------------------------------------------------------------------


def test_equal_seeds_give_equal_pairs_and_others_do_not():
    gap = torch.tensor([3.0])
    one, again = (render_pairs(gap, SIZE, seeded(5), layers=2, solids=1) for _ in range(2))
    other = render_pairs(gap, SIZE, seeded(6), layers=2, solids=1)
    for name in ("first", "second", "flow", "visible"):
        assert torch.equal(getattr(one, name), getattr(again, name))
    assert not torch.equal(one.first, other.first)
    assert one.first.shape == (1, 3, 48, 64)
    assert one.visible.dtype == torch.bool


def test_motion_grows_with_the_gap_up_to_a_part_of_the_frame():
    gaps = torch.tensor([1.0] * 12 + [16.0] * 12)
    flow, _ = draw_scene(Draws(seeded(2)), gaps, SIZE, 2, 1, is_lit=False).flow()
    length = flow.norm(dim=1).flatten(1).median(1).values
    assert 0.01 < length[:12].median() < 2
    assert length[12:].median() > 4 * length[:12].median()
    assert flow.abs().max() < 2 * max(SIZE)


@pytest.mark.parametrize("change", [{"layers": -1}, {"solids": -1}, {"supersample": 0}])
def test_numbers_out_of_range_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        render_pairs(torch.tensor([1.0]), SIZE, seeded(), **change)
    with pytest.raises(ConfigError, match="height"):
        render_pairs(torch.tensor([1.0]), (64, 8), seeded())


def test_a_rotation_turns_about_its_vector():
    quarter = rotation(torch.tensor([[0.0, 0, math.pi / 2]]))[0]
    assert torch.allclose(
        quarter @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6
    )
    any_ = rotation(torch.randn(4, 3, generator=seeded()))
    assert torch.allclose(any_ @ any_.mT, torch.eye(3).expand(4, 3, 3), atol=1e-5)


# paint ------------------------------------------------------------------------------------------


def test_noise_has_the_spectrum_that_was_asked_for():
    noise = spectral_noise(Draws(seeded()), 2, 8, 128, torch.tensor([0.8, 1.6])).numpy()
    assert np.abs(noise.std((2, 3)) - 1).max() < 1e-3
    row = np.abs(np.fft.fft2(noise))[:, :, 0, 2:50].mean(1)
    for amplitude, slope in zip(row, (0.8, 1.6)):
        fitted = np.polyfit(np.log(np.arange(2, 50)), np.log(amplitude), 1)[0]
        assert fitted == pytest.approx(-slope, abs=0.2)


def test_tiles_are_colours_and_repeat():
    tiles = paint(Draws(seeded()), 12, 64)
    assert tiles.shape == (12, 4, 64, 64)
    assert (tiles[:, :3] >= 0).all()
    assert (tiles[:, :3] <= 1).all()
    assert (tiles[:, :3].std((2, 3)) > 0.001).any(1).all()  # none is plain
    place = torch.rand(12, 50, 2, generator=seeded(1))
    assert torch.allclose(sample(tiles, place), sample(tiles, place - 3), atol=2e-3)
    corner = sample(tiles, torch.tensor([5 / 64, 9 / 64]).expand(12, 1, 2))
    assert torch.allclose(corner[..., 0], tiles[:, :, 9, 5], atol=1e-4)


# film -------------------------------------------------------------------------------------------


def test_film_gives_bytes():
    frames = torch.rand(2, 4, 3, 32, 40, generator=seeded())
    motion = 5 * torch.randn(2, 4, 2, 32, 40, generator=seeded(1))
    filmed = film(Draws(seeded(2)), tuple(frames), tuple(motion), torch.ones(4))
    for image in filmed:
        assert torch.allclose(image * 255, (image * 255).round(), atol=1e-3)
        assert image.min() >= 0
        assert image.max() <= 1
        assert image.std() > 0.05


def test_blocks_are_transformed_as_opencv_does():
    block = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    cosines = _cosines(torch.device("cpu"))
    found = cosines @ torch.from_numpy(block) @ cosines.T
    assert np.abs(found.numpy() - cv2.dct(block)).max() < 1e-5


def test_coarser_tables_lose_more_and_fine_ones_nothing():
    image = torch.rand(1, 3, 20, 27, generator=seeded())  # no multiple of a block
    errors = [(_compressed(image, torch.tensor([q])) - image).abs().mean().item()
              for q in (1e-4, 0.3, 2.0)]  # fmt: skip
    assert errors[0] < 1e-3 < errors[1] < errors[2]


def test_blur_is_a_mean_along_the_motion():
    image = torch.zeros(1, 3, 9, 33)
    image[..., 16] = 1
    motion = torch.zeros(1, 2, 9, 33)
    motion[:, 0] = 6.0
    row = _blurred(image, motion)[0, 0, 4]
    assert row.sum().item() == pytest.approx(1, abs=1e-4)
    assert (row > 0.1).nonzero().flatten().tolist() == list(range(13, 20))  # 7 taps of a seventh
    still = _blurred(image, 0 * motion)
    assert torch.allclose(still, image, atol=1e-5)


def test_defocus_is_gaussian_and_none_at_zero():
    image = torch.zeros(2, 3, 21, 21)
    image[..., 10, 10] = 1
    soft = _defocused(image, torch.tensor([0.0, 1.0]))
    assert torch.allclose(soft[0], image[0], atol=1e-6)
    expected = cv2.GaussianBlur(image[1, 0].numpy(), (9, 9), 1.0)
    assert np.abs(soft[1, 0].numpy() - expected).max() < 1e-5
    assert F.mse_loss(soft[1, 0], soft[1, 2]) == 0
