"""Pictures of one's own: a folder for each class, with or without partitions; words mapped or refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from perceived.commands.options import meanings
from perceived.data import labels, table
from perceived.data.known import DATASETS
from perceived.errors import DataError
from perceived.workspace import Workspace

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, make_jpeg: Callable[..., bytes]) -> Write:
    """A function that writes pictures under the given names below the folder ``mine``."""

    def pictures(*names: str, root: str = "mine") -> Path:
        for name in names:
            path = tmp_path / root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_jpeg(list(name.encode()), (12, 12)))
        return tmp_path / root

    return pictures


def test_a_tenth_is_held_out_for_validation_and_a_tenth_for_the_test(write: Write) -> None:
    data = write(*(f"{label}/{i}.jpg" for label in ("female", "male") for i in range(50)))
    report, _ = prepared(data)
    assert {name: sum(found.values()) for name, found in report.counts.items()} == {"train": 80, "val": 10, "test": 10}


def prepared(data: Path, *settings: str) -> tuple[table.PrepareReport, pl.DataFrame]:
    work = data.parent / "work"
    report = table.prepare(data, work, words=meanings("--label", settings, labels.MEANINGS))
    return report, Workspace(work).read_examples()


def test_folders_are_classes_and_a_fifth_is_held_out(write: Write) -> None:
    data = write(*(f"{label}/{i}.jpg" for label in ("Female", "men") for i in range(20)))
    report, examples = prepared(data)
    assert report.layout == "A folder for each class"
    assert set(examples.select("label", pl.col("id").str.split("/").list.first()).iter_rows()) == {
        ("female", "Female"),
        ("male", "men"),
    }
    assert report.counts == {
        "train": {"female": 16, "male": 16},
        "val": {"female": 2, "male": 2},
        "test": {"female": 2, "male": 2},
    }
    assert set(examples.select("source", "licence").iter_rows()) == {("mine", "not stated")}


def test_partitions_may_be_outside_or_inside_and_wrapped(write: Write) -> None:
    data = write(
        *(
            f"faces v2/{side}/{label}/{i}.png"
            for side in ("Training", "test")
            for label in ("w", "m")
            for i in range(5)
        ),
        *(f"faces v2/women/validation/{i}.jpg" for i in range(3)),
    )
    report, _ = prepared(data)
    assert report.counts == {
        "train": {"female": 5, "male": 5},
        "val": {"female": 3, "male": 0},
        "test": {"female": 5, "male": 5},
    }
    assert report.sources[0].held_out == []


def test_a_class_of_one_label_alone_is_no_wrapping(write: Write) -> None:
    with pytest.raises(DataError, match="is labelled female"):
        prepared(write("female/1.jpg", "female/2.jpg"))


def test_an_unknown_word_is_refused_with_its_remedy_and_then_mapped(write: Write) -> None:
    data = write("frau/1.jpg", "frau/2.jpg", "male/1.jpg", "unsure/1.jpg")
    with pytest.raises(DataError, match=r"'frau' \(2 pictures\), 'unsure' \(1 picture\)[\s\S]*--label frau=female"):
        prepared(data)
    _, examples = prepared(data, "Frau=female", "unsure=none")
    assert examples["label"].to_list() == ["female", "female", "male"]


def test_numbers_are_never_guessed(write: Write) -> None:
    data = write("0/1.jpg", "1/1.jpg")
    with pytest.raises(DataError, match="numbers mean different things"):
        prepared(data)
    _, examples = prepared(data, "0=male", "1=female")
    assert dict(examples.select("id", "label").iter_rows()) == {"0/1.jpg": "male", "1/1.jpg": "female"}


def test_a_link_to_a_folder_above_shows_no_picture_again(write: Write) -> None:
    data = write("female/1.jpg", "female/2.jpg", "male/1.jpg", "male/2.jpg")
    (data / "female" / "up").symlink_to(data)
    (data / "again").symlink_to(data / "male")
    (data / "itself").symlink_to(data / "itself")
    report, examples = prepared(data)
    assert sorted(examples["id"]) == ["female/1.jpg", "female/2.jpg", "male/1.jpg", "male/2.jpg"]
    assert sum(map(len, report.problems.values())) == 0


def test_a_zip_holds_what_its_folder_does(write: Write) -> None:
    data = write("set/female/1.jpg", "set/male/1.jpg", "set/female/.ipynb_checkpoints/2.jpg", "set/male/._1.jpg")
    assert prepared(data)[1].height == 2
    packed = Path(shutil.make_archive(str(data), "zip", data))
    assert prepared(packed)[1].height == 2


@pytest.mark.parametrize("name", ["set", "set.tar"])
def test_a_zip_of_another_name_is_told(write: Write, name: str) -> None:
    data = write("female/1.jpg", "male/1.jpg")
    packed = Path(shutil.make_archive(str(data), "zip", data))
    assert prepared(packed.rename(packed.with_name("set.Zip")))[1].height == 2
    with pytest.raises(DataError, match=f"rename it: {name}.zip"):
        prepared(packed.with_name("set.Zip").rename(packed.with_name(name)))


def test_pictures_without_a_folder_are_listed(write: Write) -> None:
    report, _ = prepared(write("female/1.jpg", "male/1.jpg", "stray.jpg"))
    assert report.problems["pictures_without_row"] == ["stray.jpg"]


def test_the_outer_folder_is_the_class(write: Write) -> None:
    _, examples = prepared(write("female/ben/1.jpg", "male/anna/1.jpg"))
    assert dict(examples.select("id", "label").iter_rows()) == {"female/ben/1.jpg": "female", "male/anna/1.jpg": "male"}


def test_pictures_alone_say_nothing(write: Write) -> None:
    with pytest.raises(DataError, match=r"nothing that says what they show[\s\S]*csv"):
        prepared(write("1.jpg", "2.jpg"))


def test_a_set_may_name_itself_and_its_licence(write: Write) -> None:
    data = write("female/1.jpg", "male/1.jpg")
    (data / "dataset.json").write_text('{"source": "street", "licence": "CC0"}')
    _, examples = prepared(data)
    assert set(examples.select("source", "licence").iter_rows()) == {("street", "CC0")}


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_a_folders_name_makes_no_known_dataset_of_it(write: Write, name: str) -> None:
    _, examples = prepared(write("female/1.jpg", "male/1.jpg", root=name.capitalize()))
    assert set(examples.select("source", "licence").iter_rows()) == {(f"own-{name}", "not stated")}


def test_several_datasets_join_with_unique_ids(write: Write, tmp_path: Path) -> None:
    names = [f"{label}/{i}.jpg" for label in ("female", "male") for i in range(10)]
    one, two = write(*names, root="one"), write(*names, root="two")
    utk = write("25_0_2_20170116174525125.jpg", "7_1_0_20170116174525126.jpg", root="utk")
    report = table.prepare([one, two, utk], tmp_path / "work")
    examples = Workspace(tmp_path / "work").read_examples()
    assert examples["id"].n_unique() == examples.height == report.examples == 42
    assert examples["id"][0] == "female/0.jpg"
    assert examples["id"][20] == "two/female/0.jpg"
    assert dict(examples.group_by("source").len().iter_rows()) == {"one": 20, "two": 20, "utkface": 2}
    assert examples.filter(source="one")["race"].null_count() == 20
    assert [source.name for source in report.sources] == ["one", "two", "utkface"]


def test_datasets_of_one_name_are_refused(write: Write, tmp_path: Path) -> None:
    names = ("female/1.jpg", "male/1.jpg")
    with pytest.raises(DataError, match=r"called 'faces'[\s\S]*dataset.json"):
        table.prepare([write(*names, root="a/faces"), write(*names, root="b/faces")], tmp_path / "work")
