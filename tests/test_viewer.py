"""The viewer's server: what it answers, whom it refuses, and that no name opens a file."""

import asyncio
import csv
import io
import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing

import numpy as np
import pytest
from PIL import Image
from replies import said

import omnimotion
from omnimotion.cli import main
from omnimotion.formats import FORMATS
from omnimotion.runs import open_tracker, run_folder

pytest.importorskip("fastapi", reason="the extra view is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from fastapi.testclient import TestClient

from omnimotion.viewer import guard
from omnimotion.viewer import refits as refits_module
from omnimotion.viewer.answers import MAX_POINTS, open_answers
from omnimotion.viewer.guard import MAX_BODY_BYTES
from omnimotion.viewer.refits import Refits
from omnimotion.viewer.server import PAGE, build_app, listen
from omnimotion.viewer.shown import Shown
from omnimotion.warps import Carrier, carried_labels, relay

PORT = 8765
OWN = f"http://127.0.0.1:{PORT}"
POINTS = [[0, 12.5, 24.0], [3, 40.0, 30.0]]


@pytest.fixture(scope="module")
def client(fitted, tiny_scene):
    refits = Refits(tiny_scene, run_folder(tiny_scene, None), lambda run: None)
    app = build_app(Shown(open_answers(fitted, tiny_scene), refits), PORT)
    with closing(refits), TestClient(app, base_url=OWN, raise_server_exceptions=False) as client:
        yield client


# what it answers --------------------------------------------------------------------------------


def test_it_says_what_the_clip_is(client):
    about = client.get("/api/scene").json()
    assert (about["frames"], about["size"], about["fps"]) == (8, [64, 48], 24)
    assert [each["name"] for each in about["formats"]] == list(FORMATS)


@pytest.mark.parametrize("refine", [True, False])
def test_tracks_are_the_scenes(client, fitted, refine):
    found = client.post("/api/tracks", json={"points": POINTS, "refine": refine}).json()["tracks"]
    expected = fitted.track(POINTS, refine)
    assert [track["query"] for track in found] == POINTS
    for q, track in enumerate(found):
        np.testing.assert_allclose(track["xy"], expected.xy[q], atol=0.006)
        assert track["visible"] == expected.visible[q].tolist()
        np.testing.assert_allclose(track["confidence"], expected.confidence[q], atol=6e-4)


def test_frames_are_those_of_the_video_and_of_the_model(client, fitted, tiny_store):
    def picture(layer, t):
        response = client.get(f"/api/frames/{layer}/{t}")
        assert response.headers["content-type"] == "image/png"
        return np.asarray(Image.open(io.BytesIO(response.content)))

    np.testing.assert_array_equal(picture("video", 5), tiny_store.frame(5))
    np.testing.assert_array_equal(picture("colour", 5), fitted.tracker.surface(5)[1])
    assert picture("depth", 5).shape == (48, 64, 3)
    assert picture("depth", 5).std() > 1
    np.testing.assert_array_equal(picture("depth", 5), picture("depth", 5))  # kept, and the same


def test_a_mask_drawn_on_a_frame_is_shown_in_others(client, fitted):
    """As the scene alone carries it; the newest only, and as drawn in its own frame."""
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:44] = 1
    first, second = (
        client.post("/api/masks/4", content=np.packbits(each).tobytes()).json()["mask"]
        for each in (1 - labels, labels)
    )

    def ink(number, t):
        response = client.get(f"/api/masks/{number}/{t}")
        return np.asarray(Image.open(io.BytesIO(response.content)))[..., 3] > 0

    carrier = Carrier(fitted.tracker)
    for t in (0, 4, 7):
        np.testing.assert_array_equal(ink(second, t), carrier.propagate(labels, 4, t))
    assert "has been replaced" in said(client.get(f"/api/masks/{first}/0"))


