"""From an upload to its answer: decode within the server's limits, predict, explain. Runs in the engine's threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from perceived import images
from perceived.classifier import label_at
from perceived.errors import InputError
from perceived.predictor import Predictor
from perceived.preprocess import Pixels
from perceived.server.uploads import Upload
from perceived.types import Picture, Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One picture, and whether to say where the network looked."""

    upload: Upload
    explain: bool = False


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

    def __call__(self, questions: Sequence[Question]) -> list[Answer]:
        return [self._answer(question) for question in questions]

    def _answer(self, question: Question) -> Answer:
        upload = question.upload
        if upload.error is not None:
            return Answer(picture=self._failed(upload, upload.error))
        try:
            pixels = images.decode(upload.data, source=upload.name, max_pixels=self._max_pixels)
            picture = replace(self._predictor.predict(pixels), source=upload.name)
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


def relabel(picture: Picture, threshold: float, max_faces: int) -> Picture:
    """Return the answer at another threshold, for at most ``max_faces`` faces, the surest found first."""
    kept = picture.faces[:max_faces]
    return replace(
        picture,
        faces=tuple(replace(face, perceived_gender=label_at(threshold, face.probability)) for face in kept),
    )
