"""Answers drawn: boxes and labels on the picture, faces cut out, and what the network looked at."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from perceived.preprocess import Pixels
from perceived.types import Box, Prediction

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {"female": (230, 159, 0), "male": (86, 180, 233)}
"""RGB, from the palette of Okabe and Ito (jfly.uni-koeln.de/color), which colour-blind people can tell apart."""
OTHER: Colour = (204, 204, 204)
"""For ``uncertain``, and for labels of other models."""
INK: Colour = (0, 0, 0)

LEAST_SIDE = 480
"""A smaller picture is enlarged before it is drawn on, in pixels of its longer side: text needs room."""
LEAST_TEXT = 12
"""Height of the smallest text, in pixels."""
OVERLAY_SIDE = 320


def annotate(image: Pixels, predictions: Sequence[Prediction], captions: Sequence[str] = ()) -> Pixels:
    """Return RGB pixels with a box and a caption for each answer; a small picture comes out enlarged.

    ``captions`` replace the default one, which is :func:`caption`.
    """
    factor = max(1, -(-LEAST_SIDE // max(image.shape[:2])))
    canvas = Image.fromarray(image)
    if factor > 1:
        canvas = canvas.resize((canvas.width * factor, canvas.height * factor), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    texts = captions or [caption(prediction) for prediction in predictions]
    marks = [
        (_scaled(prediction.face.box, factor), COLOURS.get(prediction.perceived_gender, OTHER), text)
        for prediction, text in zip(predictions, texts, strict=True)
    ]
    for box, colour, _ in marks:
        _outline(pen, box, colour, max(2, round(max(canvas.size) / 400)))
    for box, colour, text in marks:
        _plate(pen, canvas.size, box, colour, text)
    return np.asarray(canvas)


def caption(prediction: Prediction) -> str:
    """Return what is written beside a box: ``female 98 %``, never rounded up to certainty."""
    return f"{prediction.perceived_gender} {min(99, int(prediction.confidence * 100))} %"


def overlay(framed: Pixels, activation: npt.NDArray[np.float32]) -> Pixels:
    """Return what the network saw, with warm colours where it speaks for the answer.

    ``framed`` is RGB uint8 ``(h, w, 3)``; ``activation`` is coarser, of any scale. Only what speaks
    for the answer is coloured: the map is cut at 0 and its largest value is the warmest colour.
    """
    scale = OVERLAY_SIDE / max(framed.shape[:2])
    size = round(framed.shape[1] * scale), round(framed.shape[0] * scale)
    for_it = np.maximum(activation.astype(np.float32), 0)
    smooth = cv2.resize(for_it / max(float(for_it.max()), 1e-9), size, interpolation=cv2.INTER_LINEAR)
    warm = cv2.applyColorMap(np.asarray(np.clip(smooth, 0, 1) * 255, np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    below = np.asarray(cv2.resize(framed, size, interpolation=cv2.INTER_LINEAR), np.float32)
    weight = 0.65 * np.clip(smooth, 0, 1)[:, :, None]
    return np.asarray(np.rint(below * (1 - weight) + warm * weight), np.uint8)


def _scaled(box: Box, factor: int) -> Box:
    return Box(x0=box.x0 * factor, y0=box.y0 * factor, x1=box.x1 * factor, y1=box.y1 * factor)


def _outline(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int) -> None:
    """Draw a coloured frame with a thin dark one around it, so that it shows on any background."""
    x0, y0 = round(box.x0), round(box.y0)
    x1, y1 = max(x0, round(box.x1) - 1), max(y0, round(box.y1) - 1)
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=INK, width=width + 2)
    pen.rectangle((x0, y0, x1, y1), outline=colour, width=width)


def _plate(pen: ImageDraw.ImageDraw, size: tuple[int, int], box: Box, colour: Colour, text: str) -> None:
    """Write on a coloured plate above the box, or inside its top where there is no room above."""
    width, height = size
    font = _font(_text_height(box, max(size)))
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, (bottom - top) // 5)
    plate_width, plate_height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(0, round(box.x0)), max(0, width - round(plate_width)))
    y = round(box.y0 - plate_height)
    y = y if y >= 0 else min(max(0, round(box.y0)), max(0, height - round(plate_height)))
    pen.rectangle((x, y, x + plate_width, y + plate_height), fill=colour)
    pen.text((x + pad - left, y + pad - top), text, fill=INK, font=font)


def _text_height(box: Box, longer_side: int) -> int:
    """Return a text height that suits the face and can still be read when the whole picture is looked at."""
    low = max(LEAST_TEXT, longer_side // 100)
    return int(min(max(box.width * 0.18, low), max(low, longer_side // 20)))


@functools.lru_cache(64)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=height)
