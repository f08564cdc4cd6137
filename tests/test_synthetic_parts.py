"""Motions of the renderer can be undone; its textures are what their formulas say."""

import numpy as np
import pytest

from omnimotion.synthetic.creatures import blue_fish
from omnimotion.synthetic.motion import Ripple, Signal, Similarity, Stretch, hinge
from omnimotion.synthetic.textures import Canvas, bake, noise

# --- motion ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step",
    [
        Similarity((Signal(1.0, 0.1), Signal(2.0)), (Signal(5.0), Signal(-3.0)),
                   Signal(0.3, 0.05), Signal(1.2, 0.0, ((0.2, 0.04, 0.3),))),
        hinge(-0.4, 0.1, Signal(0.0, 0.0, ((0.5, 0.1, 0.0),))),
        Stretch(-0.5, 2.0),
        Ripple(0, (0.02, -0.05, 0.1), 0.8, 0.07, 0.2),
        Ripple(1, (0.3, 0.5, 0.4), 2.0, 0.03, 0.6),
    ],
    ids=lambda step: type(step).__name__,
)  # fmt: skip
@pytest.mark.parametrize("t", [0, 3.5, 40])
def test_inverse_undoes_forward(step, t):
    points = np.random.default_rng(0).uniform(-2, 2, (5, 7, 2))
    before = points.copy()
    assert np.abs(step.inverse(step.forward(points, t), t) - points).max() < 1e-12
    assert (points == before).all(), "a step must not change its argument"


def test_signal_is_its_formula():
    signal = Signal(2.0, 0.5, ((3.0, 0.25, 0.0),))
    assert signal(1.0) == pytest.approx(2.0 + 0.5 + 3.0 * 1.0)  # a quarter turn: sine is 1
    assert signal.scaled(-2.0)(1.0) == pytest.approx(-11.0)


def test_a_hinge_holds_its_joint_and_turns_the_rest():
    turn = hinge(1.0, 1.0, Signal(np.pi / 2))
    assert turn.forward(np.array([1.0, 1.0]), 0) == pytest.approx([1.0, 1.0])
    # x to the right turns to y downwards: clockwise on the screen
    assert turn.forward(np.array([2.0, 1.0]), 0) == pytest.approx([1.0, 2.0])


# --- textures -------------------------------------------------------------------------------


def test_texture_is_bilinear_between_texels_and_constant_outside():
    canvas = Canvas((1.0, 2.0), (2.0, 2.5), 4.0)
    x, y = canvas.grid()
    texture = bake(canvas, np.stack([x / 4, y / 4, 0 * x], axis=-1), None)
    found = texture.sample(np.array([[1.3, 2.2], [1.9, 2.41], [0.0, 2.2]]))
    expected = [[1.3 / 4, 2.2 / 4], [1.9 / 4, 2.41 / 4], [1.0 / 4, 2.2 / 4]]
    assert np.abs(found[:, :2] - expected).max() < 1e-3
    assert (found[:, 3] == 1).all()


def test_a_silhouette_never_reaches_the_border_of_its_raster():
    for part in blue_fish(np.random.default_rng(0), 60.0):
        level = part.texture.texels[..., 3]
        for edge in (level[0], level[-1], level[:, 0], level[:, -1]):
            assert (edge < 0).all()
        assert (level > 0).mean() > 0.1


def test_noise_has_zero_mean_and_unit_deviation():
    field = noise(np.random.default_rng(0), Canvas((0, 0), (8, 8), 40.0), 3.0, 3)
    assert abs(field.mean()) < 0.1
    assert 0.85 < field.std() < 1.15


def test_the_same_noise_at_another_density():
    fields = [noise(np.random.default_rng(0), Canvas((0, 0), (2, 2), d), 3.0, 2)
              for d in (20.0, 40.0)]  # fmt: skip
    assert np.abs(fields[1][::2, ::2] - fields[0]).max() < 1e-9
