"""The picture of a fit: drawn from whatever was recorded, without touching pyplot."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from omnimotion.plots import (
    error_histogram,
    error_map_picture,
    frame_errors_picture,
    plot_metrics,
)

pytestmark = pytest.mark.usefixtures("full_reports")


def records(n=200):
    return [
        {
            "step": 10 * k,
            "loss": math.exp(-k / 50) + 0.01,
            "loss_flow": 0.5 * math.exp(-k / 40) + 0.01,
            "flow_error_px": 8 * math.exp(-k / 60),
            "lr": 1e-3,
            "phase": "coarse",
        }
        for k in range(n)
    ]


def picture(path):
    return decoded(path.read_bytes())


def decoded(png):
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def of_colour(image, colour, within=12):
    """Which pixels have a colour, given as #rrggbb."""
    rgb = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return np.abs(image.astype(int) - rgb).sum(axis=-1) < within


def test_curves_are_drawn(tmp_path):
    plot_metrics(records(), tmp_path / "loss.png")
    image = picture(tmp_path / "loss.png")
    assert of_colour(image, "#3b6fd4").sum() > 100  # the first curve's colour
    assert image.shape[1] > image.shape[0]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{}],
        [{"step": 1, "loss": 2.0}],
        [{"loss": 2.0}],
        [{"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}],
        [{"step": 1, "loss": 1.0}, {"step": 2, "error": None, "loss": 0.0}],
        [{"step": 1, "loss": -1.0}, {"step": 2, "loss": 3}],
        [{"step": k % 3, "loss": 5.0} for k in range(100)],
        [{"step": k, **{f"m{i}": k for i in range(30)}} for k in range(3)],
    ],
)
def test_odd_records_still_give_a_picture(tmp_path, rows):
    plot_metrics(rows, tmp_path / "loss.png")
    assert picture(tmp_path / "loss.png").ndim == 3


def test_equal_records_give_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        plot_metrics(records(20), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


# errors -----------------------------------------------------------------------------------------

BAR, MARKED = "#9db4e3", "#c2445a"


def test_bars_are_as_high_as_the_errors_and_marked_ones_stand_out():
    """Four bars side by side: 1, 2 and 4 px, the last one marked, and one without an error."""
    image = decoded(frame_errors_picture([1.0, 2.0, None, 4.0], [1.0, 1.0, 0.0, 1.0], [3]))
    upper = image[: int(0.68 * len(image))]
    heights = of_colour(upper, BAR).sum(axis=0)
    found = sorted({int(h) for h in heights if h > 20})
    marked = of_colour(upper, MARKED).sum(axis=0).max()
    low, high = np.percentile([h for h in heights if h > 20], (10, 90))
    assert found
    assert high == pytest.approx(2 * low, rel=0.1)
    assert marked == pytest.approx(4 * low, rel=0.1)


def test_the_histogram_counts():
    image = decoded(error_histogram(np.geomspace(0.05, 20, 500)))
    assert of_colour(image, BAR).sum() > 1000
    lines = of_colour(image, MARKED, 140).sum(axis=0) > 0.5 * len(image)
    assert np.count_nonzero(np.diff(lines.astype(int)) == 1) == 3  # 1, 2 and 4 px


def test_the_map_is_dark_where_errors_are_large_and_grey_where_there_are_none():
    errors = np.zeros((6, 8))
    errors[:3, :4], errors[3:, 4:] = 9.0, np.nan
    image = decoded(error_map_picture(errors)).astype(int)
    height, width = len(image), int(0.88 * image.shape[1])  # without the scale beside it
    upper_left, upper_right = image[height // 4, width // 4], image[height // 4, 3 * width // 4]
    lower_right = image[3 * height // 4, 3 * width // 4]
    assert upper_left.sum() < 300
    assert upper_right.sum() > 550
    np.testing.assert_allclose(lower_right, [0xEC, 0xEC, 0xF0], atol=2)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: frame_errors_picture([], [], []),
        lambda: frame_errors_picture([None], [0.0], []),
        lambda: frame_errors_picture([0.0] * 3000, [1.0] * 3000, [5]),
        lambda: error_histogram(np.zeros(0, np.float32)),
        lambda: error_histogram(np.array([0.0, 1e9], np.float32)),
        lambda: error_map_picture(np.full((1, 24), np.nan)),
        lambda: error_map_picture(np.zeros((24, 1))),
    ],
)
def test_odd_errors_still_give_the_same_picture(draw):
    first = draw()
    assert decoded(first).ndim == 3
    assert first == draw()


def test_pyplot_is_not_imported():
    code = "import sys, omnimotion.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
