"""Exploration: counts that are counted, correlations that are correlations, pictures that may be missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from perceived import explore
from perceived.data.celeba import ATTRIBUTES
from perceived.errors import ConfigError, DataError
from perceived.workspace import Workspace


def make_table(rows: int = 300, seed: int = 0, *, path: str | None = None) -> pl.DataFrame:
    """Return examples whose attributes lean on Male more or less; ``path`` is a folder of pictures."""
    rng = np.random.default_rng(seed)
    male = rng.random(rows) < 0.4
    lean = rng.uniform(-0.3, 0.3, len(ATTRIBUTES))
    columns: dict[str, object] = {"id": [f"{i:06}.jpg" for i in range(1, rows + 1)]}
    columns |= {name: rng.random(rows) < 0.4 + k * male for name, k in zip(ATTRIBUTES, lean, strict=True)}
    columns |= {"Male": male, "identity": rng.integers(0, 50, rows), "source": ["celeba"] * rows}
    columns["partition"] = rng.choice(["train", "val", "test"], rows, p=[0.6, 0.2, 0.2])
    table = pl.DataFrame(columns).with_columns(label=pl.when("Male").then(pl.lit("male")).otherwise(pl.lit("female")))
    place = pl.lit(None, pl.String) if path is None else pl.lit(f"{path}/") + pl.col("id")
    size = None if path is None else 20
    return table.with_columns(path=place, width=pl.lit(size, pl.Int32), height=pl.lit(size, pl.Int32))


@pytest.fixture
def pictured(tmp_path: Path) -> Path:
    """A workspace of 60 pictures, one of which is a text file and one of which is gone."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    table = make_table(60, path=str(folder))
    for i, path in enumerate(table["path"]):
        Image.new("RGB", (20, 20), (i * 4, 90, 90)).save(path)
    Path(table["path"][4]).write_text("no picture")
    Path(table["path"][5]).unlink()
    work = tmp_path / "work"
    work.mkdir()
    table.write_parquet(Workspace(work).examples)
    return work


def test_counts_are_those_of_the_table() -> None:
    table = make_table()
    found = explore.describe(table)
    assert found["examples"] == 300
    assert found["labels"] == {"female": (~table["Male"]).sum(), "male": table["Male"].sum()}
    assert sum(sum(counts.values()) for counts in found["partitions"].values()) == 300
    assert found["partitions"]["val"]["male"] == table.filter(partition="val", label="male").height
    assert found["identities"] == table["identity"].n_unique()
    assert found["sizes"] == {"different": 0, "common": []}


def test_correlations_are_pearsons_strongest_first() -> None:
    table = make_table()
    rows = explore.attribute_rates(table)
    assert {row["name"] for row in rows} == set(ATTRIBUTES) - {"Male"}
    male = table["Male"].to_numpy().astype(float)
    for row in rows:
        has = table[row["name"]].to_numpy().astype(float)
        assert row["correlation"] == pytest.approx(np.corrcoef(has, male)[0, 1])
        assert row["rate"] == pytest.approx(
            {"female": has[male == 0].mean(), "male": has[male == 1].mean(), "all": has.mean()}
        )
    strengths = [abs(row["correlation"]) for row in rows]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] > 0.2


def test_an_attribute_that_nobody_has_correlates_with_nothing() -> None:
    rows = explore.attribute_rates(make_table().with_columns(Bald=pl.lit(False)))
    assert rows[-1] == {"name": "Bald", "rate": {"female": 0, "male": 0, "all": 0}, "correlation": None}


def test_a_table_of_one_label_has_rates_but_no_correlation() -> None:
    table = make_table().filter("Male")
    rows = explore.attribute_rates(table)
    assert all(row["correlation"] is None and row["rate"]["female"] is None for row in rows)
    assert explore.baseline(table)["accuracy"] is None


def test_sizes_are_counted_and_the_rare_ones_together() -> None:
    widths = pl.Series([10] * 5 + [20] * 3 + [*range(30, 40), None], dtype=pl.Int32)
    table = make_table(19).with_columns(width=widths, height=pl.lit(9, pl.Int32))
    found = explore.describe(table)["sizes"]
    assert found["different"] == 12
    assert found["common"][:2] == [{"width": 10, "height": 9, "count": 5}, {"width": 20, "height": 9, "count": 3}]
    assert found["common"][-1] == {"width": None, "height": None, "count": 4}
    assert sum(row["count"] for row in found["common"]) == 18


def test_the_baseline_learns_from_the_other_attributes_alone() -> None:
    table = make_table(2000)
    found = explore.baseline(table)
    assert found["attributes"] == 39
    assert 30 < found["components"] <= 39
    assert found["rows"] == {name: table.filter(partition=name).height for name in ("train", "val", "test")}
    assert all(accuracy > found["majority"][name] + 0.1 for name, accuracy in found["accuracy"].items())
    assert found["study"] == {"components": 34, "accuracy": 0.932}
    unrelated = table.with_columns(pl.col("Male", "label").shuffle(seed=1))
    fooled = explore.baseline(unrelated)
    assert fooled["accuracy"]["test"] < fooled["majority"]["test"] + 0.1, "Male itself must not be among its inputs"


