"""One setting: times, and (in test_config) types and ranges."""

import pytest

from omnimotion.errors import ConfigError
from omnimotion.settings import parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("60s", 60), ("10m", 600), ("2h", 7200), ("0.5m", 30), ("1H", 3600)]
)
def test_a_budget_is_a_time(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "s", "-1m", "0s", "nanm", "infh", "1d", "1m30s"])
def test_no_time(text):
    with pytest.raises(ConfigError, match="budget"):
        parse_seconds(text)
