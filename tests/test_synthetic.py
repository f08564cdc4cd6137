"""The renderer's ground truth is exact: every other test of motion relies on it."""

import shutil
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from omnimotion.errors import ConfigError, InputError
from omnimotion.synthetic import (
    SyntheticScene,
    build_scene,
    exact_flow,
    film_clip,
    render_clip,
    write_clip,
)
from omnimotion.synthetic.motion import Motion, Signal, Similarity
from omnimotion.synthetic.scene import Layer
from omnimotion.synthetic.textures import Canvas, bake

N_FRAMES, SIZE = 24, (96, 72)


@pytest.fixture(scope="module")
def scene():
    return build_scene(3, N_FRAMES, SIZE, n_sprites=4)


@pytest.fixture(scope="module")
def clip():
    return render_clip(3, N_FRAMES, SIZE, n_sprites=4, n_queries=200, supersample=4)


def bilinear(image, xy):
    """Colours (N, C) of image (H, W, C) at xy (N, 2); an independent sampler."""
    height, width = image.shape[:2]
    x0 = np.clip(np.floor(xy[:, 0]).astype(int), 0, width - 2)
    y0 = np.clip(np.floor(xy[:, 1]).astype(int), 0, height - 2)
    fx, fy = (xy - np.stack([x0, y0], axis=1)).T[:, :, None]
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    low = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + low * fy


# --- scene ----------------------------------------------------------------------------------


def test_every_layer_can_be_undone(scene):
    for t in (0, 7, N_FRAMES - 1):
        xy = np.random.default_rng(t).uniform(-20, 120, (50, 2))
        for layer in scene.layers:
            back = layer.motion.to_image(layer.motion.to_material(xy, t), t)
            assert np.abs(back - xy).max() < 1e-9


def test_position_returns_to_each_pixel(scene):
    for t in (0, 11):
        seen = scene.surface(t)
        xy = scene.position(seen.layer, seen.material, t)
        assert np.abs(xy - scene.pixels()).max() < 1e-9