@pytest.mark.parametrize(
    ("t", "data", "message"),
    [
        (8, bytes(64 * 48 // 8), "frame 8"),
        (0, bytes(64 * 48 // 8), "the mask is empty"),
        (0, bytes(10), "10 bytes, expected a bit for each of 64x48"),
    ],
)
def test_a_mask_that_is_none_is_refused(client, t, data, message):
    response = client.post(f"/api/masks/{t}", content=data)
    assert response.status_code == 400
    assert message in said(response)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_can_be_downloaded(client, name):
    if name == "rerun":
        pytest.importorskip("rerun", reason="the extra rerun is not installed")
    question = {"points": POINTS, "format": name, "scale": "0.5mm" if name == "trc" else None}
    response = client.post("/api/export", json=question)
    assert response.status_code == 200
    ending = FORMATS[name].ending
    assert response.headers["content-disposition"] == f'attachment; filename="tracks{ending}"'
    assert len(response.content) > 100


def test_a_download_holds_the_refined_tracks(client, fitted):
    response = client.post("/api/export", json={"points": POINTS, "format": "csv"})
    rows = list(csv.DictReader(io.StringIO(response.text)))
    found = [[float(row["x"]), float(row["y"])] for row in rows]
    np.testing.assert_allclose(found, fitted.track(POINTS).xy.reshape(-1, 2), atol=1e-3)


PINS = [{"track": 0, "t": 0, "x": 31, "y": 23}, {"track": 0, "t": 7, "x": 33, "y": 29}]


def wait(client, seconds=90):
    """The progress of a refit once it has ended."""
    began = time.monotonic()
    while (found := client.get("/api/refit").json())["state"] == "running":
        assert time.monotonic() - began < seconds
        time.sleep(0.3)
    return found


def test_a_refit_heeds_its_pins_and_is_shown_from_then_on(tiny_scene, tmp_path):
    copy = tmp_path / "scene"
    shutil.copytree(tiny_scene, copy)
    answers = open_answers(omnimotion.load(copy, device="cpu", backend="torch"), copy)
    before = answers.tracks([[0, 31, 23]], True)
    words = ("--pin_steps=20", "--device=cpu", "--threads=1")

    def adopt(run):
        answers.adopt(omnimotion.load(copy, run, device="cpu", backend="torch"))

    drawn = answers.set_mask(0, np.packbits(np.ones(48 * 64, np.uint8)).tobytes())
    refits = Refits(copy, run_folder(copy, None), adopt, words)
    app = build_app(Shown(answers, refits), PORT)
    with closing(refits), TestClient(app, base_url=OWN) as client:
        assert client.get("/api/refit").json() == {"state": "none"}
        started = client.post("/api/refit", json={"pins": PINS}).json()
        assert started == {"state": "running", "step": 0}
        assert "a refit is going" in said(client.post("/api/refit", json={"pins": PINS}))
        found = wait(client)
        assert found["state"] == "done"
        assert found["run"].startswith("default-pinned-")
        (track,) = client.post("/api/tracks", json={"points": [[0, 31, 23]]}).json()["tracks"]
        assert client.get(f"/api/masks/{drawn}/5").status_code == 200  # what is drawn stays
    np.testing.assert_allclose(track["xy"][7], (33, 29), atol=0.05)  # through its pin
    assert np.linalg.norm(before.xy[0, 7] - (33, 29)) > 0.5
    expected = open_tracker(copy, copy / "runs" / found["run"], "cpu", "torch")
    np.testing.assert_allclose(track["xy"], expected.track([[0, 31, 23]]).xy[0], atol=0.006)

    refits = Refits(copy, copy / "runs" / found["run"], adopt, words)  # as a page opened later has
    with closing(refits):
        refits.start([(0, 2, 8, 8, 1), (0, 6, 10, 9, 1)])
        assert refits._going.process.wait(60) == 0
        again = refits.progress()
    assert again["run"].startswith(f"{found['run']}-pinned-")
    found = answers.tracks([[0, 31, 23], [2, 8, 8]], True).xy
    np.testing.assert_allclose(found[0, 7], (33, 29), atol=0.05)  # still
    np.testing.assert_allclose(found[1, 6], (10, 9), atol=0.05)


def test_a_refit_can_be_stopped_and_says_why_it_ended(tiny_scene, tmp_path):
    copy = tmp_path / "scene"
    shutil.copytree(tiny_scene, copy)
    answers = open_answers(omnimotion.load(copy, device="cpu", backend="torch"), copy)
    refits = Refits(copy, run_folder(copy, None), answers.adopt, ["--pin_steps=100000"])
    with closing(refits):
        refits.start([(pin["track"], pin["t"], pin["x"], pin["y"], 1) for pin in PINS])
        process = refits._going.process
        refits.stop()
        assert process.poll() is not None
        assert refits.progress()["state"] == "failed"
    refits = Refits(copy, copy / "runs" / "none", answers.adopt)
    with (
        closing(refits),
        TestClient(build_app(Shown(answers, refits), PORT), base_url=OWN) as client,
    ):
        client.post("/api/refit", json={"pins": PINS})
        found = wait(client)
        assert found["state"] == "failed"
        assert "scene has no run none: there are default" in found["said"]


def test_the_step_of_a_refit_in_windows_is_that_of_the_window_it_is_at(tmp_path):
    """Windows that are taken over have reports; of the others the last one is going."""
    assert refits_module._step(tmp_path) == 0
    for k, step, is_done in ((0, 400, True), (1, 12, False), (2, 900, True)):
        window = tmp_path / f"window_{k:04d}"
        window.mkdir()
        line = {"step": step, "loss": 1.0, "flow_px": 2.0}
        (window / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        if is_done:
            (window / "report.json").write_text("{}")
    assert refits_module._step(tmp_path) == 12


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        (PINS[:1], "pins"),
        ([PINS[0], {**PINS[1], "track": 1}], "no track is seen"),
        ([PINS[0], {**PINS[1], "t": 8}], "t is 8"),
        ([PINS[0], {**PINS[1], "x": 64}], "x is 64"),
        ([PINS[0], {"track": 0, "t": 3}], "pins.1.x"),
    ],
)
def test_pins_that_are_none_are_refused(client, pins, message):
    response = client.post("/api/refit", json={"pins": pins})
    assert response.status_code in (400, 422)
    assert message in said(response)
    assert client.get("/api/refit").json() == {"state": "none"}


# what it refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "", f"127.0.0.1:{PORT + 1}",
     f"127.0.0.1.evil.example:{PORT}"],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/", "/api/scene", "/viewer.js", "/none"])
def test_a_foreign_host_is_refused(client, host, path):
    response = client.get(path, headers={"Host": host})
    assert response.status_code == 421
    assert "own address" in said(response)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:8765", "",
                                    f"http://127.0.0.1:{PORT + 1}", "file://"])  # fmt: skip
