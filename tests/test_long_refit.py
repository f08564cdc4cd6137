"""Pins in clips of several windows: what is fitted on, what is taken over, where tracks go."""

import shutil

import numpy as np
import pytest

import omnimotion
from omnimotion.cli import main
from omnimotion.flow import SceneIndex
from omnimotion.known import KnownTracks, known_within, read_known
from omnimotion.long_refits import with_earlier
from omnimotion.long_runs import Plan, window_folder
from omnimotion.runs import run_folder

FLAGS = ["--pin_steps", "40", "--device", "cpu", "--backend", "torch", "--threads", "1"]
NEAR, FAR = (24, 20), (50, 38)  # places in frame 20
SHIFT = 3


def loaded(scene, run=None):
    return omnimotion.load(scene, run, device="cpu", backend="torch")


def written(path, rows):
    lines = ("track,t,x,y", *(",".join(f"{value:g}" for value in row) for row in rows), "")
    path.write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def scene(long_scene, tmp_path_factory):
    copy = tmp_path_factory.mktemp("pinned") / "long"
    shutil.copytree(long_scene, copy)
    return copy


@pytest.fixture(scope="module")
def pins(scene):
    """Rows: one point twice in the last window, too low at its end; another one in two windows."""
    base = loaded(scene)
    one, other = base.track([[20, *NEAR], [2, 30, 24]]).xy
    return [(0, 20, *NEAR), (0, 28, one[28, 0], one[28, 1] + SHIFT),
            (1, 2, 30, 24), (1, 27, other[27, 0] + SHIFT, other[27, 1])]  # fmt: skip


@pytest.fixture(scope="module")
def refitted(scene, pins, tmp_path_factory):
    """The folder of the refit."""
    path = written(tmp_path_factory.mktemp("pins") / "pins.csv", pins)
    assert main(["train", "--scene", str(scene), "--pin", str(path), *FLAGS]) == 0
    (run,) = (scene / "runs").glob("default-pinned-*")
    return run


def test_only_the_window_that_holds_two_pins_of_a_point_is_fitted_on(scene, refitted):
    base = run_folder(scene, None)
    assert Plan.load(refitted).complete
    assert Plan.load(refitted).windows == Plan.load(base).windows
    same = [
        {path.name: path.read_bytes() for path in window_folder(run, k).glob("checkpoints/*")}
        == {path.name: path.read_bytes() for path in window_folder(base, k).glob("checkpoints/*")}
        for run in [refitted] for k in range(3)
    ]  # fmt: skip
    assert same == [True, True, False]
    assert (refitted / "report.json").is_file()


def test_pins_of_a_run_that_was_refitted_hold_on(scene, pins, refitted, tmp_path):
    index = SceneIndex.load(scene)
    path = written(tmp_path / "more.csv", [(5, 9, 40, 10), (5, 12, 41, 10)])
    more = read_known(path, index.n_frames, index.original_size, pins=True)
    found = with_earlier(more, refitted, index)
    known = [np.flatnonzero(weight).tolist() for weight in found.weight]
    assert known == [[9, 12], [20, 28], [2, 27]]
    np.testing.assert_allclose(found.xy[1, 20], NEAR, atol=1e-4)
    assert with_earlier(more, run_folder(scene, None), index) is more


def test_tracks_go_through_all_pins_of_their_point(scene, pins, refitted):
    """Also where a window holds one pin only."""
    tracks = loaded(scene, refitted).track([row[1:] for row in pins])
    for q, (point, *_) in enumerate(pins):
        for other, t, x, y in pins:
            if other == point:
                np.testing.assert_allclose(tracks.xy[q, t], (x, y), atol=0.05)


def test_what_is_near_moves_along_and_what_is_far_stays(scene, refitted):
    near = [[20, NEAR[0] + x, NEAR[1] + y] for x in (-2, 0, 2) for y in (-2, 0, 2)]
    asked = [*near, [20, *FAR]]
    before, after = (loaded(scene, run).track(asked, refine=False).xy for run in (
        run_folder(scene, None), refitted))  # fmt: skip
    moved = (after - before)[:, 28]
    assert np.median(moved[:-1, 1]) > 0.3 * SHIFT
    assert np.linalg.norm(moved[-1]) < 0.4 * SHIFT


def test_windows_that_are_taken_over_answer_as_before(scene, refitted):
    asked = [[3, *FAR], [4, 10, 10]]
    before, after = (loaded(scene, run).track(asked).xy for run in (
        run_folder(scene, None), refitted))  # fmt: skip
    np.testing.assert_array_equal(before[:, :8], after[:, :8])  # only window 0 has these frames


def test_pins_of_one_a_window_fit_nothing_on_but_are_gone_through(scene, tmp_path, caplog):
    rows = [(0, 2, 30, 24), (0, 27, 33, 21)]
    path = written(tmp_path / "pins.csv", rows)
    runs = set((scene / "runs").iterdir())
    with caplog.at_level("INFO"):
        assert main(["train", "--scene", str(scene), "--run", str(run_folder(scene, None)),
                     "--pin", str(path), *FLAGS]) == 0  # fmt: skip
    assert "no window holds two places of a point" in caplog.text
    (run,) = set((scene / "runs").iterdir()) - runs
    (xy,) = loaded(scene, run).track([[2, 30, 24]]).xy
    np.testing.assert_allclose(xy[[2, 27]], [row[2:] for row in rows], atol=0.05)


def test_a_run_that_lacks_windows_is_refused(scene, tmp_path, capsys):
    base = tmp_path / "half"
    shutil.copytree(run_folder(scene, None), base)
    plan = Plan.load(base)
    Plan(plan.spans, plan.fingerprint, plan.settings, complete=False).save(base)
    path = written(tmp_path / "pins.csv", [(0, 20, *NEAR), (0, 28, 30, 30)])
    assert main(["train", "--scene", str(scene), "--run", str(base), "--pin", str(path)]) != 0
    assert "train it to its end first" in capsys.readouterr().err
    assert {each.name for each in tmp_path.iterdir()} == {"half", "pins.csv"}


def test_a_window_knows_what_tells_motion_in_it():
    weight = np.zeros((3, 10), np.float32)
    weight[0, [1, 4]] = weight[1, [1, 8]] = weight[2, [3, 4, 9]] = 1
    visible = weight > 0
    visible[2, [3, 4]] = False
    xy = np.arange(60, dtype=np.float32).reshape(3, 10, 2) * weight[..., None]
    known = KnownTracks(xy, weight, visible)
    inside = known_within(known, range(1, 6))
    np.testing.assert_array_equal(inside.weight, weight[:1, 1:6])
    np.testing.assert_array_equal(inside.xy, xy[:1, 1:6])
    assert known_within(known, range(5, 10)) is None
