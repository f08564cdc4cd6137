"""From a video to a scene: what the page may send, how a job goes, ends, and what it leaves."""

import asyncio
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from urllib.parse import quote

import numpy as np
import pytest
from conftest import TINY_SETTINGS
from PIL import Image
from replies import said

from omnimotion.cli import main
from omnimotion.config import Config
from omnimotion.errors import ConfigError, InputError, ResourceError, SceneError
from omnimotion.long_runs import Plan
from omnimotion.video_writer import write_video

pytest.importorskip("fastapi", reason="the extra view is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from fastapi.testclient import TestClient

from omnimotion.viewer import uploads
from omnimotion.viewer.jobs import BUDGETS, Job, _begun_with, _keep_budget
from omnimotion.viewer.server import build_app
from omnimotion.viewer.shelf import Place, Shelf
from omnimotion.viewer.shown import Shown
from omnimotion.viewer.studio import VIDEOS, Studio
from omnimotion.viewer.uploads import Uploads

PORT = 8765
OWN = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def video(tiny_clip, tmp_path_factory):
    """The bytes of a small video."""
    path = tmp_path_factory.mktemp("videos") / "tiny.mp4"
    files = sorted((tiny_clip / "frames").iterdir())
    write_video(path, (np.asarray(Image.open(file).convert("RGB")) for file in files), 24.0)
    return path.read_bytes()


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.txt"
    settings = TINY_SETTINGS | {"num_iters": 60}
    path.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
    return path


@pytest.fixture
def studio(tmp_path, config):
    folder = tmp_path / "scenes"
    folder.mkdir()
    shown = Shown(device="cpu", backend="torch", threads=1)
    with closing(shown), closing(Studio(Shelf.open(folder), shown, [f"--config={config}"])) as it:
        yield it


@pytest.fixture
def client(studio):
    app = build_app(studio.shown, PORT, studio)
    with TestClient(app, base_url=OWN, raise_server_exceptions=False) as client:
        yield client


def left(studio):
    return sorted(path.name for path in studio.shelf.folder.iterdir())


def wait(client, until=lambda job: job["state"] != "running", seconds=600):
    began, seen = time.monotonic(), []
    while not until(job := client.get("/api/job").json()):
        assert time.monotonic() - began < seconds, job
        seen.append(job)
        time.sleep(0.1)
    return job, seen


async def chunks(*parts):
    for part in parts:
        yield part


async def endless(part=b"x" * 1000, pause=0.0):
    while True:
        await asyncio.sleep(pause)
        yield part


def take(stream, path, said_bytes=0, **options):
    asyncio.run(Uploads(**options).take(stream, said_bytes, path))


def test_the_page_is_told_what_the_stages_warn_of(tmp_path):
    place, log = Place(tmp_path / "video_0001", tmp_path / "clip.mp4"), tmp_path / "log.txt"
    log.write_text(f"frames=4 size=9x9 pairs=3 \nwarning: cut at frame 2?\nflow: 3\n"
                   f"warning: {place.video} is HDR\nwarning: cut at frame 2?\n")  # fmt: skip
    assert Job(place, log, True).progress()["warned"] == ["cut at frame 2?", "the video is HDR"]


# a video is sent --------------------------------------------------------------------------------


def test_a_video_is_written_as_it_came(tmp_path, video):
    take(chunks(video[:1000], b"", video[1000:]), tmp_path / "v", len(video))
    assert (tmp_path / "v").read_bytes() == video


@pytest.mark.parametrize("said_bytes", [0, 10])
def test_what_is_endless_ends_at_the_limit(tmp_path, said_bytes):
    with pytest.raises(InputError, match="more than 0 MB"):
        take(endless(), tmp_path / "v", said_bytes, max_bytes=5000)
    assert not list(tmp_path.iterdir())


def test_what_says_it_is_too_large_is_not_read(tmp_path):
    with pytest.raises(InputError, match="more than 4000 MB"):
        take(None, tmp_path / "v", 4_000_000_001)


@pytest.mark.parametrize("pause", [60.0, 0.02])
def test_what_does_not_come_is_not_waited_for(tmp_path, monkeypatch, pause):
    """It stalls, or drips."""
    monkeypatch.setattr(uploads, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(uploads, "MAX_SECONDS", 0.5)
    began = time.monotonic()
    with pytest.raises(InputError, match="stopped coming"):
        take(endless(b"x", pause), tmp_path / "v")
    assert time.monotonic() - began < 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parts", "said_bytes", "message"),
    [
        ((), 0, "no video that can be read"),
        ((b"#EXTM3U\n/etc/passwd\n",), 0, "no video that can be read"),
        ((b"\x89PNG\r\n\x1a\n" + bytes(100),), 0, "no video that can be read"),
        ((b"abc",), 100, "3 of 100 bytes came"),
    ],
)
def test_what_is_no_video_leaves_nothing(tmp_path, parts, said_bytes, message):
    with pytest.raises(InputError, match=message):
        take(chunks(*parts), tmp_path / "v", said_bytes)
    assert not list(tmp_path.iterdir())


def test_one_video_comes_at_a_time(tmp_path, video):
    async def both():
        taking = Uploads()
        first = asyncio.create_task(taking.take(endless(pause=0.01), 0, tmp_path / "a"))
        await asyncio.sleep(0.1)
        with pytest.raises(ConfigError, match="another video is being sent"):
            await taking.take(chunks(video), 0, tmp_path / "b")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not list(tmp_path.iterdir())
        await taking.take(chunks(video), 0, tmp_path / "b")  # and then the next one

    asyncio.run(both())
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_an_upload_can_be_cancelled_at_any_moment(tmp_path):
    """`asyncio.wait_for` of Python 3.11 loses a cancellation that comes with a chunk."""

    async def cancelled(turns):
        taking = asyncio.create_task(Uploads().take(endless(), 0, tmp_path / "a"))
        for _ in range(turns):
            await asyncio.sleep(0)
        taking.cancel()
        done, _ = await asyncio.wait({taking}, timeout=5)
        taking.cancel()
        assert done == {taking}, f"after {turns} turns"
        assert taking.cancelled()

    for turns in range(1, 60):
        asyncio.run(cancelled(turns))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, video):
    import resource

    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, old[1]))
    try:
        with pytest.raises(ResourceError, match="disk full"):
            take(chunks(video), tmp_path / "v")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert not list(tmp_path.iterdir())


