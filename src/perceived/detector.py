"""Find the faces in a picture: of any size, wherever they are, however the picture is turned.

A picture is searched at several scales, the finer ones in overlapping tiles, and what is found with
a doubtful score is looked at again, enlarged. Only where that finds nothing is the picture searched
with a frame around it, for a face that fills it, and turned by quarters; it is turned too where its
best face looks more like one that way.

The constants come from measurements: ``docs/results/detection.json``, ``benchmarks/detection.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from perceived.errors import ConfigError
from perceived.images import reduction
from perceived.preprocess import Pixels
from perceived.types import Box, Face
from perceived.yunet import Floats, Network

OVERVIEW = 192
"""Longer side in pixels at which faces that fill the picture are found; above 400 pixels scores fall."""
TILE = 640
"""Largest side of what the network sees at once, in pixels."""
OVERLAP = 96
"""Overlap of neighbouring tiles: a face of up to this many pixels is whole in one of them."""
STEP = 3.0
"""Largest ratio of two scales in tiles: a face too large for the overlap is well seen one scale coarser."""
ZOOM = 2.0
"""How far a small picture is enlarged: faces of 10 pixels are found in its double, not in itself."""
MOST_PIXELS = 16_000_000
"""Pixels searched at the finest scale, a third of a second's work; larger pictures are scaled down to it."""
SMALLEST_SEEN = 10
"""Size in pixels of the smallest face that raises a doubt."""
DOUBT = 0.2
"""Lowest score that earns a second look."""
FAINT = 0.1
"""The same for a face of fewer than ``SMALL`` pixels in the network's view, where scores fall."""
SMALL = 24
SURE = 0.85
"""Score from which no second look is needed."""
UPRIGHT = 0.93
"""Score of the best face from which a picture stands upright; a face on its side has up to 0.9, and false landmarks."""
SECOND_LOOKS = 100
"""Most second looks in one search: a face takes one, a crowd's blurred rows many."""
CLOSE = 56
"""Size in pixels to which a doubtful face is enlarged; its surroundings take ``SURROUND`` times that."""
SURROUND = 3.0
FRAME = 0.5
"""Width of the frame around a picture, in shares of its longer side."""
FILLING = 0.7
"""Share of the threshold that does for a face which fills the picture, where no other is found."""
FILLED = 0.6
"""Share of the picture's shorter side that such a face takes at least."""
MOST_BOXES = 1000
"""Most boxes that are compared; noise raises thousands of faint ones."""
SAME_FACE = 0.3
"""Intersection over union from which two boxes are the same face."""
INSIDE = 0.7
"""Share of the smaller box inside the larger one from which they are the same face."""


class Detector(Protocol):
    """What finds faces."""

    def detect(self, image: Pixels, /) -> Iterable[Face]:
        """Return the faces in RGB uint8 ``(h, w, 3)``, best first; boxes and landmarks in its pixels."""
        ...


