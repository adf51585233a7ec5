"""Faults of real pictures for training: few pixels, blur, noise, compression, grey, something in front.

Like the variations of :mod:`perceived.data.augment`, what happens to a picture is a function of
``(seed, epoch, row)`` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from perceived.corruptions import recompressed
from perceived.errors import ConfigError
from perceived.preprocess import Pixels

Fault: TypeAlias = Callable[[Pixels, np.random.Generator], Pixels]

COVERED = (0.15, 0.45)
"""Sides of what stands in front of a face, in shares of the picture's."""
BLUR = 0.03
"""Largest standard deviation of the blur, in shares of the picture's height."""
QUIETEST = 2.0
"""Smallest standard deviation of the noise, on the scale 0-255."""
BEST = 75
"""The highest JPEG quality that is drawn."""
LIMITS = {"smallest": (1.0, 1e6), "loudest": (QUIETEST, 255.0), "poorest": (1.0, float(BEST))}
"""What is no odds from 0 to 1, and the least and the most it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """How likely each fault is, from 0 (never) to 1 (always); they are drawn independently.

    ``shrink`` leaves a picture at least ``smallest`` pixels high, enlarged again; ``noise`` has a standard
    deviation of up to ``loudest`` on the scale 0-255; ``jpeg`` has a quality of at least ``poorest``;
    ``cover`` puts a rectangle of one colour over a part of the picture.
    """

    shrink: float = 0.0
    smallest: int = 20
    blur: float = 0.0
    noise: float = 0.0
    loudest: float = 18.0
    jpeg: float = 0.0
    poorest: int = 15
    grey: float = 0.0
    cover: float = 0.0

    def __post_init__(self) -> None:
        ranges = dict.fromkeys((field.name for field in fields(self)), (0.0, 1.0)) | LIMITS
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"The degradation's {name} cannot be {value!r}.", expected=f"{low:g} to {high:g}")


UNSPOILT = Degradation()


def batch(pixels: Pixels, degradation: Degradation, rows: npt.NDArray[np.int64], *, seed: int, epoch: int) -> Pixels:
    """Return ``(n, h, w, 3)`` RGB uint8 pictures with the faults drawn for these rows in this epoch."""
    if degradation == UNSPOILT:
        return pixels
    drawn = [np.random.default_rng([seed, epoch, int(row)]) for row in rows]
    return np.stack([apply(one, degradation, random) for one, random in zip(pixels, drawn, strict=True)])


def apply(picture: Pixels, degradation: Degradation, random: np.random.Generator) -> Pixels:
    """Return one ``(h, w, 3)`` RGB uint8 picture with faults drawn from ``random``, in a camera's order."""
    faults: tuple[tuple[float, Fault], ...] = (
        (degradation.cover, _cover),
        (degradation.grey, _grey),
        (degradation.blur, _blur),
        (degradation.shrink, lambda one, draw: _shrink(one, draw, degradation.smallest)),
        (degradation.noise, lambda one, draw: _noise(one, draw, degradation.loudest)),
        (degradation.jpeg, lambda one, draw: _compress(one, draw, degradation.poorest)),
    )
    happens = random.random(len(faults))
    for draw, (odds, fault) in zip(happens, faults, strict=True):
        if draw < odds:
            picture = fault(picture, random)
    return picture


def _cover(picture: Pixels, random: np.random.Generator) -> Pixels:
    height, width = picture.shape[:2]
    tall, wide = (random.uniform(*COVERED, 2) * (height, width)).astype(int)
    top, left = random.integers(0, height - tall + 1), random.integers(0, width - wide + 1)
    covered = picture.copy()
    covered[top : top + tall, left : left + wide] = random.integers(0, 256, 3)
    return covered


def _grey(picture: Pixels, random: np.random.Generator) -> Pixels:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def _blur(picture: Pixels, random: np.random.Generator) -> Pixels:
    sigma = picture.shape[0] * BLUR * random.uniform(0.1, 1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def _shrink(picture: Pixels, random: np.random.Generator, smallest: int) -> Pixels:
    """Shrink to a height drawn evenly on a logarithmic scale, and enlarge again."""
    height, width = picture.shape[:2]
    low = min(smallest, height)
    small = round(float(np.exp(random.uniform(np.log(low), np.log(height)))))
    size = max(1, round(width * small / height)), small
    shrunk = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    way_back = int(random.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC]))
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=way_back), np.uint8)


def _noise(picture: Pixels, random: np.random.Generator, loudest: float) -> Pixels:
    noise = random.standard_normal(picture.shape, np.float32) * np.float32(random.uniform(QUIETEST, loudest))
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def _compress(picture: Pixels, random: np.random.Generator, poorest: int) -> Pixels:
    return recompressed(picture, int(random.integers(poorest, BEST + 1)))
