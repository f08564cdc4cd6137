"""What the viewer's page can have made: the files of ``query``, one order at a time, bounded."""

import io
import time
import zipfile
from contextlib import closing
from threading import Event

import numpy as np
import pytest
from PIL import Image
from replies import said

from omnimotion.cli import main
from omnimotion.clouds import canonical_cloud, save_ply
from omnimotion.masks import Mask
from omnimotion.runs import run_folder

pytest.importorskip("fastapi", reason="the extra view is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from fastapi.testclient import TestClient

from omnimotion.batch.stage import Ended
from omnimotion.maps import write_maps
from omnimotion.propagation import write_masks
from omnimotion.video import open_video
from omnimotion.viewer import downloads as module
from omnimotion.viewer import orders
from omnimotion.viewer.answers import open_answers
from omnimotion.viewer.downloads import PIECE_BYTES, Downloads, zipped
from omnimotion.viewer.server import build_app
from omnimotion.viewer.shown import Shown

PORT = 8765
OWN = f"http://127.0.0.1:{PORT}"
POINTS = [[0, 12.5, 24.0], [3, 40.0, 30.0]]
WORDS = ("--device=cpu", "--backend=torch", "--threads=1")
MAPS = {"what": "maps", "kind": "flo", "frame": 2}


@pytest.fixture
def made(fitted, tiny_scene):
    """Downloads of the tiny scene."""
    answers = open_answers(fitted, tiny_scene)
    run = run_folder(tiny_scene, None)
    with closing(Downloads(tiny_scene, lambda: run, answers, WORDS)) as downloads:
        yield downloads


@pytest.fixture
def client(made):
    app = build_app(Shown(made._answers, downloads=made), PORT)
    with TestClient(app, base_url=OWN, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def here(monkeypatch):
    """The command runs in this process: another one takes seconds to start."""

    def run(words, log, place, stop):
        return Ended(main(words), 0, 0)

    monkeypatch.setattr(module, "run_stage", run)


@pytest.fixture
def stuck(monkeypatch):
    """A command that ends when it is told to stop, and leaves something behind."""
    begun = Event()

    def run(words, log, place, stop):
        out = next(word for word in words if word.startswith("--out="))
        folder = log.parent / "made" / ".half"
        folder.mkdir()
        (folder / out[-4:].strip("/=")).write_text("half")
        begun.set()
        while not stop.number:
            time.sleep(0.01)
        return Ended(-15, 0, 0)

    monkeypatch.setattr(module, "run_stage", run)
    return begun


def wait(client):
    """How the order ended."""
    while (found := client.get("/api/made").json())["state"] == "running":
        time.sleep(0.05)
    return found


def order(client, **question):
    """The file that is made, its name and its bytes."""
    started = client.post("/api/made", json=question)
    assert started.status_code == 200, started.text
    found = wait(client)
    assert found["state"] == "done", found
    response = client.get("/api/made/file")
    assert response.headers["content-disposition"] == f'attachment; filename="{found["name"]}"'
    return found["name"], response.content


def unpacked(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def of_folder(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# what is made -----------------------------------------------------------------------------------


def test_maps_are_those_of_the_command(client, fitted, here, tmp_path):
    name, data = order(client, **MAPS, frames="0:8:3")
    write_maps(tmp_path / "maps", fitted.tracker, 2, [0, 3, 6], ["flo"])
    assert name == "maps.zip"
    assert unpacked(data) == of_folder(tmp_path / "maps")


def test_a_mask_goes_to_all_frames_at_full_size(client, fitted, here, tmp_path):
    labels = np.zeros((48, 64), np.uint8)
    labels[10:30, 20:44] = 1
    number = client.post("/api/masks/4", content=np.packbits(labels).tobytes()).json()["mask"]
    name, data = order(client, what="masks", mask=number)
    write_masks(tmp_path / "masks", fitted.tracker, {4: Mask(labels)}, range(8), 1)
    assert name == "masks.zip"
    assert unpacked(data) == of_folder(tmp_path / "masks")


def test_one_file_is_sent_as_it_is(client, fitted, here, tmp_path):
    name, data = order(client, what="volume", frames="3:5")
    save_ply(tmp_path / "expected.ply", canonical_cloud(fitted.tracker, [3, 4], 2))
    assert (name, data) == ("volume.ply", (tmp_path / "expected.ply").read_bytes())


def test_pictures_of_the_tracks(client, here, tmp_path):
    name, data = order(client, what="sheet", points=POINTS)
    assert name == "tracks.png"
    assert np.asarray(Image.open(io.BytesIO(data))).std() > 10
    name, data = order(client, what="video", points=POINTS, frames="2:8:2")
    assert name == "tracks.mp4"
    (tmp_path / name).write_bytes(data)
    assert [frame.shape for frame in open_video(tmp_path / name)] == [(48, 64, 3)] * 3


def test_several_files_are_packed_as_they_are_sent(tmp_path):
    """Piece by piece, however large they are."""
    random, files = np.random.default_rng(0), []
    for k, size in enumerate((0, 7, 3 * PIECE_BYTES + 5)):
        files.append(tmp_path / f"{k}.bin")
        files[-1].write_bytes(random.bytes(size))
    parts = list(zipped(files))
    assert max(map(len, parts)) < 1.2 * PIECE_BYTES
    assert unpacked(b"".join(parts)) == of_folder(tmp_path)


def test_the_page_is_told_what_kinds_of_maps_there_are(client):
    kinds = client.get("/api/scene").json()["maps"]
    assert {"stmap", "flo"} <= set(kinds) <= {"stmap", "exr", "flo"}


# bounds -----------------------------------------------------------------------------------------


def test_one_at_a_time_and_it_can_be_stopped(client, made, stuck):
    assert client.get("/api/made").json() == {"state": "none"}
    started = client.post("/api/made", json=MAPS).json()
    assert (started["state"], started["what"], started["of"]) == ("running", "maps", 16)
    stuck.wait(20)
    assert client.get("/api/made").json()["done"] == 1
    assert "being made or sent" in said(client.post("/api/made", json={"what": "volume"}))
    assert "nothing is made yet" in said(client.get("/api/made/file"))
    assert client.delete("/api/made").json() == {"state": "stopped", "what": "maps"}
    assert not (made._folder / "made").exists()


def test_none_is_begun_while_one_is_sent(client, made, here):
    order(client, what="volume", frames="3:4")
    _, pieces = made.send()
    next(pieces)
    assert "being made or sent" in said(client.post("/api/made", json={"what": "volume"}))
    pieces.close()  # the client has gone
    assert client.post("/api/made", json={"what": "volume", "frames": "3:4"}).status_code == 200
    assert wait(client)["state"] == "done"


def test_it_may_not_take_for_ever(client, made, stuck, monkeypatch):
    monkeypatch.setattr(module, "MAX_SECONDS", 0.05)
    client.post("/api/made", json=MAPS)
    found = wait(client)
    assert found["state"] == "failed"
    assert "ask for fewer frames" in found["said"]
    assert not (made._folder / "made").exists()


def test_what_fails_says_why_and_leaves_nothing(client, made, monkeypatch):
    def run(words, log, place, stop):
        log.write_text("$ omnimotion query\nbackend=torch\nerror: no such thing\n")
        return Ended(2, 0, 0)

    monkeypatch.setattr(module, "run_stage", run)
    client.post("/api/made", json=MAPS)
    assert wait(client) == {"state": "failed", "said": "no such thing", "what": "maps"}
    assert "nothing is made yet" in said(client.get("/api/made/file"))
    assert not (made._folder / "made").exists()


def test_progress_is_told_while_what_failed_is_removed(client, made, stuck, monkeypatch):
    """Its folder may go while it is looked through."""

    def gone(path, pattern):
        raise FileNotFoundError(path)

    monkeypatch.setattr(module.Path, "rglob", gone)
    client.post("/api/made", json=MAPS)
    assert stuck.wait(60)
    found = client.get("/api/made")
    assert found.status_code == 200
    assert found.json()["done"] == 0


def test_what_was_made_goes_with_the_server(fitted, tiny_scene, stuck):
    answers = open_answers(fitted, tiny_scene)
    made = Downloads(tiny_scene, lambda: run_folder(tiny_scene, None), answers, WORDS)
    made.start(orders.Asked("volume"))
    made.close()
    assert not made._folder.exists()


def test_the_run_that_is_shown_is_asked(client, tiny_scene, monkeypatch):
    asked = []

    def run(words, log, place, stop):
        asked.extend(words)
        return Ended(2, 0, 0)

    monkeypatch.setattr(module, "run_stage", run)
    client.post("/api/made", json=MAPS)
    wait(client)
    assert {f"--scene={tiny_scene}", f"--run={run_folder(tiny_scene, None)}", *WORDS} <= set(asked)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"what": "/etc/passwd"}, "cannot be made: expected maps, masks"),
        ({"what": "maps", "kind": "../x"}, "expected one or more of stmap"),
        ({"what": "maps"}, "expected one or more of stmap"),
        ({**MAPS, "frame": 8}, "frame 8: expected 0 to 7"),
        ({**MAPS, "frame": -1}, "frame -1"),
        ({**MAPS, "frames": "--out=/x"}, "expected start:stop"),
        ({**MAPS, "frames": "9:12"}, "the clip has frames 0 to 7"),
        ({**MAPS, "frames": "1" * 61}, "frames"),
        ({**MAPS, "frames": ["0:4"]}, "frames"),
        ({"what": "masks", "mask": 7}, "mask 7 has been replaced"),
        ({"what": "video"}, "click some first"),
        ({"what": "video", "points": [[0, 64, 1]]}, "x is 64"),
        ({"what": "sheet", "points": [[0, 1]]}, "points.0"),
        ({}, "what"),
    ],
)
def test_what_cannot_be_made_is_refused(client, question, message):
    response = client.post("/api/made", json=question)
    assert response.status_code in (400, 422)
    assert message in said(response)
    assert client.get("/api/made").json() == {"state": "none"}


def test_what_is_too_large_is_refused_before_anything_is_made(client, monkeypatch):
    bytes_of_all = 2 * 8 * 64 * 48 * 8  # both ways, frames, pixels, two float32
    monkeypatch.setattr(orders, "MAX_BYTES", bytes_of_all - 1)
    assert "ask for fewer frames" in said(client.post("/api/made", json=MAPS))
    monkeypatch.setattr("omnimotion.files.free_bytes", lambda path: bytes_of_all - 1)
    monkeypatch.setattr(orders, "MAX_BYTES", bytes_of_all)
    assert "maps needs" in said(client.post("/api/made", json=MAPS))
    assert client.get("/api/made").json() == {"state": "none"}


@pytest.mark.parametrize("path", ["/api/made/file/x", "/api/made/..%2fscene.json", "/api/made/x"])
def test_no_name_opens_a_file(client, path):
    assert client.get(path).status_code in (404, 405)
