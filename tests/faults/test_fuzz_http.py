"""The viewer's server, given requests with random damage: it answers, or refuses in one line.

A request is what a client sends, head and body. It is taken apart as the server's HTTP library
does, so that what that refuses is refused here; the rest goes to the application itself. What it
would start as a process of its own ends at once, with code 2.
"""

import asyncio
import json
from contextlib import ExitStack, closing
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from damage import damaged
from fuzzing import SEED, fuzz, fuzz_for_long

import omnimotion
from omnimotion.errors import InputError
from omnimotion.runs import run_folder

pytest.importorskip("fastapi", reason="the extra view is not installed")

import h11

from omnimotion.batch.stage import Ended
from omnimotion.viewer.answers import open_answers
from omnimotion.viewer.downloads import Downloads
from omnimotion.viewer.refits import Refits
from omnimotion.viewer.server import build_app
from omnimotion.viewer.shelf import Shelf
from omnimotion.viewer.shown import Shown
from omnimotion.viewer.studio import Studio

FEW = 120
PORT = 8765
HEAD = (b"%s HTTP/1.1\r\nHost: 127.0.0.1:8765\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n")  # fmt: skip
POINTS = [[0, 12.5, 24.0], [3, 40.0, 30.0]]
PINS = [{"track": 0, "t": 0, "x": 31, "y": 23}, {"track": 0, "t": 7, "x": 33, "y": 29}]
GETS = ["", "viewer.js", "api/start", "api/scene", "api/frames/video/3", "api/frames/depth/0",
        "api/masks/1/2", "api/refit", "api/made", "api/made/file", "api/studio", "api/job",
        "api/job/picture", "api/scenes/scene/picture"]  # fmt: skip
DELETES = ["api/refit", "api/made", "api/job"]
POSTS = [
    ("api/tracks", {"points": POINTS, "refine": True}),
    ("api/export", {"points": POINTS, "format": "nuke", "start_frame": 10}),
    ("api/export", {"points": POINTS, "format": "trc", "scale": "0.5mm"}),
    ("api/refit", {"pins": PINS}),
    ("api/made", {"what": "maps", "frame": 2, "kind": "flo", "frames": "0:4:2"}),
    ("api/made", {"what": "masks", "mask": 1}),
    ("api/made", {"what": "video", "points": POINTS, "frames": "1:5"}),
    ("api/open", {"name": "scene"}),
    ("api/continue", {"name": "scene", "budget": "2m"}),
]
REFUSALS = (400, 403, 404, 405, 408, 413, 421, 422)


def requests():
    """All that the page asks, each once: first line and body."""
    yield b"POST /api/masks/4", np.packbits(np.tri(48, 64, dtype=np.uint8)).tobytes()
    for method, names in ((b"GET", GETS), (b"DELETE", DELETES)):
        for name in names:
            yield method + b" /" + name.encode(), b""
    for name, question in POSTS:
        yield b"POST /" + name.encode(), json.dumps(question).encode()
    yield b"POST /api/videos?budget=2m", b"\0\0\0\x18ftypmp42" + bytes(40)


def sent(line, body):
    return HEAD % (line, len(body)) + body


def strange(_, rng):
    """One of the requests, damaged: its body, its first line, or anything of it."""
    every = list(requests())
    line, body = every[rng.integers(len(every))]
    where = rng.integers(0, 3)
    if where == 0 and body:
        return sent(line, damaged(body, rng))
    if where == 1:
        method, _, rest = line.partition(b" /")
        return sent(method + b" /" + damaged(rest, rng), body)
    return damaged(sent(line, body), rng)


def parsed(data):
    """The scope and the body that the application is given; `InputError` where none comes to it.

    As uvicorn makes them of what h11 reads.
    """
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data)
        connection.receive_data(b"")
        request = connection.next_event()
        if not isinstance(request, h11.Request):
            raise InputError("no request")
        parts = []
        while isinstance(event := connection.next_event(), h11.Data):
            parts.append(bytes(event.data))
    except h11.RemoteProtocolError as problem:
        raise InputError(str(problem)) from None
    path, _, query = request.target.partition(b"?")
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http",
        "method": request.method.decode("ascii"), "path": unquote(path.decode("ascii")),
        "raw_path": path, "query_string": query, "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", PORT), "state": {},
    }  # fmt: skip
    return scope, b"".join(parts), isinstance(event, h11.EndOfMessage)


async def answered(app, scope, body, is_whole):
    """Status and body of an answer."""
    found = []
    incoming = [{"type": "http.request", "body": body, "more_body": not is_whole}]

    async def receive():
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message):
        found.append(message)

    await app(scope, receive, send)
    return found[0]["status"], b"".join(message.get("body", b"") for message in found)


@pytest.fixture
def ask(tiny_scene, tmp_path, monkeypatch):
    """What asks the application, with the bytes of a request in a file."""
    for name in ("jobs", "downloads"):
        monkeypatch.setattr(f"omnimotion.viewer.{name}.run_stage", lambda *_: Ended(2, 0.0, 0.0))
    process = SimpleNamespace(poll=lambda: 2, terminate=lambda: None, wait=lambda seconds: 2)
    monkeypatch.setattr("omnimotion.viewer.refits.subprocess.Popen", lambda *_, **__: process)
    folder = tmp_path / "scenes"
    folder.mkdir()
    (folder / "scene").symlink_to(tiny_scene)
    scene = omnimotion.load(tiny_scene, device="cpu", backend="torch")
    answers, run = open_answers(scene, tiny_scene), run_folder(tiny_scene, None)
    with ExitStack() as stack:
        refits = stack.enter_context(closing(Refits(tiny_scene, run, lambda run: None)))
        downloads = Downloads(tiny_scene, lambda: run, answers)
        shown = Shown(answers, refits, "cpu", "torch", 1, downloads=downloads)
        studio = Studio(Shelf.open(folder), shown)
        stack.callback(lambda: (studio.close(), shown.close()))
        app = build_app(shown, PORT, studio)
        loop = stack.enter_context(closing(asyncio.new_event_loop()))

        def read(path):
            status, body = loop.run_until_complete(answered(app, *parsed(path.read_bytes())))
            if status != 200:
                assert status in REFUSALS, (status, body)
                line = json.loads(body)["error"]
                assert "\n" not in line
                assert "Traceback" not in line
                raise InputError(line)

        yield read


def test_they_are_answered_undamaged(ask, tmp_path):
    """So that damage is of something; but for what would be there when a job is done."""
    said = set()
    for line, body in requests():
        (tmp_path / "request").write_bytes(sent(line, body))
        try:
            ask(tmp_path / "request")
        except InputError:
            said.add(line.decode())
    not_there, busy = {"GET /api/made/file", "GET /api/job/picture"}, {"POST /api/made"}
    assert not_there <= said <= not_there | busy


def test_51_only_refusals(ask, tmp_path):
    fuzz(("requests", b"", "request", ask), tmp_path, np.random.default_rng(0), strange, count=FEW)


@pytest.mark.slow
def test_51_only_refusals_for_long(ask, tmp_path):
    random = np.random.default_rng(SEED)
    fuzz_for_long(("requests", b"", "request", ask), tmp_path, random, strange)
