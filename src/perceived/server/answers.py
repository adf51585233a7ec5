"""From an upload to its answer: decode within the server's limits, predict, explain. Runs in the engine's threads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perceived import images
from perceived.classifier import label_at
from perceived.errors import InputError
from perceived.predictor import Predictor
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


class Answerer:
    """Answers pictures with one predictor; safe to call from several threads at once."""

    def __init__(self, predictor: Predictor, *, max_pixels: int) -> None:
        self._predictor = predictor
        self._max_pixels = max_pixels

    def __call__(self, question: Question) -> Answer:
        upload = question.upload
        if upload.error is not None:
            return Answer(picture=self._failed(upload, upload.error))
        try:
            pixels = images.decode(upload.data, source=upload.name, max_pixels=self._max_pixels)
            picture = largest(replace(self._predictor.predict(pixels), source=upload.name), question.max_faces)
        except InputError as error:
            return Answer(picture=self._failed(upload, str(error)))
        if not question.explain:
            return Answer(picture=picture)
        return Answer(picture=picture, activations=self._explain(pixels, picture))

    def _failed(self, upload: Upload, error: str) -> Picture:
        predictor = self._predictor
        return Picture(source=upload.name, error=error, model=predictor.spec.name, model_sha256=predictor.model_sha256)

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
