"""The server as an ASGI app: its routes, its page, and how errors leave it."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import FileResponse, JSONResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from perceived import __version__
from perceived.server import demo, metrics, schema
from perceived.server.gate import REQUEST_ID, Gate
from perceived.server.problems import KINDS, MEDIA_TYPE, PREFIX, Problem, render
from perceived.server.service import Service
from perceived.server.stopping import gently
from perceived.server.uploads import FIELD

STATIC = Path(__file__).parent / "static"
RAW = ("image/jpeg", "image/png", "image/webp", "image/avif", "image/gif", "image/bmp", "image/tiff", "image/heic")
ABOUT = """\
Reads perceived gender from photographs: how each face is presented, as a model reads it, never who
somebody is. Pictures are answered in memory, and neither stored nor logged.
"""

router = APIRouter()


def create_app(service: Service) -> ASGIApp:
    """Return the routes over ``service``, with everything that stands before and behind them."""
    settings = service.settings
    api = FastAPI(
        title="perceived", version=__version__, description=ABOUT, docs_url=None, redoc_url=None, lifespan=_lifespan,
        redirect_slashes=False, generate_unique_id_function=lambda route: route.name,
    )  # fmt: skip
    api.state.service = service
    api.include_router(router)
    api.mount("/static", StaticFiles(directory=STATIC), name="static")
    for error, handler in HANDLERS.items():
        api.add_exception_handler(error, handler)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    schema.finish(api.openapi(), has_key=key is not None)
    routes = (str(getattr(route, "path", "")) for route in router.routes)
    gate = Gate(api, routes=routes, key=key, closing=lambda: service.draining)
    if not settings.cors_origins:
        return gate
    return CORSMiddleware(  # before the gate, so that a page elsewhere may read refusals too
        gate,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type", "X-API-Key", REQUEST_ID],
        expose_headers=["Retry-After", REQUEST_ID],
    )


@asynccontextmanager
async def _lifespan(api: FastAPI) -> AsyncIterator[None]:
    service: Service = api.state.service
    asyncio.get_running_loop().set_exception_handler(_on_loop_fault)
    await service.test_itself()
    with gently(service.drain, seconds=service.settings.drain):
        yield
    service.close()


def _on_loop_fault(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Pass over that a socket takes no connections any more, which another process of the server has seen to."""
    error = context.get("exception")
    if not (isinstance(error, OSError) and error.errno == errno.EINVAL and "_accept_connection" in context["message"]):
        loop.default_exception_handler(context)


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's description of the problems that come with these statuses."""
    content = {MEDIA_TYPE: {"schema": schema.reference(schema.ProblemAnswer)}}
    titles = {status: "; ".join(k.title for k in KINDS.values() if k.status == status) for status in statuses}
    return {
        status: {"model": schema.ProblemAnswer, "description": title, "content": content}
        | ({"headers": schema.RETRY_AFTER} if status == 503 else {})
        for status, title in titles.items()
    }


@router.post(
    "/v1/predict",
    response_model=schema.PredictAnswer,
    responses=_refusals(400, 401, 408, 413, 415, 422, 500, 503),
    openapi_extra={"requestBody": schema.bodies(FIELD, RAW)},
    summary="Answer for one or many pictures",
)
async def predict(request: Request, query: Annotated[schema.PredictQuery, Query()]) -> Response:
    """Send pictures as a form (field `files`, as often as you like), as JSON with base64, or one as the body itself.

    A picture that cannot be read is an entry whose `error` says why, beside the others' answers.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Problem("invalid-parameter", f"The address gives {twice[0]} several times.", expected="each word once")
    service: Service = request.app.state.service
    return JSONResponse(await service.predict(request, query))


@router.get("/v1/models", response_model=schema.ModelsAnswer, responses=_refusals(401), summary="What answers here")
async def models(request: Request) -> Response:
    """Describe the model and the limits of a request."""
    return JSONResponse(request.app.state.service.describe())


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=schema.Health, summary="Whether the server is alive")
async def healthz() -> Response:
    """Answer at once."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=schema.Health, responses=_refusals(503), summary="Whether it takes pictures")
async def readyz(request: Request) -> Response:
    """Answer 200 once the model has answered a test picture, and 503 from when the server is told to stop."""
    request.app.state.service.check_ready()
    return JSONResponse({"status": "ok"})


@router.get(
    "/metrics",
    name="metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **_refusals(401)},
    response_class=Response,
    summary="Counts for Prometheus",
)
def metrics_page() -> Response:
    """Requests, times, pictures, faces, queue, bytes held, refusals."""
    return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get(
    PREFIX + "{kind}", response_model=schema.ProblemKind, responses=_refusals(404, 422), summary="What a problem means"
)
async def problem(kind: str) -> Response:
    """Explain a problem's `type`."""
    if kind not in KINDS:
        raise Problem("not-found", "There is no such kind of problem.", expected=f"one of {', '.join(KINDS)}")
    known = KINDS[kind]
    return JSONResponse({"status": known.status, "title": known.title, "about": known.about})


@router.head("/", include_in_schema=False)
@router.get("/", include_in_schema=False)
def page() -> Response:
    """Return the page; browsers ask each time whether it has changed."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/demo.jpg", include_in_schema=False)
def demo_sheet() -> Response:
    """Return generated faces of nobody."""
    return Response(demo.sheet(), media_type="image/jpeg", headers={"Cache-Control": "max-age=86400"})


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    metrics.REJECTED.labels(error.kind).inc()
    return render(error)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "malformed-body")
    detail = f"{request.method[:16]} {request.url.path[:200]}: {error.detail}."
    return await _on_problem(request, Problem(kind, detail, headers=error.headers))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    wrong = " ".join(schema.what_is_wrong(found["loc"][1:], found) for found in error.errors())
    unknown = any(found["type"] == "extra_forbidden" for found in error.errors())
    known = f"some of {', '.join(schema.PredictQuery.model_fields)}" if unknown else ""
    return await _on_problem(request, Problem("invalid-parameter", wrong, expected=known))


async def _on_fault(request: Request, _: Exception) -> Response:
    """Answer for a fault of ours; Starlette raises it again, so that it is logged."""
    return await _on_problem(request, Problem("internal", "An unexpected error ended this request."))


async def _on_leave(_: Request, __: Exception) -> Response:
    """Name a request whose caller hung up before it was answered; nobody reads this answer."""
    return Response(status_code=499)


HANDLERS = {
    Problem: _on_problem,
    HTTPException: _on_http_error,
    RequestValidationError: _on_invalid,
    ClientDisconnect: _on_leave,
    Exception: _on_fault,
}
