"""Work in parts: all of it, in order, and in smaller parts where memory is short."""

import pytest
import torch

from omnimotion.errors import ResourceError
from omnimotion.parts import in_parts


class Work:
    """Has memory for so many at once."""

    def __init__(self, room, error=MemoryError):
        self.room, self.error, self.sizes = room, error, []

    def __call__(self, part):
        numbers = list(range(part.start, part.stop))
        if len(numbers) > self.room:
            raise self.error
        self.sizes.append(len(numbers))
        return numbers


@pytest.mark.parametrize(
    "error",
    [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"),
     RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")],
)  # fmt: skip
def test_parts_get_smaller_until_they_fit(error, caplog):
    work = Work(room=5, error=error)
    parts = in_parts(work, 20, at_once=16)
    assert [number for part in parts for number in part] == list(range(20))
    assert max(work.sizes) == 4  # 16, 8, 4
    assert [record.message for record in caplog.records] == [
        "out of memory: trying 8 at once", "out of memory: trying 4 at once",
    ]  # fmt: skip


def test_no_work_is_no_parts():
    assert in_parts(Work(room=0), 0, at_once=8) == []


def test_at_the_least_it_is_refused():
    with pytest.raises(ResourceError, match="with 3 at once"):
        in_parts(Work(room=2), 9, at_once=12, least=3)


def test_other_errors_come_through():
    with pytest.raises(RuntimeError, match="shapes"):
        in_parts(Work(room=0, error=RuntimeError("shapes differ")), 4, at_once=2)