def test_a_foreign_origin_is_refused(client, origin):
    for ask in (client.get, client.post, client.options):
        response = ask("/api/tracks", headers={"Origin": origin})
        assert response.status_code == 403
        assert "own page" in said(response)
        assert "access-control-allow-origin" not in response.headers


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(guard, "MAX_BODY_SECONDS", 0.05)
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", f"127.0.0.1:{PORT}".encode())]}
    asyncio.run(guard.Guard(None, PORT)(scope, receive, send))
    assert sent[0]["status"] == 408


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_embeds_is_refused(client, site):
    response = client.get("/api/frames/video/0", headers={"Sec-Fetch-Site": site})
    assert response.status_code == 403


def test_its_own_page_is_answered(client):
    for host in (f"127.0.0.1:{PORT}", f"localhost:{PORT}"):
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        response = client.post("/api/tracks", json={"points": POINTS}, headers=headers)
        assert response.status_code == 200


def test_a_large_body_is_refused_by_what_it_says_and_by_what_comes(client):
    data = b" " * (MAX_BODY_BYTES + 1)
    response = client.post("/api/tracks", content=data)
    assert response.status_code == 413
    assert str(MAX_BODY_BYTES) in said(response)

    def endless():  # of no said length
        for _ in range(MAX_BODY_BYTES // 65536 + 2):
            yield b" " * 65536

    assert client.post("/api/tracks", content=endless()).status_code == 413
    for length in ("many", "-1", "1e3"):
        response = client.post("/api/tracks", content=b"", headers={"Content-Length": length})
        assert response.status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/static/index.html", "/%2e%2e/%2e%2e/etc/passwd", "/viewer.js/x",
     "/api/frames/video/..%2f..%2fscene.json", "/api/frames/..%2f..%2fscene/0",
     "/api/frames/video/000000.png", "/index.html", "/docs", "/openapi.json"],
)  # fmt: skip
def test_no_name_opens_a_file(client, path):
    response = client.get(path)
    assert response.status_code in (400, 404, 422)
    assert len(said(response)) < 200


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"points": [[8, 1, 1]]}, "expected a whole number from 0 to 7"),
        ({"points": [[0, 64, 1]]}, "x is 64"),
        ({"points": [[0.5, 1, 1]]}, "t is 0.5"),
        ({"points": [[0, 1]]}, "points.0"),
        ({"points": "all"}, "points"),
        ({}, "points"),
        ({"points": [[0, 1, 1]] * (MAX_POINTS + 1)}, f"expected at most {MAX_POINTS}"),
    ],
)
def test_points_that_are_none_are_refused(client, question, message):
    response = client.post("/api/tracks", json=question)
    assert response.status_code in (400, 422)
    assert message in said(response)


@pytest.mark.parametrize("text", ['{"points": [[0, NaN, 1]]}', '{"points": [[0, 1e999, 1]]}', "[",
                                  "", '{"points": [[0, "a", 1]]}', "[" * 100000])  # fmt: skip
def test_text_that_is_no_question_is_refused(client, text):
    response = client.post("/api/tracks", content=text.encode(),
                           headers={"Content-Type": "application/json"})  # fmt: skip
    assert response.status_code in (400, 422)
    assert len(said(response)) < 300


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"format": "docx"}, "unknown format 'docx'"),
        ({"format": "../../x"}, "unknown format"),
        ({"format": "trc"}, "give --scale"),
        ({"format": "csv", "start_frame": 1001}, "count from 0"),
        ({"format": "nuke", "start_frame": 10**30}, "expected 0 to"),
        ({"format": "csv", "points": []}, "points"),
    ],
)
def test_downloads_that_cannot_be_are_refused(client, question, message):
    response = client.post("/api/export", json={"points": POINTS, **question})
    assert response.status_code in (400, 422)
    assert message in said(response)


