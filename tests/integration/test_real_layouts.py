"""The real tables and real pictures, laid out as each source hands them out, make one and the same table."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import polars as pl
import pytest

from perceived.data import table
from perceived.workspace import Workspace

PICTURES = 3_000
ROWS = 202_599


@pytest.fixture(scope="module")
def tables(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The complete tables, csv and text, unpacked."""
    folder = tmp_path_factory.mktemp("tables")
    with zipfile.ZipFile(shared_data / "celeba-annotations" / "celeba-annotations.zip") as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> Path:
    return shared_data / "celeba-mini" / "img_align_celeba" / "img_align_celeba"


@pytest.fixture(scope="module")
def kaggle(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    """The table that Kaggle's folder gives."""
    work = tmp_path_factory.mktemp("work")
    table.prepare(shared_data / "celeba-mini", work, strict=True)
    return Workspace(work).read_examples()


def pack(archive: Path, files: dict[str, Path]) -> None:
    with zipfile.ZipFile(archive, "w") as packed:
        for name, path in files.items():
            packed.write(path, name)


def same(work: Path, kaggle: pl.DataFrame) -> bool:
    given = ["path", "identity"]
    return Workspace(work).read_examples().sort("id").drop(given).equals(kaggle.sort("id").drop(given))


def test_original_release(tables: Path, pictures: Path, kaggle: pl.DataFrame, tmp_path: Path) -> None:
    for folder, names in {
        "Anno": ("list_attr_celeba.txt", "identity_CelebA.txt"),
        "Eval": ("list_eval_partition.txt",),
    }.items():
        (tmp_path / "data" / folder).mkdir(parents=True)
        for name in names:
            shutil.copy(tables / name, tmp_path / "data" / folder)
    (tmp_path / "data" / "Img").mkdir()
    pack(
        tmp_path / "data" / "Img" / "img_align_celeba.zip",
        {f"img_align_celeba/{path.name}": path for path in pictures.iterdir()},
    )
    report = table.prepare(tmp_path / "data", tmp_path / "work")
    assert report.layout.startswith("Original release")
    assert (report.rows, report.examples) == (ROWS, PICTURES)
    assert {kind: len(found) for kind, found in report.problems.items() if found} == {
        "rows_without_picture": ROWS - PICTURES
    }
    assert same(tmp_path / "work", kaggle)
    assert Workspace(tmp_path / "work").read_examples()["identity"].null_count() == 0


def test_torchvision(tables: Path, pictures: Path, kaggle: pl.DataFrame, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "celeba"
    folder.mkdir(parents=True)
    for path in tables.glob("*.txt"):
        shutil.copy(path, folder)
    (folder / "img_align_celeba").symlink_to(pictures)
    assert table.prepare(tmp_path / "data", tmp_path / "work").examples == PICTURES
    assert same(tmp_path / "work", kaggle)


def test_kaggle_zip(shared_data: Path, pictures: Path, kaggle: pl.DataFrame, tmp_path: Path) -> None:
    mini = shared_data / "celeba-mini"
    files = {str(path.relative_to(mini)): path for path in [*mini.glob("*.csv"), *pictures.iterdir()]}
    pack(tmp_path / "archive.zip", files)
    report = table.prepare(tmp_path / "archive.zip", tmp_path / "work", strict=True, check="decode")
    assert report.layout == "Kaggle's layout (zip)"
    assert same(tmp_path / "work", kaggle)
    assert [path.name for path in tmp_path.iterdir() if path.name != "work"] == ["archive.zip"]
