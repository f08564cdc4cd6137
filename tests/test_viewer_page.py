"""The viewer's page in a real browser: click, scrub, layers, mask, download, small windows.

Needs playwright, and Chromium as Debian installs it or as ``playwright install chromium`` does.
"""

import base64
import io
import shutil
import statistics
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import omnimotion
from omnimotion.export import load_tracks

pytest.importorskip("fastapi", reason="the extra view is not installed")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.slow
DRAWN_WITHIN_MS = 100
SIZES = {"desktop": (1280, 800), "small": (390, 700)}


@pytest.fixture(scope="module")
def address(tiny_scene, tmp_path_factory):
    copy = tmp_path_factory.mktemp("viewed") / "tiny"  # a refit writes into it
    shutil.copytree(tiny_scene, copy)
    words = ["-m", "omnimotion", "view", str(copy), "--port", "0", "--device", "cpu"]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stderr if line.startswith("view="))
            yield line.partition("=")[2].split()[0]
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except api.Error as problem:
            pytest.skip(f"no Chromium: {str(problem).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(request, browser, address):
    """The page as it is when all frames are there; it must not complain."""
    width, height = SIZES[request.param]
    page, problems = browser.new_page(viewport={"width": width, "height": height}), []
    page.on("pageerror", lambda problem: problems.append(str(problem)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("#stage[data-ready=true]")
    page.wait_for_load_state("networkidle")
    yield page
    page.close()
    assert problems == []


def place(page, x, y):
    """Where pixel (x, y) of the tiny clip, 64x48, is on the page."""
    box = page.locator("#stage").bounding_box()
    scale = min(box["width"] / 64, box["height"] / 48)
    left, top = (box["width"] - 64 * scale) / 2, (box["height"] - 48 * scale) / 2
    return box["x"] + left + (x + 0.5) * scale, box["y"] + top + (y + 0.5) * scale


def click(page, x, y):
    """Click a pixel; milliseconds until its track was drawn."""
    count = int(page.locator("#stage").get_attribute("data-points") or 0)
    page.mouse.click(*place(page, x, y))
    page.wait_for_selector(f"#stage[data-points='{count + 1}'][data-tracks='{count + 1}']")
    return int(page.locator("#stage").get_attribute("data-drawn-ms"))


def picture(page):
    """What is drawn on the canvas, once the next animation frame is over."""
    page.wait_for_timeout(150)
    png = page.locator("#stage").evaluate("canvas => canvas.toDataURL().split(',')[1]")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(int)


def near(page, image, x, y, radius=3):
    """The pixels of a picture of the stage round a pixel of the clip."""
    box = page.locator("#stage").bounding_box()
    across, down = place(page, x, y)
    column, row = round(across - box["x"]), round(down - box["y"])
    return image[row - radius : row + radius + 1, column - radius : column + radius + 1, :3]


def test_a_click_draws_a_track_at_once(page):
    before = picture(page)
    drawn = [click(page, 8 + 6 * k, 10 + 3 * k) for k in range(7)]
    assert statistics.median(drawn) < DRAWN_WITHIN_MS
    after = picture(page)
    for k in range(7):
        changed = np.abs(near(page, after, 8 + 6 * k, 10 + 3 * k)
                         - near(page, before, 8 + 6 * k, 10 + 3 * k))  # fmt: skip
        assert changed.max(axis=-1).mean() > 20
    far = np.abs(near(page, after, 56, 4) - near(page, before, 56, 4))
    assert far.max() == 0
    assert page.locator("#points button").count() == 7
    page.keyboard.press("Delete")
    assert page.locator("#points button").count() == 6
    page.locator("#clear").click()
    np.testing.assert_array_equal(picture(page), before)


def test_the_point_is_drawn_where_the_track_is(page, tiny_scene):
    """In a frame far away, as Python says it."""
    click(page, 30, 24)
    track = omnimotion.load(tiny_scene, device="cpu").track([[0, 30, 24]])
    page.keyboard.press("End")
    with_point = picture(page)
    page.locator("#clear").click()
    changed = np.abs(with_point - picture(page)).max(axis=-1)
    x, y = track.xy[0, 7]
    assert near(page, changed[..., None].repeat(3, -1), x, y, 5).mean() > 15


def test_frames_can_be_scrubbed_and_played(page):
    number = page.locator("#number")
    first = picture(page)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    assert number.inner_text() == "2 / 7"
    page.locator("#frame").fill("5")
    page.wait_for_timeout(100)
    assert number.inner_text() == "5 / 7"
    assert np.abs(picture(page) - first).max() > 30
    page.keyboard.press("Home")
    np.testing.assert_array_equal(picture(page), first)
    page.keyboard.press(" ")
    seen = set()
    for _ in range(12):
        page.wait_for_timeout(60)
        seen.add(number.inner_text())
    page.keyboard.press(" ")
    assert len(seen) >= 4
    page.wait_for_timeout(100)
    stopped = number.inner_text()
    page.wait_for_timeout(200)
    assert number.inner_text() == stopped


def test_layers_zoom_and_colours(page):
    pictures = []
    for key in "123":
        page.keyboard.press(key)
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(400)
        pictures.append(picture(page))
    assert all(np.abs(pictures[a] - pictures[b]).mean() > 3 for a, b in ((0, 1), (1, 2), (0, 2)))
    page.keyboard.press("1")
    page.keyboard.press("+")
    assert np.abs(picture(page) - pictures[0]).mean() > 1
    page.keyboard.press("0")
    np.testing.assert_array_equal(picture(page), pictures[0])
    click(page, 40, 10)
    click(page, 20, 20)  # the second point's own colour is far from that of a sure one
    own = picture(page)
    page.keyboard.press("c")
    assert np.abs(near(page, picture(page), 20, 20) - near(page, own, 20, 20)).max() > 60
    assert page.locator("#scale").is_visible()


def test_a_mask_goes_along(page):
    page.keyboard.press("m")
    page.mouse.move(*place(page, 24, 20))
    page.mouse.down()
    page.mouse.move(*place(page, 36, 28), steps=5)
    page.mouse.up()
    own = near(page, picture(page), 30, 24)
    page.locator("#propagate").click()
    page.wait_for_selector("#stage[data-mask]")
    page.keyboard.press("m")
    page.locator("#stage").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    pink = np.array([255, 80, 170])
    whole = picture(page)
    page.locator("#forget").click()
    without = picture(page)
    inked = np.abs(whole - without).max(axis=-1) > 10
    assert 0.002 < inked.mean() < 0.3
    assert np.abs(whole - pink)[inked].sum() < np.abs(without - pink)[inked].sum()
    assert np.abs(own.mean(axis=(0, 1)) - pink).mean() < 90
    assert page.locator("#points button").count() == 0  # drawing is no clicking


def test_tracks_can_be_downloaded(page, tiny_scene, tmp_path):
    click(page, 30, 24)
    with page.expect_download() as waiting:
        page.locator("#download").click()
    assert waiting.value.suggested_filename == "tracks.npz"
    waiting.value.save_as(tmp_path / "t.npz")
    found = load_tracks(tmp_path / "t.npz")
    np.testing.assert_allclose(found.queries[0], [0, 30, 24], atol=0.3)  # whole screen pixels
    expected = omnimotion.load(tiny_scene, device="cpu").track(found.queries)
    np.testing.assert_allclose(found.xy, expected.xy, atol=1e-2)
    assert not page.locator("#first").is_visible()  # npz counts from 0
    page.locator("#format").select_option("trc")
    assert page.locator("#length").is_visible()
    page.locator("#format").select_option("shake")
    page.locator("#first").fill("1001")
    with page.expect_download() as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "t.txt")
    assert (tmp_path / "t.txt").read_text().splitlines()[2].split()[0] == "1001.00"


def test_what_takes_a_while_is_made_and_then_downloaded(browser, address, tmp_path):
    """By the command, in a process of its own; its files come as one."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    page.wait_for_selector("#stage[data-ready=true]")
    product, button = page.locator("#product"), page.locator("#download")
    for what, missing in (("tracks", "a point"), ("video", "a point"), ("masks", "a mask")):
        product.select_option(what)
        assert button.is_disabled()
        assert missing in page.locator("#about-download").inner_text()
    product.select_option("maps")
    page.locator("#kind").select_option("flo")
    page.locator("#frames").fill("0:8:7")
    page.keyboard.press("ArrowRight")  # typing is no scrubbing
    assert page.locator("#number").inner_text() == "0 / 7"
    with page.expect_download(timeout=180_000) as waiting:
        button.click()
        page.wait_for_selector("#stop-download", state="visible")
    assert waiting.value.suggested_filename == "maps.zip"
    waiting.value.save_as(tmp_path / "maps.zip")
    with zipfile.ZipFile(tmp_path / "maps.zip") as archive:
        names = [f"{way}_{t:04d}.flo" for way in ("backward", "forward") for t in (0, 7)]
        assert archive.namelist() == names
    page.wait_for_selector("#stop-download", state="hidden")
    product.select_option("volume")
    button.click()
    page.locator("#stop-download").click()
    page.wait_for_selector("#stop-download", state="hidden", timeout=30_000)
    assert page.locator("#status").inner_text() == "stopped"
    page.close()


def test_a_mask_that_is_drawn_is_downloaded_at_full_size(browser, address, tmp_path):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    page.wait_for_selector("#stage[data-ready=true]")
    page.keyboard.press("m")
    page.mouse.move(*place(page, 24, 20))
    page.mouse.down()
    page.mouse.move(*place(page, 36, 28), steps=5)
    page.mouse.up()
    page.locator("#product").select_option("masks")
    page.locator("#frames").fill("0:2")
    with page.expect_download(timeout=180_000) as waiting:
        page.locator("#download").click()
    waiting.value.save_as(tmp_path / "masks.zip")
    with zipfile.ZipFile(tmp_path / "masks.zip") as archive:
        masks = [np.asarray(Image.open(archive.open(name))) for name in archive.namelist()]
    assert [mask.shape for mask in masks] == [(48, 64)] * 2
    y, x = np.nonzero(masks[0])
    assert masks[0][24, 30] == 1
    np.testing.assert_allclose((x.mean(), y.mean()), (30, 24), atol=1.5)  # as it was drawn
    page.close()


def test_nothing_is_wider_than_the_window(page):
    click(page, 30, 24)
    wide = page.locator("body *").evaluate_all(
        "nodes => nodes.filter(node => node.getBoundingClientRect().right > innerWidth + 1).length"
    )
    assert wide == 0
    box = page.locator("#stage").bounding_box()
    assert box["height"] >= 200


def test_a_dragged_point_is_a_pin_and_a_refit_goes_through_it(browser, address):
    """Last, since all pages are answered from the refit then."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(address)
    page.wait_for_selector("#stage[data-ready=true]")
    click(page, 30, 24)
    assert page.locator("#refit").is_disabled()
    page.keyboard.press("End")
    page.wait_for_timeout(150)
    drawn = page.locator("#stage").get_attribute("data-selected-at").split(",")
    x, y = (float(value) for value in drawn)
    page.mouse.move(*place(page, x, y))
    page.mouse.down()
    page.mouse.move(*place(page, x + 2, y + 3), steps=4)
    page.mouse.up()
    assert page.locator("#pins").inner_text() == "2"
    assert page.locator("#points button").count() == 1  # dragging is no clicking
    page.locator("#refit").click()
    page.wait_for_selector("#stop", state="visible")
    page.wait_for_selector("#stop", state="hidden", timeout=120_000)
    assert page.locator("#status").inner_text() == "refit done"
    page.wait_for_timeout(150)
    found = page.locator("#stage").get_attribute("data-selected-at").split(",")
    np.testing.assert_allclose([float(value) for value in found], [x + 2, y + 3], atol=0.3)
    page.close()