# the job ----------------------------------------------------------------------------------------


def test_a_video_becomes_a_scene_that_can_be_clicked(client, studio, video):
    assert client.get("/api/start").json() == {"open": False, "studio": True}
    assert "no scene is open" in said(client.get("/api/scene"))
    about = client.get("/api/studio").json()
    assert (about["scenes"], about["job"], about["budgets"]) == (
        [], {"state": "none"}, list(BUDGETS)
    )  # fmt: skip
    job = client.post(VIDEOS, content=video).json()
    assert (job["state"], job["name"], job["stage"]) == ("running", "video_0001", "preprocess")
    ended, seen = wait(client)
    assert ended == {"state": "done", "name": "video_0001"}
    assert {job["stage"] for job in seen} == {"preprocess", "train"}
    assert {job["units"] for job in seen} >= {"frames", "steps"}
    assert all(0 <= job["done"] <= job["of"] for job in seen)
    (scene,) = client.get("/api/studio").json()["scenes"]
    assert scene == {"name": "video_0001", "frames": 8, "size": [64, 48], "ready": True}
    assert left(studio) == ["video_0001", "video_0001.upload"]
    assert client.get("/api/scenes/video_0001/picture").headers["content-type"] == "image/png"
    client.post("/api/open", json={"name": "video_0001"})
    assert client.get("/api/scene").json()["frames"] == 8
    (track,) = client.post("/api/tracks", json={"points": [[0, 30, 24]]}).json()["tracks"]
    assert len(track["xy"]) == 8


