"""What every request passes, whatever its route: its id, the key, headers of the answer, counts, the log."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
import uuid
from collections.abc import Callable, Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perceived.server import logs, metrics
from perceived.server.problems import Problem, render

GUARDED = ("/v1/", "/metrics")
"""What a key opens; the page, its files and the health checks are open to all."""
REQUEST_ID = "X-Request-ID"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """An ASGI app around another, through which every request goes in and every answer comes out.

    ``routes`` are the paths that metrics and logs name; any other path is ``"other"`` there, so that
    nobody can fill them. Once ``closing()``, each answer asks its caller to close the connection.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[str], key: str | None, closing: Callable[[], bool]) -> None:
        self._app = app
        self._routes = frozenset(routes)
        self._key = None if key is None else _digest(key)
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = _request_id(headers)
        fields: dict[str, object] = {}
        scope["state"] = {**scope.get("state", {}), "log": fields}
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._complete(MutableHeaders(scope=message), request_id)
            await send(message)

        try:
            app = self._app if self._may_pass(scope, headers) else _unauthorized()
            await app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the time to stop is over; uvicorn would answer 500 and log a traceback
            if not self._closing():
                raise
            if status is None:
                await _stopped()(scope, receive, send_with_headers)
        except Exception:  # noqa: BLE001 -- the caller is answered; uvicorn would log it without the id
            logs.fault("a request failed", request_id=request_id)
        finally:
            self._record(scope, status or 500, time.perf_counter() - started, {"request_id": request_id, **fields})

    def _may_pass(self, scope: Scope, headers: Headers) -> bool:
        """Compare keys by their hashes, in a time that tells neither length nor content."""
        if self._key is None or not _path(scope).startswith(GUARDED):
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        given = bearer.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        return hmac.compare_digest(_digest(given), self._key)

    def _complete(self, headers: MutableHeaders, request_id: str) -> None:
        for name, value in HEADERS.items():
            headers.setdefault(name, value)
        headers.setdefault("Cache-Control", "no-store")
        headers[REQUEST_ID] = request_id
        if self._closing():
            headers["Connection"] = "close"

    def _record(self, scope: Scope, status: int, seconds: float, fields: dict[str, object]) -> None:
        route = _path(scope) if _path(scope) in self._routes else "other"
        metrics.REQUESTS.labels(route, status).inc()
        metrics.SECONDS.labels(route).observe(seconds)
        logs.event(
            "request", method=scope["method"][:16], route=route, status=status, ms=round(seconds * 1000, 1), **fields
        )


def _path(scope: Scope) -> str:
    """Return the path that routes know: without the prefix under which the server is mounted."""
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


def _unauthorized() -> ASGIApp:
    return _refusal(Problem("unauthorized", "The key is missing or wrong.", headers={"WWW-Authenticate": "Bearer"}))


def _stopped() -> ASGIApp:
    return _refusal(Problem("not-ready", "The server stopped before it could answer.", headers={"Retry-After": "1"}))


def _refusal(problem: Problem) -> ASGIApp:
    metrics.REJECTED.labels(problem.kind).inc()
    return render(problem)


def _request_id(headers: Headers) -> str:
    """Return the caller's own id where it is harmless, or a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
