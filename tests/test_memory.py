"""Fits that cannot fit into memory are refused before they start, and others are not."""

import dataclasses

import numpy as np
import pytest

from omnimotion import memory
from omnimotion.cli import main
from omnimotion.errors import ResourceError
from omnimotion.memory import (
    BYTES_PER_MATCH,
    BYTES_PER_SAMPLE,
    check_memory,
    forget_peak,
    free_memory,
    peak_memory,
)


@pytest.fixture
def index(tiny_store):
    """Of 2 pairs, half and a quarter of whose 16 x 12 points have a match."""
    return dataclasses.replace(
        tiny_store.index, size=(64, 48), stride=4, n_frames=2, gaps=[1], coverage=[0.5, 0.25]
    )


@pytest.mark.parametrize(("pool", "held"), [(100, 100), (1_000_000, 144)])
def test_matches_count_as_far_as_they_are_held(index, tiny_config, monkeypatch, pool, held):
    fit = tiny_config.replace(pool=max(pool, 1000), pairs=1, points=1, samples=2).fit
    fit = dataclasses.replace(fit, pool=pool)
    monkeypatch.setattr(memory, "free_memory", lambda: held * BYTES_PER_MATCH)
    check_memory(index, fit, False)
    monkeypatch.setattr(memory, "free_memory", lambda: held * BYTES_PER_MATCH - 1)
    with pytest.raises(ResourceError, match=rf"lower pool .now {pool}; the scene has 144 matches"):
        check_memory(index, fit, False)


def test_samples_of_a_step_count_on_a_cpu(index, tiny_config, monkeypatch):
    fit = tiny_config.replace(pairs=100, points=1000, samples=10).fit
    monkeypatch.setattr(memory, "free_memory", lambda: BYTES_PER_SAMPLE * 10**6)
    check_memory(index, fit, False)
    monkeypatch.setattr(memory, "free_memory", lambda: BYTES_PER_SAMPLE * 10**6 - 1)
    check_memory(index, fit, True)
    with pytest.raises(ResourceError, match=r"lower pairs, points or samples .now 100, 1000, 10"):
        check_memory(index, fit, False)


def test_train_refuses_and_makes_no_run(tiny_store, tmp_path, capsys):
    words = ("--pairs", "4096", "--points", "65536", "--samples", "256", "--device", "cpu")
    run = tmp_path / "run"
    assert main(["train", "--scene", str(tiny_store.folder), "--run", str(run), *words]) == 6
    said = capsys.readouterr().err
    assert "the fit needs at least 54975.6 GB" in said  # 4096 * 65536 * 256 samples
    assert said.count("\n") == 1
    assert not (run / "config.txt").exists()


def test_free_memory_is_the_lesser_of_the_machine_and_the_group(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_GROUP", tmp_path)
    assert free_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:  500 kB\n")
    assert free_memory() == 512_000
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("40000\n")
    (tmp_path / "memory.stat").write_text("anon 30000\nfile 10000\n")
    assert free_memory() == 512_000
    (tmp_path / "memory.max").write_text("100000\n")
    assert free_memory() == 70_000


def test_a_peak_is_known_until_it_is_forgotten():
    if not memory._SELF.is_dir():
        pytest.skip("the system does not tell")
    forget_peak()
    before = peak_memory()
    np.ones(1 << 24)  # 128 MB, given back at once
    assert 128 << 20 <= peak_memory() - before + (8 << 20) < 160 << 20
    forget_peak()
    assert peak_memory() - before < 64 << 20


def test_where_the_system_tells_no_peak_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_SELF", tmp_path / "none")
    forget_peak()
    assert peak_memory() is None
