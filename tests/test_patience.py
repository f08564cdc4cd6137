"""Row 51, clients: slow ones and endless ones are let go, the page is answered, a fit goes on."""

import json
import os
import shutil
import socket
import threading
import time
from contextlib import ExitStack, closing, suppress
from http.client import HTTPConnection
from itertools import repeat

import pytest

import omnimotion
from omnimotion.runs import run_folder

pytest.importorskip("fastapi", reason="the extra view is not installed")

from omnimotion.viewer import guard, patience
from omnimotion.viewer.answers import open_answers
from omnimotion.viewer.guard import MAX_BODY_BYTES
from omnimotion.viewer.refits import Refits
from omnimotion.viewer.server import HOST, build_app, listen, server_of
from omnimotion.viewer.shown import Shown

SECONDS = 2.0  # that the server waits here
LONGEST = 60.0  # until it has let go, on a busy machine
SLOW = 50
BUFFERS = 16 << 20  # bytes that the system may hold of a connection, both ends together
PINS = [{"track": 0, "t": 0, "x": 31, "y": 23}, {"track": 0, "t": 7, "x": 33, "y": 29}]


@pytest.fixture(scope="module")
def port(tiny_scene, tmp_path_factory):
    """That of a server which is not patient."""
    scene = tmp_path_factory.mktemp("patience") / "scene"
    shutil.copytree(tiny_scene, scene)
    answers = open_answers(omnimotion.load(scene, device="cpu", backend="torch"), scene)
    words = ["--pin_steps=60", "--device=cpu", "--threads=1", "--backend=torch"]
    refits = Refits(scene, run_folder(scene, None), lambda run: None, words)
    with pytest.MonkeyPatch.context() as patch, closing(refits), listen(0) as listener:
        patch.setattr(patience, "HEAD_SECONDS", SECONDS)
        patch.setattr(patience, "ANSWER_SECONDS", SECONDS)
        patch.setattr(guard, "MAX_BODY_SECONDS", SECONDS)
        found = listener.getsockname()[1]
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that little is held
        server = server_of(build_app(Shown(answers, refits), found))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield found
        server.should_exit = True
        thread.join(LONGEST)
        assert not thread.is_alive()


def ask(port, method, path, question=None):
    """Status and JSON of an answer."""
    with closing(HTTPConnection(HOST, port, timeout=LONGEST)) as connection:
        body = None if question is None else json.dumps(question)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def head(port, *more, method="POST", path="/api/tracks"):
    lines = (f"{method} {path} HTTP/1.1", f"Host: {HOST}:{port}", *more)
    return "\r\n".join(lines).encode()


def slow_clients(port):
    """What each of five kinds of client sends before it waits."""
    whole = head(port, "\r\n", method="GET", path="/api/frames/video/0")
    return [
        b"",
        head(port)[:20],
        head(port, "X-A: 1"),
        head(port, "Content-Length: 1000", "\r\n") + b"[",
        whole + head(port)[:9],  # an answered request, then a piece of another
    ]


def wait_for_end(connection):
    """Read until the server closes the connection; TimeoutError where it does not."""
    connection.settimeout(LONGEST)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionResetError:
        pass


def open_files():
    found = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # that of the listing
            found.append(os.readlink(f"/proc/self/fd/{name}"))
    return found


def wait_until(true, seconds):
    """Whether it became true."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.2)
    return true()


def test_slow_clients_are_let_go_while_the_page_is_answered_and_a_fit_goes_on(port):
    assert ask(port, "GET", "/api/scene")[0] == 200  # it has begun
    before = open_files()
    assert ask(port, "POST", "/api/refit", {"pins": PINS})[1]["state"] == "running"
    kinds = slow_clients(port)
    with ExitStack() as stack:
        clients = []
        for k in range(SLOW):
            clients.append(stack.enter_context(socket.create_connection((HOST, port), LONGEST)))
            clients[-1].sendall(kinds[k % len(kinds)])
        assert ask(port, "GET", "/api/scene")[0] == 200
        assert ask(port, "POST", "/api/tracks", {"points": [[0, 31, 23]]})[0] == 200
        assert ask(port, "GET", "/api/refit")[1]["state"] == "running"
        for client in clients:
            wait_for_end(client)
    wait_until(lambda: ask(port, "GET", "/api/refit")[1]["state"] != "running", 600)
    assert ask(port, "GET", "/api/refit")[1]["state"] == "done"
    assert wait_until(lambda: len(open_files()) <= len(before), LONGEST), (before, open_files())


def test_a_client_that_sends_a_byte_now_and_then_is_let_go(port):
    letters = (bytes([byte]) for byte in head(port, *["X-A: 1"] * 10_000))
    assert seconds_until_let_go(port, letters, SECONDS / 10) < LONGEST


def test_a_client_that_takes_no_answer_is_let_go(port):
    """Answers of which the system does not hold all."""
    body = json.dumps({"points": [[0, 31, 23]] * 400, "refine": False}).encode()
    question = head(port, f"Content-Length: {len(body)}", "Content-Type: application/json", "\r\n")
    assert seconds_until_let_go(port, repeat(question + body), SECONDS / 10) < LONGEST


def seconds_until_let_go(port, parts, pause):
    """Of a client that sends these, and reads nothing."""
    began = time.monotonic()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.settimeout(LONGEST)
        client.connect((HOST, port))
        with suppress(ConnectionError):
            for part in parts:
                client.sendall(part)
                time.sleep(pause)
                assert time.monotonic() - began < 2 * LONGEST
    return time.monotonic() - began


@pytest.mark.parametrize("chunked", [True, False])
def test_an_endless_upload_is_cut_off(port, chunked):
    said = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {MAX_BODY_BYTES}"
    data = b"10000\r\n" + b" " * 0x10000 + b"\r\n" if chunked else b" " * 0x10000
    sent = upload(port, head(port, said, "\r\n"), data)
    assert sent < MAX_BODY_BYTES + BUFFERS


def test_an_endless_head_is_cut_off(port):
    assert upload(port, head(port), b"X-A: " + b"a" * 1000 + b"\r\n") < BUFFERS


def upload(port, begin, more):
    """How many bytes a client could send before the server broke off."""
    with socket.create_connection((HOST, port), LONGEST) as client:
        client.sendall(begin)
        sent = 0
        try:
            while sent < 10 * (MAX_BODY_BYTES + BUFFERS):
                sent += client.send(more)
        except ConnectionError:
            pass
        return sent
