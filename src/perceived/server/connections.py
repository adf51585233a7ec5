"""The socket: how many connections there may be, and how long one may take to ask and to listen.

uvicorn gives a connection all the time in the world to send a request's headers and to read its answer,
which is what slow-loris attacks use up. This stands between the socket and uvicorn's own protocol.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from perceived.server import metrics
from perceived.server.problems import MEDIA_TYPE, Problem, document, overloaded


def _refusal(problem: Problem) -> bytes:
    """Return the whole answer to a connection that is not answered by the app."""
    body = json.dumps(document(problem)).encode()
    headers = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), "Connection": "close", **problem.headers}
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}", *map(": ".join, headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class _Protocol(H11Protocol):
    """uvicorn's protocol, whose only words of its own are a problem document, too."""

    def send_400_response(self, msg: str) -> None:
        self.transport.write(_refusal(Problem("malformed-request", msg)))
        self.transport.close()


class PatientProtocol(asyncio.Protocol):
    """uvicorn's protocol, with limits: ``most`` connections, and ``seconds`` for headers and while nothing is read."""

    def __init__(self, *, most: int, seconds: float, **uvicorn: Any) -> None:
        self._inner = _Protocol(**uvicorn)
        self._most, self._seconds = most, seconds
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._inner.connections) >= self._most:
            self._refused = True
            metrics.REJECTED.labels("too-many-connections").inc()
            transport.write(_refusal(overloaded("Too many connections are open.")))
            self._close()
            return
        self._inner.connection_made(transport)
        metrics.CONNECTIONS.set(len(self._inner.connections))
        self._watch()

    def data_received(self, data: bytes) -> None:
        if not self._refused:
            self._inner.data_received(data)
            self._watch()

    def eof_received(self) -> None:
        if not self._refused:
            self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        self.resume_writing()
        if not self._refused:
            self._inner.connection_lost(exc)
            metrics.CONNECTIONS.set(len(self._inner.connections))

    def pause_writing(self) -> None:
        """Wait while the caller does not read, but not for ever."""
        self._inner.pause_writing()
        self._unread = self._loop.call_later(self._seconds, self._hang_up)

    def resume_writing(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            self._inner.resume_writing()

    def _between_requests(self) -> bool:
        return self._inner.cycle is None or self._inner.cycle.response_complete

    def _watch(self) -> None:
        """Start the clock where a request's headers are awaited, and stop it where they have come."""
        if not self._between_requests():
            self._unwatch()
        elif self._deadline is None:
            self._deadline = self._loop.call_later(self._seconds, self._give_up)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._between_requests():
            metrics.REJECTED.labels("headers-too-slow").inc()
            self._close()

    def _close(self) -> None:
        """Close the connection, and drop it where what was written is not read."""
        self._transport.close()
        self._loop.call_later(self._seconds, self._transport.abort)

    def _hang_up(self) -> None:
        metrics.REJECTED.labels("answer-not-read").inc()
        self._transport.abort()
