"""Rows 46 and 47: arrays whose headers lie, for the readers that take arrays of other programs."""

import hostile
import pytest

from omnimotion.depth_maps import read_depth
from omnimotion.errors import InputError
from omnimotion.points import read_points

SIZE = (64, 48)
NAMES = sorted(hostile.npy_files("canary"))


@pytest.fixture(params=NAMES)
def array(request, tmp_path):
    """The bytes of such a file; it must not have run code when a test has read it."""
    yield hostile.npy_files(tmp_path / "canary")[request.param]
    assert not (tmp_path / "canary").exists()


def test_46_a_depth_map_is_refused_by_name(array, tmp_path):
    (tmp_path / "a.npy").write_bytes(array)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_depth(tmp_path, 1, SIZE, SIZE)


def test_47_points_are_refused_by_name(array, tmp_path):
    (tmp_path / "p.npz").write_bytes(hostile.archive([("queries.npy", array)]))
    with pytest.raises(InputError, match=r"p\.npz"):
        read_points(tmp_path / "p.npz", 8, SIZE)
