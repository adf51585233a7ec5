"""Random variations of training pictures: mirror, rotate, shift, stretch, shear, zoom, light.

Every variation of a picture is a function of ``(seed, epoch, row)`` alone. Training on one process
or several, interrupted or not, therefore shows the network the same pixels. What is drawn here,
:mod:`perceived.data.warp` does to the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from perceived.errors import ConfigError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MOST = {"rotate": 180.0, "shear": 80.0, "zoom": 10.0, "stretch": 10.0}
"""The farthest that variations go, in their own units; others go to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """How far each variation goes; every amount is drawn uniformly from minus to plus its range.

    ``mirror`` is a probability, ``rotate`` and ``shear`` are degrees, ``shift`` is a share of the
    picture's side, ``zoom`` and ``stretch`` are relative scales (0.1: from 1/1.1 to 1.1), ``light``
    and ``contrast`` are relative amounts and ``color`` is the relative gain of each channel.
    """

    mirror: float = 0.5
    rotate: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    stretch: float = 0.0
    shear: float = 0.0
    light: float = 0.0
    contrast: float = 0.0
    color: float = 0.0

    def __post_init__(self) -> None:
        for key, value in asdict(self).items():
            if not 0 <= value <= MOST.get(key, 1.0):
                raise ConfigError(
                    f"The augmentation's {key} cannot be {value!r}.", expected=f"0 to {MOST.get(key, 1.0):g}"
                )

    def scaled(self, strength: float) -> Augmentation:
        """Return variations that go ``strength`` times as far, or as far as can be; the mirror is left as it is."""
        amounts = {key: value for key, value in asdict(self).items() if key != "mirror"}
        farther = {key: min(round(value * strength, 4), MOST.get(key, 1.0)) for key, value in amounts.items()}
        return Augmentation(mirror=self.mirror, **farther)


STRONG = Augmentation(rotate=15, shift=0.08, zoom=0.15, stretch=0.12, shear=8, light=0.12, contrast=0.2, color=0.05)
"""Roughly the study's generator, and what :func:`perceived.data.preview.preview` shows unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Variation:
    """Drawn amounts for ``n`` pictures.

    ``matrices`` are ``(n, 2, 3)``: output to input, both in coordinates from -1 to 1 (the
    convention of ``torch.nn.functional.affine_grid``). ``gain`` and ``offset`` are ``(n, 3)``: a
    pixel becomes ``gain * pixel + offset`` on the scale 0-255.
    """

    matrices: Floats
    gain: Floats
    offset: Floats


DRAWS = 12


def draw(
    augmentation: Augmentation, rows: Sequence[int] | npt.NDArray[np.int64], *, seed: int, epoch: int
) -> Variation:
    """Draw the variation of each row of the training table for one epoch."""
    uniform = np.stack([np.random.Philox(key=[(seed << 20) + epoch, int(row)]).random_raw(DRAWS) for row in rows])
    unit = (uniform >> np.uint64(11)) * 2.0**-53
    signed = 2.0 * unit - 1.0
    mirror = np.where(unit[:, 0] < augmentation.mirror, -1.0, 1.0)
    angle = np.deg2rad(augmentation.rotate * signed[:, 1])
    shear = np.tan(np.deg2rad(augmentation.shear * signed[:, 2]))
    zoom = (1 + augmentation.zoom) ** signed[:, 3]
    stretch = (1 + augmentation.stretch) ** (signed[:, 4] / 2)
    shift = 2 * augmentation.shift * signed[:, 5:7]
    linear = _rotation(angle) @ _matrix(np.ones_like(shear), shear, np.zeros_like(shear), np.ones_like(shear))
    linear = linear @ _matrix(mirror * stretch / zoom, np.zeros_like(zoom), np.zeros_like(zoom), 1 / (zoom * stretch))
    contrast = 1 + augmentation.contrast * signed[:, 7:8]
    gain = contrast * (1 + augmentation.color * signed[:, 8:11])
    light = 255 * augmentation.light * signed[:, 11:12]
    return Variation(
        np.concatenate([linear, shift[:, :, None]], axis=2).astype(np.float32),
        gain.astype(np.float32),
        (127.5 * (1 - contrast) + light).repeat(3, axis=1).astype(np.float32),
    )


def _matrix(a: Doubles, b: Doubles, c: Doubles, d: Doubles) -> Doubles:
    return np.stack([np.stack([a, b], axis=1), np.stack([c, d], axis=1)], axis=1)


def _rotation(angle: Doubles) -> Doubles:
    return _matrix(np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle))