def test_cancelling_leaves_nothing_and_the_next_one_may_come(client, studio, video):
    client.post(VIDEOS, content=video)
    assert "being worked on" in said(client.post(VIDEOS, content=video))
    wait(client, lambda job: job["state"] == "running" and job["stage"] == "train")
    picture = client.get("/api/job/picture")
    assert picture.headers["content-type"] == "image/png"
    assert np.asarray(Image.open(io.BytesIO(picture.content))).shape == (48, 64, 3)
    assert client.delete("/api/job").json()["state"] == "cancelled"
    assert left(studio) == []
    assert client.post(VIDEOS, content=video).json()["state"] == "running"
    assert client.delete("/api/job").json()["state"] == "cancelled"
    assert left(studio) == []


def test_a_broken_video_is_told_in_one_line_and_leaves_nothing(client, studio, video):
    assert client.post(VIDEOS, content=video[: len(video) // 2]).status_code == 200
    ended, _ = wait(client)
    assert ended["state"] == "failed"
    assert "the video" in ended["said"]
    assert str(studio.shelf.folder) not in ended["said"]
    assert left(studio) == []


@pytest.mark.slow
def test_what_ends_early_can_be_gone_on_with(tmp_path, config, video):
    """As when the server is stopped: what was done stays."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    studio = Studio(Shelf.open(folder), Shown(device="cpu", threads=1), [f"--config={config}"])
    with TestClient(build_app(studio.shown, PORT, studio), base_url=OWN) as client:
        client.post(VIDEOS, content=video)
        wait(client, lambda job: job.get("stage") == "train")
    studio.close()
    assert studio.jobs.progress()["state"] == "failed"
    later = Studio(Shelf.open(folder), Shown(device="cpu", threads=1), [f"--config={config}"])
    with closing(later), TestClient(build_app(later.shown, PORT, later), base_url=OWN) as client:
        (scene,) = client.get("/api/studio").json()["scenes"]
        assert not scene["ready"]
        assert client.post("/api/continue", json={"name": scene["name"]}).status_code == 200
        assert client.delete("/api/job").json()["state"] == "cancelled"
        assert left(later) == ["video_0001", "video_0001.upload"]  # not sent for this job
        client.post("/api/continue", json={"name": scene["name"]})
        assert wait(client)[0]["state"] == "done"
        assert client.get("/api/studio").json()["scenes"][0]["ready"]


# what it refuses --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../x", "/etc", "video_0001", "tiny/runs", "a\0b"]
)
def test_no_name_opens_a_folder_that_is_not_a_scene_here(client, studio, tiny_scene, name):
    shutil.copytree(tiny_scene, studio.shelf.folder / "tiny")
    for path in ("/api/open", "/api/continue"):
        response = client.post(path, json={"name": name})
        assert response.status_code == 400
        assert "no scene" in said(response)
    assert client.get("/api/start").json()["open"] is False
    assert client.get(f"/api/scenes/{quote(name, safe='')}/picture").status_code in (400, 404)


def test_a_scene_that_is_there_is_shown(client, studio, tiny_scene):
    shutil.copytree(tiny_scene, studio.shelf.folder / "tiny")
    assert client.post("/api/open", json={"name": "tiny"}).json()["frames"] == 8
    assert client.get("/api/start").json() == {"open": True, "studio": True}


@pytest.mark.parametrize("budget", ["1s", "--run", "2m --overwrite", "../x"])
def test_another_budget_than_the_offered_ones_is_refused(client, studio, video, budget):
    response = client.post(VIDEOS, params={"budget": budget}, content=video)
    assert "expected one of" in said(response)
    assert left(studio) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Content-Length": "many"}, 400),
    ],
)
def test_foreign_requests_send_no_video(client, studio, video, headers, status):
    assert client.post(VIDEOS, content=video, headers=headers).status_code == status
    assert client.delete("/api/job", headers=headers).status_code == status
    assert left(studio) == []


def test_other_bodies_are_as_small_as_ever(client):
    response = client.post("/api/open", content=b" " * (3 << 20))
    assert response.status_code == 413


def test_without_a_studio_no_video_is_taken(tiny_scene, video):
    shown = Shown(device="cpu", backend="torch", threads=1)
    shown.open(tiny_scene)
    with closing(shown), TestClient(build_app(shown, PORT), base_url=OWN) as client:
        assert client.get("/api/start").json() == {"open": True, "studio": False}
        assert client.post(VIDEOS, content=video).status_code in (404, 405)


def test_a_folder_of_other_things_is_refused(tmp_path, capsys):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mother.txt").write_text("dear")
    with pytest.raises(SceneError, match="no scene, nor a folder of scenes, nor empty"):
        Shelf.open(tmp_path / "letters")
    assert main(["view", str(tmp_path / "letters"), "--port", "0"]) == 3
    assert main(["view", str(tmp_path / "none"), "--port", "0"]) == 3
    assert not (tmp_path / "none").exists()
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("error: ") for line in lines] == [True, True]
    with pytest.raises(SystemExit):
        main(["view", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "a folder of scenes, or an empty one" in said  # a new one is taken for a mistyped one


def test_a_scene_in_windows_is_ready_when_all_are_fitted(tmp_path, tiny_store):
    shutil.copytree(tiny_store.folder, tmp_path / "scene")
    run = tmp_path / "scene" / "runs" / "default"
    (run / "window_0000").mkdir(parents=True)
    (run / "window_0000" / "report.json").write_text("{}")
    for complete in (False, True):
        Plan([[0, 6], [2, 8]], "", {}, complete=complete).save(run)
        (scene,) = Shelf.open(tmp_path).about()
        assert scene["ready"] is complete
    (run / "windows.json").write_text("{")
    assert Shelf.open(tmp_path).about()[0]["ready"] is False


def test_a_scene_whose_name_is_no_text_is_offered_and_found(tmp_path, tiny_store):
    scene = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(tiny_store.folder, scene)
    shelf = Shelf.open(tmp_path)
    (about,) = shelf.about()
    assert json.dumps(about, ensure_ascii=False).encode()
    assert shelf.place(about["name"]).folder == scene
    assert shelf.picture(about["name"]).is_file()


def test_new_names_are_free(tmp_path):
    shelf = Shelf.open(tmp_path)
    assert shelf.new().folder.name == "video_0001"
    (tmp_path / "video_0007.upload").write_bytes(b"")
    (tmp_path / "video_0009").mkdir()
    assert shelf.new().folder.name == "video_0010"
    assert list(shelf.places()) == ["video_0007"]


def test_a_client_that_hangs_up_leaves_nothing(tmp_path, video):
    """Against the real server: half a video, then silence, then the next one."""
    words = ["-m", "omnimotion", "view", str(tmp_path), "--port", "0", "--device", "cpu"]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stderr if line.startswith("view="))
            threading.Thread(target=server.stderr.read, daemon=True).start()
            port = int(line.rpartition(":")[2].split()[0])
            with socket.create_connection(("127.0.0.1", port)) as client:
                head = f"POST {VIDEOS} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                client.sendall(f"{head}Content-Length: {len(video)}\r\n\r\n".encode())
                client.sendall(video[: len(video) // 2])
                began = time.monotonic()
                while not list(tmp_path.iterdir()) and time.monotonic() - began < 20:
                    time.sleep(0.05)
                assert len(list(tmp_path.iterdir())) == 1  # a temporary file
            while list(tmp_path.iterdir()) and time.monotonic() - began < 20:
                time.sleep(0.05)
            assert not list(tmp_path.iterdir())
        finally:
            server.terminate()
            server.wait(20)


def test_what_is_gone_on_with_keeps_its_budget(tmp_path):
    """That of the page, which may have ended before a fit began, or that of a run."""
    asked, begun, plain = (Place(tmp_path / name, None) for name in ("a", "b", "c"))
    for place in (asked, begun, plain):
        (place.folder / "runs" / "default").mkdir(parents=True)
    (tmp_path / ".a.budget").write_text("10m")
    config = Config().replace(budget="2m")
    (begun.folder / "runs" / "default" / "config.txt").write_text(config.to_text())
    assert [_begun_with(place) for place in (asked, begun, plain)] == ["10m", "2m", ""]
    (tmp_path / ".a.budget").write_text("--run=x")
    assert _begun_with(asked) == ""
    for budget in ("2m", ""):  # a new scene of that name has its own
        _keep_budget(asked, budget)
        assert _begun_with(asked) == budget
