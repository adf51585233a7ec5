"""Errors of the API as RFC 9457 problem documents, each with a ``type`` that never changes.

A type is a path on the server itself, which answers it with what the problem means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
PREFIX = "/problems/"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of problem: its HTTP status, its title and what it means."""

    status: int
    title: str
    about: str


KINDS = {
    "malformed-request": Kind(400, "The request cannot be read", "It is not as HTTP/1.1 has it."),
    "malformed-body": Kind(400, "The body cannot be read", "It is not what its Content-Type says, or it is cut short."),
    "no-pictures": Kind(400, "There is no picture", "The request is well-formed, but holds no picture."),
    "unauthorized": Kind(401, "A key is needed", "Send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'."),
    "not-found": Kind(404, "There is nothing here", "The address is not one of the API's."),
    "method-not-allowed": Kind(405, "The method does not fit", "The header 'Allow' names those that do."),
    "body-too-slow": Kind(408, "The body came too slowly", "It must arrive whole within the server's time limit."),
    "body-too-large": Kind(413, "The body is too large", "Send fewer or smaller pictures in one request."),
    "too-many-files": Kind(413, "There are too many files", "Share them out to several requests."),
    "unsupported-media-type": Kind(
        415, "The Content-Type does not fit", "Send multipart/form-data, application/json or one image/* body."
    ),
    "invalid-parameter": Kind(422, "A parameter is impossible", "It is unknown, out of range or of the wrong type."),
    "internal": Kind(500, "The server failed", "This is a fault of the server. Its log has the request's id."),
    "overloaded": Kind(503, "The server is busy", "Try again after as many seconds as the header 'Retry-After' says."),
    "not-ready": Kind(503, "The server is not ready", "It is starting or stopping. Try again shortly."),
}


class Problem(Exception):  # noqa: N818 -- RFC 9457 calls it so
    """A request that gets no answer: which kind of problem, what happened, what was expected."""

    def __init__(self, kind: str, detail: str, *, expected: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.kind = kind
        self.detail = detail
        self.expected = expected
        self.headers = dict(headers or {})
        super().__init__(detail)

    @property
    def status(self) -> int:
        return KINDS[self.kind].status


def overloaded(detail: str, *, retry_after: int = 1) -> Problem:
    """Return the problem of a full server, which says when to come again."""
    return Problem("overloaded", detail, headers={"Retry-After": str(retry_after)})


def document(problem: Problem) -> dict[str, Any]:
    """Return a problem as RFC 9457 writes it."""
    kind = KINDS[problem.kind]
    return {
        "type": PREFIX + problem.kind,
        "title": kind.title,
        "status": kind.status,
        "detail": problem.detail,
        "expected": problem.expected or kind.about,
    }


def render(problem: Problem) -> JSONResponse:
    """Return a problem as the response that carries it."""
    return JSONResponse(document(problem), problem.status, problem.headers, MEDIA_TYPE)
