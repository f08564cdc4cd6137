"""The picture of a fit: drawn from whatever was recorded, without touching pyplot."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from omnimotion.plots import plot_metrics


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
    return np.array(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


def test_curves_are_drawn(tmp_path):
    plot_metrics(records(), tmp_path / "loss.png")
    image = picture(tmp_path / "loss.png")
    blank = np.array([0x3B, 0x6F, 0xD4])  # the first curve's colour
    assert (np.abs(image.astype(int) - blank).sum(axis=-1) < 12).sum() > 100
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


def test_pyplot_is_not_imported():
    code = "import sys, omnimotion.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
