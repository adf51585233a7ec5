"""UTKFace's names: age, label and race read from them, and those that say too little listed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perceived.data import table
from perceived.data.source import AGES, age_band
from perceived.workspace import Workspace


def test_names_are_read(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> None:
    (tmp_path / "UTKFace" / "part1").mkdir(parents=True)
    names = (
        "1_0_0_20161219140623097.jpg.chip.jpg",
        "100_1_3_20170110183726390.jpg.chip.jpg",
        "26_1_4_201701040231024222.jpg",
        "61_1_20170109150557335.jpg.chip.jpg",
        "contents.jpg",
    )
    for name in names:
        (tmp_path / "UTKFace" / "part1" / name).write_bytes(make_jpeg(0, (12, 12)))
    report = table.prepare(tmp_path / "UTKFace", tmp_path / "work")
    examples = Workspace(tmp_path / "work").read_examples()
    assert report.layout == "UTKFace's names"
    assert list(examples.select("id", "label", "race", "age").iter_rows()) == [
        ("part1/" + names[1], "female", "Indian", "more than 70"),
        ("part1/" + names[0], "male", "White", "0-2"),
        ("part1/" + names[2], "female", "Others", "20-29"),
    ]
    assert report.problems["unreadable_rows"] == ["part1/" + names[3]]
    assert report.problems["pictures_without_row"] == ["part1/contents.jpg"]
    assert set(examples["source"]) == {"utkface"}


@pytest.mark.parametrize(("years", "band"), [(0, "0-2"), (3, "3-9"), (69, "60-69"), (70, "more than 70"), (300, None)])
def test_years_fall_into_bands(years: int, band: str | None) -> None:
    assert age_band(years) == band


def test_every_age_has_a_band_and_bands_are_in_order() -> None:
    bands = [AGES.index(str(age_band(years))) for years in range(121)]
    assert bands == sorted(bands)
    assert set(bands) == set(range(len(AGES)))
