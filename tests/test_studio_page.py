"""The whole job in a real browser: drop a video, watch, cancel, then click in the scene.

Needs what test_viewer_page.py needs.
"""

import subprocess
import sys

import pytest
from conftest import TINY_SETTINGS

from omnimotion.synthetic import render_clip
from omnimotion.video_writer import write_video

pytest.importorskip("fastapi", reason="the extra view is not installed")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

from test_viewer_page import SIZES, browser  # a fixture

pytestmark = pytest.mark.slow
__all__ = ["browser"]


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "my holidays.mp4"
    write_video(path, iter(render_clip(5, 12, (96, 64), n_sprites=2, n_queries=8).frames), 24.0)
    return path


@pytest.fixture
def address(tmp_path):
    config = tmp_path / "tiny.txt"
    config.write_text("".join(f"{name} = {value}\n" for name, value in TINY_SETTINGS.items()))
    (tmp_path / "scenes").mkdir()
    words = ["-m", "omnimotion", "view", str(tmp_path / "scenes"), "--config", str(config)]
    words += ["--port", "0", "--device", "cpu"]
    with (
        open(tmp_path / "said.txt", "wb") as said,
        subprocess.Popen([sys.executable, *words], stderr=said) as server,
    ):
        try:
            while "view=" not in (line := (tmp_path / "said.txt").read_text()):
                assert server.poll() is None, line
            yield line.partition("view=")[2].split()[0]
        finally:
            server.terminate()
            server.wait(60)


@pytest.fixture(params=SIZES)
def page(request, browser, address):
    """The page before any video; it must not complain, but of what it is told to."""
    width, height = SIZES[request.param]
    page, problems = browser.new_page(viewport={"width": width, "height": height}), []
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.goto(address)
    page.wait_for_selector("#studio[data-ready=true]")
    yield page
    page.close()
    assert problems == []


def scenes(tmp_path):
    return sorted(path.name for path in (tmp_path / "scenes").iterdir())


def dropped(page, path):
    """Drop a file on the field, as a hand does."""
    page.evaluate(
        """async ([bytes, name]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name));
          const event = (kind) => new DragEvent(
            kind, { dataTransfer: data, bubbles: true, cancelable: true });
          const field = document.getElementById("drop");
          field.dispatchEvent(event("dragover"));
          if (!field.classList.contains("over")) throw new Error("the field does not light up");
          field.dispatchEvent(event("drop"));
        }""",
        [list(path.read_bytes()), path.name],
    )


def test_drop_a_video_watch_it_and_click(page, video, tmp_path):
    dropped(page, video)
    page.wait_for_selector("#work", state="visible")
    page.wait_for_selector("#work li.now[data-stage=preprocess]", timeout=60_000)
    page.wait_for_selector("#preview", state="visible", timeout=120_000)
    page.wait_for_selector("#work li.now[data-stage=train]", timeout=120_000)
    wide = page.locator("#studio *").evaluate_all(
        "nodes => nodes.filter(node => node.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    page.wait_for_selector("#stage[data-ready=true]", timeout=180_000)
    assert not page.locator("#studio").is_visible()
    assert page.locator("#name").inner_text() == "video_0001"
    page.wait_for_load_state("networkidle")
    box = page.locator("#stage").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#stage[data-points='1'][data-tracks='1']")
    assert scenes(tmp_path) == ["video_0001", "video_0001.upload"]
    page.locator("#all-videos").click()
    page.wait_for_selector("#studio", state="visible")
    assert page.locator("#shelf button").count() == 1
    page.keyboard.press("Delete")  # keys are the clip's, which is behind
    page.locator("#back").click()
    assert page.locator("#points button").count() == 1
    page.locator("#all-videos").click()
    page.locator("#shelf button").first.click()
    page.wait_for_selector("#studio", state="hidden", timeout=60_000)


def test_cancel_and_what_is_no_video(page, video, tmp_path):
    page.set_input_files("#file", video)
    page.wait_for_selector("#work li.now[data-stage=preprocess]", timeout=60_000)
    page.locator("#cancel").click()
    page.wait_for_selector("#drop", state="visible", timeout=60_000)
    assert page.locator("#said").inner_text() == ""
    assert scenes(tmp_path) == []
    letter = tmp_path / "letter.mp4"
    letter.write_text("dear mother")
    page.set_input_files("#file", letter)
    page.wait_for_selector("#said:not(:empty)")
    assert page.locator("#said").inner_text().startswith("this is no video that can be read")
    half = tmp_path / "half.mp4"
    half.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    page.set_input_files("#file", half)
    page.wait_for_selector("#work", state="visible")
    page.wait_for_selector("#said:not(:empty)", timeout=60_000)
    assert "the video" in page.locator("#said").inner_text()
    assert page.locator("#drop").is_visible()
    assert scenes(tmp_path) == []
