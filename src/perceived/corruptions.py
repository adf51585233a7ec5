"""What spoils photographs of faces, as pure functions at five severities.

The kinds follow the protocol of Greco, Saggese, Vento and Vigilante 2020, "Gender recognition in the
wild: a robustness evaluation over corrupted images", which adapts Hendrycks and Dietterich 2019
(arXiv:1903.12261) to faces; rotation, occlusion, masks and small faces are added. Lengths are shares of
the picture's shorter side, so that a severity looks alike at any input size. Every function takes RGB
pixels ``(h, w, 3)`` uint8, the severity 1 to 5 and a generator, and returns pixels of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from perceived.errors import ConfigError
from perceived.preprocess import Pixels

SEVERITIES = (1, 2, 3, 4, 5)
Corruption = Callable[[Pixels, int, np.random.Generator], Pixels]


def corrupt(pixels: Pixels, kind: str, severity: int, *, seed: int = 0, index: int = 0) -> Pixels:
    """Spoil one picture; the same kind, severity, ``seed`` and ``index`` spoil it in the same way.

    Raises:
        ConfigError: there is no such kind or severity.
    """
    if kind not in KINDS:
        raise ConfigError(f"There is no corruption {kind!r}.", expected=f"some of {', '.join(KINDS)}")
    if severity not in SEVERITIES:
        raise ConfigError(f"A severity of {severity} is unknown.", expected="1 to 5")
    generator = np.random.default_rng([seed, index, severity, list(KINDS).index(kind)])
    return KINDS[kind](pixels, severity, generator)


def blur(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """Out of focus: a Gaussian of 0.6 to 4.5 % of the side."""
    sigma = min(pixels.shape[:2]) * _at(severity, 0.006, 0.012, 0.02, 0.03, 0.045)
    return _pixels(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))


def motion(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """The camera moved: a line of 3 to 18 % of the side, in any direction."""
    length = max(2, round(min(pixels.shape[:2]) * _at(severity, 0.03, 0.06, 0.09, 0.13, 0.18)))
    size = length | 1
    line = np.zeros((size, size), np.float32)
    line[size // 2] = 1
    turn = cv2.getRotationMatrix2D((size / 2 - 0.5, size / 2 - 0.5), float(generator.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(line, turn, (size, size))
    return _pixels(cv2.filter2D(pixels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


def noise(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """A poor sensor: Gaussian noise with a standard deviation of 4 to 38 % of the range."""
    scale = 255 * _at(severity, 0.04, 0.08, 0.14, 0.24, 0.38)
    return _clip(pixels + scale * generator.standard_normal(pixels.shape, dtype=np.float32))


def contrast(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """Fog: 60 to 8 % of the contrast is left, about the mean of each channel."""
    mean = pixels.mean(axis=(0, 1), dtype=np.float32)
    return _clip(mean + (pixels - mean) * np.float32(_at(severity, 0.6, 0.4, 0.25, 0.15, 0.08)))


def bright(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """Overexposed: the light is multiplied by 1.3 to 4, and clips."""
    return _clip(pixels * np.float32(_at(severity, 1.3, 1.7, 2.2, 3.0, 4.0)))


def dark(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Underexposed: 60 to 8 % of the light is left, with the sensor's noise of 1.5 levels."""
    dimmed = pixels * np.float32(_at(severity, 0.6, 0.4, 0.25, 0.15, 0.08))
    return _clip(dimmed + 1.5 * generator.standard_normal(pixels.shape, dtype=np.float32))


def jpeg(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """Compressed too far: JPEG of quality 30 to 3."""
    return recompressed(pixels, int(_at(severity, 30, 18, 10, 6, 3)))


def recompressed(pixels: Pixels, quality: int) -> Pixels:
    """Return RGB pixels, ``(h, w, 3)`` uint8, as a JPEG of a ``quality`` of 0 to 100 keeps them."""
    encoded = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(decoded[..., ::-1])


def pixelate(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """Made unrecognisable: squares, 48 to 8 of them along the shorter side."""
    small = _shrink(pixels, int(_at(severity, 48, 32, 22, 14, 8)))
    return _pixels(cv2.resize(small, pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST))


def small(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """Far away: a face of 64 to 10 pixels, enlarged again."""
    tiny = _shrink(pixels, int(_at(severity, 64, 40, 26, 16, 10)))
    return _pixels(cv2.resize(tiny, pixels.shape[1::-1], interpolation=cv2.INTER_CUBIC))


def occlude(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """Something is in front: a grey rectangle over 5 to 45 % of the picture, anywhere."""
    height, width = pixels.shape[:2]
    side = np.sqrt(_at(severity, 0.05, 0.12, 0.2, 0.3, 0.45))
    tall, broad = max(1, round(height * side)), max(1, round(width * side))
    top, left = generator.integers(0, height - tall + 1), generator.integers(0, width - broad + 1)
    covered = pixels.copy()
    covered[top : top + tall, left : left + broad] = 127
    return covered


def mask(pixels: Pixels, severity: int, _: np.random.Generator) -> Pixels:
    """A face mask: pale cloth over the lower part of the face, from the chin up to above the nose."""
    height, width = pixels.shape[:2]
    top = _at(severity, 0.8, 0.74, 0.68, 0.62, 0.55)
    outline = [(0.2, top + 0.03), (0.5, top - 0.03), (0.8, top + 0.03), (0.76, 0.86), (0.5, 0.95), (0.24, 0.86)]
    points = np.round(np.array(outline) * [width, height]).astype(np.int32)
    return _pixels(cv2.fillPoly(pixels.copy(), [points], (205, 218, 228), lineType=cv2.LINE_AA))


def rotate(pixels: Pixels, severity: int, generator: np.random.Generator) -> Pixels:
    """The head is tilted: by 10 to 90 degrees to either side, about the middle."""
    height, width = pixels.shape[:2]
    angle = _at(severity, 10, 20, 35, 55, 90) * generator.choice([-1, 1])
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(angle), 1)
    return _pixels(
        cv2.warpAffine(pixels, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    )


KINDS: Mapping[str, Corruption] = {
    function.__name__: function
    for function in (
        blur, motion, noise, contrast, bright, dark, jpeg, pixelate, small, occlude, mask, rotate,
    )
}  # fmt: skip
"""Every corruption by name, in the order of reports."""


def _at(severity: int, *values: float) -> float:
    return values[severity - 1]


def _shrink(pixels: Pixels, side: int) -> Pixels:
    """Return the picture with ``side`` pixels along its shorter side, or as it is if it is smaller."""
    height, width = pixels.shape[:2]
    scale = min(1.0, side / min(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return _pixels(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def _clip(values: npt.NDArray[Any]) -> Pixels:
    return _pixels(np.rint(np.clip(values, 0, 255)))


def _pixels(values: npt.NDArray[Any]) -> Pixels:
    return np.ascontiguousarray(values, dtype=np.uint8)
