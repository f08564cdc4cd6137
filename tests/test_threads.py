"""Work in threads: every result once, few items ahead, and an end at the first error."""

import threading

import pytest

from preprocess.threads import in_threads


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_is_worked_on_once(workers):
    assert sorted(in_threads(lambda x: x * x, range(20), workers)) == [x * x for x in range(20)]
    assert list(in_threads(lambda x: x, [], workers)) == []


def test_few_items_are_taken_ahead():
    taken, done = [], 0

    def items():
        for item in range(30):
            taken.append(item)
            yield item

    for _ in in_threads(lambda x: x, items(), 2):
        done += 1
        assert len(taken) <= done + 2 * 2 + 2  # queued, and those that ended together
    assert done == len(taken) == 30


def test_the_first_error_stops_the_work():
    started, lock = [], threading.Lock()

    def work(item):
        with lock:
            started.append(item)
        if item == 3:
            raise ValueError("item 3")

    with pytest.raises(ValueError, match="item 3"):
        for _ in in_threads(work, range(1000), 2):
            pass
    assert len(started) < 20
