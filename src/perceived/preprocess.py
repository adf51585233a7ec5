"""The one preprocessing: from a decoded picture to the pixels a network sees.

Its parameters are data that belong to a backbone and travel inside every checkpoint and model
file; training, evaluation and prediction all call :func:`frame`, so they cannot drift apart.
Normalisation (mean and standard deviation) is part of the network's own graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from perceived.errors import ConfigError

Pixels = npt.NDArray[np.uint8]

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
CROPS = ("center",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How a face picture becomes a network's input.

    ``height`` and ``width`` are pixels. ``mean`` and ``std`` are per RGB channel, on the scale of
    pixel values 0-255. ``crop`` says how another aspect ratio is met (``"center"``: the largest
    central rectangle of the right shape). ``alignment`` names the landmark template the face is
    warped to (``None``: the picture is taken as it is) and ``margin`` the share of the face box
    added on every side.
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
        if self.crop not in CROPS or self.alignment is not None:
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


def frame(image: Pixels, preprocessing: Preprocessing) -> Pixels:
    """Crop and resize one RGB picture, ``(h, w, 3)`` uint8, to ``(height, width, 3)`` uint8."""
    height, width = image.shape[:2]
    target = (preprocessing.width, preprocessing.height)
    if (width, height) == target:
        return image
    box = center_box(width, height, target[0] / target[1])
    resized = Image.fromarray(image).resize(target, INTERPOLATIONS[preprocessing.interpolation], box=box)
    return np.asarray(resized)