class YuNet:
    """The detector that ships with the package; threads may share one.

    ``weights`` is another file of the same network, ``threshold`` the lowest score of a face (a little less does
    for one that fills a picture in which there is no other) and ``min_face`` the height or width in pixels of the
    smallest face that is looked for.

    Raises:
        WeightsError: the weights are missing, damaged or of another network.
        ConfigError: the threshold or the smallest face is out of range.
    """

    def __init__(self, weights: Path | None = None, *, threshold: float = 0.7, min_face: int = 10) -> None:
        if not 0 < threshold < 1:
            raise ConfigError(f"A detection threshold of {threshold} is impossible.", expected="between 0 and 1")
        if min_face < 1:
            raise ConfigError(f"A smallest face of {min_face} pixels is impossible.", expected="1 or more")
        self._network = Network(weights)
        self.threshold = threshold
        self.min_face = min_face

    def detect(self, image: Pixels) -> list[Face]:
        """Return the faces in RGB uint8 ``(h, w, 3)``, best first; boxes and landmarks in its pixels."""
        parts = reduction(image.shape[0] * image.shape[1], MOST_PIXELS)
        if parts == 1:
            return self._detect(image, self.min_face)
        smaller = _resize(image, 1 / parts)
        across, down = image.shape[1] / smaller.shape[1], image.shape[0] / smaller.shape[0]
        return [face.scaled(across, down) for face in self._detect(smaller, self.min_face / parts)]

    def _detect(self, image: Pixels, min_face: float) -> list[Face]:
        """Return the faces of a picture that each search may make small anew."""
        height, width = image.shape[:2]
        found = framed = self._search(image, _scales(height, width, min_face))
        if not len(found):
            framed = self._search_framed(image)
            found = framed[framed[:, 14] >= self.threshold]
        if _best_score(found) < UPRIGHT:
            found = self._search_turned(image, found)
        if not len(found):
            found = self._search_filling(image, framed)
        faces = (_face(row, width, height) for row in found[_sizes(found) >= min_face])
        return [face for face in faces if min(face.box.width, face.box.height) > 0]  # not beyond the rim altogether

    def _search(self, image: Pixels, scales: list[float], share: float = 1) -> Floats:
        """Search at each scale; an answer's row is as :meth:`Network.find` gives it, best first.

        Scores are at least ``share`` of the threshold.
        """
        found = _merge(np.concatenate([self._search_tiles(image, scale) for scale in scales]))
        doubtful = found[found[:, 14] < SURE][:SECOND_LOOKS]
        looks = [self._look_again(image, row) for row in doubtful]
        return _merge(np.concatenate([found[found[:, 14] >= share * self.threshold], *looks]))

    def _search_tiles(self, image: Pixels, scale: float) -> Floats:
        scaled = _resize(image, scale)
        height, width = scaled.shape[:2]
        found = []
        for x, y in _tiles(width, height):
            rows = self._network.find(scaled[y : y + TILE, x : x + TILE], min(FAINT, self.threshold))
            lowest = np.where(_sizes(rows) < SMALL, FAINT, DOUBT)
            kept = (rows[:, 14] >= np.minimum(lowest, self.threshold)) & _whole(rows, x, y, width, height)
            found.append(_shift(rows[kept], x, y))
        return _scale(np.concatenate(found), width / image.shape[1], height / image.shape[0])

    def _look_again(self, image: Pixels, row: Floats) -> Floats:
        """Look at a doubtful face from as close as the network sees best; empty if it is none."""
        close, (x, y), (horizontal, vertical) = _close_up(image, row)
        rows = _shift(_scale(self._network.find(close, self.threshold), horizontal, vertical), x, y)
        return rows[_same(row, rows)]

    def _search_filling(self, image: Pixels, framed: Floats) -> Floats:
        """Search for one face that fills the picture and is hard to see: dark, spoilt, or in profile."""
        unframed = self._search(image, [OVERVIEW / max(image.shape)], FILLING)
        found = _merge(np.concatenate([unframed, framed]))
        filling = _sizes(found) >= FILLED * min(image.shape[:2])
        return np.asarray(found[filling][:1], np.float32)

    def _search_framed(self, image: Pixels) -> Floats:
        """Search for one face that fills the picture, with a frame around it, doubtful ones among what is found."""
        scale = OVERVIEW / max(image.shape)
        small = _resize(image, scale)
        frame = round(FRAME * max(small.shape))
        framed = np.asarray(cv2.copyMakeBorder(small, frame, frame, frame, frame, cv2.BORDER_REPLICATE), np.uint8)
        rows = _shift(self._search(framed, [1.0], FILLING), -frame, -frame)
        return _scale(rows, small.shape[1] / image.shape[1], small.shape[0] / image.shape[0])

    def _search_turned(self, image: Pixels, upright: Floats) -> Floats:
        """Search the picture turned by quarters, and return what is best of that and of ``upright``."""
        small = _resize(image, min(ZOOM, TILE / max(image.shape)))
        height, width = small.shape[:2]
        best = upright
        for quarters in self._likely_turns(image, upright):
            turned = np.ascontiguousarray(np.rot90(small, quarters))
            rows = _turn_back(self._search(turned, [OVERVIEW / max(height, width), 1.0]), quarters, width, height)
            if _best_score(rows) > _best_score(best):
                best = _scale(rows, width / image.shape[1], height / image.shape[0])
        return best

    def _likely_turns(self, image: Pixels, upright: Floats) -> list[int]:
        """Return the quarters by which the best face looks more like one, or all where there is no face."""
        if not len(upright):
            return [1, 3, 2]
        close, _, _ = _close_up(image, upright[0])
        turned = (np.ascontiguousarray(np.rot90(close, quarters)) for quarters in range(4))
        scores = [_best_score(self._network.find(picture, DOUBT)) for picture in turned]
        likeliest = int(np.argmax(scores))
        return [likeliest] if likeliest else []


def largest_face(faces: Sequence[Face]) -> Face | None:
    """Return the largest face, by which training and evaluation frame a picture of one person."""
    return max(faces, key=lambda face: face.box.width * face.box.height, default=None)


def _scales(height: int, width: int, min_face: float) -> list[float]:
    """Return the scales to search at, coarsest first."""
    longer = max(height, width)
    whole = min(ZOOM, TILE / longer)
    finest = min(1.0, math.sqrt(MOST_PIXELS / (height * width)), SMALLEST_SEEN / min_face)
    steps = math.ceil(math.log(max(finest / whole, 1)) / math.log(STEP) - 1e-6)
    tiled = np.geomspace(whole, finest, steps + 1).tolist() if steps else [whole]
    return [OVERVIEW / longer, *tiled]


