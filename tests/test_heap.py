"""What was freed goes back to the system."""

import ctypes

import pytest

from omnimotion import heap


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


def test_what_lies_between_memory_in_use_is_given_back():
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("no glibc")
    blocks = [bytes(100_000) for _ in range(1000)]  # below what is mapped by itself
    for block in blocks:
        assert block[0] == 0
    pins, before = blocks[::100], resident()
    del blocks, block
    freed = resident()
    heap.give_back()
    assert resident() < before - 50_000_000
    assert resident() <= freed
    assert len(pins) == 10


@pytest.mark.parametrize("library", [OSError, AttributeError])
def test_where_there_is_no_such_call_nothing_happens(monkeypatch, library):
    def missing(name):
        raise library

    monkeypatch.setattr(ctypes, "CDLL", missing)
    heap.give_back()
