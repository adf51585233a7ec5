"""What the routes share: the predictor, its engine, what is held, and whether pictures are taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request

from perceived import __version__, given
from perceived.predictor import Predictor
from perceived.server import metrics
from perceived.server.answers import Answer, Answerer, Begun, Question, relabel
from perceived.server.engine import Engine
from perceived.server.intake import Memory, body_of, while_there
from perceived.server.problems import Problem, overloaded
from perceived.server.schema import PredictQuery
from perceived.server.settings import Settings
from perceived.server.uploads import Upload, parse

Finish = Callable[[Begun], Awaitable[Answer]]
"""The second half of an answer, for which several may be gathered."""

SMALL = 2**20
"""Bodies up to this many bytes are taken apart at once; larger ones in a thread, so that others need not wait."""


def open_predictor(settings: Settings) -> Predictor:
    """Return the predictor that settings name, for calls from several threads, each on one processor.

    Raises:
        InputError: the model or the detector cannot be opened, or there is no such device.
    """
    return Predictor(
        settings.model,
        detect=settings.detect,
        threshold=settings.threshold,
        min_face=settings.min_face,
        max_faces=settings.max_faces if settings.detect else None,
        device=settings.device,
        threads=1,
    )


class Service:
    """One predictor at work for many callers.

    Each picture is answered by one of the engine's threads. With ``gather`` a thread does the first half
    of the work only, and what ``gather`` makes of the answerer finishes it, for several pictures together.
    """

    def __init__(
        self, settings: Settings, predictor: Predictor, *, gather: Callable[[Answerer], Finish] | None = None
    ) -> None:
        self.settings = settings
        self._spec = predictor.spec
        self._sha256 = predictor.model_sha256
        self._threshold = predictor.threshold
        self._memory = Memory(settings.max_memory)
        answerer = Answerer(predictor, max_pixels=settings.max_pixels)
        self._engine: Engine[Question, Answer] | Engine[Question, Begun | Answer]
        self._answer: Callable[[Sequence[Question]], Awaitable[list[Answer]]]
        if gather is None:
            self._engine = whole = Engine(answerer.answer, threads=settings.threads, queue=settings.queue)
            self._answer = whole.answer
        else:
            self._engine = half = Engine(answerer.begin, threads=settings.threads, queue=settings.queue)
            self._answer = _in_halves(half, gather(answerer))
        self._ready = False
        self.draining = False
        self.stop_listening: Callable[[], None] | None = None

    async def test_itself(self) -> None:
        """Answer a picture of noise; from then on the server is ready."""
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        (answer,) = await self._answer([Question(upload=Upload(name="test", data=given.encode(noise, "test")))])
        self._ready = answer.picture.error is None

    def check_ready(self) -> None:
        """Raise :class:`Problem` before the self-test has passed, and from when the server is told to stop."""
        if not self._ready:
            raise Problem("not-ready", "The server takes no pictures now.", headers={"Retry-After": "1"})

    def drain(self) -> None:
        """Say that the end is near: no new connections, and each answer closes its own."""
        self._ready = False
        self.draining = True
        if self.stop_listening is not None:
            self.stop_listening()

    def close(self) -> None:
        self._engine.close()

    def describe(self) -> dict[str, Any]:
        """Return what ``/v1/models`` says."""
        spec, limits = self._spec, self.settings
        model = {
            "name": spec.name,
            "sha256": self._sha256,
            "backbone": spec.backbone,
            "labels": list(spec.labels),
            "threshold": self._threshold,
            "metrics": dict(spec.metrics),
        }
        return {
            "models": [model],
            "detects": limits.detect,
            "limits": {
                "body_bytes": limits.max_body,
                "file_bytes": limits.max_file,
                "pixels": limits.max_pixels,
                "files": limits.max_files,
                "faces": limits.max_faces,
            },
            "version": __version__,
        }

    async def predict(self, request: Request, query: PredictQuery) -> dict[str, Any]:
        """Read a request's pictures and return its answer.

        Raises:
            Problem: the request is refused as a whole.
            ClientDisconnect: its caller hung up; what was not begun is dropped.
        """
        limits = self.settings
        if (coding := request.headers.get("content-encoding", "identity")).lower() != "identity":
            raise Problem("unsupported-media-type", f"The Content-Encoding is {coding[:100]!r}.", expected="none")
        self._engine.check_room()
        async with body_of(request, self._memory, max_body=limits.max_body, seconds=limits.body_timeout) as body:
            uploads = await self._parse(request.headers.get("content-type", ""), body)
            del body
            questions = [Question(upload=one, explain=query.explain, max_faces=query.max_faces) for one in uploads]
            answers = await while_there(request, self._ask(questions))
        at = self._threshold if query.threshold is None else query.threshold
        pictures = [render(answer, threshold=at) for answer in answers]
        self._count(request, pictures)
        return {"threshold": at, "pictures": pictures}

    async def _parse(self, content_type: str, body: bytes) -> list[Upload]:
        limits = {"max_files": self.settings.max_files, "max_file": self.settings.max_file}
        if len(body) <= SMALL:
            return parse(content_type, body, **limits)
        return await asyncio.to_thread(parse, content_type, body, **limits)

    async def _ask(self, questions: list[Question]) -> list[Answer]:
        seconds = self.settings.answer_timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._answer(questions)
        except TimeoutError:
            raise overloaded(f"There was no answer within {seconds:g} s.", retry_after=5) from None

    def _count(self, request: Request, pictures: list[dict[str, Any]]) -> None:
        faces = [face["perceived_gender"] for picture in pictures for face in picture["faces"]]
        failed = sum(picture["error"] is not None for picture in pictures)
        metrics.PICTURES.labels("error").inc(failed)
        metrics.PICTURES.labels("answered").inc(len(pictures) - failed)
        for label in faces:
            metrics.FACES.labels(label).inc()
        request.state.log.update(pictures=len(pictures), errors=failed, faces=len(faces))


def _in_halves(
    engine: Engine[Question, Begun | Answer], finish: Finish
) -> Callable[[Sequence[Question]], Awaitable[list[Answer]]]:
    async def whole(begun: Begun | Answer) -> Answer:
        return begun if isinstance(begun, Answer) else await finish(begun)

    async def answer(questions: Sequence[Question]) -> list[Answer]:
        return list(await asyncio.gather(*map(whole, await engine.answer(questions))))

    return answer


def render(answer: Answer, *, threshold: float) -> dict[str, Any]:
    """Return a picture's answer as JSON holds it, labelled by ``threshold``."""
    picture = relabel(answer.picture, threshold).to_dict()
    for face, activation in zip(picture["faces"], answer.activations, strict=False):
        face["activation"] = activation
    return picture