def test_the_baseline_says_why_it_cannot_be_fitted() -> None:
    table = make_table(400)
    assert set(explore.baseline(table.filter(pl.col("partition") != "val"))["accuracy"]) == {"train", "test"}
    found = explore.baseline(table.filter(partition="test"))
    assert found["accuracy"] is None
    assert "training partition" in found["reason"]
    constant = explore.baseline(table.with_columns(pl.lit(True).alias(name) for name in ATTRIBUTES if name != "Male"))
    assert "no other attribute varies" in constant["reason"]


def test_annotations_without_pictures_are_explored(tmp_path: Path) -> None:
    make_table().write_parquet(Workspace(tmp_path).examples)
    found = explore.explore(tmp_path)
    written = {path.name for path in (tmp_path / "explore").iterdir()}
    assert written == {"male.png", "partitions.png", "attributes.png", "explore.json", "report.html"}
    assert json.loads((tmp_path / "explore" / "explore.json").read_text()) == found
    assert found["contact_sheet"]["ids"] == found["unreadable"] == []
    assert any("annotations alone" in note for note in found["notes"])


def test_pictures_are_shown_and_those_that_do_not_open_are_listed(pictured: Path, tmp_path: Path) -> None:
    found = explore.explore(pictured, picture="000005.jpg", attributes=["Bald", "Young"], out=tmp_path / "out")
    failed = {row["id"]: row["error"] for row in found["unreadable"]}
    assert "not a picture" in failed["000005.jpg"], "the picture that was asked for"
    assert set(failed) <= {"000005.jpg", "000006.jpg"}
    assert list(found["picture"]["attributes"]) == ["Bald", "Young"]
    sheet = found["contact_sheet"]["ids"]
    assert len(sheet) + len(set(failed) & set(_sampled(pictured))) == explore.SHEET
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(sheet)
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    with Image.open(tmp_path / "out" / "contact-sheet.png") as image:
        assert image.size == (8 * 166 + 6, 3 * 166 + 6)
    assert not (tmp_path / "out" / "picture.png").exists()


def _sampled(work: Path) -> list[str]:
    return [row["id"] for row in explore._sample(Workspace(work).read_examples(), 0)]


def test_the_contact_sheet_is_half_of_either_label_and_the_same_again(pictured: Path) -> None:
    table = Workspace(pictured).read_examples()
    rows = explore._sample(table, 3)
    assert [row["label"] for row in rows].count("male") == 12
    assert [row["id"] for row in rows] == [row["id"] for row in explore._sample(table, 3)]
    assert [row["id"] for row in rows] != [row["id"] for row in explore._sample(table, 4)]


def test_the_default_picture_gives_way_to_the_first(pictured: Path, tmp_path: Path) -> None:
    found = explore.explore(pictured, out=tmp_path / "out")
    assert found["picture"]["id"] == "000001.jpg"
    assert (tmp_path / "out" / "picture.png").stat().st_size > 1000
    assert (tmp_path / "out" / "sizes.png").is_file()


def test_a_picture_in_the_place_of_the_default_one_is_said_to_be(pictured: Path) -> None:
    assert any("no picture 000409.jpg here; 000001.jpg" in note for note in explore.explore(pictured)["notes"])
    assert explore.explore(pictured, picture="000002.jpg")["notes"] == []


def test_a_picture_is_shown_with_one_attribute_at_least(pictured: Path) -> None:
    with pytest.raises(ConfigError, match="no attributes to show"):
        explore.explore(pictured, attributes=[])
    assert not (pictured / "explore").exists()


def test_a_picture_that_is_asked_for_must_be_there(pictured: Path) -> None:
    with pytest.raises(DataError, match=r"no picture '999999\.jpg'"):
        explore.explore(pictured, picture="999999.jpg")
    assert not (pictured / "explore").exists()


def test_an_unknown_attribute_names_its_neighbours(pictured: Path) -> None:
    with pytest.raises(ConfigError, match="Eyeglasses"):
        explore.explore(pictured, attributes=["Eyeglases"])


def test_a_workspace_that_was_never_prepared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="perceived prepare"):
        explore.explore(tmp_path)


def test_an_empty_table_is_refused(tmp_path: Path) -> None:
    make_table().clear().write_parquet(Workspace(tmp_path).examples)
    with pytest.raises(DataError, match="empty"):
        explore.explore(tmp_path)


def test_what_the_study_misstates_is_said_where_all_of_celeba_is_counted() -> None:
    assert not explore._notes(make_table(path="x"), 0)
    assert explore._notes(make_table(path="x"), 1200)[0].startswith("1,200 pictures of the workspace without")
    counts = explore.FULL_COUNTS
    labels = pl.Series(["female"] * counts["female"] + ["male"] * counts["male"])
    table = pl.DataFrame({"label": labels, "source": "celeba", "path": "x"})
    assert "the other way round" in explore._notes(table, 0)[0]
    demo = make_table(path="x").with_columns(source=pl.lit("demo"))
    assert "faces of nobody" in explore._notes(demo, 0)[0]


def test_a_column_of_that_name_is_no_attribute_of_celeba(tmp_path: Path) -> None:
    own = make_table(4).drop(name for name in ATTRIBUTES if name not in ("Male", "Smiling"))
    own.with_columns(pl.col("Male", "Smiling").cast(pl.String)).write_parquet(Workspace(tmp_path).examples)
    with pytest.raises(DataError, match="none of CelebA's attributes"):
        explore.explore(tmp_path)
