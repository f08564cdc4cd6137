"""The pages below docs/: each one's Python blocks run as one program, on a clip like theirs.

And what they and the README name is there: links, files, columns, keys.
"""

import contextlib
import io
import json
import re
import runpy
from pathlib import Path

import pytest
from some_tracks import make_tracks

from omnimotion.export import CSV_COLUMNS, save_tracks

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


def anchors(page):
    """What the headings of a page are called in links, as GitHub does."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.M)
    }


LINKED = [
    *(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "results" / "long.md",
]  # fmt: skip


def test_links_lead_to_files():
    for page in LINKED:
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if link.startswith("http"):
                continue
            name, _, anchor = link.partition("#")
            target = page.parent / name if name else page
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_can_be_found_from_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name}" in text, page.name


def test_the_readme_stays_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 350
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100


def test_the_pipeline_is_made_of_files_that_are_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```text\n(.*?)^```", text, re.M | re.S)
    firsts = (re.match(r"(?:[a-z_]+(?:\.py|/)(?:, )?)+", line) for line in block.splitlines())
    names = [name for first in firsts if first for name in first[0].rstrip(", ").split(", ")]
    assert len(names) > 50
    for name in names:
        assert any((folder / name).exists() for folder in (ROOT, ROOT / "omnimotion")), name


def test_formats_name_every_column_and_key(tmp_path):
    """Of tables, and of the web's files, as they are written."""
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    section = text.partition("\n## Columns of")[2].partition("\n## ")[0]
    save_tracks(tmp_path / "t.json", make_tracks())
    document = json.loads((tmp_path / "t.json").read_text())
    for name in (*CSV_COLUMNS, *document, *document["tracks"][0]):
        assert f"`{name}`" in section, name