@pytest.mark.parametrize("path", ["/api/frames/video/8", "/api/frames/video/-1",
                                  "/api/frames/albedo/0", "/api/frames/video/x"])  # fmt: skip
def test_frames_that_are_none_are_refused(client, path):
    response = client.get(path)
    assert response.status_code in (400, 422)
    assert said(response)


STRANGE = ["NaN", "-Infinity", "1e999", "1" * 400, "1" * 5000, "null", '"\\ud800"',
           "[" * 3000 + "]" * 3000, "{}"]  # fmt: skip


@pytest.mark.parametrize("value", STRANGE, ids=lambda value: value[:9])
@pytest.mark.parametrize(
    ("path", "question"),
    [
        ("tracks", '{"points": [[%s, 1, 1]]}'),
        ("tracks", '{"points": [[0, 1, %s]]}'),
        ("tracks", '{"points": %s}'),
        ("export", '{"points": [[0, 1, 1]], "format": %s}'),
        ("export", '{"points": [[0, 1, 1]], "format": "nuke", "start_frame": -%s}'),
        ("export", '{"points": [[0, 1, 1]], "format": "trc", "scale": %s}'),
        ("refit", '{"pins": [%s, %s]}'),
        ("refit", '{"pins": [{"track": %s, "t": 0, "x": 1, "y": 1}, '
                  '{"track": %s, "t": 1, "x": 1, "y": %s}]}'),
    ],
)  # fmt: skip
def test_a_strange_value_is_refused_in_one_line(client, path, question, value):
    text = question.replace("%s", value)
    response = client.post(f"/api/{path}", content=text.encode(),
                           headers={"Content-Type": "application/json"})  # fmt: skip
    assert response.status_code in (400, 422)
    assert said(response)
    assert client.get("/api/refit").json() == {"state": "none"}


# the page ---------------------------------------------------------------------------------------


def test_the_page_is_complete_and_asks_no_one_else(client):
    for address in PAGE:
        response = client.get(f"/{address}")
        assert response.status_code == 200
        text = response.text
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        policy = response.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
    page = client.get("/").text
    assert "<script>" not in page
    assert "onclick" not in page


# the command ------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_only():
    with listen(0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_refused(capsys, tiny_scene):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert main(["view", str(tiny_scene), "--port", str(port), "--device", "cpu"]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"error: port {port}:")
    assert "choose another --port" in line


def test_a_clip_in_windows_is_shown(long_scene):
    fitted = omnimotion.load(long_scene, device="cpu", backend="torch")
    app = build_app(Shown(open_answers(fitted, long_scene)), PORT)
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:44] = 1
    with TestClient(app, base_url=OWN) as client:
        assert client.get("/api/scene").json()["frames"] == 30
        (track,) = client.post("/api/tracks", json={"points": [[2, 30, 24]]}).json()["tracks"]
        np.testing.assert_allclose(track["xy"], fitted.track([[2, 30, 24]]).xy[0], atol=0.006)
        for layer in ("colour", "depth"):
            pictures = [client.get(f"/api/frames/{layer}/{t}").content for t in (0, 14, 29)]
            assert len(set(pictures)) == 3
        number = client.post("/api/masks/2", content=np.packbits(labels).tobytes()).json()["mask"]
        expected = relay(fitted.tracker, carried_labels(1), labels, 2)
        for t in (2, 14, 29):
            image = Image.open(io.BytesIO(client.get(f"/api/masks/{number}/{t}").content))
            same = (np.asarray(image)[..., 3] > 0) == (expected.at(t) > 0)
            assert same.mean() > 0.95  # the server's threads round in another order


def test_without_the_extra_it_says_what_to_install(tiny_scene):
    program = (
        "import sys; sys.modules['fastapi'] = None; from omnimotion.cli import main; "
        f"sys.exit(main(['view', {str(tiny_scene)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'pip install "omnimotion[view]"' in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_command_serves_until_it_is_stopped(tiny_scene):
    import signal
    import urllib.request

    words = ["-m", "omnimotion", "view", str(tiny_scene), "--port", "0", "--device", "cpu",
             "--backend", "torch", "--threads", "1"]  # fmt: skip
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stderr if line.startswith("view="))
            address = line.partition("=")[2].split()[0]
            with urllib.request.urlopen(f"{address}/api/scene", timeout=20) as response:
                assert json.load(response)["frames"] == 8
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
        assert "Traceback" not in server.stderr.read()
