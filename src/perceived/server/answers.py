"""From an upload to its answer: decode within the server's limits, find the faces, classify them, explain.

Nothing here waits or knows of an event loop: it runs in threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perceived import images
from perceived.classifier import label_at
from perceived.errors import InputError
from perceived.predictor import Predictor, Prepared
from perceived.preprocess import Pixels
from perceived.selection import Selection
from perceived.server.uploads import Upload
from perceived.types import Picture, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One picture, whether to say where the network looked, and for how many of its faces, the largest."""

    upload: Upload
    explain: bool = False
    max_faces: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A picture's answer; ``activations`` has one entry a face where they were asked for and exist."""

    picture: Picture
    activations: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A question half answered: its faces are found, and not classified."""

    prepared: Prepared
    max_faces: int | None

    @property
    def faces(self) -> int:
        """How many faces the network still has to see."""
        return len(self.prepared.faces)


class Answerer:
    """Answers pictures with one predictor, in two halves; safe to call from several threads at once."""

    def __init__(self, predictor: Predictor, *, max_pixels: int) -> None:
        self._predictor = predictor
        self._max_pixels = max_pixels

    @property
    def batch_size(self) -> int:
        """Faces that go through the network together, and the most that a begun question has."""
        return self._predictor.batch_size

    def answer(self, question: Question) -> Answer:
        """Answer one picture."""
        begun = self.begin(question)
        return begun if isinstance(begun, Answer) else self.finish([begun])[0]

    def begin(self, question: Question) -> Begun | Answer:
        """Decode a picture and find its faces.

        What cannot be read is answered at once, and so is what is to be explained: it would keep its pixels,
        which are many, and others waiting for its activation maps.
        """
        prepared = self._prepare(question)
        if prepared.picture.error is None and not question.explain:
            return Begun(prepared=prepared, max_faces=question.max_faces)
        (done,) = self._predictor.classify([prepared])
        picture = largest(done.picture, question.max_faces)
        return Answer(picture=picture, activations=() if done.image is None else self._explain(done.image, picture))

    def finish(self, begun: Sequence[Begun]) -> list[Answer]:
        """Classify the faces of several pictures together, and answer each question."""
        classified = self._predictor.classify([one.prepared for one in begun])
        return [
            Answer(picture=largest(done.picture, one.max_faces)) for one, done in zip(begun, classified, strict=True)
        ]

    def _prepare(self, question: Question) -> Prepared:
        upload = question.upload
        if upload.error is not None:
            return self._failed(upload, upload.error)
        try:
            pixels = images.decode(upload.data, source=upload.name, max_pixels=self._max_pixels)
            return self._predictor.prepare_one(pixels, name=upload.name, keep=question.explain)
        except InputError as error:
            return self._failed(upload, str(error))

    def _failed(self, upload: Upload, error: str) -> Prepared:
        predictor = self._predictor
        name, sha256 = predictor.spec.name, predictor.model_sha256
        return Prepared(Picture(source=upload.name, error=error, model=name, model_sha256=sha256))

    def _explain(self, pixels: Pixels, picture: Picture) -> tuple[dict[str, Any], ...]:
        """Return each face's class activation, from 0 to 1, or nothing where the network has none."""
        try:
            return tuple(self._activation(pixels, face) for face in picture.faces)
        except InputError:
            return ()

    def _activation(self, pixels: Pixels, prediction: Prediction) -> dict[str, Any]:
        _, found = self._predictor.explain(pixels, prediction)
        strength = np.maximum(found, 0)
        values = strength / max(float(strength.max()), 1e-6)
        corners = self._predictor.corners(pixels, prediction)
        return {"values": values.round(3).tolist(), "corners": corners.round(2).tolist()}


def largest(picture: Picture, count: int | None) -> Picture:
    """Return the answer for the ``count`` largest faces, in the order they have; ``None`` keeps all."""
    wanted = Selection(max_faces=count).of([answer.face for answer in picture.faces], 0, 0)
    return replace(picture, faces=tuple(answer for answer in picture.faces if answer.face in wanted))


def relabel(picture: Picture, threshold: float) -> Picture:
    """Return the answer at another threshold."""
    faces = (replace(face, perceived_gender=label_at(threshold, face.probability)) for face in picture.faces)
    return replace(picture, faces=tuple(faces))
