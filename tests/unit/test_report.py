"""Pages: figures as people write them, pictures inside, and no blank where a value is missing."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import jinja2
import numpy as np
import pytest
from PIL import Image

from perceived.pages import charts, report


@pytest.mark.parametrize(
    ("rendered", "expected"),
    [
        (report.percent(0.9838), "98.4%"),
        (report.percent(0.9615, 2), "96.15%"),
        (report.percent(None), "–"),
        (report.number(202599), "202,599"),
        (report.number(None), "–"),
        (report.points(0.0214), "+2.1 points"),
        (report.points(None), "–"),
        (report.p_value(0.0123), "0.0123"),
        (report.p_value(0.00004), "<0.0001"),
        (report.p_value(None), "–"),
    ],
)
def test_figures_are_written_as_people_write_them(rendered: str, expected: str) -> None:
    assert rendered == expected


def test_a_picture_travels_inside_the_page() -> None:
    pixels = np.full((600, 300, 3), (200, 40, 40), np.uint8)
    head, data = report.picture_uri(pixels).split(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (128, 256)
        assert np.abs(np.asarray(image).astype(int) - (200, 40, 40)).max() < 12


def test_a_value_that_is_missing_is_an_error_not_a_blank() -> None:
    with pytest.raises(jinja2.UndefinedError, match="found"):
        report.render("explore.html", {})


def test_every_colour_of_the_charts_has_a_light_and_a_dark_form() -> None:
    style = (Path(report.__file__).parent / "templates" / "report.css").read_text()
    light, dark = style.split("prefers-color-scheme: dark")
    for name in charts.COLORS:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark
