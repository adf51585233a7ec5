"""A request's body, read within limits of size, time and of what all requests hold together; and its caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from perceived.server import metrics
from perceived.server.problems import Problem, overloaded

Result = TypeVar("Result")


class Memory:
    """How many bytes of bodies may be held at the same time; lives on one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    def take(self, count: int) -> None:
        """Count bytes in, or raise :class:`Problem` where there is no room for them."""
        if self._held + count > self._limit:
            raise overloaded("The server holds as many bytes of pictures as it may.")
        self._held += count
        metrics.HELD.set(self._held)

    def give_back(self, count: int) -> None:
        self._held -= count
        metrics.HELD.set(self._held)


@asynccontextmanager
async def body_of(request: Request, memory: Memory, *, max_body: int, seconds: float) -> AsyncIterator[bytes]:
    """Read a request's body, and hold it in ``memory`` until the block ends.

    Raises:
        Problem: it is larger than ``max_body``, takes longer than ``seconds``, or memory is full.
    """
    _check_length(request.headers.get("content-length"), max_body)
    chunks: list[bytes] = []
    held = 0
    try:
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    if held + len(chunk) > max_body:
                        raise _too_large(max_body)
                    memory.take(len(chunk))
                    held += len(chunk)
                    chunks.append(chunk)
        except TimeoutError:
            raise Problem("body-too-slow", f"After {seconds:g} s, {held:,} bytes of the body had come.") from None
        chunks[:] = [b"".join(chunks)]
        yield chunks.pop()
    finally:
        memory.give_back(held)


async def while_there(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what ``work`` returns; it is cancelled where the caller, whose body has been read, hangs up.

    Raises:
        ClientDisconnect: the caller hung up.
    """
    leaving, working = asyncio.ensure_future(_left(request)), asyncio.ensure_future(work)
    try:
        await asyncio.wait((leaving, working), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:  # without a wait: a server whose time to stop is over ends soon after it has cancelled this
        leaving.cancel()
        working.cancel()


async def _left(request: Request) -> None:
    """Return when the caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _check_length(header: str | None, max_body: int) -> None:
    if header is not None and header.isdecimal() and int(header[:20]) > max_body:
        raise _too_large(max_body)


def _too_large(max_body: int) -> Problem:
    return Problem("body-too-large", "The body is larger than it may be.", expected=f"at most {max_body:,} bytes")
