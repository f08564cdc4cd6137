"""The fault matrix of ``benchmarks/reliability.md``: every row has tests, and they are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = 52


def matrix():
    """Names of the tests of each row."""
    text = (ROOT / "benchmarks" / "reliability.md").read_text(encoding="utf-8")
    return {
        int(number): re.findall(r"`(test_\w+)`", tests)
        for number, _, tests in re.findall(r"^\| (\d+) \| (.+?) \| (.+) \|$", text, re.MULTILINE)
    }


def test_every_row_is_there_once():
    assert list(matrix()) == list(range(1, ROWS + 1))


@pytest.mark.parametrize("row", range(1, ROWS + 1))
def test_a_row_has_tests(row):
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")
    )
    names = matrix()[row]
    assert names
    assert [name for name in names if f"\ndef {name}(" not in sources] == []
