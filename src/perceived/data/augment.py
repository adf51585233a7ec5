"""Random variations of training pictures: mirror, rotate, shift, stretch, shear, zoom, light.

Every variation of a picture is a function of ``(seed, epoch, row)`` alone. Training on one process
or several, interrupted or not, therefore shows the network the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from perceived import images, storage
from perceived.data import degrade
from perceived.data.degrade import Degradation
from perceived.errors import ConfigError
from perceived.preprocess import Preprocessing, frame

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


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


def apply(pixels: Pixels, variation: Variation, size: tuple[int, int], device: torch.device) -> Tensor:
    """Warp and relight ``(n, h, w, 3)`` uint8 pictures into ``(n, 3, *size)`` float32 in 0-255 on ``device``.

    A rotation turns the picture as it is seen: the matrices are corrected for its aspect ratio. On
    the CPU the warp is OpenCV's, several times faster there than ``grid_sample``; elsewhere it is one
    batched ``grid_sample``. Both sample bilinearly and mirror the picture at its border.
    """
    matrices = _keep_aspect(variation.matrices, pixels.shape[1] / pixels.shape[2])
    warp = _warp_on_cpu if device.type == "cpu" else _warp_on_device
    warped = warp(pixels, matrices, size, device)
    gain = torch.from_numpy(variation.gain).to(device)[:, :, None, None]
    offset = torch.from_numpy(variation.offset).to(device)[:, :, None, None]
    return (warped * gain + offset).clamp_(0, 255)


def _keep_aspect(matrices: Floats, height_to_width: float) -> Floats:
    corrected = matrices.copy()
    corrected[:, 0, 1] *= height_to_width
    corrected[:, 1, 0] /= height_to_width
    return corrected


def _warp_on_cpu(pixels: Pixels, matrices: Floats, size: tuple[int, int], device: torch.device) -> Tensor:
    _, height, width, _ = pixels.shape
    warped = np.empty((len(pixels), *size, 3), np.uint8)
    to_unit, from_unit = _to_unit(size[1], size[0]), np.linalg.inv(_to_unit(width, height))
    shrink = max(height / size[0], width / size[1]) > 1
    for row, matrix in enumerate(matrices):
        full = from_unit @ np.vstack([matrix, [0, 0, 1]]) @ to_unit
        source = pixels[row]
        if shrink:
            source = cv2.resize(source, (size[1], size[0]), interpolation=cv2.INTER_AREA)
            full = np.linalg.inv(to_unit) @ np.vstack([matrix, [0, 0, 1]]) @ to_unit
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(source, full[:2], (size[1], size[0]), warped[row], flags, cv2.BORDER_REFLECT)
    return torch.from_numpy(warped).permute(0, 3, 1, 2).float()


def _to_unit(width: int, height: int) -> npt.NDArray[np.float64]:
    """Return the matrix from pixel indices to coordinates in which the picture spans -1 to 1."""
    return np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])


def _warp_on_device(pixels: Pixels, matrices: Floats, size: tuple[int, int], device: torch.device) -> Tensor:
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).float()
    if batch.shape[2] > size[0] or batch.shape[3] > size[1]:
        batch = functional.interpolate(batch, size, mode="area")
    theta = torch.from_numpy(matrices).to(device)
    grid = functional.affine_grid(theta, [len(batch), 3, *size], align_corners=False)
    return functional.grid_sample(batch, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


STRONG = Augmentation(rotate=15, shift=0.08, zoom=0.15, stretch=0.12, shear=8, light=0.12, contrast=0.2, color=0.05)
"""Roughly the study's generator, and what :func:`preview` shows unless told otherwise."""


def preview(
    image_path: Path,
    out: Path,
    *,
    augmentation: Augmentation = STRONG,
    degradation: Degradation = degrade.UNSPOILT,
    count: int = 10,
    seed: int = 0,
) -> Path:
    """Write a PNG of one picture and ``count`` random variations of it, two rows with the original first.

    They are what training with these settings sees of the picture in its first epoch, ``count`` rows of it.

    Raises:
        ImageError: the picture cannot be decoded.
    """
    original = images.load(str(image_path))
    height = 218
    width = max(1, round(original.shape[1] * height / original.shape[0]))
    framing = Preprocessing(height=height, width=width, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = frame(original, framing)
    rows = np.arange(count)
    spoilt = degrade.batch(np.repeat(pixels[None], count, axis=0), degradation, rows, seed=seed, epoch=0)
    variation = draw(augmentation, rows, seed=seed, epoch=0)
    batch = apply(spoilt, variation, (height, width), torch.device("cpu"))
    varied = batch.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    sheet = _contact_sheet(pixels, cast(Pixels, varied))
    with storage.atomic_path(out) as partial:
        images.save_png(sheet, partial)
    return out


def _contact_sheet(original: Pixels, varied: Pixels) -> Pixels:
    """Lay the original out before two rows of its variations, on white."""
    gap = 6
    columns = -(-len(varied) // 2)
    height, width, _ = original.shape
    sheet = np.full((2 * height + gap, (columns + 1) * (width + gap) + gap, 3), 255, np.uint8)
    middle = (sheet.shape[0] - height) // 2
    sheet[middle : middle + height, :width] = original
    for index, picture in enumerate(varied):
        top = (index // columns) * (height + gap)
        left = (index % columns + 1) * (width + gap) + gap
        sheet[top : top + height, left : left + width] = picture
    return sheet
