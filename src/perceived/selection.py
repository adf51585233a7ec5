"""Which of a picture's faces are answered: large enough, the largest few or the main one, and surely enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from perceived.errors import ConfigError
from perceived.types import Face


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is asked of faces; by default nothing.

    ``min_face`` is the smallest longer side of a face's box, in pixels of the picture. ``max_faces``
    keeps the largest ones. ``main_face`` keeps one, as :func:`main_face` chooses it.

    Raises:
        ConfigError: a number is out of range.
    """

    min_face: int = 0
    max_faces: int | None = None
    main_face: bool = False

    def __post_init__(self) -> None:
        for number in (self.min_face, self.max_faces):
            if number is not None and not hasattr(number, "__index__"):
                raise ConfigError(f"{number!r} is no number of pixels or faces.", expected="a whole number")
        if self.min_face < 0:
            raise ConfigError(f"A smallest face of {self.min_face} pixels is impossible.", expected="0 or more")
        if self.max_faces is not None and self.max_faces < 1:
            raise ConfigError(f"At most {self.max_faces} faces would leave none.", expected="1 or more")

    def of(self, faces: Sequence[Face], width: int, height: int) -> list[Face]:
        """Return the faces of a picture of ``width`` × ``height`` that are to be answered, in the order given."""
        kept = [face for face in faces if max(face.box.width, face.box.height) >= self.min_face]
        if self.main_face and kept:
            return [main_face(kept, width, height)]
        if self.max_faces is not None and len(kept) > self.max_faces:
            by_area = sorted(range(len(kept)), key=lambda index: _area(kept[index]), reverse=True)
            kept = [kept[index] for index in sorted(by_area[: self.max_faces])]
        return kept


def main_face(faces: Sequence[Face], width: int, height: int) -> Face:
    """Return the face a picture is most likely of: the largest, where one at the rim counts half as large.

    The weight falls linearly from 1 in the middle of the picture to 0.5 in its corners.
    """
    reach = math.hypot(width, height) / 2

    def weight(face: Face) -> float:
        aside = math.hypot((face.box.x0 + face.box.x1 - width) / 2, (face.box.y0 + face.box.y1 - height) / 2)
        return _area(face) * (1 - 0.5 * min(aside / reach, 1))

    return max(faces, key=weight)


def _area(face: Face) -> float:
    return face.box.width * face.box.height


def check_threshold(threshold: float) -> float:
    """Return ``threshold``, or raise :class:`ConfigError` if it is no probability."""
    if not hasattr(threshold, "__float__") or not 0.0 <= threshold <= 1.0:
        raise ConfigError(f"A threshold of {threshold!r} is impossible.", expected="a number from 0 to 1")
    return threshold
