"""Pictures of tracks: what is drawn, where, and how it differs for hidden points."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from omnimotion.colours import query_colours
from omnimotion.errors import InputError
from omnimotion.overlay import (
    Style,
    contact_sheet,
    depth_picture,
    draw_tracks,
    overlay_video,
    spread,
    track_sheet,
)
from omnimotion.tracks import Tracks

WIDTH, HEIGHT, FRAMES = 160, 120, 6
BLACK = np.zeros((HEIGHT, WIDTH, 3), np.uint8)


def make_tracks(xy, visible=None, size=(WIDTH, HEIGHT)):
    """Tracks through xy (Q, T, 2), asked in frame 0."""
    xy = np.asarray(xy, np.float32)
    shape = xy.shape[:2]
    visible = np.ones(shape, bool) if visible is None else np.broadcast_to(visible, shape).copy()
    zeros = np.zeros(shape, np.float32)
    queries = np.column_stack((np.zeros(shape[0]), xy[:, 0])).astype(np.float32)
    return Tracks(xy, visible, zeros, zeros, zeros, queries, 24.0, size)


def still(x, y, **options):
    return make_tracks(np.tile(np.float32([x, y]), (1, FRAMES, 1)), **options)


def light(image):
    return image.astype(float).sum(axis=-1)


def centroid(image):
    weight = light(image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("place", [(80, 60), (33.25, 71.5), (100.4, 20.9)])
@pytest.mark.parametrize("visible", [True, False])
def test_a_point_is_drawn_at_its_place_to_a_tenth_of_a_pixel(place, visible):
    image = draw_tracks(BLACK, still(*place, visible=visible), 3)
    np.testing.assert_allclose(centroid(image), place, atol=0.1)


def test_the_place_follows_the_size_of_the_frame():
    image = draw_tracks(np.zeros((240, 320, 3), np.uint8), still(40, 30), 0)
    np.testing.assert_allclose(centroid(image), (80.5, 60.5), atol=0.1)  # pixel centres


def test_a_visible_point_is_filled_and_a_hidden_one_hollow():
    frame = np.full((HEIGHT * 4, WIDTH * 4, 3), 128, np.uint8)
    centre = (241, 321)  # of pixel (80, 60), four times larger
    filled = draw_tracks(frame, still(80, 60), 0)[centre]
    hollow = draw_tracks(frame, still(80, 60, visible=False), 0)[centre]
    np.testing.assert_allclose(filled, query_colours(still(80, 60).queries)[0], atol=4)
    assert np.ptp(hollow.astype(int)) < 12  # the grey of the frame, if darker


def test_a_hidden_trail_is_fainter_than_a_visible_one():
    moving = np.stack((20 + 20 * np.arange(FRAMES), np.full(FRAMES, 60)), axis=-1)[None]
    crop = np.s_[:, :108]  # all but the head
    seen = light(draw_tracks(BLACK, make_tracks(moving), FRAMES - 1)[crop]).sum()
    hidden = light(draw_tracks(BLACK, make_tracks(moving, visible=False), FRAMES - 1)[crop]).sum()
    assert 0 < hidden < 0.6 * seen


def test_a_trail_fades_with_age_and_ends():
    moving = np.stack((20 + 20 * np.arange(FRAMES), np.full(FRAMES, 60)), axis=-1)[None]
    columns = light(draw_tracks(BLACK, make_tracks(moving), FRAMES - 1, trail=4)).sum(axis=0)
    middles = columns[[50, 70, 90]]
    assert (np.diff(middles) > 0).all()
    assert middles[0] > 0
    assert columns[:36].sum() == 0  # frame 0 is five frames ago


def test_without_a_trail_only_the_points_are_drawn():
    moving = np.stack((20 + 20 * np.arange(FRAMES), np.full(FRAMES, 60)), axis=-1)[None]
    image = draw_tracks(BLACK, make_tracks(moving), 2, trail=0)
    assert light(image)[:, :50].sum() == 0
    assert light(image)[60, 60] > 0


@pytest.mark.parametrize("place", [(-1, 60), (160, 60), (80, -0.6), (80, 119.6), (1e9, -1e30)])
def test_nothing_is_drawn_for_a_point_outside(place):
    np.testing.assert_array_equal(draw_tracks(BLACK, still(*place), 3), BLACK)


def test_a_track_that_flies_off_and_returns_is_drawn():
    xy = np.full((1, FRAMES, 2), 60, np.float32)
    xy[0, 2] = (3e38, -3e38)
    assert light(draw_tracks(BLACK, make_tracks(xy), 4)).max() > 0
    assert light(draw_tracks(cv2.resize(BLACK, (400, 300)), make_tracks(xy), 4)).max() > 0


def test_no_tracks_leave_the_frame_as_it_is():
    frame = np.random.default_rng(0).integers(0, 256, BLACK.shape, np.uint8)
    before = frame.copy()
    tracks = make_tracks(np.zeros((0, FRAMES, 2)))
    image = draw_tracks(frame, tracks, 0)
    np.testing.assert_array_equal(image, before)
    draw_tracks(frame, still(80, 60), 0)
    np.testing.assert_array_equal(frame, before)


def test_dimming_darkens_the_background_only():
    frame = np.full_like(BLACK, 200)
    image = draw_tracks(frame, still(80, 60), 0, dim=0.5)
    assert (image[0, 0] == 100).all()


@pytest.mark.parametrize(("width", "height"), [(16, 16), (65, 49), (1, 300)])
def test_any_size_comes_back_exactly(width, height):
    frame = np.zeros((height, width, 3), np.uint8)
    tracks = make_tracks(np.zeros((3, 2, 2)), size=(width, height))
    assert draw_tracks(frame, tracks, 1).shape == frame.shape


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match=r"frame 6 is not one of 0\.\.5"):
        draw_tracks(BLACK, still(1, 1), FRAMES)
    with pytest.raises(InputError, match="expected uint8"):
        draw_tracks(BLACK.astype(np.float32), still(1, 1), 0)
    with pytest.raises(InputError, match="trail -1"):
        draw_tracks(BLACK, still(1, 1), 0, trail=-1)
    with pytest.raises(InputError, match=r"dim 1\.5"):
        draw_tracks(BLACK, still(1, 1), 0, dim=1.5)


def test_a_clip_is_drawn_frame_by_frame_and_counted():
    frames = [BLACK] * FRAMES
    tracks = still(80, 60)
    assert len(list(overlay_video(iter(frames), tracks))) == FRAMES
    with pytest.raises(InputError, match="the clip has 5 frames, the tracks 6"):
        list(overlay_video(frames[1:], tracks))
    with pytest.raises(InputError, match="frame 6 is not one of"):
        list(overlay_video([*frames, BLACK], tracks))


def test_a_style_says_how_a_clip_is_drawn():
    tracks, frames = still(80, 60), [np.full_like(BLACK, 200)] * FRAMES
    (first, *_) = overlay_video(frames, tracks, Style(dim=0.5))
    assert (first[0, 0] == 100).all()
    np.testing.assert_array_equal(first, draw_tracks(frames[0], tracks, 0, dim=0.5))


def test_near_tracks_are_brighter_where_colours_are_of_depth():
    tracks = make_tracks(np.tile(np.float32([[[40, 60]], [[120, 60]]]), (1, FRAMES, 1)))
    depth = np.tile(np.float32([[-0.5], [0.5]]), (1, FRAMES))
    image = Style(by_depth=True).draw(BLACK, replace(tracks, depth=depth), 2)
    near, far = light(image)[60, 40], light(image)[60, 120]
    assert near > 1.5 * far > 0


def test_a_steady_trail_is_drawn_where_the_style_puts_it():
    moving = np.stack((20 + 20 * np.arange(FRAMES), np.full(FRAMES, 60)), axis=-1)[None]
    tracks = make_tracks(moving)

    def stand(tracks, t):
        return replace(tracks, xy=np.repeat(tracks.xy[:, t : t + 1], FRAMES, axis=1))

    image = Style(steady=stand).draw(BLACK, tracks, 3)
    np.testing.assert_array_equal(image, draw_tracks(BLACK, stand(tracks, 3), 3))
    assert light(image)[:, :70].sum() == 0  # the point is at 80, and has no trail


@pytest.mark.parametrize(("n", "count"), [(1, 1), (3, 3), (12, 12), (90, 12)])
def test_frames_are_spread_from_first_to_last(n, count):
    found = spread(n)
    assert (len(found), found[0], found[-1]) == (count, 0, n - 1)
    assert np.ptp(np.diff(found)) <= 1 if count > 1 else True


def test_a_sheet_shows_some_frames_in_rows_of_four():
    tracks = still(80, 60)
    frames = [np.full_like(BLACK, 40 * t) for t in (0, 2, 5)]
    sheet = track_sheet(frames, tracks, [0, 2, 5])
    assert sheet.shape[1] > 3 * WIDTH
    assert sheet.shape[0] < 2 * HEIGHT
    large = track_sheet([np.zeros((1200, 1600, 3), np.uint8)], tracks, [3])
    assert 480 < large.shape[1] < 520
    with pytest.raises(ValueError, match="zip"):
        track_sheet(frames, tracks, [0, 2])


def test_near_is_bright_and_unknown_is_grey():
    depth = np.tile(np.linspace(-1, 1, 50), (20, 1))
    depth[:5] = np.nan
    image = depth_picture(depth)
    assert image.dtype == np.uint8
    assert image.shape == (20, 50, 3)
    assert (np.diff(light(image[10])) <= 3).all()
    assert light(image[10, :1]) > 5 * light(image[10, -1:]) + 100
    assert (np.ptp(image[:5], axis=-1) == 0).all()


def test_depth_limits_fix_the_colours():
    depth = np.random.default_rng(0).random((9, 9))
    wide = depth_picture(np.pad(depth, 3, constant_values=5), limits=(0, 1))
    np.testing.assert_array_equal(wide[3:-3, 3:-3], depth_picture(depth, limits=(0, 1)))


@pytest.mark.parametrize("depth", [np.zeros((4, 5)), np.full((4, 5), np.nan)])
def test_depth_without_any_range_is_a_picture(depth):
    assert depth_picture(depth).shape == (4, 5, 3)


def test_a_contact_sheet_holds_every_image_unchanged():
    images = [np.full((30, 40, 3), 60 + 30 * k, np.uint8) for k in range(5)]
    sheet = contact_sheet(images, 3)
    for image in images:
        assert (sheet == image[0, 0]).all(axis=-1).sum() >= 30 * 40
    assert sheet.shape[1] > 3 * 40
    assert sheet.shape[0] > 2 * 30


def test_contact_sheet_refuses_nothing_and_wrong_labels():
    with pytest.raises(InputError, match="0 images"):
        contact_sheet([], 3)
    with pytest.raises(InputError, match="2 labels for 1 images"):
        contact_sheet([BLACK], 3, ["a", "b"])
