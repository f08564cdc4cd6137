"""The report of a fit: what it says, that it stands alone, and that names cannot break it."""

import base64
import copy
import dataclasses
import io
import json
import math
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from omnimotion.files import shown
from omnimotion.flow import SceneStore
from omnimotion.health import measure
from omnimotion.previews import save_preview
from omnimotion.report import FIGURES, Figure, headline, save_report
from omnimotion.report_page import MOST_NAMED, Picture, page
from omnimotion.runs import run_folder, start_fit

pytestmark = pytest.mark.usefixtures("full_reports")


@pytest.fixture(scope="module")
def store(tiny_scene):
    return SceneStore.open(tiny_scene)


@pytest.fixture(scope="module")
def fit(tiny_scene, store, tiny_config, tmp_path_factory):
    """The fitted scene, its report going to a folder of its own."""
    made = start_fit(store, run_folder(tiny_scene, None), tiny_config)
    made.run = tmp_path_factory.mktemp("runs") / "reported"
    made.run.mkdir()
    return made


@pytest.fixture(scope="module")
def path(fit, store):
    return save_report(fit, store)


@pytest.fixture(scope="module")
def content(path):
    return json.loads((path.parent / "report.json").read_text(), parse_constant=pytest.fail)


class Reader(HTMLParser):
    """What a browser would make of a page: its words, and what it refers to."""

    VOID = ("meta", "img", "br", "!doctype")

    def __init__(self, text):
        super().__init__()
        self.words, self.references, self.tags, self.open = [], [], [], []
        self.feed(text)
        self.close()
        self.text = " ".join(self.words)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.references += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip() and self.open and self.open[-1] != "style":
            self.words.append(data.strip())


# verdicts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("good", "fair", "value", "verdict"),
    [
        (1, 2, 0.99, "good"), (1, 2, 1.0, "fair"), (1, 2, 2.0, "poor"), (1, 2, 50.0, "poor"),
        (0.9, 0.7, 1.0, "good"), (0.9, 0.7, 0.9, "good"), (0.9, 0.7, 0.89, "fair"),
        (0.9, 0.7, 0.7, "fair"), (0.9, 0.7, 0.0, "poor"),
        (1, 2, None, None), (None, None, 1.0, None),
    ],
)  # fmt: skip
def test_verdicts(good, fair, value, verdict):
    assert Figure("", "px", "", good, fair).verdict(value) == verdict


def test_every_figure_is_explained_in_one_sentence():
    for name, figure in FIGURES.items():
        assert figure.unit in ("px", "share", "levels"), name
        assert 40 < len(figure.meaning) < 250, name
        assert figure.meaning.endswith("."), name
        assert figure.unit != "share" or figure.good is not None, name


# report.json ------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_fit(content, fit, store):
    health = measure(fit.scene, fit.pool, store, fit.config.fit.seed)
    assert {name: each["value"] for name, each in content["figures"].items()} == health.figures
    assert list(content["figures"]) == list(FIGURES) == list(health.figures)
    assert content["worst_frames"] == health.worst_frames
    assert content["held_out"]["all"]["count"] == len(fit.pool.held_out.i) > 0
    assert len(content["held_out"]["by_frame"]) == len(content["coverage"]) == 8
    assert (content["scene"], content["step"], content["seed"]) == ("tiny", 150, 0)


def test_the_same_fit_gives_the_same_bytes(path, fit, store):
    before = [(path.parent / name).read_bytes() for name in ("report.json", "report.html")]
    save_report(fit, store)
    after = [(path.parent / name).read_bytes() for name in ("report.json", "report.html")]
    assert before == after


# report.html ------------------------------------------------------------------------------------


def test_the_page_stands_alone(path):
    """No script, and nothing from anywhere else."""
    text = path.read_text()
    found = Reader(text)
    assert found.open == []
    assert "script" not in found.tags
    assert "link" not in found.tags
    assert all(each.startswith("data:image/png;base64,") for each in found.references)
    assert not re.search(r"https?:|url\(|@import", text)
    assert text.isascii()


def pictures(path):
    references = Reader(path.read_text()).references
    return [base64.b64decode(each.partition(",")[2]) for each in references]


