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
        (report.percent(1.0), "100.0%"),
        (report.percent(0.9996), ">99.9%"),
        (report.percent(0.0004), "<0.1%"),
        (report.percent(0.0), "0.0%"),
        (report.confidence(0.9996), "99.9%"),
        (report.number(202599), "202,599"),
        (report.number(None), "–"),
        (report.points(0.0214), "+2.1 points"),
        (report.points(None), "–"),
        (report.p_value(0.0123), "0.0123"),
        (report.p_value(0.00004), "<0.0001"),
        (report.p_value(0.00008), "0.0001"),
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


def test_a_picture_that_has_gone_since_is_grey(tmp_path: Path) -> None:
    (row,) = report.gallery([{"id": "a"}], {"a": str(tmp_path / "gone.png")}, side=16)
    with Image.open(io.BytesIO(base64.b64decode(row["uri"].split(",")[1]))) as image:
        assert image.size == (16, 16)
        assert np.abs(np.asarray(image).astype(int) - 200).max() < 4


def test_a_place_on_a_scale_is_a_share_of_what_is_shown_of_it() -> None:
    place = report.place_from(0.6)
    assert [place(share) for share in (0.5, 0.6, 0.7, 1)] == [0, 0, 25, 100]


def test_a_scale_starts_at_a_multiple_of_five_percent_a_little_below_the_lowest() -> None:
    assert [charts.scale_start(lowest) for lowest in (0.0, 0.872, 0.852, 0.85, 0.8)] == [0, 0.85, 0.8, 0.8, 0.75]


def test_a_long_name_is_cut_to_so_many_letters() -> None:
    assert charts.short("x" * 40) == "x" * 40
    assert charts.short("x" * 41) == "x" * 39 + "…"


def test_a_value_that_is_missing_is_an_error_not_a_blank() -> None:
    with pytest.raises(jinja2.UndefinedError, match="found"):
        report.render("explore.html", {})


def test_every_colour_of_the_charts_has_a_light_and_a_dark_form() -> None:
    style = (Path(report.__file__).parent / "templates" / "report.css").read_text()
    light, dark = style.split("prefers-color-scheme: dark")
    for name in charts.COLORS:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark
