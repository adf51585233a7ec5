"""Charts: what is written on them, and that one drawing serves both themes."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from perceived.pages import charts

COUNTS = {"female": 118_165, "male": 84_434}
RATES = [
    {"name": "Wearing_Lipstick", "rate": {"female": 0.8, "male": 0.006}, "correlation": -0.8},
    {"name": "Bald", "rate": {"female": 0.0, "male": 0.0}, "correlation": None},
]
FIGURES = {
    "label_counts": charts.label_counts(COUNTS),
    "partition_counts": charts.partition_counts({"train": COUNTS, "val": {"female": 0, "male": 0}, "test": COUNTS}),
    "attribute_rates": charts.attribute_rates(RATES),
    "size_counts": charts.size_counts(
        [{"width": 178, "height": 218, "count": 9}, {"width": None, "height": None, "count": 2}]
    ),
    "picture": charts.picture(np.zeros((20, 10, 3), np.uint8), ["Bald: no"]),
    "reliability": charts.reliability(np.array([0.6, np.nan, 0.99]), np.array([0.5, np.nan, 1.0])),
    "risk_coverage": charts.risk_coverage(np.array([0.5, 1.0]), np.array([0.0, 0.1]), target=0.03, chosen=0.5),
    "score_histogram": charts.score_histogram({"female": np.array([0.1]), "male": np.array([0.9])}, positive="male"),
}


def texts(svg: str) -> list[str]:
    return [node.text or "" for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(params=FIGURES)
def figure(request: pytest.FixtureRequest) -> Figure:
    return charts.chart(FIGURES[request.param])


def test_every_chart_becomes_a_png_and_an_svg_in_the_pages_colours(figure: Figure, tmp_path: Path) -> None:
    svg = charts.to_svg(figure, title="a title")
    assert not re.search(r"#[0-9a-f]{6}(?![0-9a-f])", re.sub(r"(?:href=\"|url\()#\w+", "", svg)), "a fixed colour"
    assert "var(--sans)" in svg or not texts(svg)
    assert "DejaVu" not in svg
    assert "<style" not in svg, "a style inside an inline svg would apply to the whole page"
    assert ET.fromstring(svg).attrib["aria-label"] == "a title"
    charts.save_png(figure, tmp_path / "chart.png", title="by cost_$, and more_{$: no formula")
    with Image.open(tmp_path / "chart.png") as image:
        assert image.width == charts.WIDTH * charts.DPI
        assert np.asarray(image.convert("L")).std() > 5, "an empty picture"


def test_counts_are_written_on_the_bars() -> None:
    written = texts(charts.to_svg(charts.chart(charts.label_counts(COUNTS)), title="t"))
    assert {"118,165", "84,434", "58.3%", "41.7%", "female", "male"} <= set(written)


def test_empty_partitions_are_left_out() -> None:
    written = texts(charts.to_svg(charts.chart(FIGURES["partition_counts"]), title="t"))
    assert "train" in written
    assert "val" not in written


def test_attributes_stand_with_their_correlation() -> None:
    written = texts(charts.to_svg(charts.chart(FIGURES["attribute_rates"]), title="t"))
    assert {"Wearing Lipstick  −0.80", "Bald  –"} <= set(written)


def test_a_title_is_for_the_png_alone(tmp_path: Path) -> None:
    figure = charts.chart(FIGURES["label_counts"])
    charts.save_png(figure, tmp_path / "a.png", title="Pictures by label")
    assert "Pictures by label" not in texts(charts.to_svg(figure, title="Pictures by label"))


def test_the_same_chart_is_the_same_file(tmp_path: Path) -> None:
    first, second = (charts.to_svg(charts.chart(FIGURES["reliability"]), title="t") for _ in range(2))
    assert first == second


def test_counts_of_nothing_are_drawn() -> None:
    drawn = charts.to_svg(charts.chart(charts.label_counts({"female": 0, "male": 0})), title="t")
    assert texts(drawn).count("0") == 2