def test_the_page_has_its_pictures(path):
    found = pictures(path)
    assert len(found) == 4  # no loss.png in this folder
    for data in found:
        assert np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).std() > 1


def test_the_page_says_what_the_json_says(path, content):
    said = Reader(path.read_text()).text
    for figure in content["figures"].values():
        assert figure["title"] in said
        assert figure["meaning"] in said
    share = content["figures"]["held_out_under_2_px"]["value"]
    assert f"{100 * share:.1f} %" in said
    assert f"{content['figures']['held_out_median_px']['value']:.2f} px" in said
    assert "Good from 95 %, fair from 85 %." in said
    assert "Good below 3 %, fair below 10 %." in said
    verdicts = [each["verdict"] for each in content["figures"].values()]
    assert f"{verdicts.count('good')} good" in said


def test_the_loss_and_the_last_preview_are_shown(fit, store, tmp_path):
    """The very files of the run, where they are there."""
    shown = copy.copy(fit)
    shown.run = tmp_path
    shown.config = fit.config.replace(preview_every=50)
    preview = save_preview(store, fit.scene, tmp_path, fit.step)
    Image.new("RGB", (20, 10), (200, 0, 0)).save(preview)
    Image.new("RGB", (30, 10), (0, 200, 0)).save(tmp_path / "loss.png")
    found = pictures(save_report(shown, store))
    assert found[0] == preview.read_bytes()
    assert found[-1] == (tmp_path / "loss.png").read_bytes()


NASTY = '<script src="https://example.org/x.js"></script>"\'&'


def test_names_are_words_not_markup(content):
    named = content | {"scene": NASTY, "source": NASTY, "run": NASTY,
                       "flow": {"method": NASTY, "model": NASTY}}  # fmt: skip
    found = Reader(page(named, [Picture(b"", NASTY)]))
    assert found.open == []
    assert "script" not in found.tags
    # scene and run in title and heading; video, method, model; the caption
    assert found.text.count(NASTY) == 2 * 2 + 3 + 1


def test_names_that_are_no_text_are_shown(content):
    """A file's name may be any bytes; and one may turn the direction of what follows."""
    name = os.fsdecode(b"caf\xe9 \xe2\x80\xae.mp4")
    named = content | {"scene": name, "source": name, "run": name}
    assert Reader(page(named, [])).text.count(shown(name)) == 2 * 2 + 1
    assert "\u202e" not in page(named, [])
    assert page(named, []).encode()


def test_what_cannot_be_measured_is_a_dash(content):
    nothing = copy.deepcopy(content)
    for figure in nothing["figures"].values():
        figure["value"] = figure["verdict"] = None
    empty = {"count": 0} | {key: None for key in content["cycle"] if key != "count"}
    nothing["held_out"] = {"all": empty, "moving": empty, "by_gap": {"1": empty}, "by_frame": []}
    nothing["worst_frames"] = []
    found = Reader(page(nothing, []))
    assert found.words.count("-") >= len(FIGURES)
    assert not {"None", "nan", "nan px"} & set(found.words)
    assert headline(nothing).startswith("held_out_median_px=- ")


def test_frames_without_flow_are_named(content):
    def said(coverage):
        return Reader(page(content | {"coverage": coverage, "worst_frames": []}, [])).text

    assert "less than 50 % of their area (2 of 4): 1, 3." in said([0.9, 0.4, 0.9, 0.1])
    many = said([0.0] * 100)
    assert "(100 of 100): 0, 1, " in many
    assert f", {MOST_NAMED - 1}, ...." in many
    assert "Every frame has matches" in said([0.5])


def test_a_fit_without_held_out_matches_has_a_report(fit, store, tmp_path):
    """As of a clip with hardly any match."""
    few = copy.copy(fit)
    few.run = tmp_path
    held = type(fit.pool.held_out)(*(field[:0] for field in fit.pool.held_out))
    few.pool = dataclasses.replace(fit.pool, held_out=held)
    save_report(few, store)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["figures"]["held_out_median_px"]["value"] is None
    assert found["figures"]["order_conflicts"]["verdict"] is None
    assert found["worst_frames"] == []
    assert math.isfinite(found["figures"]["settled"]["value"])
