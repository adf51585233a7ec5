"""From every layout the same table; everything that does not fit is listed and nothing hides it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from perceived.data import celeba, split, table
from perceived.data.source import ABOUT
from perceived.errors import ConfigError, DataError, StorageError
from perceived.workspace import Workspace

MALE = celeba.ATTRIBUTES.index("Male")


def prepared(faces: Any, tmp_path: Path, layout: str = "kaggle nested", **options: Any) -> tuple[Any, pl.DataFrame]:
    report = table.prepare(faces.write(tmp_path, layout), tmp_path / "work", **options)
    return report, Workspace(tmp_path / "work").read_examples()


def only(report: Any) -> dict[str, list[str]]:
    return {kind: found for kind, found in report.problems.items() if found}


def test_every_layout_gives_the_same_table(faces: Any, layout: str, tmp_path: Path) -> None:
    report, examples = prepared(faces, tmp_path, layout)
    assert only(report) == {}
    assert examples["id"].to_list() == [row[0] for row in faces.rows]
    assert examples["label"].to_list() == ["female", "male"] * 12
    assert examples["partition"].to_list() == ["train"] * 8 + ["val"] * 8 + ["test"] * 8
    assert examples["identity"].to_list() == [100 + i // 2 for i in range(24)]
    truth = [[value == "1" for value in row[1]] for row in faces.rows]
    assert [list(row) for row in examples.select(celeba.ATTRIBUTES).iter_rows()] == truth
    assert examples["bbox_x"].to_list() == list(range(24))
    assert examples["lefteye_x"].to_list() == list(range(24))
    assert examples.row(5, named=True).items() >= {"bbox_height": 4, "rightmouth_y": 10, "source": "celeba"}.items()
    assert set(examples.select("width", "height").iter_rows()) == {(22, 27)}
    assert all(("archive.zip!" in path or "celeba.zip!" in path) == ("zip" in layout) for path in examples["path"])


@pytest.mark.parametrize("layout", ["kaggle nested", "original"])
def test_zeros_mean_no(faces: Any, tmp_path: Path, layout: str) -> None:
    _, minus = prepared(faces, tmp_path / "minus", layout)
    faces.rows = [(row[0], [value.replace("-1", "0") for value in row[1]], *row[2:]) for row in faces.rows]
    _, zeros = prepared(faces, tmp_path / "zero", layout)
    assert zeros.drop("path").equals(minus.drop("path"))


def test_columns_of_the_table_are_the_agreed_ones(faces: Any, tmp_path: Path) -> None:
    _, examples = prepared(faces, tmp_path)
    first = ["id", "path", "partition", "label", *celeba.ATTRIBUTES, "identity", "source", "licence", "width", "height"]
    assert examples.columns == [*first, *celeba.BBOX, *celeba.LANDMARKS]
    assert {examples.schema[name] for name in celeba.ATTRIBUTES} == {pl.Boolean}
    assert examples.schema["identity"] == pl.Int64


def test_optional_tables_may_be_absent(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    for name in ("identity_CelebA.txt", "list_bbox_celeba.csv", "list_landmarks_align_celeba.csv"):
        (data / name).unlink()
    report = table.prepare(data, tmp_path / "work")
    examples = Workspace(tmp_path / "work").read_examples()
    assert only(report) == {}
    assert examples["identity"].null_count() == 24
    assert "bbox_x" not in examples.columns


def test_everything_that_does_not_fit_is_listed(faces: Any, tmp_path: Path, make_jpeg: Any) -> None:
    rows = faces.rows
    del faces.pictures["000003.jpg"]
    faces.pictures["999999.jpg"] = make_jpeg()
    faces.pictures["000004.jpg"] = b""
    faces.pictures["000005.jpg"] = b"this is a text file\n" * 20
    faces.pictures["000006.jpg"] = faces.pictures["000006.jpg"][:-20]
    faces.pictures["000007.jpg"] = make_jpeg(0, (1, 1))
    rows[11] = (rows[11][0], rows[11][1], "7", rows[11][3])
    rows[12] = (rows[12][0], ["2", *rows[12][1][1:]], *rows[12][2:])
    rows[13] = (*rows[13][:3], "nobody")
    rows[23] = (*rows[23][:3], "100")
    rows.append(rows[20])
    report, examples = prepared(faces, tmp_path)
    found = only(report)
    unreadable = found.pop("unreadable_pictures")
    assert found == {
        "rows_without_picture": ["000003.jpg"],
        "pictures_without_row": ["999999.jpg"],
        "duplicate_rows": ["000021.jpg"],
        "unreadable_rows": ["000013.jpg"],
        "unknown_partitions": ["000012.jpg: 7"],
        "unknown_identities": ["000014.jpg"],
        "identities_in_two_partitions": ["100"],
    }
    reasons = {"000004": "0 bytes", "000005": "text", "000006": "cut short", "000007": "1×1"}
    for line, (name, reason) in zip(unreadable, reasons.items(), strict=True):
        assert f"{name}.jpg " in line
        assert reason in line
    gone = {f"{i:06}.jpg" for i in (3, 4, 5, 6, 7, 12, 13)}
    assert examples["id"].to_list() == [f"{i:06}.jpg" for i in range(1, 25) if f"{i:06}.jpg" not in gone]
    assert report.rows == 25
    assert report.examples == 17
    assert sum(sum(counts.values()) for counts in report.counts.values()) == 17


def test_a_copy_of_a_picture_of_another_partition_is_listed(faces: Any, tmp_path: Path, layout: str) -> None:
    pictures = faces.pictures
    pictures["000002.jpg"] = pictures["000017.jpg"] = pictures["000020.jpg"] = pictures["000001.jpg"]
    pictures["000010.jpg"] = pictures["000018.jpg"]
    pictures["000022.jpg"] = pictures["000003.jpg"][:-3] + b"\x01\xff\xd9"
    assert len(pictures["000022.jpg"]) == len(pictures["000003.jpg"])
    report, examples = prepared(faces, tmp_path, layout)
    same = ["000017.jpg = 000001.jpg", "000018.jpg = 000010.jpg", "000020.jpg = 000001.jpg"]
    assert only(report) == {"copies_in_two_partitions": same}
    assert examples.height == 24
    with pytest.raises(DataError, match=r"copy of one of another partition \(kept\): 3 \(000017.jpg = 000001.jpg"):
        prepared(faces, tmp_path / "strict", layout, strict=True)


def test_copies_are_found_from_dataset_to_dataset(faces: Any, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    for place, name in (("test/female/1.jpg", "000001.jpg"), ("train/male/1.jpg", "000002.jpg")):
        (mine / place).parent.mkdir(parents=True)
        (mine / place).write_bytes(faces.pictures[name])
    report = table.prepare([faces.write(tmp_path), mine], tmp_path / "work")
    found = [source.problems["copies_in_two_partitions"] for source in report.sources]
    assert found == [[], ["test/female/1.jpg = 000001.jpg"]]
    assert table.prepare([faces.write(tmp_path), mine], tmp_path / "work", partition="test").problems == {
        kind: [] for kind in report.problems
    }


def test_partitions_may_be_words(faces: Any, tmp_path: Path) -> None:
    words = {"0": "Train", "1": "valid", "2": "test"}
    faces.rows = [(name, values, words[part], who) for name, values, part, who in faces.rows]
    report, examples = prepared(faces, tmp_path)
    assert only(report) == {}
    assert examples["partition"].to_list() == ["train"] * 8 + ["val"] * 8 + ["test"] * 8


@pytest.mark.parametrize("strict", [False, True])
def test_an_official_partition_is_never_made_up(faces: Any, tmp_path: Path, strict: bool) -> None:
    rows = faces.rows
    faces.rows = [(name, values, "fold A", who) for name, values, _, who in rows]
    with pytest.raises(DataError, match=r"list_eval_partition\.csv says of no picture .* 'fold A'"):
        prepared(faces, tmp_path / "words", strict=strict)
    faces.rows = rows
    data = faces.write(tmp_path / "names")
    table_of_others = "image_id,partition\nsomebody-else.jpg,0\n"
    (data / "list_eval_partition.csv").write_text(table_of_others)
    with pytest.raises(DataError, match="names none of the pictures"):
        table.prepare(data, tmp_path / "work", strict=strict)
    assert not (tmp_path / "work").exists()


def test_a_picture_that_is_damaged_inside_is_found_by_decoding(faces: Any, tmp_path: Path, make_jpeg: Any) -> None:
    whole = make_jpeg(3, (64, 64))
    middle, impossible_table = len(whole) // 2, b"\xff\xc4\x00\x05ab"
    faces.pictures["000003.jpg"] = whole[:middle] + impossible_table + whole[middle:]
    data = faces.write(tmp_path)
    assert table.prepare(data, tmp_path / "size").problems["unreadable_pictures"] == []
    (found,) = table.prepare(data, tmp_path / "decode", check="decode").problems["unreadable_pictures"]
    assert "000003.jpg" in found


def test_report_is_written_as_json_and_as_a_table(faces: Any, tmp_path: Path) -> None:
    del faces.pictures["000003.jpg"]
    report, _ = prepared(faces, tmp_path)
    written = json.loads((tmp_path / "work" / "prepare.json").read_text())
    assert written == report.to_dict()
    assert written["problem_counts"]["rows_without_picture"] == 1
    assert "000003.jpg" in str(report)
    long = "/a/very/long/path" * 12 + "/000004.jpg is cut short"
    broken = replace(report.sources[0], problems={**report.sources[0].problems, "unreadable_pictures": [long]})
    shown = str(replace(report, sources=[broken]))
    folded = "".join(line.strip("│┃ ").split("│")[-1].strip() for line in shown.splitlines())
    assert "000004.jpg is cut short" in folded.replace("  ", " ")
    assert "4 female, 4 male" in str(report)


def test_all_pictures_may_be_put_into_one_partition(faces: Any, tmp_path: Path) -> None:
    report, examples = prepared(faces, tmp_path, partition="test")
    assert examples["partition"].to_list() == ["test"] * 24
    assert report.counts["test"] == {"female": 12, "male": 12}
    split.make(tmp_path / "work", everything=True, balance=False)
    assert Workspace(tmp_path / "work").read_split()["split"].to_list() == ["test"] * 24
    assert Workspace(tmp_path / "work").draws_the_test(), "its authors have drawn another"
    with pytest.raises(ConfigError, match="no partition 'tests'"):
        prepared(faces, tmp_path / "other", partition="tests")


def test_strict_refuses_and_leaves_nothing(faces: Any, tmp_path: Path) -> None:
    del faces.pictures["000003.jpg"]
    with pytest.raises(DataError, match=r"rows without a picture: 1 \(000003.jpg\)"):
        prepared(faces, tmp_path, strict=True)
    assert not (tmp_path / "work").exists()


def test_strict_accepts_a_whole_set(faces: Any, tmp_path: Path) -> None:
    assert prepared(faces, tmp_path, strict=True)[0].examples == 24


def test_preparing_again_gives_the_same_bytes(faces: Any, tmp_path: Path) -> None:
    first, _ = prepared(faces, tmp_path)
    again, _ = prepared(faces, tmp_path)
    assert first.examples_sha256 == again.examples_sha256
    assert sorted(path.name for path in (tmp_path / "work").iterdir()) == ["examples.parquet", "prepare.json"]


def test_decoding_finds_damage_that_a_header_hides(faces: Any, tmp_path: Path) -> None:
    whole = faces.pictures["000002.jpg"]
    faces.pictures["000002.jpg"] = whole[: len(whole) // 2] + b"\xff\xd9"
    assert only(prepared(faces, tmp_path / "size")[0]) == {}
    found = only(prepared(faces, tmp_path / "decode", check="decode")[0])
    assert list(found) == ["unreadable_pictures"]
    assert "000002.jpg" in found["unreadable_pictures"][0]


def test_annotations_alone_are_kept_whole(faces: Any, tmp_path: Path) -> None:
    faces.pictures = {}
    report, examples = prepared(faces, tmp_path, annotations_only=True)
    assert only(report) == {}
    assert examples.height == 24
    assert examples["path"].null_count() == 24


def test_a_set_may_say_that_it_is_not_celeba(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / ABOUT).write_text('{"source": "demo"}')
    table.prepare(data, tmp_path / "work")
    assert set(Workspace(tmp_path / "work").read_examples()["source"]) == {"demo"}


def test_progress_counts_every_picture(faces: Any, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    prepared(faces, tmp_path, progress=lambda done, total: calls.append((done, total)))
    assert (24, 24) in calls


def test_a_folder_of_several_datasets_is_none_of_them(faces: Any, tmp_path: Path, make_jpeg: Any) -> None:
    root = faces.write(tmp_path, "kaggle nested")
    (root / "utk").mkdir()
    for name in range(200):
        (root / "utk" / f"{name}_1_0_20170110183726390.jpg").write_bytes(make_jpeg(0, (12, 12)))
    with pytest.raises(DataError, match="holds several datasets: CelebA, UTKFace"):
        table.prepare(root, tmp_path / "work")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        table.prepare(tmp_path / "nowhere", tmp_path / "work")


def test_no_pictures_names_the_way_out(faces: Any, tmp_path: Path) -> None:
    faces.pictures = {}
    with pytest.raises(DataError, match=r"no pictures[\s\S]*--annotations-only"):
        prepared(faces, tmp_path)


def test_csv_without_male(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    text = (data / "list_attr_celeba.csv").read_text()
    (data / "list_attr_celeba.csv").write_text(text.replace(",Male,", ",Sex,"))
    with pytest.raises(DataError, match="no column Male"):
        table.prepare(data, tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_one_class_only(faces: Any, tmp_path: Path) -> None:
    faces.rows = [(row[0], [*row[1][:MALE], "1", *row[1][MALE + 1 :]], *row[2:]) for row in faces.rows]
    with pytest.raises(DataError, match="labelled male"):
        prepared(faces, tmp_path)


def test_tables_of_other_pictures(faces: Any, tmp_path: Path, make_jpeg: Any) -> None:
    faces.pictures = {"portrait.jpg": make_jpeg()}
    with pytest.raises(DataError, match=r"No row of .* has a picture"):
        prepared(faces, tmp_path)


def test_nothing_readable(faces: Any, tmp_path: Path) -> None:
    faces.pictures = dict.fromkeys(faces.pictures, b"")
    with pytest.raises(DataError, match="Nothing usable"):
        prepared(faces, tmp_path)


def test_no_row_with_known_values(faces: Any, tmp_path: Path) -> None:
    faces.rows = [(row[0], ["yes"] * 40, *row[2:]) for row in faces.rows]
    with pytest.raises(DataError, match=r"No row of .* is readable"):
        prepared(faces, tmp_path)


def test_table_with_too_many_columns(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / "list_eval_partition.csv").write_text("image_id,partition,note\n000001.jpg,0,x\n")
    with pytest.raises(DataError, match="has 3 columns"):
        table.prepare(data, tmp_path / "work")


def test_output_that_is_a_file(faces: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("in the way")
    with pytest.raises(StorageError, match="taken"):
        table.prepare(faces.write(tmp_path), tmp_path / "taken" / "work")


def test_real_pictures(shared_data: Path, tmp_path: Path) -> None:
    report = table.prepare(shared_data / "celeba-mini", tmp_path, strict=True)
    assert report.examples == 3000
    assert report.counts["test"] == {"female": 250, "male": 250}


def test_whole_annotations_have_the_true_counts(shared_data: Path, tmp_path: Path) -> None:
    report = table.prepare(shared_data / "celeba-annotations", tmp_path, strict=True, annotations_only=True)
    assert report.rows == 202_599
    assert sum(counts["female"] for counts in report.counts.values()) == 118_165
    assert sum(counts["male"] for counts in report.counts.values()) == 84_434
    assert sum(report.counts["train"].values()) == 162_770


def test_paths_may_be_text(faces: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert table.prepare(faces.write(tmp_path).name, "work").examples == 24
    assert Workspace(tmp_path / "work").read_examples().height == 24


def test_text_tables_may_begin_with_a_byte_order_mark(faces: Any, tmp_path: Path) -> None:
    """As editors on Windows leave it: before a count, before names, before the first row."""
    data = faces.write(tmp_path, "original")
    for path in data.rglob("*.txt"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    report = table.prepare(data, tmp_path / "work")
    examples = Workspace(tmp_path / "work").read_examples()
    assert only(report) == {}
    assert examples["id"].to_list() == [row[0] for row in faces.rows]
    assert examples["identity"].to_list() == [100 + i // 2 for i in range(24)]
    assert examples["bbox_x"].to_list() == list(range(24))


def test_a_name_is_shown_as_it_is(faces: Any, tmp_path: Path) -> None:
    report, _ = prepared(faces, tmp_path)
    report.sources[0].problems["pictures_without_row"].append("[/x].jpg")
    assert "[/x].jpg" in str(report)
