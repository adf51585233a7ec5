"""A csv of one's own: paths, labels, partitions, people and any groups."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from PIL import Image

from perceived import sources
from perceived.data import split, table
from perceived.errors import DataError
from perceived.workspace import Workspace

HEAD = "file,Gender,person,age,race,glasses,split"
ROWS = (
    "a.jpg,F,anna,31,Black,yes,train",
    "b.jpg,M,ben,3-9,White,no,train",
    "c.jpg,woman,carla,,Indian,no,valid",
    "d.jpg,Man,ben,old,Indian,,test",
)


@pytest.fixture
def folder(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> Path:
    for name in "abcd":
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / f"{name}.jpg").write_bytes(make_jpeg(0, (12, 12)))
    (tmp_path / "own" / "labels.csv").write_text("\n".join([HEAD, *ROWS]))
    return tmp_path / "own"


def prepared(data: Path, tmp_path: Path) -> tuple[table.PrepareReport, pl.DataFrame]:
    report = table.prepare(data, tmp_path / "work")
    return report, Workspace(tmp_path / "work").read_examples()


@pytest.mark.parametrize("name", ["", "labels.csv"])
def test_a_csv_is_read_from_its_folder_or_alone(folder: Path, tmp_path: Path, name: str) -> None:
    report, examples = prepared(folder / name, tmp_path)
    assert report.layout == "A csv (labels.csv)"
    shown = examples.select("id", "partition", "label", "identity", "age", "race", "glasses")
    assert list(shown.iter_rows()) == [
        ("a.jpg", "train", "female", 1, "30-39", "Black", "yes"),
        ("b.jpg", "train", "male", 2, "3-9", "White", "no"),
        ("c.jpg", "val", "female", 3, None, "Indian", "no"),
        ("d.jpg", "test", "male", 2, None, "Indian", None),
    ]
    assert report.problems["unknown_groups"] == ["d.jpg"]
    assert report.problems["identities_in_two_partitions"] == ["2"]


def test_ages_are_read_as_tables_write_them(folder: Path, tmp_path: Path) -> None:
    """Pandas writes whole numbers with a point where one is missing; spreadsheets take bands for dates."""
    rows = ["a.jpg,F,31.0,train", "b.jpg,M,9-Mar,train", "c.jpg,F,nan,train", "d.jpg,M,-1,train"]
    (folder / "labels.csv").write_text("\n".join(["file,gender,age,split", *rows]))
    report, examples = prepared(folder, tmp_path)
    assert examples["age"].to_list() == ["30-39", "3-9", None, None]
    assert report.problems["unknown_groups"] == ["c.jpg", "d.jpg"]


def test_a_csv_that_cannot_be_read_is_no_table(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> None:
    for name in ("female/1", "female/2", "male/1", "male/2"):
        (tmp_path / "own" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "own" / f"{name}.jpg").write_bytes(make_jpeg(0, (12, 12)))
    (tmp_path / "own" / "notes.csv").symlink_to(tmp_path / "gone.csv")
    report, _ = prepared(tmp_path / "own", tmp_path)
    assert report.layout == "A folder for each class"


def test_columns_may_have_any_names(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> None:
    """Those that tables under way or answers use would be overwritten, or would overwrite."""
    names = ["rank", "key", "word", "order", "unit", "quota", "len", "failure", "count"]
    reserved = ["id", "split", "error", "confidence", "_key", "Width"]
    lines = [",".join(["path", "label", "partition", *names, *reserved])]
    for index in range(40):
        (tmp_path / f"{index}.jpg").write_bytes(make_jpeg(0, (12, 12)))
        cells = [f"{index}.jpg", "fm"[index % 2], "", *(f"{name}{index % 4 // 2}" for name in names), *reserved]
        lines.append(",".join(cells))
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    _, examples = prepared(tmp_path, tmp_path)
    assert sorted(examples["id"]) == sorted(f"{index}.jpg" for index in range(40))
    assert examples.columns[-len(names) :] == names
    counts = {(part, label): n for part, label, n in examples.group_by("partition", "label").len().iter_rows()}
    assert counts == {
        (p, label): n for p, n in (("train", 16), ("val", 2), ("test", 2)) for label in ("female", "male")
    }
    chosen = split.make(tmp_path / "work", everything=True)
    shown = chosen.select("id", *names).sort("id")
    assert shown.equals(examples.select("id", *names).sort("id"))


def test_a_column_of_two_kinds_is_refused(folder: Path, faces: Any, tmp_path: Path) -> None:
    (folder / "labels.csv").write_text("path,label,Smiling\na.jpg,f,a little\nb.jpg,m,no\n")
    own = "The column Smiling holds true and false in celeba, and words in own"
    with pytest.raises(DataError, match=own):
        table.prepare([faces.write(tmp_path / "celeba"), folder], tmp_path / "work")


def test_pictures_that_can_be_answered_can_be_learnt_from(tmp_path: Path) -> None:
    endings = sorted(sources.ENDINGS - {".heic", ".heif", ".hif"})
    for index, ending in enumerate(endings * 2):
        picture = tmp_path / "data" / ("female", "male")[index >= len(endings)] / f"{index}{ending.upper()}"
        picture.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jpe": "jpeg", ".jfif": "jpeg", ".apng": "png", ".pgm": "ppm", ".pnm": "ppm"}.get(ending)
        Image.new("RGB", (12, 12)).save(picture, kind)
    report, _ = prepared(tmp_path / "data", tmp_path)
    assert report.examples == 2 * len(endings)


def test_columns_that_are_one_to_us_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "labels.csv").write_text("path,label,Race,race\na.jpg,f,White,Black\nb.jpg,m,White,Black\n")
    with pytest.raises(DataError, match="Race and race, which are one to us"):
        table.prepare(folder, tmp_path / "work")


@pytest.mark.parametrize("header", ["file,gender,gender", "file,gender, gender"])
def test_two_columns_of_one_name_are_refused(folder: Path, tmp_path: Path, header: str) -> None:
    (folder / "labels.csv").write_text(f"{header}\na.jpg,F,M\n")
    with pytest.raises(DataError, match="several columns named 'gender'"):
        table.prepare(folder, tmp_path / "work")


def test_a_csv_of_semicolons_is_no_folder_for_each_class(folder: Path, tmp_path: Path) -> None:
    (folder / "labels.csv").write_text("path;label;race\na.jpg;f;White\nb.jpg;m;Black\n")
    table.prepare(folder, tmp_path / "work")
    rows = Workspace(tmp_path / "work").read_examples()
    assert rows.select("id", "label", "race").rows() == [("a.jpg", "female", "White"), ("b.jpg", "male", "Black")]


def test_a_picture_with_two_labels_is_left_out(folder: Path, tmp_path: Path) -> None:
    lines = ("path,label", "a.jpg,f", "a.jpg,F", "b.jpg,m", "b.jpg,f", "c.jpg,m")
    (folder / "labels.csv").write_text("\n".join(lines))
    report, examples = prepared(folder, tmp_path)
    assert report.problems["contradicting_rows"] == ["b.jpg"]
    assert report.problems["duplicate_rows"] == ["a.jpg"]
    assert report.problems["pictures_without_row"] == ["d.jpg"]
    assert examples["id"].to_list() == ["a.jpg", "c.jpg"]


def test_a_row_without_a_label_contradicts_none(folder: Path, tmp_path: Path) -> None:
    lines = ("path,label,race", "a.jpg,,Black", "a.jpg,f,White", "b.jpg,m,Indian", "b.jpg,,", "c.jpg,m,White")
    (folder / "labels.csv").write_text("\n".join(lines))
    report, examples = prepared(folder, tmp_path)
    assert report.problems["contradicting_rows"] == []
    assert report.problems["duplicate_rows"] == ["a.jpg", "b.jpg"]
    found = examples.select("id", "label", "race").rows()
    assert found == [("a.jpg", "female", "White"), ("b.jpg", "male", "Indian"), ("c.jpg", "male", "White")]


def test_a_picture_is_one_however_its_path_and_label_are_written(folder: Path, tmp_path: Path) -> None:
    lines = ("path,label", "a.jpg,F", "./a.jpg,woman", "b.jpg,m", ".//b.jpg,f", "c.jpg,m")
    (folder / "labels.csv").write_text("\n".join(lines))
    report, examples = prepared(folder, tmp_path)
    assert report.problems["contradicting_rows"] == ["b.jpg"]
    assert report.problems["duplicate_rows"] == ["a.jpg"]
    assert examples.select("id", "label").rows() == [("a.jpg", "female"), ("c.jpg", "male")]


def test_a_name_that_is_not_unicode_is_told(folder: Path, tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jpg")).touch()
    with pytest.raises(DataError, match=r"not UTF-8: caf\\udce9\.jpg"):
        table.prepare(folder, tmp_path / "work")


def test_folders_whose_names_are_not_unicode_are_told(folder: Path, tmp_path: Path) -> None:
    strange = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9p\xf4t"))
    with pytest.raises(DataError, match=r"not UTF-8: .*d\\udce9p\\udcf4t"):
        table.prepare(folder, strange / "work")
    assert not strange.exists()
    folder.rename(strange)
    with pytest.raises(DataError, match=r"not UTF-8: d\\udce9p\\udcf4t"):
        table.prepare(strange, tmp_path / "work")


def test_a_csv_without_partitions_is_held_out_of_by_person(folder: Path, tmp_path: Path) -> None:
    lines = ["path,label,identity"] + [f"{'abcd'[i]}.jpg,{'fm'[i % 2]},{i // 2}" for i in range(4)]
    (folder / "labels.csv").write_text("\n".join(lines))
    report, examples = prepared(folder, tmp_path)
    assert report.problems["identities_in_two_partitions"] == []
    assert examples["identity"].to_list() == [0, 0, 1, 1]


def test_missing_pictures_and_labels_are_listed(folder: Path, tmp_path: Path) -> None:
    lines = [HEAD, *ROWS[:3], "x.jpg,F,,,,,train", "y.jpg,,,,,,train"]
    (folder / "labels.csv").write_text("\n".join(lines))
    report, _ = prepared(folder, tmp_path)
    assert report.problems["rows_without_picture"] == ["x.jpg"]
    assert report.problems["unreadable_rows"] == ["y.jpg"]
    assert report.problems["pictures_without_row"] == ["d.jpg"]


def test_people_of_two_sets_stay_apart(folder: Path, tmp_path: Path, make_jpeg: Callable[..., bytes]) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in "ab":
        (other / f"{name}.jpg").write_bytes(make_jpeg(0, (12, 12)))
    (other / "mine.csv").write_text("path,label,person\na.jpg,f,2\nb.jpg,m,7\n")
    table.prepare([folder, other], tmp_path / "work")
    examples = Workspace(tmp_path / "work").read_examples()
    assert examples["identity"].to_list() == [1, 2, 3, 2, 4, 9]
    assert examples["id"].to_list()[3:] == ["d.jpg", "other/a.jpg", "other/b.jpg"]


def test_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / "labels.csv").write_text("path,label\na.jpg,0\nb.jpg,1\n")
    with pytest.raises(DataError, match="--label 0=female"):
        prepared(folder, tmp_path)


def test_real_photographs(shared_data: Path, tmp_path: Path) -> None:
    photos = shared_data.parent / "photos"
    if not (photos / "labels.csv").is_file():
        pytest.skip(f"no photographs at {photos}")
    _, examples = prepared(photos, tmp_path)
    assert {"people", "face_area_share"} <= set(examples.columns)
    assert set(examples["source"]) == {"photos"}


def test_a_column_without_a_name_is_no_group(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "labels.csv").read_text().splitlines()
    numbered = [f"{number if number >= 0 else ''},{line}" for number, line in enumerate(lines, -1)]
    for cut in (None, -2):  # with partitions and people, and without
        (folder / "labels.csv").write_text("\n".join(",".join(line.split(",")[:cut]) for line in numbered))
        _, examples = prepared(folder, tmp_path)
        assert "" not in examples.columns
        assert examples["race"].to_list()[0] == "Black"
