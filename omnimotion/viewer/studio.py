"""The whole job, as the page asks for it: a video in, its scene made, fitted and shown."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from omnimotion.errors import ConfigError, InputError
from omnimotion.files import read_bytes
from omnimotion.viewer.jobs import BUDGETS, Jobs
from omnimotion.viewer.shelf import Shelf
from omnimotion.viewer.shown import Shown
from omnimotion.viewer.uploads import Uploads

API = "/api"
VIDEOS = f"{API}/videos"
"""Where videos are sent: the one address whose bodies are streamed to disk."""


class SceneName(BaseModel):
    """One of the scenes that the page was told of."""

    name: str
    budget: str = ""


class Studio:
    """A folder of scenes, what is being made in it, and the scene that is shown."""

    def __init__(self, shelf: Shelf, shown: Shown, words: Sequence[str] = ()) -> None:
        """``words``: more options of ``train``."""
        self.shelf, self.shown = shelf, shown
        self.uploads = Uploads()
        self.jobs = Jobs([*shown.words, *words])

    def about(self) -> dict[str, Any]:
        """What the page needs to know to begin."""
        return {"scenes": self.shelf.about(), "job": self.jobs.progress(), "budgets": BUDGETS,
                "max_bytes": self.uploads.max_bytes}  # fmt: skip

    async def add(
        self, chunks: AsyncIterator[bytes], said_bytes: int, budget: str
    ) -> dict[str, Any]:
        """Take a video and begin its job; raises as `Uploads.take` and `Jobs.start` do."""
        self.jobs.check(budget)
        place = self.shelf.new()
        if place.video is None:
            raise ConfigError("no name for the video")
        await self.uploads.take(chunks, said_bytes, place.video)
        try:
            return await run_in_threadpool(self.jobs.start, place, budget, True)
        except Exception:
            place.video.unlink(missing_ok=True)
            raise

    def open(self, name: str) -> None:
        """Show one of the scenes; raises as `Shown.open` does, `InputError` for another name."""
        self.shown.open(self.shelf.place(name).folder)

    def go_on(self, name: str, budget: str) -> dict[str, Any]:
        """Go on with a scene that is not fitted; raises as `Jobs.start` does."""
        return self.jobs.start(self.shelf.place(name), budget, False)

    def close(self) -> None:
        """Stop what is going; it can be gone on with."""
        self.jobs.close()


def add_studio(app: FastAPI, studio: Studio) -> None:
    """Answer what the page asks of a studio."""

    @app.get(f"{API}/studio")
    def about() -> dict[str, Any]:
        return studio.about()

    @app.post(VIDEOS)
    async def add(request: Request, budget: str = "") -> dict[str, Any]:
        said = int(request.headers.get("content-length", 0))
        return await studio.add(_chunks(request), said, budget)

    @app.get(f"{API}/job")
    def progress() -> dict[str, Any]:
        return studio.jobs.progress()

    @app.delete(f"{API}/job")
    def cancel() -> dict[str, Any]:
        studio.jobs.cancel()
        return studio.jobs.progress()

    @app.get(f"{API}/job/picture")
    def picture() -> Response:
        return Response(read_bytes(studio.jobs.picture(), InputError), media_type="image/png")

    @app.post(f"{API}/open")
    def show(question: SceneName) -> dict[str, Any]:
        studio.open(question.name)
        return studio.shown.answers.about()

    @app.post(f"{API}/continue")
    def go_on(question: SceneName) -> dict[str, Any]:
        return studio.go_on(question.name, question.budget)

    @app.get(f"{API}/scenes/{{name}}/picture")
    def scene_picture(name: str) -> Response:
        return Response(read_bytes(studio.shelf.picture(name), InputError), media_type="image/png")


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as problem:
        raise InputError("the video ended early: send it again") from problem
