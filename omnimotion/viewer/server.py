"""The viewer's server: its page, and what that asks, over HTTP on this machine."""

import socket
from importlib import resources
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from omnimotion.errors import ConfigError, OmniMotionError
from omnimotion.files import shown
from omnimotion.viewer import patience
from omnimotion.viewer.answers import as_json
from omnimotion.viewer.guard import Guard
from omnimotion.viewer.orders import Asked, map_kinds
from omnimotion.viewer.shown import Shown
from omnimotion.viewer.studio import API, VIDEOS, Studio, add_studio

HOST = "127.0.0.1"
CLIENTS = 128  # connections at a time; a page takes six, and slow ones are cut off
SHUTDOWN_SECONDS = 5  # that Ctrl-C waits for answers on their way
PAGE = {
    "": ("index.html", "text/html"),
    "viewer.css": ("viewer.css", "text/css"),
    "studio.css": ("studio.css", "text/css"),
    "viewer.js": ("viewer.js", "text/javascript"),
    "draw.js": ("draw.js", "text/javascript"),
    "server.js": ("server.js", "text/javascript"),
    "mask.js": ("mask.js", "text/javascript"),
    "controls.js": ("controls.js", "text/javascript"),
    "refit.js": ("refit.js", "text/javascript"),
    "download.js": ("download.js", "text/javascript"),
    "studio.js": ("studio.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Everything that the page is made of, by its address: no name from a request opens a file."""

Row = Annotated[list[float], Field(min_length=3, max_length=3)]


class Question(BaseModel):
    """Points to track: rows of t, x, y."""

    points: list[Row]
    refine: bool = True


class Pin(BaseModel):
    """Where a track is, or ought to be, in a frame."""

    track: int
    t: int
    x: float
    y: float
    visible: bool = True


class RefitQuestion(BaseModel):
    """Pins that a refit is to heed."""

    pins: Annotated[list[Pin], Field(min_length=2, max_length=5000)]


class ExportQuestion(BaseModel):
    """Points whose tracks are to be written."""

    points: Annotated[list[Row], Field(min_length=1)]
    format: str
    start_frame: int | None = None
    scale: str | None = None


class OrderQuestion(BaseModel):
    """What is to be made for a download; see `omnimotion.viewer.orders`."""

    what: str
    frame: int = 0
    kind: str = ""
    points: list[Row] = []
    mask: int = 0
    frames: Annotated[str, Field(max_length=60)] = ""


def build_app(shown: Shown, port: int, studio: Studio | None = None) -> Guard:
    """The ASGI application that answers at 127.0.0.1 and that port; makes scenes in a studio."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    _say_errors(app)
    for address, (name, kind) in PAGE.items():
        app.add_api_route(f"/{address}", _file(name, kind), methods=["GET"])

    @app.get(f"{API}/start")
    def start() -> dict[str, bool]:
        return {"open": shown.is_open, "studio": studio is not None}

    _add_answers(app, shown)
    _add_refits(app, shown)
    _add_downloads(app, shown)
    if studio:
        add_studio(app, studio)
    return Guard(app, port, streamed=(VIDEOS,) if studio else ())


def _add_answers(app: FastAPI, shown: Shown) -> None:
    @app.get(f"{API}/scene")
    def scene() -> dict[str, Any]:
        return {**shown.answers.about(), "maps": map_kinds()}

    @app.get(f"{API}/frames/{{layer}}/{{t}}")
    def frame(layer: str, t: int) -> Response:
        return Response(shown.answers.picture(layer, t), media_type="image/png")

    @app.post(f"{API}/tracks")
    def tracks(question: Question) -> dict[str, Any]:
        return as_json(shown.answers.tracks(question.points, question.refine))

    @app.post(f"{API}/masks/{{t}}")
    async def new_mask(t: int, request: Request) -> dict[str, int]:
        return {"mask": await run_in_threadpool(shown.answers.set_mask, t, await request.body())}

    @app.get(f"{API}/masks/{{number}}/{{t}}")
    def mask(number: int, t: int) -> Response:
        return Response(shown.answers.mask(number, t), media_type="image/png")

    @app.post(f"{API}/export")
    def export(question: ExportQuestion) -> Response:
        name, data = shown.answers.export(
            question.points, question.format, question.start_frame, question.scale
        )
        return Response(data, media_type="application/octet-stream", headers=_attachment(name))


def _add_refits(app: FastAPI, shown: Shown) -> None:
    @app.post(f"{API}/refit")
    def refit(question: RefitQuestion) -> dict[str, Any]:
        rows = [(pin.track, pin.t, pin.x, pin.y, int(pin.visible)) for pin in question.pins]
        return shown.refits.start(rows)

    @app.get(f"{API}/refit")
    def progress() -> dict[str, Any]:
        return shown.refits.progress()

    @app.delete(f"{API}/refit")
    def stop() -> dict[str, Any]:
        shown.refits.stop()
        return shown.refits.progress()


def _add_downloads(app: FastAPI, shown: Shown) -> None:
    @app.post(f"{API}/made")
    def make(question: OrderQuestion) -> dict[str, Any]:
        asked = question.model_dump() | {"frames": question.frames.strip() or None}
        return shown.downloads.start(Asked(**asked))

    @app.get(f"{API}/made")
    def progress() -> dict[str, Any]:
        return shown.downloads.progress()

    @app.delete(f"{API}/made")
    def stop() -> dict[str, Any]:
        shown.downloads.stop()
        return shown.downloads.progress()

    @app.get(f"{API}/made/file")
    def send() -> Response:
        name, data = shown.downloads.send()
        return StreamingResponse(data, media_type="application/octet-stream",
                                 headers=_attachment(name))  # fmt: skip


def _attachment(name: str) -> dict[str, str]:
    """Headers of a file to be saved under a name of the server's own."""
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def listen(port: int) -> socket.socket:
    """A socket of this machine only; port 0 is any free one. `ConfigError` where it is taken."""
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as problem:
        raise ConfigError(f"port {port}: {problem}; choose another --port") from problem


def server_of(app: Guard) -> uvicorn.Server:
    """What answers; at most ``CLIENTS`` at a time, none of them for ever."""
    config = uvicorn.Config(
        app, http=patience.Connection, ws="none", log_config=None, log_level="error",
        server_header=False, limit_concurrency=CLIENTS,
        timeout_keep_alive=patience.ANSWER_SECONDS, timeout_graceful_shutdown=SHUTDOWN_SECONDS,
    )  # fmt: skip
    return uvicorn.Server(config)


def serve(app: Guard, listener: socket.socket) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    server_of(app).run(sockets=[listener])


def _file(name: str, kind: str) -> Any:
    """What answers with a file of the package."""
    data = resources.files("omnimotion.viewer").joinpath("static", name).read_bytes()

    def answer() -> Response:
        return Response(data, media_type=kind)

    return answer


def _say_errors(app: FastAPI) -> None:
    """Every refusal is one line of JSON."""

    @app.exception_handler(OmniMotionError)
    def refused(_: Request, problem: OmniMotionError) -> JSONResponse:
        return JSONResponse({"error": shown(" ".join(str(problem).split()))}, status_code=400)

    @app.exception_handler(HTTPException)  # an address that is none, a body that is no JSON
    def unanswered(_: Request, problem: HTTPException) -> JSONResponse:
        return JSONResponse({"error": problem.detail}, status_code=problem.status_code)

    @app.exception_handler(RequestValidationError)
    def malformed(_: Request, problem: RequestValidationError) -> JSONResponse:
        first = problem.errors()[0]  # without what was sent
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, status_code=422)