def test_all_layers_are_somewhere_seen(scene):
    seen = {int(k) for t in range(N_FRAMES) for k in np.unique(scene.surface(t).layer)}
    assert seen == set(range(len(scene.layers)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_boxes_cut_nothing_off(seed):
    made = build_scene(seed, 8, (160, 120), n_sprites=4)
    whole = replace(made, layers=tuple(replace(k, bounded=False) for k in made.layers))
    for t in (0, 5):
        assert (made.surface(t).layer == whole.surface(t).layer).all()


@pytest.mark.parametrize(("n_frames", "size"), [(8, (64, 48)), (36, (160, 120)), (200, (64, 96))])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_background_fills_the_view(seed, n_frames, size):
    made = build_scene(seed, n_frames, size, n_sprites=0)
    canvas = made.layers[0].texture.canvas
    corners = np.array([(x, y) for x in (-0.5, size[0] - 0.5) for y in (-0.5, size[1] - 0.5)])
    for t in np.linspace(0, n_frames - 1, 12):
        material = made.layers[0].motion.to_material(corners, t)
        assert (material >= canvas.low).all()
        assert (material <= canvas.high).all()


def square_scene():
    """White square from (20.25, 10.25) to (30.25, 20.25) px, moving right by 2 px a frame."""
    canvas = Canvas((-1.0, -1.0), (1.0, 1.0), 50.0)
    x, y = canvas.grid()
    level = 0.5 - np.maximum(np.abs(x), np.abs(y))
    square = bake(canvas, np.ones((*x.shape, 3)), level)
    pose = Similarity(target=(Signal(25.25, 2.0), Signal(15.25)), log_scale=Signal(np.log(10.0)))
    black = bake(canvas, np.zeros((*x.shape, 3)), None)
    layers = (Layer(black, Motion(()), bounded=False), Layer(square, Motion((pose,))))
    return SyntheticScene(layers, 4, (48, 32))


def test_a_square_is_where_arithmetic_puts_it():
    made = square_scene()
    seen = made.surface(1)  # moved to x in (22.25, 32.25)
    expected = np.zeros((32, 48), int)
    expected[11:21, 23:33] = 1  # the pixel centres inside
    assert (seen.layer == expected).all()
    flow, visible = exact_flow(made, 0, 3)
    inside = made.surface(0).layer == 1
    assert np.abs(flow[inside] - (6.0, 0.0)).max() < 1e-5
    assert visible[inside].all()
    assert (flow[~inside] == 0).all()
    # In frame 3 the square covers the background from x = 26.25 to 36.25.
    assert not visible[15, 33]
    assert visible[15, 18]


def test_a_pixel_cut_by_an_outline_has_the_share_it_covers():
    frame = square_scene().render(0, supersample=8)
    assert (frame[11:20, 21:30] == 255).all()
    # Pixel 20 spans 19.5 to 20.5, of which the square covers 20.25 to 20.5.
    assert frame[15, 20, 0] == pytest.approx(255 / 4, abs=1)
    assert frame[10, 20, 0] == pytest.approx(255 / 16, abs=1)


# --- flow -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("i", "j"), [(0, 1), (5, 17), (17, 5), (20, 0)])
def test_flow_there_and_back_returns_to_the_start(scene, i, j):
    flow, visible = exact_flow(scene, i, j)
    xy_j = (scene.pixels() + flow)[visible]
    seen = scene.surface(j, xy_j)
    back = scene.position(seen.layer, seen.material, i)
    assert visible.mean() > 0.3
    assert np.abs(back - scene.pixels()[visible]).max() < 1e-3


def test_dense_flow_agrees_with_itself_backwards(scene):
    """On the pixel grid too, where backward flow is smooth: away from outlines."""
    forward, visible = exact_flow(scene, 4, 8)
    backward, _ = exact_flow(scene, 8, 4)
    xy = (scene.pixels() + forward)[visible]
    cycle = np.linalg.norm(bilinear(backward, xy) + forward[visible], axis=1)
    assert np.median(cycle) < 0.01
    assert np.mean(cycle < 0.2) > 0.85


def test_flow_to_the_same_frame_is_zero(scene):
    flow, visible = exact_flow(scene, 6, 6)
    assert np.abs(flow).max() < 1e-4
    assert visible.all()


def test_an_independent_flow_method_finds_the_same_flow(scene, clip):
    grey = [cv2.cvtColor(clip.frames[t], cv2.COLOR_RGB2GRAY) for t in (10, 11)]
    method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    method.setFinestScale(0)
    found = method.calc(*grey, None)
    flow, visible = exact_flow(scene, 10, 11)
    error = np.linalg.norm(found - flow, axis=-1)[visible]
    assert np.median(np.linalg.norm(flow, axis=-1)) > 0.5
    assert np.median(error) < 0.15


def test_some_pixels_become_hidden_in_both_directions(scene):
    for i, j in ((2, 20), (20, 2)):
        assert 0.02 < 1 - exact_flow(scene, i, j)[1].mean() < 0.7


# --- clip -----------------------------------------------------------------------------------


def test_shapes_and_types(clip):
    assert (clip.frames.shape, clip.frames.dtype) == ((N_FRAMES, 72, 96, 3), np.uint8)
    assert (clip.queries.shape, clip.queries.dtype) == ((200, 3), np.float32)
    assert (clip.tracks.shape, clip.tracks.dtype) == ((200, N_FRAMES, 2), np.float32)
    assert (clip.visible.shape, clip.visible.dtype) == ((200, N_FRAMES), bool)
    assert clip.known.all()
    assert clip.fps > 0


def test_each_track_passes_through_its_query(clip):
    frames = clip.queries[:, 0].astype(int)
    rows = np.arange(len(frames))
    assert np.abs(clip.tracks[rows, frames] - clip.queries[:, 1:]).max() < 1e-3
    assert clip.visible[rows, frames].all()


def test_the_visible_flag_is_whether_the_nearest_layer_is_the_querys(scene, clip):
    width, height = SIZE
    for q in range(0, 200, 9):
        own = scene.surface(int(clip.queries[q, 0]), clip.queries[q, 1:].astype(float)).layer
        for t in range(N_FRAMES):
            x, y = clip.tracks[q, t].astype(float)
            in_view = -0.5 <= x < width - 0.5 and -0.5 <= y < height - 0.5
            nearest = scene.surface(t, np.array([x, y])).layer
            assert clip.visible[q, t] == (in_view and nearest == own)


def test_visible_points_keep_their_colour(clip):
    """Frames are area means, so colours agree up to the blur of resampling; hidden ones do not."""
    expected = np.stack([bilinear(clip.frames[int(t)].astype(float), np.array([[x, y]]))[0]
                         for t, x, y in clip.queries])  # fmt: skip
    error = np.stack([np.abs(bilinear(frame.astype(float), clip.tracks[:, t]) - expected).mean(-1)
                      for t, frame in enumerate(clip.frames)], axis=1)  # fmt: skip
    (width, height), (x, y) = SIZE, np.moveaxis(clip.tracks, -1, 0)
    hidden = ~clip.visible & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    assert np.median(error[clip.visible]) < 6
    assert np.percentile(error[clip.visible], 90) < 25
    assert np.median(error[hidden]) > 30


def test_exact_colour_of_the_surface_is_constant(scene, clip):
    """Point samples of the scene have no blur: constancy is exact up to float32 positions."""
    for t in (0, 13):
        now = clip.visible[:, t]
        start = np.array([scene.surface(int(k), np.array([x, y], float)).rgb
                          for k, x, y in clip.queries[now]])  # fmt: skip
        there = scene.surface(t, clip.tracks[now, t].astype(float)).rgb
        assert np.abs(there - start).max() < 1e-3


def test_points_hide_and_come_back(clip):
    change = np.diff(clip.visible.astype(int), axis=1)
    assert (change == -1).any(axis=1).sum() > 20
    assert (change == 1).any(axis=1).sum() > 20
    assert 0.5 < clip.visible.mean() < 0.97


def test_the_same_seed_gives_the_same_clip():
    first, second = (render_clip(5, 3, (48, 32), n_queries=10) for _ in range(2))
    for name in ("frames", "queries", "tracks", "visible"):
        assert (getattr(first, name) == getattr(second, name)).all()


def test_another_seed_gives_another_clip():
    first, second = (render_clip(seed, 3, (48, 32), n_queries=10) for seed in (5, 6))
    assert np.abs(first.frames.astype(int) - second.frames).mean() > 10
    assert (first.queries != second.queries).any()


def test_frames_are_those_of_the_scene(scene, clip):
    assert (clip.frames[7] == scene.render(7, supersample=4)).all()


@pytest.mark.parametrize(("n_sprites", "n_queries"), [(0, 5), (1, 0), (6, 5)])
def test_odd_numbers_of_sprites_and_queries(n_sprites, n_queries):
    made = render_clip(0, 2, (33, 17), n_sprites, n_queries, supersample=1)
    assert made.frames.shape == (2, 17, 33, 3)
    assert made.tracks.shape == (n_queries, 2, 2)


def test_the_tiny_preset_is_quick():
    render_clip(0, 2, (48, 32))  # so that imports are not timed
    start = time.process_time()
    render_clip(0, n_frames=8, size=(64, 48))
    assert time.process_time() - start < 2.0  # 0.2 s on an idle core; slack for loaded machines


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"n_frames": 0}, "n_frames"),
        ({"size": (8, 48)}, "width"),
        ({"size": (48, 8)}, "height"),
        ({"n_sprites": -1}, "n_sprites"),
        ({"n_queries": -1}, "n_queries"),
        ({"supersample": 0}, "supersample"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(arguments, word):
    with pytest.raises(ConfigError, match=word):
        render_clip(**{"seed": 0, "n_frames": 2, "size": (48, 32)} | arguments)


def test_written_clip_reads_back(tmp_path):
    made = render_clip(1, 3, (48, 32), n_queries=10)
    write_clip(made, tmp_path / "clip")
    names = sorted(path.name for path in (tmp_path / "clip" / "frames").iterdir())
    assert names == ["00000.png", "00001.png", "00002.png"]
    with Image.open(tmp_path / "clip" / "frames" / names[2]) as image:
        assert (np.asarray(image) == made.frames[2]).all()
    with np.load(tmp_path / "clip" / "gt.npz", allow_pickle=False) as truth:
        assert set(truth) == {"queries", "tracks", "visible", "known", "occlusion_labels"}
        for name in ("queries", "tracks", "visible", "known"):
            assert (truth[name] == getattr(made, name)).all()
        assert truth["occlusion_labels"].shape == ()
        assert truth["occlusion_labels"]
    with pytest.raises(InputError, match="empty folder"):
        write_clip(made, tmp_path / "clip")


def test_another_clip_does_not_replace_a_truth(tmp_path):
    write_clip(render_clip(1, 2, (48, 32), n_queries=4), tmp_path)
    shutil.rmtree(tmp_path / "frames")
    before = (tmp_path / "gt.npz").read_bytes()
    with pytest.raises(InputError, match="empty folder"):
        write_clip(render_clip(2, 2, (48, 32), n_queries=4), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"gt.npz": before}


def test_a_filmed_clip_is_the_rendered_one_frame_by_frame(tmp_path):
    filmed, rendered = (
        film_clip(1, 3, (48, 32), n_queries=10),
        render_clip(1, 3, (48, 32), n_queries=10),
    )
    assert not hasattr(filmed.frames, "shape")  # nothing is rendered before it is asked for
    np.testing.assert_array_equal(filmed.tracks, rendered.tracks)
    np.testing.assert_array_equal(list(filmed.frames), rendered.frames)
