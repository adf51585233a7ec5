"""What a detector says, checked: other detectors than ours count in other numbers, and make mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from perceived.errors import InputError
from perceived.types import Box, Face

LANDMARKS = 5
LEAST_SPREAD = 0.02
"""Share of its box's longer side that a face's landmarks take at least; those of real ones take 0.3 and more."""
FAR = 1e6
"""Pixels beyond which no picture reaches."""


def faces(found: object, *, width: int, height: int) -> list[Face]:
    """Return the faces that a detector has found in a picture of ``width`` × ``height`` pixels, in plain numbers.

    Raises:
        InputError: they are no list of faces, or one of them cannot be.
    """
    if not isinstance(found, Iterable):
        raise _not_faces(found)
    return [_face(one, width=width, height=height) for one in found]


def _face(face: object, *, width: int, height: int) -> Face:
    if not isinstance(face, Face):
        raise _not_faces(face)
    box = _box(face, width=width, height=height)
    return Face(box=box, detection_score=_score(face), landmarks=_landmarks(face, box))


def _score(face: Face) -> float | None:
    if face.detection_score is None:
        return None
    try:
        score = float(face.detection_score)
    except (TypeError, ValueError):
        score = math.nan
    if not math.isfinite(score):
        raise InputError(
            f"The detector found a face with the detection score {face.detection_score!r}.",
            expected="a number, or None",
        )
    return score


def _box(face: Face, *, width: int, height: int) -> Box:
    try:
        x0, y0, x1, y1 = (float(getattr(face.box, side)) for side in ("x0", "y0", "x1", "y1"))
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(
            f"The detector found a face with the box {face.box!r}.", expected="a perceived.Box of plain numbers"
        ) from error
    if not (-FAR < x0 < x1 < FAR and -FAR < y0 < y1 < FAR):
        raise InputError(
            f"The detector found a face at {x0:g},{y0:g} to {x1:g},{y1:g}.",
            expected="boxes of x0,y0 above and left of x1,y1, in pixels",
        )
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        raise InputError(
            f"The detector found a face at {x0:g},{y0:g} to {x1:g},{y1:g}, outside the picture.",
            expected=f"boxes in pixels of the picture that it was given, {width}×{height}",
        )
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def _landmarks(face: Face, box: Box) -> tuple[tuple[float, float], ...] | None:
    if face.landmarks is None:
        return None
    try:
        points = np.asarray(face.landmarks, np.float64)
    except (TypeError, ValueError):  # words, or points of unlike length
        points = np.empty(0)
    if points.shape != (LANDMARKS, 2) or not (np.abs(points) < FAR).all():
        raise InputError(
            f"The detector found a face with the landmarks {face.landmarks}.",
            expected=f"{LANDMARKS} points (x, y) in pixels, or None",
        )
    if np.ptp(points, axis=0).max() < LEAST_SPREAD * max(box.width, box.height):
        raise InputError(
            f"The detector found a face whose landmarks are all at {points[0, 0]:g},{points[0, 1]:g}.",
            expected=f"{LANDMARKS} points that lie apart, or None where they are not known",
        )
    return tuple((float(x), float(y)) for x, y in points)


def _not_faces(found: object) -> InputError:
    return InputError(
        f"The detector returned a value of type {type(found).__name__}.", expected="a list of perceived.Face"
    )
