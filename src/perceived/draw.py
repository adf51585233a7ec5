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
from perceived.wording import confidence

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {"female": (168, 146, 240), "male": (237, 167, 74)}
"""RGB: the violet and amber of reports in their dark theme, which photographs mostly are; black reads on both."""
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
        (prediction.face.box.scaled(factor, factor), COLOURS.get(prediction.perceived_gender, OTHER), text)
        for prediction, text in zip(predictions, texts, strict=True)
    ]
    for box, colour, _ in marks:
        _outline(pen, box, colour, _line_width(box, max(canvas.size)))
    taken = [box for box, _, _ in marks]
    for box, colour, text in marks:
        others = [one for one in taken if one is not box]
        taken.append(_plate(pen, canvas.size, box, colour, text, others))
    return np.asarray(canvas)


def caption(prediction: Prediction) -> str:
    """Return what is written beside a box: ``female 98.2 %``."""
    return f"{prediction.perceived_gender} {confidence(prediction.confidence)} %"


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


def _outline(pen: ImageDraw.ImageDraw, box: Box, colour: Colour, width: int) -> None:
    """Draw a coloured frame with a thin dark one around it, so that it shows on any background."""
    x0, y0 = round(box.x0), round(box.y0)
    x1, y1 = max(x0, round(box.x1) - 1), max(y0, round(box.y1) - 1)
    pen.rectangle((x0 - 1, y0 - 1, x1 + 1, y1 + 1), outline=INK, width=width + 2)
    pen.rectangle((x0, y0, x1, y1), outline=colour, width=width)


def _line_width(box: Box, longer_side: int) -> int:
    """Return a width that the whole picture allows to be seen, and small faces in a crowd to be seen past."""
    return max(1, min(round(longer_side / 400), round(min(box.width, box.height) / 24)))


def _plate(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], box: Box, colour: Colour, text: str, taken: Sequence[Box]
) -> Box:
    """Write on a coloured plate beside the box, where it hides least of what is ``taken``; return the plate."""
    font = _font(_text_height(box, max(size)))
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    pad = max(2, (bottom - top) // 5)
    plate = _place(size, box, round(right - left + 2 * pad), round(bottom - top + 2 * pad), taken)
    pen.rectangle((plate.x0, plate.y0, plate.x1, plate.y1), fill=colour)
    pen.text((plate.x0 + pad - left, plate.y0 + pad - top), text, fill=INK, font=font)
    return plate


def _place(size: tuple[int, int], box: Box, width: int, height: int, taken: Sequence[Box]) -> Box:
    """Return the freest place above or below a box, or inside its top where the picture has room for neither."""
    right, bottom = max(0, size[0] - width), max(0, size[1] - height)
    lefts = [min(max(0, round(x)), right) for x in (box.x0, box.x1 - width)]
    tops = [y for y in (round(box.y0 - height), round(box.y1)) if 0 <= y <= bottom]
    tops = tops or [min(max(0, round(box.y0)), bottom)]
    places = [Box(x0=x, y0=y, x1=x + width, y1=y + height) for y in tops for x in lefts]
    return min(places, key=lambda place: sum(place.shared(other) for other in taken))


def _text_height(box: Box, longer_side: int) -> int:
    """Return a text height that suits the face and can still be read when the whole picture is looked at."""
    low = max(LEAST_TEXT, longer_side // 100)
    return int(min(max(box.width * 0.18, low), max(low, longer_side // 20)))


@functools.lru_cache(64)
def _font(height: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=height)
