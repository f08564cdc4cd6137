"""How long the viewer's server waits for a client, between requests and on both ends of one.

`Guard` bounds the time that a body may take; this bounds what it does not see: a head that never
ends, and an answer that nobody takes. Without it such clients would be kept for ever, and enough
of them would leave no place for the page.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 10  # for a request's first line and headers
ANSWER_SECONDS = 30  # for an answer to be taken, or another request to begin


class Connection(H11Protocol):
    """One client, let go when it takes too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ends: dict[str, asyncio.TimerHandle] = {}  # by what is waited for

    def connection_made(self, transport: Any) -> None:
        """A client has come."""
        super().connection_made(transport)
        self._wait_for("head", HEAD_SECONDS)

    def data_received(self, data: bytes) -> None:
        """A part of a request has come."""
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._wait_for("head", HEAD_SECONDS)
        else:
            self._has("head")

    def pause_writing(self) -> None:
        """More of an answer is held for the client than it ought to be."""
        super().pause_writing()
        self._wait_for("answer", ANSWER_SECONDS)

    def resume_writing(self) -> None:
        """The client has taken it."""
        super().resume_writing()
        self._has("answer")

    def on_response_complete(self) -> None:
        """An answer was handed on; closing waits until the client has taken it."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._wait_for("end", ANSWER_SECONDS)

    def timeout_keep_alive_handler(self) -> None:
        """No request has followed; and the last answer need not have been taken."""
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        super().connection_lost(exc)
        for what in tuple(self._ends):
            self._has(what)

    def _wait_for(self, what: str, seconds: float) -> None:
        """Once, not anew for each byte of it."""
        if what not in self._ends:
            self._ends[what] = self.loop.call_later(seconds, self.transport.abort)

    def _has(self, what: str) -> None:
        if what in self._ends:
            self._ends.pop(what).cancel()