def _tiles(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Return the left upper corners of tiles that cover a picture, each overlapping the next."""
    for y in _starts(height):
        for x in _starts(width):
            yield x, y


def _starts(length: int) -> list[int]:
    """Return where tiles start along a side: evenly, each overlapping the next by ``OVERLAP`` or more."""
    if length <= TILE:
        return [0]
    count = -(-(length - OVERLAP) // (TILE - OVERLAP))
    return [round(start) for start in np.linspace(0, length - TILE, count).tolist()]


def _whole(rows: Floats, x: int, y: int, width: int, height: int) -> npt.NDArray[np.bool_]:
    """Say which boxes no tile's edge cuts inside the picture: another tile or scale has those whole."""
    low = np.array([-np.inf if x == 0 else 1, -np.inf if y == 0 else 1])
    high = np.array([np.inf if start + TILE >= side else TILE - 1 for start, side in ((x, width), (y, height))])
    return np.asarray(((rows[:, :2] > low) & (rows[:, 2:4] < high)).all(1), np.bool_)


def _resize(image: Pixels, scale: float) -> Pixels:
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    if size == (image.shape[1], image.shape[0]):
        return image
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), np.uint8)


def _close_up(image: Pixels, row: Floats) -> tuple[Pixels, tuple[int, int], tuple[float, float]]:
    """Return a face and its surroundings at the size the network sees best, their corner and how far they were scaled.

    A box that lies outside, in the network's black margin, gives the picture's nearest corner.
    """
    height, width = image.shape[:2]
    centre, size = (row[:2] + row[2:4]) / 2, float(np.max(row[2:4] - row[:2]))
    reach = max(size * SURROUND / 2, 1)
    x0, y0 = np.floor(np.clip(centre - reach, 0, [width - 1, height - 1])).astype(int).tolist()
    x1, y1 = np.ceil(np.clip(centre + reach, [x0 + 1, y0 + 1], [width, height])).astype(int).tolist()
    part = image[y0:y1, x0:x1]
    close = _resize(part, CLOSE / max(size, 1))
    return close, (x0, y0), (close.shape[1] / part.shape[1], close.shape[0] / part.shape[0])


def _scale(rows: Floats, horizontal: float, vertical: float) -> Floats:
    """Divide coordinates by how far a picture was scaled."""
    return np.asarray(rows / np.array([horizontal, vertical] * 7 + [1], np.float32), np.float32)


def _shift(rows: Floats, x: float, y: float) -> Floats:
    return np.asarray(rows + np.array([x, y] * 7 + [0], np.float32), np.float32)


def _merge(rows: Floats) -> Floats:
    """Keep the best of each face's boxes, best first."""
    waiting = rows[np.argsort(-rows[:, 14], kind="stable")[:MOST_BOXES]]
    kept = [waiting[:0]]
    while len(waiting):
        best, waiting = waiting[:1], waiting[1:]
        kept.append(best)
        waiting = waiting[~_same(best[0], waiting)]
    return np.concatenate(kept)


def _same(row: Floats, others: Floats) -> npt.NDArray[np.bool_]:
    """Say which boxes show the same face as one."""
    low, high = np.maximum(row[:2], others[:, :2]), np.minimum(row[2:4], others[:, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=1)
    area, areas = np.prod(row[2:4] - row[:2]), np.prod(others[:, 2:4] - others[:, :2], axis=1)
    same = (shared >= SAME_FACE * (area + areas - shared)) | (shared >= INSIDE * np.minimum(area, areas))
    return np.asarray(same, np.bool_)


def _turn_back(rows: Floats, quarters: int, width: int, height: int) -> Floats:
    """Map what was found in ``np.rot90(image, quarters)`` to the image of ``width`` and ``height``."""
    x, y = rows[:, 0:14:2], rows[:, 1:14:2]
    turned = ((x, y), (width - y, x), (width - x, height - y), (y, height - x))[quarters]
    points = np.stack(turned, 2)
    corners = points[:, :2]
    return np.concatenate([corners.min(1), corners.max(1), points[:, 2:].reshape(-1, 10), rows[:, 14:]], 1)


def _sizes(rows: Floats) -> Floats:
    """Return the longer side of each box."""
    return np.asarray(np.max(rows[:, 2:4] - rows[:, :2], axis=1, initial=0), np.float32)


def _best_score(rows: Floats) -> float:
    return float(np.max(rows[:, 14], initial=0))


def _face(row: Floats, width: int, height: int) -> Face:
    """Render a row as a face; its box ends where the picture does, its landmarks are where they are."""
    x0, y0, x1, y1 = np.clip(row[:4], 0, [width, height, width, height]).tolist()
    points = row[4:14].tolist()
    return Face(
        box=Box(x0=x0, y0=y0, x1=x1, y1=y1),
        detection_score=float(row[14]),
        landmarks=tuple(zip(points[0::2], points[1::2], strict=True)),
    )
