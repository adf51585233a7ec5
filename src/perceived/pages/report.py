"""One self-contained page from a template: styles, charts and pictures are all inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

import perceived
from perceived import images, storage, wording
from perceived.errors import ImageError
from perceived.pages import charts
from perceived.pages.markdown import plain
from perceived.preprocess import Pixels
from perceived.wording import NOTHING, counted, signed

STUDY = {"accuracy": 0.962, "f1": 0.9615}
"""What the CelebA gender study published for its network."""

_JPEG_QUALITY = 85
_SHOWN_SIDE = 256
"""Pictures in a page are scaled down to fit a square of this many pixels, unless told otherwise."""
_GREY = 200
"""Brightness of what stands for a picture that cannot be read any more."""


def write(path: Path, template: str, context: Mapping[str, Any]) -> None:
    """Render ``templates/{template}.jinja`` and write it atomically."""
    storage.write_text(path, render(template, context))


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a page, ``*.html`` or ``*.md``; a name that it uses and ``context`` lacks is an error, not a blank."""
    environment = Environment(
        loader=PackageLoader("perceived.pages"),
        autoescape=template.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (percent, confidence, number, counted, signed, points, p_value, plain)
    environment.filters |= {render.__name__: render for render in filters}
    return environment.get_template(f"{template}.jinja").render(**context, version=perceived.__version__, study=STUDY)


def figure_svg(figure: Figure, *, title: str) -> Markup:
    """Return a chart as markup to place in a page."""
    return Markup(charts.to_svg(figure, title=title))


def save_charts(out: Path, drawings: Mapping[str, tuple[Figure, str]]) -> dict[str, Markup]:
    """Write every chart, given with its title, as ``NAME.png`` into ``out``; return them as markup by name."""
    for name, (figure, title) in drawings.items():
        charts.save_png(figure, out / f"{name}.png", title=title)
    return {name: figure_svg(figure, title=title) for name, (figure, title) in drawings.items()}


def place_from(start: float) -> Callable[[float], float]:
    """Return what says where a share lies, in percent, on a scale from ``start`` to 1; lower ones lie at its start."""
    return lambda share: round(100 * max(0.0, share - start) / (1 - start), 2)


def picture_uri(pixels: Pixels, *, side: int = _SHOWN_SIDE) -> str:
    """Return an RGB picture, ``(h, w, 3)`` uint8, as a ``data:`` address of a JPEG that fits a square of ``side``."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery(
    rows: Iterable[Mapping[str, Any]], paths: Mapping[str, str], *, side: int = _SHOWN_SIDE
) -> list[dict[str, Any]]:
    """Add to each row, which names a picture by its ``id``, its ``uri``; one that has gone since is grey."""
    found = []
    for row in rows:
        try:
            pixels = images.load(paths[row["id"]])
        except ImageError:
            pixels = np.full((side, side, 3), _GREY, np.uint8)
        found.append({**row, "uri": picture_uri(pixels, side=side)})
    return found


def percent(value: float | None, digits: int = 1) -> str:
    """Render a share as percent: ``0.9838`` is ``98.4%``; what is not quite all or nothing says so: ``>99.9%``."""
    if value is None:
        return NOTHING
    step = 10.0**-digits
    shown = round(value * 100, digits)
    if shown >= 100 and value < 1:
        return f">{100 - step:.{digits}f}%"
    if shown == 0 and value > 0:
        return f"<{step:.{digits}f}%"
    return f"{shown:.{digits}f}%"


def confidence(value: float) -> str:
    """Render a confidence as percent, never rounded up: ``99.9%`` for 0.9996."""
    return f"{wording.confidence(value)}%"


def number(value: float | None, digits: int = 0) -> str:
    """Render a number with thousands set apart."""
    return NOTHING if value is None else f"{value:,.{digits}f}"


def mean(curve: Sequence[Mapping[str, Any]], name: str) -> float:
    """Return the mean of a rate over the points of a curve."""
    return sum(float(point[name]["value"]) for point in curve) / len(curve)


def p_value(value: float | None) -> str:
    """Render a p-value; one that would round to nothing says what it is below."""
    return "<0.0001" if value is not None and value < 0.00005 else number(value, 4)


def points(value: float | None) -> str:
    """Render a difference of two shares in percentage points."""
    return NOTHING if value is None else f"{signed(value * 100, 1)} points"
