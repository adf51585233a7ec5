"""Finding CelebA wherever it lies, and reading its tables in either writing."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from perceived.data import celeba, listing
from perceived.data.source import ABOUT
from perceived.errors import DataError


def test_forty_attributes_in_their_order() -> None:
    assert len(set(celeba.ATTRIBUTES)) == 40
    assert list(celeba.ATTRIBUTES) == sorted(celeba.ATTRIBUTES)
    assert celeba.ATTRIBUTES.index("Male") == 20


def test_every_layout_is_found(faces: Any, layout: str, tmp_path: Path) -> None:
    source = celeba.find(faces.write(tmp_path, layout))
    assert set(source.tables) == set(celeba.COLUMNS)
    assert source.names == sorted(faces.pictures)
    assert ("zip" in layout) == ("zip" in source.layout)
    assert ("kaggle" in layout) == ("Kaggle" in source.layout)


def test_hidden_and_packaging_files_are_left_out(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / ".cache").mkdir()
    (data / ".cache" / "list_attr_celeba.csv").write_text("not this one")
    (data / "img_align_celeba" / "img_align_celeba" / "._000001.jpg").write_bytes(b"x")
    (data / "img_align_celeba" / "img_align_celeba" / "Thumbs.db").write_bytes(b"x")
    source = celeba.find(data)
    assert source.names == sorted(faces.pictures)
    assert ".cache" not in source.tables["attributes"]


def test_aligned_pictures_are_preferred_to_fuller_folders(faces: Any, tmp_path: Path, make_jpeg: Any) -> None:
    data = faces.write(tmp_path)
    (data / "img_celeba").mkdir()
    for i in range(30):
        (data / "img_celeba" / f"{i:06}.jpg").write_bytes(make_jpeg())
    assert celeba.find(data).pictures.endswith("img_align_celeba/img_align_celeba/")


def test_a_stray_picture_does_not_keep_an_archive_closed(faces: Any, tmp_path: Path, make_jpeg: Any) -> None:
    data = faces.write(tmp_path)
    shutil.make_archive(str(data / "pictures"), "zip", data / "img_align_celeba")
    shutil.rmtree(data / "img_align_celeba")
    (data / "overview.png").write_bytes(make_jpeg())
    found = celeba.find(data)
    assert "pictures.zip!" in found.pictures
    assert found.names == sorted(faces.pictures)


def test_csv_is_preferred_to_text_beside_it(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / "list_attr_celeba.txt").write_text("not this one")
    assert celeba.find(data).tables["attributes"].endswith(".csv")


def test_unpacked_pictures_are_preferred_to_a_damaged_zip(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / "img_align_celeba.zip").write_bytes(b"cut short")
    assert celeba.find(data).names == sorted(faces.pictures)


def test_damaged_zip(faces: Any, tmp_path: Path) -> None:
    archive = faces.write(tmp_path, "kaggle zip")
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(DataError, match=r"not a readable zip[\s\S]*again"):
        celeba.find(archive)


def test_wrong_zip_says_what_it_holds(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "wrong.zip", "w") as archive:
        archive.writestr("cats/1.png", b"x")
        archive.writestr("cats/2.png", b"x")
    with pytest.raises(DataError, match=r"list_attr_celeba.*\n.*2 \.png \(such as 1\.png\)"):
        celeba.find(tmp_path / "wrong.zip")


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no files at all"):
        celeba.find(tmp_path)


def test_missing_partition_table_is_named(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / "list_eval_partition.csv").unlink()
    with pytest.raises(DataError, match=r"does not hold list_eval_partition.csv or .txt\."):
        celeba.find(data)


def test_folder_of_too_many_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_MAX_FOLDERS", 3)
    for i in range(4):
        (tmp_path / str(i)).mkdir()
    with pytest.raises(DataError, match="more than 3 folders"):
        celeba.find(tmp_path)


def test_unreadable_description_of_a_set(faces: Any, tmp_path: Path) -> None:
    data = faces.write(tmp_path)
    (data / ABOUT).write_text("[]")
    with pytest.raises(DataError, match=r"dataset.json is not readable"):
        celeba.find(data)


@settings(deadline=None, max_examples=50)
@given(
    rows=st.lists(st.lists(st.sampled_from(["-1", "0", "1", "12345"]), min_size=3, max_size=3), min_size=1, max_size=8),
    end=st.sampled_from(["\n", "\r\n"]),
    writing=st.sampled_from(["csv", "quoted csv with mark", "text", "counted text", "text without header"]),
)
def test_a_table_reads_the_same_in_every_writing(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], end: str, writing: str
) -> None:
    named = [[f"{i:06}.jpg", *row] for i, row in enumerate(rows)]
    if "csv" in writing:
        quote = '"' if "quoted" in writing else ""
        lines = [",".join(f"{quote}{field}{quote}" for field in row) for row in [["image_id", "a", "b", "c"], *named]]
    else:
        lines = ["  ".join(row).replace("  -", " -") for row in named]
        header = [] if "without" in writing else ["a b c "]
        lines = [*([str(len(rows))] if "counted" in writing else []), *header, *lines]
    path = tmp_path_factory.mktemp("table") / "table.txt"
    text = end.join([*lines, ""])
    path.write_bytes((b"\xef\xbb\xbf" if "mark" in writing else b"") + text.encode())
    table = celeba.read_table(str(path), ("a", "b", "c"))
    assert table.columns == ["id", "a", "b", "c"]
    assert [list(row) for row in table.iter_rows()] == named


@pytest.mark.parametrize("text", ["", "\n", "image_id,a\n", "5\n", "5\na b\n"])
def test_table_without_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match="has no rows"):
        celeba.read_table(str(tmp_path / "t.csv"), ("a",))


def test_table_of_binary_data(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(bytes(range(128, 256)) + b"\n\xff\xfe\xfd,\xff\n")
    with pytest.raises(DataError, match="is not a table"):
        celeba.read_table(str(tmp_path / "t.csv"), ("a",))


def test_missing_table(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        celeba.read_table(str(tmp_path / "t.csv"), ("a",))


def test_real_release_says_the_same_in_csv_and_text(shared_data: Path) -> None:
    archive = shared_data / "celeba-annotations" / "celeba-annotations.zip"
    csv = celeba.read_table(f"{archive}!list_attr_celeba.csv", celeba.ATTRIBUTES)
    text = celeba.read_table(f"{archive}!list_attr_celeba.txt", celeba.ATTRIBUTES)
    assert csv.height == 202_599
    assert csv.equals(text)
    csv = celeba.read_table(f"{archive}!list_eval_partition.csv", ("partition",))
    assert csv.equals(celeba.read_table(f"{archive}!list_eval_partition.txt", ("partition",)))
    assert celeba.read_table(f"{archive}!identity_CelebA.txt", ("identity",))["identity"].n_unique() == 10_177
