"""The pages below docs/: each one's Python blocks run as one program, on a clip like theirs."""

import contextlib
import io
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in (ROOT / "docs").glob("*.md") if "```python" in page.read_text())


def program(page):
    return "\n".join(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S))


@pytest.fixture
def folder(tiny_clip, tiny_scene, tiny_config, tmp_path, monkeypatch):
    """Where a reader stands: a clip, and a config that here takes fewer steps."""
    (tmp_path / "clip").symlink_to(tiny_clip)
    (tmp_path / "scenes").mkdir()
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "demo.txt").write_text(tiny_config.replace(num_iters=60).to_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(page, folder):
    """The program's variables, and what it printed."""
    (folder / "page.py").write_text(program(page))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        names = runpy.run_path(str(folder / "page.py"))
    return names, said.getvalue()


def test_there_are_pages():
    assert {page.name for page in PAGES} == {"tutorial.md", "from-cotracker.md"}


def test_the_tutorial(folder):
    names, said = run(ROOT / "docs" / "tutorial.md", folder)
    assert (folder / "scenes" / "clip" / "runs" / "default" / "report.html").is_file()
    assert names["tracks"].xy.shape == (2, 8, 2)
    assert names["masks"].shape == (8, 48, 64)
    assert names["scores"]["delta_avg"] > 30
    for file in ("overlay.mp4", "grid.npz", "colour.png", "depth.png"):
        assert (folder / file).stat().st_size > 100
    assert "8 frames of (64, 48)" in said


def test_coming_from_cotracker(folder, tiny_scene):
    (folder / "scenes" / "clip").symlink_to(tiny_scene)
    names, _ = run(ROOT / "docs" / "from-cotracker.md", folder)
    assert names["tracks"].queries.tolist()[0] == [0, 22, 10]
    assert names["count"] == 64 * 48
    assert (folder / "tracks.mp4").stat().st_size > 100


def test_links_lead_to_files():
    for page in (ROOT / "docs").glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("http") or (page.parent / target).exists(), target
