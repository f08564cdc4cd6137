"""What is asked: points of other tracks, of masks and grids, and which frames come out."""

import numpy as np
import pytest
from PIL import Image
from some_tracks import make_tracks

from omnimotion.asking import (
    masks_of_frames,
    points_of_tracks,
    points_on_grid,
    points_on_mask,
    selected_frames,
)
from omnimotion.errors import ConfigError, InputError, PointsError
from omnimotion.export import save_tracks
from omnimotion.masks import Mask, save_mask

SIZE = (65, 49)  # of the tracks that `make_tracks` makes


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".json"])
def test_points_of_tracks_are_their_queries(tmp_path, suffix):
    tracks = make_tracks(5, 7)
    tracks.queries[:, 2] /= 2  # inside the frame
    save_tracks(tmp_path / f"t{suffix}", tracks)
    np.testing.assert_array_equal(
        points_of_tracks(tmp_path / f"t{suffix}", 7, SIZE), tracks.queries
    )


def test_tracks_of_another_video_are_refused(tmp_path):
    tracks = make_tracks(5, 7)
    tracks.queries[:] = [6, 1, 1]
    save_tracks(tmp_path / "t.npz", tracks)
    with pytest.raises(PointsError, match="of a 65x49 video, expected 64x48"):
        points_of_tracks(tmp_path / "t.npz", 7, (64, 48))
    with pytest.raises(PointsError, match="row 0: t is 6, expected a whole number from 0 to 5"):
        points_of_tracks(tmp_path / "t.npz", 6, SIZE)


def test_a_grid_and_a_mask_are_of_a_frame_of_the_clip(tmp_path):
    Image.new("L", SIZE, 255).save(tmp_path / "m.png")
    assert (points_on_grid(3, 6, 7, SIZE)[:, 0] == 6).all()
    assert (points_on_mask(tmp_path / "m.png", 16, 6, 7, SIZE)[:, 0] == 6).all()
    for t in (-1, 7):
        with pytest.raises(PointsError, match=f"frame {t}: expected 0 to 6"):
            points_on_grid(3, t, 7, SIZE)
        with pytest.raises(PointsError, match=f"frame {t}: expected 0 to 6"):
            points_on_mask(tmp_path / "m.png", 16, t, 7, SIZE)


@pytest.mark.parametrize(
    ("spec", "frames"),
    [
        (None, range(10)),
        ("", range(10)),
        (":", range(10)),
        ("2:", range(2, 10)),
        (":10", range(10)),
        ("1:9:3", range(1, 9, 3)),
        ("9:10", range(9, 10)),
        ("::4", range(0, 10, 4)),
    ],
)
def test_frames_are_a_slice(spec, frames):
    assert list(selected_frames(spec, 10)) == list(frames)


@pytest.mark.parametrize("spec", ["0:11", "10:", "12:14"])
def test_frames_that_the_clip_lacks_are_refused(spec):
    with pytest.raises(ConfigError, match=f"--frames {spec}: the clip has frames 0 to 9"):
        selected_frames(spec, 10)


@pytest.mark.parametrize("spec", ["5:5", "3:2", "12:3:2"])
def test_frames_that_are_none_are_refused(spec):
    with pytest.raises(ConfigError, match=f"--frames {spec} is empty, its end . is left out: the"):
        selected_frames(spec, 10)


@pytest.mark.parametrize("spec", ["3", "a:b", "-1:", "0:5:0", "1:2:3:4"])
def test_frames_that_are_no_slice_are_refused(spec):
    with pytest.raises(ConfigError, match="frames"):
        selected_frames(spec, 10)


def test_the_masks_of_a_folder_are_of_the_frames_in_their_names(tmp_path):
    labels = np.zeros((48, 64), np.uint8)
    save_mask(tmp_path / "000003.png", Mask(labels))  # the object is not there
    labels[10:20, 5:9] = 2
    save_mask(tmp_path / "7.PNG", Mask(labels))
    found = masks_of_frames(tmp_path, None, 8, (64, 48))
    assert set(found) == {3, 7}
    np.testing.assert_array_equal(found[7].labels, labels)
    assert set(masks_of_frames(tmp_path / "7.PNG", 5, 8, (64, 48))) == {5}
    assert set(masks_of_frames(tmp_path / "7.PNG", None, 8, (64, 48))) == {0}


def test_a_folder_of_masks_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="no mask of an object"):
        masks_of_frames(tmp_path, None, 8, (64, 48))
    save_mask(tmp_path / "000009.png", Mask(np.ones((48, 64), np.uint8)))
    with pytest.raises(PointsError, match="frame 9, expected 0 to 7"):
        masks_of_frames(tmp_path, None, 8, (64, 48))
    with pytest.raises(ConfigError, match="--frame 2: the masks of a folder"):
        masks_of_frames(tmp_path, 2, 8, (64, 48))
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(InputError, match=r"notes\.txt: expected the mask of a frame"):
        masks_of_frames(tmp_path, None, 10, (64, 48))


def test_a_frame_has_one_mask(tmp_path):
    for name in ("7.png", "000007.png"):
        save_mask(tmp_path / name, Mask(np.ones((49, 65), np.uint8)))
    with pytest.raises(InputError, match="a second mask of frame 7"):
        masks_of_frames(tmp_path, None, 9, SIZE)


def test_a_number_with_many_digits_is_no_other_frame(tmp_path):
    save_mask(tmp_path / ("1" + "0" * 18 + "3.png"), Mask(np.ones((49, 65), np.uint8)))
    with pytest.raises(PointsError, match="expected 0 to 8"):
        masks_of_frames(tmp_path, None, 9, SIZE)
