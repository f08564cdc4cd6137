"""A video's whole job in one call: the same as the commands, and refusals before any work."""

import pkgutil

import numpy as np
import pytest

import omnimotion
from omnimotion.cli import main
from omnimotion.errors import ConfigError, VideoError

FAST = {
    "num_iters": 3, "pairs": 2, "points": 4, "samples": 4, "threads": 1, "device": "cpu",
    "preview_every": 0,
}  # fmt: skip
DIS = {"flow": "dis"}


def test_a_video_is_preprocessed_fitted_and_opened(tiny_clip, tmp_path):
    scene, asked = tmp_path / "scene", [[0, 12.5, 24.0]]
    fitted = omnimotion.fit(tiny_clip / "frames", scene, preprocess=DIS, **FAST)
    assert (fitted.n_frames, fitted.size, fitted.meta["step"]) == (8, (64, 48), 3)
    again = omnimotion.fit(tiny_clip / "frames", scene, preprocess=DIS, **FAST)  # it is done
    np.testing.assert_array_equal(again.track(asked).xy, fitted.track(asked).xy)


def test_it_gives_what_the_commands_give(tiny_clip, tiny_store, tmp_path):
    run = tmp_path / "run"
    words = [f"--{name}={value}" for name, value in FAST.items()]
    assert main(["train", f"--scene={tiny_store.folder}", f"--run={run}", *words]) == 0
    expected = omnimotion.load(tiny_store.folder, run, device="cpu")
    found = omnimotion.fit(
        tiny_clip / "frames", tmp_path / "scene", {**DIS, "overwrite": False, "max_side": 320},
        run=tmp_path / "other", camera=True, masks=None, **FAST,
    )  # fmt: skip
    assert found.meta["run"] == "other"
    asked = [[0, 12.5, 24.0], [5, 40, 10]]
    np.testing.assert_array_equal(found.track(asked).xy, expected.track(asked).xy)


def test_no_module_takes_the_name_of_a_function():
    """An import of it would replace the function."""
    modules = {each.name for each in pkgutil.iter_modules(omnimotion.__path__)}
    assert not modules & set(omnimotion.__all__)


@pytest.mark.parametrize("scene", [None, "scene"])
def test_bad_options_are_refused_before_any_work(tiny_clip, tmp_path, monkeypatch, scene):
    monkeypatch.chdir(tmp_path)
    for options, message in (
        ({"smaples": 9}, "unknown option 'smaples' of train"),
        ({"pin": "p.csv"}, "unknown option 'pin' of train"),
        ({"samples": "many"}, "samples"),
        ({"num_iters": -5}, "num_iters: found -5"),
        ({"run": ""}, "names no run"),
        ({"preprocess": {"flow": "farneback"}}, "flow"),
        ({"preprocess": {"samples": 3}}, "unknown option 'samples' of preprocess"),
    ):
        with pytest.raises(ConfigError, match=message):
            omnimotion.fit(tiny_clip / "frames", scene, **options)
    with pytest.raises(VideoError, match=r"none\.mp4"):
        omnimotion.fit("none.mp4", scene)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
