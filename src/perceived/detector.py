"""Find the faces in a picture: of any size, wherever they are, however the picture is turned.

A picture is searched at several scales, the finer ones in overlapping tiles. Only where that finds
nothing is it searched again: with a frame around it, because a face that fills the picture is
missed without, and turned by quarters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from perceived.errors import ConfigError
from perceived.preprocess import Pixels
from perceived.types import Box, Face
from perceived.yunet import Floats, Network

TILE = 640
"""Largest side of what the network sees at once, in pixels."""
OVERLAP = 96
"""Overlap of neighbouring tiles: a face of up to this many pixels is whole in one of them."""
STEP = 3.0
"""Largest ratio between two scales: a face too large for the overlap is well seen one scale coarser."""
SMALLEST_SEEN = 12
"""Size in pixels from which the network finds faces reliably."""
SAME_FACE = 0.3
"""Intersection over union from which two boxes are the same face."""
INSIDE = 0.7
"""Share of the smaller box inside the larger from which they are the same face."""
FRAME = 0.5
"""Frame around a picture that may be one large face, in shares of its longer side."""


class Detector(Protocol):
    """What finds faces."""

    def detect(self, image: Pixels) -> list[Face]:
        """Return the faces in RGB uint8 ``(h, w, 3)``, best first; boxes and landmarks in its pixels."""
        ...


class YuNet:
    """The detector that ships with the package; threads may share one.

    ``weights`` is another file of the same network, ``threshold`` the lowest score of an answer,
    ``min_face`` the height in pixels of the smallest face that is looked for.

    Raises:
        WeightsError: the weights are missing, damaged or of another network.
        ConfigError: the threshold or the smallest face is out of range.
    """

    def __init__(self, weights: Path | None = None, *, threshold: float = 0.7, min_face: int = 16) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"A detection threshold of {threshold} is impossible.", expected="between 0 and 1")
        if min_face < 1:
            raise ConfigError(f"A smallest face of {min_face} pixels is impossible.", expected="1 or more")
        self._network = Network(weights)
        self.threshold = threshold
        self.min_face = min_face

    def detect(self, image: Pixels) -> list[Face]:
        height, width = image.shape[:2]
        found = self._search(image)
        if not len(found):
            found = self._search_framed(image)
        for quarters in (1, 3, 2):
            if len(found):
                break
            found = _turn_back(self._search_framed(np.rot90(image, quarters)), quarters, width, height)
        return [_face(row, width, height) for row in found if _size(row) >= self.min_face]

    def _search(self, image: Pixels) -> Floats:
        """Search at every scale that a face of ``min_face`` or more needs."""
        found = [
            _shift(row, x, y) / _scaling(scale)
            for scale in _scales(max(image.shape), self.min_face)
            for row, x, y in self._search_tiles(_resize(image, scale))
        ]
        return _merge(np.concatenate(found))

    def _search_tiles(self, image: Pixels) -> Iterator[tuple[Floats, int, int]]:
        height, width = image.shape[:2]
        for y in _starts(height):
            for x in _starts(width):
                tile = image[y : y + TILE, x : x + TILE]
                found = self._network.find(tile, self.threshold)
                yield found[_is_whole(found, x, y, width, height)], x, y

    def _search_framed(self, image: Pixels) -> Floats:
        """Search once more with a frame around the picture, at the coarsest scale."""
        height, width = image.shape[:2]
        scale = min(1.0, TILE / (1 + 2 * FRAME) / max(height, width))
        small = _resize(image, scale)
        frame = round(FRAME * max(small.shape[:2]))
        framed = cv2.copyMakeBorder(small, frame, frame, frame, frame, cv2.BORDER_REPLICATE)
        found = self._network.find(np.asarray(framed, np.uint8), self.threshold)
        return _merge(_shift(found, -frame, -frame) / _scaling(scale))


def main_face(faces: Sequence[Face]) -> Face | None:
    """Return the largest face: the one a portrait is about."""
    return max(faces, key=lambda face: face.box.width * face.box.height, default=None)


def _scales(longer: int, min_face: int) -> list[float]:
    """Return the scales to search at, coarsest first: from the whole picture in a tile to the smallest face."""
    coarsest = min(1.0, TILE / longer)
    finest = max(coarsest, min(1.0, SMALLEST_SEEN / min_face))
    steps = int(np.ceil(np.log(finest / coarsest) / np.log(STEP) - 1e-6))
    return list(np.geomspace(coarsest, finest, steps + 1))


def _starts(length: int) -> list[int]:
    """Return where tiles start along a side: evenly, each overlapping the next by ``OVERLAP`` or more."""
    if length <= TILE:
        return [0]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    return [round(start) for start in np.linspace(0, length - TILE, count)]


def _is_whole(found: Floats, x: int, y: int, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Say which boxes are not cut by a tile's edge inside the picture: another tile or scale has those whole."""
    left, top, right, bottom = found[:, 0], found[:, 1], found[:, 2], found[:, 3]
    whole: npt.NDArray[np.bool_] = (
        ((left > 1) | (x == 0))
        & ((top > 1) | (y == 0))
        & ((right < TILE - 1) | (x + TILE >= width))
        & ((bottom < TILE - 1) | (y + TILE >= height))
    )
    return whole


def _resize(image: Pixels, scale: float) -> Pixels:
    if scale == 1:
        return image
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _scaling(scale: float) -> Floats:
    return np.array([scale] * 14 + [1], np.float32)


def _shift(found: Floats, x: float, y: float) -> Floats:
    return found + np.array([x, y] * 7 + [0], np.float32)


def _merge(found: Floats) -> Floats:
    """Keep the best of each face's boxes, best first."""
    found = found[np.argsort(-found[:, 14], kind="stable")]
    kept: list[int] = []
    waiting = np.arange(len(found))
    while len(waiting):
        best, waiting = int(waiting[0]), waiting[1:]
        kept.append(best)
        waiting = waiting[~_same(found[best], found[waiting])]
    return found[kept]


def _same(one: Floats, others: Floats) -> npt.NDArray[np.bool_]:
    low, high = np.maximum(one[:2], others[:, :2]), np.minimum(one[2:4], others[:, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), 1)
    area, areas = np.prod(one[2:4] - one[:2]), np.prod(others[:, 2:4] - others[:, :2], 1)
    return (shared >= SAME_FACE * (area + areas - shared)) | (shared >= INSIDE * np.minimum(area, areas))


def _turn_back(found: Floats, quarters: int, width: int, height: int) -> Floats:
    """Map what was found in ``np.rot90(image, quarters)`` to the image of ``width`` and ``height``."""
    x, y = found[:, 0:14:2], found[:, 1:14:2]
    turned = {1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarters]
    points = np.stack(turned, 2).reshape(-1, 14)
    corners = points[:, :4].reshape(-1, 2, 2)
    return np.concatenate([corners.min(1), corners.max(1), points[:, 4:], found[:, 14:]], 1)


def _size(row: Floats) -> float:
    return float(max(row[2] - row[0], row[3] - row[1]))


def _face(row: Floats, width: int, height: int) -> Face:
    x0, y0, x1, y1 = (float(v) for v in np.clip(row[:4], 0, [width, height, width, height]))
    points = [(float(x), float(y)) for x, y in row[4:14].reshape(5, 2)]
    return Face(
        box=Box(x0=x0, y0=y0, x1=x1, y1=y1),
        detection_score=float(row[14]),
        landmarks=tuple(points),
    )
