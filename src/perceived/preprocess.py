"""The one preprocessing: from a decoded picture, and a face in it, to the pixels a network sees.

Its parameters are data that belong to a backbone and travel inside every checkpoint and model
file; training, evaluation and prediction all call :func:`frame`, so they cannot drift apart.
Normalisation (mean and standard deviation) is part of the network's own graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from perceived.errors import ConfigError
from perceived.types import Box, Face

Pixels = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float64]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CROPS = ("center",)

ALIGNMENTS = {
    "five-point": ((0.328, 0.289), (0.672, 0.289), (0.500, 0.507), (0.354, 0.682), (0.646, 0.682)),
}
"""Where a face's five landmarks (in the order of :class:`perceived.types.Face`) come to lie in a square
picture of side 1. ``"five-point"`` is the mean of what YuNet finds in FairFace's training pictures, made
symmetric, so that a picture of FairFace is on average left as it is."""
FACE_BOX = ((0.10, -0.08), (0.90, 0.94))
"""Where the corners of YuNet's box lie, on average, in the same square: for a face without landmarks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a face picture becomes a network's input.

    ``height`` and ``width`` are pixels. ``mean`` and ``std`` are per RGB channel, on the scale of
    pixel values 0-255. ``crop`` says how another aspect ratio is met (``"center"``: the largest
    central rectangle of the right shape). ``alignment`` names the template of :data:`ALIGNMENTS` to
    which a face's landmarks are brought (``None``: the picture is taken as it is) and ``margin`` is
    the share of the template's side that is added on every side of it.
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    crop: str = "center"
    alignment: str | None = None
    margin: float = 0.0

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ConfigError(f"A network input of {self.height}×{self.width} pixels is impossible.")
        if self.interpolation not in INTERPOLATIONS:
            raise ConfigError(
                f"Interpolation {self.interpolation!r} is unknown.", expected=f"one of {', '.join(INTERPOLATIONS)}"
            )
        if not -0.5 < self.margin < math.inf:
            raise ConfigError(f"A margin of {self.margin} frames no face.", expected="a number above -0.5")
        if self.crop not in CROPS or self.alignment not in (None, *ALIGNMENTS):
            raise ConfigError(
                f"Framing crop={self.crop!r}, alignment={self.alignment!r} is unknown to this version.",
                mend="upgrade perceived: the model file was written by a newer one",
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Preprocessing:
        """Rebuild from :meth:`to_dict`'s answer, or raise :class:`ConfigError`."""
        try:
            fields = dict(value)
            return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
        except (TypeError, KeyError) as error:
            raise ConfigError(f"The preprocessing data is not readable: {error}.") from error


def center_box(width: int, height: int, aspect: float) -> tuple[float, float, float, float]:
    """Return the largest central ``(x0, y0, x1, y1)`` of ``width/height == aspect`` in a picture."""
    crop_width = min(width, height * aspect)
    crop_height = min(height, width / aspect)
    x0, y0 = (width - crop_width) / 2, (height - crop_height) / 2
    return x0, y0, x0 + crop_width, y0 + crop_height


def frame(image: Pixels, preprocessing: Preprocessing, face: Face | None = None) -> Pixels:
    """Cut one face from an RGB picture, ``(h, w, 3)`` uint8, and return it as ``(height, width, 3)`` uint8.

    With a ``face`` and an ``alignment``, the face is turned, scaled and shifted so that its landmarks
    lie as near as possible to the template's (its box, where it has no landmarks). Otherwise the
    picture is taken as the face: its largest central rectangle of the right shape, resized.
    """
    if face is not None and preprocessing.alignment is not None:
        return _align(image, _placement(face, preprocessing), preprocessing)
    height, width = image.shape[:2]
    target = (preprocessing.width, preprocessing.height)
    if (width, height) == target:
        return image
    box = center_box(width, height, target[0] / target[1])
    resized = Image.fromarray(image).resize(target, INTERPOLATIONS[preprocessing.interpolation], box=box)
    return np.asarray(resized)


def frame_corners(image: Pixels, preprocessing: Preprocessing, face: Face | None = None) -> npt.NDArray[np.float64]:
    """Return where :func:`frame`'s upper left, upper right and lower left corners lie in the picture, ``(3, 2)``."""
    height, width = image.shape[:2]
    if face is not None and preprocessing.alignment is not None:
        corners = np.array([[0, 0, 1], [preprocessing.width, 0, 1], [0, preprocessing.height, 1]])
        return corners @ _placement(face, preprocessing).T
    x0, y0, x1, y1 = center_box(width, height, preprocessing.width / preprocessing.height)
    return np.array([[x0, y0], [x1, y0], [x0, y1]])


def _placement(face: Face, preprocessing: Preprocessing) -> Matrix:
    """Return the similarity, ``(2, 3)``, that takes pixel coordinates of the framed face to the picture's."""
    assert preprocessing.alignment is not None
    if face.landmarks is None:
        template, points = np.array(FACE_BOX), _corners(face.box)
    else:
        template, points = np.array(ALIGNMENTS[preprocessing.alignment]), np.array(face.landmarks, np.float64)
    side = max(preprocessing.height, preprocessing.width) / (1 + 2 * preprocessing.margin)
    middle = np.array([preprocessing.width, preprocessing.height]) / 2
    return similarity((template - 0.5) * side + middle, points)


def _corners(box: Box) -> npt.NDArray[np.float64]:
    """Return the corners of the rectangle around a box that has the shape of :data:`FACE_BOX`."""
    (x0, y0), (x1, y1) = FACE_BOX
    half = np.array([x1 - x0, y1 - y0]) / 2 * max(box.width / (x1 - x0), box.height / (y1 - y0))
    middle = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2
    return np.stack([middle - half, middle + half])


def similarity(source: npt.NDArray[np.float64], target: npt.NDArray[np.float64]) -> Matrix:
    """Return the turn, scale and shift, ``(2, 3)``, that take points ``source`` nearest to ``target``, ``(n, 2)``.

    Least squares over complex numbers, in which the map is ``z -> a z + b`` with ``a`` the turn and
    scale: ``a = sum(conj(z) w) / sum(|z|^2)`` over centred points (Umeyama 1991, doi:10.1109/34.88573).
    """
    z, w = source @ (1, 1j), target @ (1, 1j)
    centred = z - z.mean()
    a = np.vdot(centred, w - w.mean()) / np.vdot(centred, centred).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _align(image: Pixels, placement: Matrix, preprocessing: Preprocessing) -> Pixels:
    """Sample a picture where ``placement`` puts the framed face's pixels; beyond its border it is mirrored.

    A large face is first averaged down to nearly its final size, since sampling it directly would alias.
    """
    size = (preprocessing.width, preprocessing.height)
    corners = np.array([[0, 0, 1], [size[0], 0, 1], [0, size[1], 1], [*size, 1]]) @ placement.T
    limit = np.array([image.shape[1], image.shape[0]])
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - 2, 0, limit - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, low + 1, limit)
    part = image[low[1] : high[1], low[0] : high[0]]
    shrunk = _shrunk(part, float(np.hypot(placement[0, 0], placement[1, 0])))
    ratio = np.array([shrunk.shape[1] / part.shape[1], shrunk.shape[0] / part.shape[0]])
    matrix = placement.copy()
    matrix[:, 2] -= low
    matrix *= ratio[:, None]
    matrix[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5  # from coordinates of edges to those of pixel centres
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(shrunk, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT), np.uint8)


def _shrunk(part: Pixels, step: float) -> Pixels:
    """Return a picture that is sampled every ``step`` pixels, averaged down so that the step is below 1.5."""
    if step < 1.5:
        return part
    width, height = max(1, round(part.shape[1] / step)), max(1, round(part.shape[0] / step))
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
