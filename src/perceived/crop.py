"""A face cut out of its picture, with some of what is around it."""

from __future__ import annotations

import numpy as np

from perceived.preprocess import Pixels
from perceived.types import Box


def cut(image: Pixels, box: Box, margin: float) -> Pixels:
    """Return the part of ``image`` in ``box``, with ``margin`` of the box added on every side.

    What would lie outside the picture is left out; at least one pixel is returned. It is a view.
    """
    x0, y0, x1, y1 = bounds(image, box, margin)
    return image[y0:y1, x0:x1]


def bounds(image: Pixels, box: Box, margin: float) -> tuple[int, int, int, int]:
    """Return ``(x0, y0, x1, y1)`` of what :func:`cut` returns, in pixels of ``image``."""
    height, width = image.shape[:2]
    x0, x1 = _inside(box.x0 - margin * box.width, box.x1 + margin * box.width, width)
    y0, y1 = _inside(box.y0 - margin * box.height, box.y1 + margin * box.height, height)
    return x0, y0, x1, y1


def _inside(low: float, high: float, length: int) -> tuple[int, int]:
    start = int(np.clip(round(low), 0, length - 1))
    return start, int(np.clip(round(high), start + 1, length))
