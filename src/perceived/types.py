"""The values that travel between stages: small, frozen, without behaviour beyond rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

SCHEMA_VERSION = 1
"""Version of the JSON that :meth:`Picture.to_dict` renders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """An axis-aligned rectangle in pixels of the oriented picture; ``x1``/``y1`` are exclusive."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        return self.y1 - self.y0

    def shared(self, other: Box) -> float:
        """Return the area that lies in both boxes, in square pixels."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        return max(0.0, width) * max(0.0, height)

    def scaled(self, x: float, y: float) -> Box:
        """Return the box where it lies in a picture that is so many times as wide and as high."""
        return Box(x0=self.x0 * x, y0=self.y0 * y, x1=self.x1 * x, y1=self.y1 * y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """Where a face is. A picture that was taken as a face has neither score nor landmarks.

    ``landmarks`` are five ``(x, y)`` points in pixels: right eye, left eye, nose tip, right and
    left mouth corner, right and left being the person's own.
    """

    box: Box
    detection_score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None

    def scaled(self, x: float, y: float) -> Face:
        """Return the face where it lies in a picture that is so many times as wide and as high."""
        points = self.landmarks and tuple((across * x, down * y) for across, down in self.landmarks)
        return replace(self, box=self.box.scaled(x, y), landmarks=points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer for one face.

    ``perceived_gender`` is one of the model's labels, or ``"uncertain"`` where ``confidence``, the
    larger of the calibrated probabilities, lies below the threshold.
    """

    face: Face
    perceived_gender: str
    confidence: float
    probability: Mapping[str, float] = field(hash=False)

    @property
    def box(self) -> Box:
        return self.face.box

    @property
    def detection_score(self) -> float | None:
        return self.face.detection_score

    @property
    def landmarks(self) -> tuple[tuple[float, float], ...] | None:
        return self.face.landmarks

    def to_dict(self) -> dict[str, Any]:
        return {
            "box": [self.box.x0, self.box.y0, self.box.x1, self.box.y1],
            "detection_score": self.detection_score,
            "landmarks": None if self.landmarks is None else [list(point) for point in self.landmarks],
            "perceived_gender": self.perceived_gender,
            "confidence": self.confidence,
            "probability": dict(self.probability),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The answer for one picture: its faces, or the reason there is no answer.

    ``width`` and ``height`` are pixels of the oriented picture, which boxes and landmarks refer to;
    ``None`` where it cannot be read.
    ``model`` and ``model_sha256`` say which model file answered.
    """

    source: str
    width: int | None = None
    height: int | None = None
    faces: tuple[Prediction, ...] = ()
    error: str | None = None
    model: str = ""
    model_sha256: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA_VERSION,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "source": self.source,
            "width": self.width,
            "height": self.height,
            "faces": [face.to_dict() for face in self.faces],
            "error": self.error,
        }
