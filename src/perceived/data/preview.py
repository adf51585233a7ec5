"""A sheet of one picture and what training sees of it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import torch

from perceived import images, storage
from perceived.data import degrade, warp
from perceived.data.augment import draw
from perceived.detector import YuNet, largest_face
from perceived.preprocess import Pixels, frame
from perceived.recipes import Recipe


def preview(image_path: Path, out: Path, recipe: Recipe, *, count: int = 10, seed: int = 0) -> Path:
    """Write a PNG of one picture and ``count`` random variations of it, two rows with the original first.

    They are what training by ``recipe`` sees of the picture in its first epoch, ``count`` rows of it, and so is the
    original: framed, in the size in which training ends; its largest face, where the recipe has an alignment.
    What it is mixed with afterwards (``mixup``, ``cutmix``) is not shown.

    Raises:
        ConfigError: ``out`` is the picture, or no name of a PNG.
        ImageError: the picture cannot be decoded.
    """
    storage.require_other(out, (image_path,), suffixes=(".png",))
    original, framing = images.load(str(image_path)), recipe.framing()
    face = largest_face(YuNet().detect(original)) if framing.alignment else None
    pixels = frame(original, framing, face)
    rows = np.arange(count)
    spoilt = degrade.batch(np.repeat(pixels[None], count, axis=0), recipe.degradation, rows, seed=seed, epoch=0)
    variation = draw(recipe.augmentation, rows, seed=seed, epoch=0)
    batch = warp.apply(spoilt, variation, pixels.shape[:2], torch.device("cpu"))
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
