"""FairFace: label files mended, val as test, validation held out of train, and what does not fit listed."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from perceived.data import fairface, split, table
from perceived.data.source import AGES
from perceived.errors import DataError
from perceived.workspace import Workspace

Rows = list[tuple[str, str, str, str]]
"""File, age, gender, race."""


def rows(side: str, count: int) -> Rows:
    """Return rows in which gender, race and age go round at different speeds."""
    ages = ("0-2", "9-Mar", "19-Oct", *AGES[3:])
    return [
        (f"{side}/{i + 1}.jpg", ages[i // 14 % 9], ("Male", "Female")[i % 2], fairface.RACES[i // 2 % 7])
        for i in range(count)
    ]


def write(folder: Path, make_jpeg: Callable[..., bytes], train: Rows, val: Rows) -> Path:
    """Write a FairFace in its original layout and return its folder."""
    for side, found in (("train", train), ("val", val)):
        (folder / side).mkdir(parents=True, exist_ok=True)
        lines = ["file,age,gender,race,service_test", *(",".join([*row, "FALSE"]) for row in found)]
        (folder / f"fairface_label_{side}.csv").write_text("\n".join(lines) + "\n")
        for seed, row in enumerate(found):
            (folder / row[0]).write_bytes(make_jpeg((side == "val", seed), (16, 16)))
    return folder


@pytest.fixture
def folder(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> Path:
    return write(tmp_path / "FairFace", make_jpeg, rows("train", 140), rows("val", 28))


def prepared(data: Path, tmp_path: Path, **options: bool) -> tuple[table.PrepareReport, pl.DataFrame]:
    report = table.prepare(data, tmp_path / "work", **options)
    return report, Workspace(tmp_path / "work").read_examples()


def test_the_original_layout_is_read_without_being_told(folder: Path, tmp_path: Path) -> None:
    report, examples = prepared(folder, tmp_path, strict=True)
    assert report.layout == "FairFace (folder)"
    first = ["id", "path", "partition", "label", "identity", "source", "licence", "width", "height"]
    assert examples.columns == [*first, "race", "age"]
    assert examples.row(1, named=True) == {
        "id": "train/2.jpg",
        "path": str(folder / "train" / "2.jpg"),
        "partition": "train",
        "label": "female",
        "identity": None,
        "source": "fairface",
        "licence": "CC BY 4.0",
        "width": 16,
        "height": 16,
        "race": "Black",
        "age": "0-2",
    }
    assert examples.schema["identity"] == pl.Int64


def test_val_is_the_test_set_and_validation_comes_from_train(folder: Path, tmp_path: Path) -> None:
    report, examples = prepared(folder, tmp_path)
    sides = examples.with_columns(side=pl.col("id").str.split("/").list.first())
    assert set(sides.filter(partition="test")["side"]) == {"val"}
    assert set(sides.filter(pl.col("partition") != "test")["side"]) == {"train"}
    assert dict(examples.group_by("partition").len().iter_rows()) == {"train": 126, "val": 14, "test": 28}
    (held_out,) = json.loads((tmp_path / "work" / "prepare.json").read_text())["sources"][0]["held_out"]
    assert held_out == {
        "of": "train",
        "to": "val",
        "share": 0.1,
        "by": ["label", "race", "age"],
        "seed": 0,
        "pictures": 14,
    }
    assert "held out for val" in str(report)


def test_another_seed_holds_out_other_pictures(folder: Path, tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 0, 1):
        table.prepare(folder, tmp_path / "work", seed=seed)
        drawn.append(Workspace(tmp_path / "work").read_examples().filter(partition="val")["id"].to_list())
    assert drawn[0] == drawn[1] != drawn[2]


def test_ages_are_bands_in_order_and_dates_are_mended(folder: Path, tmp_path: Path) -> None:
    report, examples = prepared(folder, tmp_path)
    assert examples.schema["age"] == pl.Enum(AGES)
    assert examples["age"].unique().sort().to_list() == list(AGES)
    assert report.sources[0].mended == {"19-Oct → 10-19": 14, "9-Mar → 3-9": 28}
    assert "9-Mar → 3-9" in str(report)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("03-Sep", "3-9"),
        ("9-Mar", "3-9"),
        ("Oct-19", "10-19"),
        ("19-Oct", "10-19"),
        ("3-9", "3-9"),
        ("more than 70", "more than 70"),
        ("30-Mar", None),
        ("", None),
    ],
)
def test_mending(written: str, meant: str | None) -> None:
    assert fairface.mend_ages(pl.Series([written])).to_list() == [meant]


def test_what_does_not_fit_is_listed(folder: Path, tmp_path: Path, make_jpeg: Callable[..., bytes]) -> None:
    labels = folder / "fairface_label_train.csv"
    lines = labels.read_text().splitlines()
    lines[4] = "train/4.jpg,young,Female,East Asian,FALSE"
    lines[5] = "train/5.jpg,0-2,?,Indian,FALSE"
    lines.append(lines[1])
    labels.write_text("\n".join(lines))
    (folder / "train" / "6.jpg").unlink()
    (folder / "train" / "7.jpg").write_bytes(b"")
    (folder / "train" / "900.jpg").write_bytes(make_jpeg())
    report, examples = prepared(folder, tmp_path)
    found = {kind: names for kind, names in report.problems.items() if names}
    assert "7.jpg" in found.pop("unreadable_pictures")[0]
    assert found == {
        "rows_without_picture": ["train/6.jpg"],
        "pictures_without_row": ["train/5.jpg", "train/900.jpg"],
        "duplicate_rows": ["train/1.jpg"],
        "unreadable_rows": ["train/5.jpg"],
        "unknown_groups": ["train/4.jpg"],
    }
    assert examples.filter(id="train/4.jpg").select("race", "age").row(0) == ("East Asian", None)
    assert examples.height == 165


def test_pictures_may_stand_in_a_zip_beside_the_labels(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "fairface-img-margin025-trainval.zip", "w") as archive:
        for side in ("train", "val"):
            for path in sorted((folder / side).iterdir()):
                archive.write(path, f"{side}/{path.name}")
                path.unlink()
            (folder / side).rmdir()
    report, examples = prepared(folder, tmp_path, strict=True)
    assert report.layout == "FairFace (zip)"
    assert examples.height == 168
    assert "margin025-trainval.zip!train/1.jpg" in examples["path"][0]


def test_one_side_that_is_unpacked_does_not_keep_the_archive_closed(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(folder / "both.zip", "w") as archive:
        for side in ("train", "val"):
            for path in sorted((folder / side).iterdir()):
                archive.write(path, f"{side}/{path.name}")
    shutil.rmtree(folder / "train")
    report, examples = prepared(folder, tmp_path, strict=True)
    assert (report.layout, examples.height) == ("FairFace (zip)", 168)


def test_labels_alone_can_be_read(folder: Path, tmp_path: Path) -> None:
    assert prepared(folder, tmp_path, annotations_only=True)[1]["path"].null_count() == 168


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [("gender", "sex", "has no column gender"), ("ale,", "ann,", "has a known gender"), ("train/", "x/", "No row of")],
)
def test_label_files_that_are_something_else(folder: Path, tmp_path: Path, old: str, new: str, words: str) -> None:
    (folder / "fairface_label_val.csv").unlink()
    labels = folder / "fairface_label_train.csv"
    labels.write_text(labels.read_text().replace(old, new))
    with pytest.raises(DataError, match=words):
        prepared(folder, tmp_path)
    assert not (tmp_path / "work").exists()


def test_a_split_keeps_the_groups(folder: Path, tmp_path: Path) -> None:
    prepared(folder, tmp_path)
    made = split.make(tmp_path / "work", everything=True)
    assert made.columns == [*split.COLUMNS, "source", "licence", "race", "age"]
    assert Workspace(tmp_path / "work").read_split()["age"].dtype == pl.Enum(AGES)


def test_real_pictures(shared_data: Path, tmp_path: Path) -> None:
    report, examples = prepared(shared_data / "fairface-mini", tmp_path, strict=True)
    assert report.counts["test"] == {"female": 242, "male": 258}
    assert sum(report.counts["val"].values()) == 100
    assert report.sources[0].mended == {"19-Oct → 10-19": 157, "9-Mar → 3-9": 184}
    assert examples["race"].n_unique() == 7
    assert examples.null_count().select("race", "age", "label").row(0) == (0, 0, 0)


def test_exploring_attributes_needs_attributes(folder: Path, tmp_path: Path) -> None:
    from perceived.explore import explore

    prepared(folder, tmp_path)
    with pytest.raises(DataError, match=r"none of CelebA's attributes: it is of fairface"):
        explore(tmp_path / "work")


def test_of_several_folders_of_pictures_the_fullest_is_taken(folder: Path, tmp_path: Path) -> None:
    whole, part = folder / "margin125", folder / "margin025"
    for side in ("train", "val"):
        (part / side).mkdir(parents=True)
        shutil.copy(folder / side / "1.jpg", part / side)
        (whole / side).parent.mkdir(exist_ok=True)
        (folder / side).rename(whole / side)
    _, examples = prepared(folder, tmp_path, strict=True)
    assert examples.height == 168
    assert examples["path"][0] == str(whole / "train" / "1.jpg")
