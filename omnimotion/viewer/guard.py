"""Who may ask the viewer's server, and how much they may send.

It listens on this machine only, but any page that the browser shows could send requests there, or
point a name of its own at 127.0.0.1 (DNS rebinding). So a request must name this server as its
`Host`, and where it tells its origin, that must be this server's own page.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY_BYTES = 2 << 20
MAX_BODY_SECONDS = 20.0
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",  # another scene may be shown at this address tomorrow
}


class Guard:
    """ASGI middleware: refuses what is foreign, large or endless, in one line of JSON.

    ``streamed``: addresses whose bodies are left to the application, which bounds them itself.
    """

    def __init__(self, app: App, port: int, streamed: Collection[str] = ()) -> None:
        self.app, self.streamed = app, streamed
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        # nothing else is served; a websocket is refused by the silence

    async def _request(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1")
                   for name, value in scope["headers"]}  # fmt: skip
        is_streamed = scope.get("method") == "POST" and scope.get("path") in self.streamed
        refusal = self._foreign(headers) or _length(headers, is_streamed)
        if refusal is None and is_streamed:
            await self.app(scope, receive, _with_headers(send))
            return
        body = b""
        if refusal is None:
            try:
                async with asyncio.timeout(MAX_BODY_SECONDS):
                    body = await _body(receive)
            except TimeoutError:
                refusal = 408, f"the request took over {MAX_BODY_SECONDS:g} s to arrive"
            except _TooLarge:
                refusal = _LARGE
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        await self.app(scope, _replayed(body, receive), _with_headers(send))

    def _foreign(self, headers: dict[str, str]) -> tuple[int, str] | None:
        if headers.get("host") not in self.hosts:
            return 421, "this server answers to its own address only"
        origin = headers.get("origin")
        if origin is not None and origin.removeprefix("http://") not in self.hosts:
            return 403, "this server answers to its own page only"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "this server answers to its own page only"
        return None


class _TooLarge(Exception):
    """More came than is accepted."""


_LARGE = 413, f"the request is larger than {MAX_BODY_BYTES} bytes"


def _length(headers: dict[str, str], is_streamed: bool) -> tuple[int, str] | None:
    """Whether the length that the request says of itself is none, or too large to keep."""
    said = headers.get("content-length", "0")
    if not (said.isascii() and said.isdigit()):
        return 400, "the length of the request is no number"
    return _LARGE if int(said) > MAX_BODY_BYTES and not is_streamed else None


async def _body(receive: Receive) -> bytes:
    """All of it, counted as it comes: what a request says of itself need not be true."""
    parts, total = [], 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        total += len(parts[-1])
        if total > MAX_BODY_BYTES:
            raise _TooLarge
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body in one piece, then what comes after it."""
    pending = [body]

    async def replay() -> Message:
        if pending:
            return {"type": "http.request", "body": pending.pop(), "more_body": False}
        return await receive()

    return replay


def _with_headers(send: Send) -> Send:
    more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


async def _refuse(send: Send, status: int, reason: str) -> None:
    data = json.dumps({"error": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close"),
               (b"content-length", str(len(data)).encode())]  # fmt: skip
    sending = _with_headers(send)
    await sending({"type": "http.response.start", "status": status, "headers": headers})
    await sending({"type": "http.response.body", "body": data})
