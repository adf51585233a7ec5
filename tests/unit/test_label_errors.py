"""Probable label errors: planted ones are found, copies that contradict are listed, and the page carries it all."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from PIL import Image

from perceived import exclusions, label_errors, scoring
from perceived.data import split as splits
from perceived.errors import ConfigError, DataError, SplitError, StorageError
from perceived.pages import label_errors as label_errors_page
from perceived.workspace import Workspace

WRONG = {"val": 3, "test": 8}
"""Row of each side whose label is the other one."""


def texture(brightness: int, seed: int) -> Image.Image:
    """Return a picture that is told by its texture, and read by its brightness."""
    coarse = np.random.default_rng(seed).integers(-40, 40, (6, 4, 3))
    return Image.fromarray((brightness + coarse).astype(np.uint8)).resize((40, 60), Image.Resampling.BICUBIC)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Twelve pictures a side, dark ones female and bright ones male, but for two labels; two of them are copies."""
    folder = tmp_path / "work"
    folder.mkdir()
    rows = []
    for side, name in enumerate(("train", "val", "test")):
        for i in range(12):
            label, brightness = (("female", 60), ("male", 200))[i % 2]
            if WRONG.get(name) == i:
                label = ("male", "female")[i % 2]
            path = folder / f"{name}-{i:02}.png"
            texture(brightness, seed=100 * side + i).save(path)
            rows.append({"id": path.name, "path": str(path), "label": label, "identity": None, "split": name})
    for row, quality in ((12 + 3, 60), (5, 70)):  # a copy of the wrong one of val, in val, and one of train, in test
        path = folder / f"copy-{row}.jpg"
        Image.open(rows[row]["path"]).save(path, quality=quality)
        rows.append({"id": path.name, "path": str(path), "label": "male", "identity": None})
        rows[-1]["split"] = "val" if row > 12 else "test"
    table = pl.DataFrame(rows, schema_overrides={"identity": pl.Int64})
    table.write_parquet(Workspace(folder).split)
    return folder


def ids(found: dict, key: str = "candidates") -> list[str]:  # type: ignore[type-arg]
    return [row["id"] for row in found[key]]


def test_planted_errors_and_contradicting_copies_are_found(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = label_errors.find(work, model=tiny_model, out=out)
    assert sorted(ids(found)) == ["test-08.png", "val-03.png"]
    assert {row["id"]: (row["label"], row["suggested"]) for row in found["candidates"]} == {
        "test-08.png": ("male", "female"),
        "val-03.png": ("female", "male"),
    }
    assert found["on"] == ["val", "test"]
    assert found["pictures"] == {"asked": 26, "judged": 26, "unreadable": 0}
    assert found["confident_joint"]["female"]["male"] == found["confident_joint"]["male"]["female"] == 1
    assert found["agreement"] == pytest.approx(24 / 26)
    twice = found["duplicates"]
    assert twice["pairs"] == len(twice["contradictions"]) == 2
    assert {tuple(row["id"] for row in pair["pictures"]): pair["why"] for pair in twice["contradictions"]} == {
        ("val-03.png", "copy-15.jpg"): ["labels differ"],
        ("train-05.png", "copy-5.jpg"): ["in two parts of the split"],
    }
    assert "taken on trust" in found["notes"][0]


def test_lists_and_page_hold_it_all(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = label_errors.find(work, model=tiny_model, out=out)
    assert json.loads((out / "labels.json").read_text()) == json.loads(json.dumps(found))
    assert exclusions.read(out / "labels.csv").ids == ids(found), "the list is one that an evaluation can exclude"
    with open(out / "duplicates.csv", newline="") as file:
        assert [row["first"] for row in csv.DictReader(file)] == ["train-05.png", "val-03.png"]
    page = (out / "labels.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page), "nothing is fetched"
    assert page.count("data:image/jpeg") == 2 + 2 * 2
    assert page.count('type="radio"') == 2 * len(exclusions.READINGS)


def test_readings_that_somebody_has_written_are_not_replaced(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    lists = tmp_path / "out" / "labels.csv"
    head, *rows = lists.read_text().splitlines()
    lists.write_text("\n".join([f"{head},reading", *(f"{row},wrong" for row in rows)]))
    with pytest.raises(DataError, match="columns that are not ours: reading") as caught:
        label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    assert "another --out" in caught.value.mend
    label_errors_page.refuse_to_replace_readings(tmp_path)
    (tmp_path / "labels.csv").write_bytes("id;split;label\nJosé.jpg;test;male\n".encode("cp1252"))
    label_errors_page.refuse_to_replace_readings(tmp_path)
    assert lists.read_text().startswith(f"{head},reading")


def test_a_picture_that_has_gone_since_keeps_its_place_on_the_page(
    work: Path, tiny_model: Path, tmp_path: Path
) -> None:
    label_errors.find(work, model=tiny_model, out=tmp_path)
    found = json.loads((tmp_path / "labels.json").read_text())
    rows = [*found["candidates"], *(row for pair in found["duplicates"]["contradictions"] for row in pair["pictures"])]
    label_errors_page.write(tmp_path, found, {row["id"]: str(tmp_path / "gone.png") for row in rows})
    assert (tmp_path / "labels.html").read_text().count("data:image/jpeg") == 2 + 2 * 2


def test_answers_are_kept_with_the_lists(
    work: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    monkeypatch.setattr(scoring, "score", None)
    assert label_errors.find(work, model=tiny_model, out=tmp_path / "out") == first
    with pytest.raises(TypeError):
        label_errors.find(work, model=tiny_model, on=["test"], out=tmp_path / "out")
    path = pl.read_parquet(work / "split.parquet").filter(split="val")["path"][0]
    Image.new("RGB", (99, 99)).save(path)
    with pytest.raises(TypeError):  # another picture has taken the place of one
        label_errors.find(work, model=tiny_model, out=tmp_path / "out")


def test_an_unreadable_picture_is_listed(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    (work / "val-06.png").write_bytes(b"")
    found = label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    assert found["pictures"] == {"asked": 26, "judged": 25, "unreadable": 1}
    assert ids(found, "unreadable") == ["val-06.png"]
    assert found["duplicates"]["without_hash"] == 1
    assert "val-06.png" in (tmp_path / "out" / "labels.html").read_text()
    texture(60, seed=106).save(work / "val-06.png")
    found = label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    assert found["pictures"] == {"asked": 26, "judged": 26, "unreadable": 0}
    assert found["duplicates"]["without_hash"] == 0


def test_a_folder_that_cannot_be_written_is_told_before_any_picture_is_scored(
    work: Path, tiny_model: Path, in_the_way: Path
) -> None:
    with pytest.raises(StorageError, match="a file is in the way"):
        label_errors.find(work, model=tiny_model, out=in_the_way)


def test_nothing_found_is_said(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    table = pl.read_parquet(Workspace(work).split)
    right = table.filter(~pl.col("id").is_in(["val-03.png", "test-08.png"]) & ~pl.col("id").str.starts_with("copy"))
    right.write_parquet(Workspace(work).split)
    found = label_errors.find(work, model=tiny_model, out=tmp_path / "out")
    assert found["candidates"] == found["duplicates"]["contradictions"] == []
    assert (tmp_path / "out" / "labels.html").read_text().count("<p>None: ") == 2
    assert exclusions.read(tmp_path / "out" / "labels.csv").ids == []


@pytest.mark.parametrize(("sides", "judged"), [(("train", "val"), ["val"]), (("test",), ["test"])])
def test_a_split_without_one_of_its_parts_is_judged(
    work: Path, tiny_model: Path, tmp_path: Path, sides: tuple[str, ...], judged: list[str]
) -> None:
    table = pl.read_parquet(Workspace(work).split)
    table.filter(pl.col("split").is_in(sides)).write_parquet(Workspace(work).split)
    assert label_errors.find(work, model=tiny_model, out=tmp_path / "out")["on"] == judged


@pytest.mark.parametrize(
    ("on", "otherwise", "present", "names"),
    [
        ((), ("train", "val", "test"), {"train", "val"}, ("train", "val")),
        (("test", "val"), ("val", "test"), {"train"}, ("val", "test")),
        ((), ("val", "test"), {"train"}, ("val", "test")),
    ],
)
def test_the_parts_judged_are_those_asked_for_or_there(
    on: tuple[str, ...], otherwise: tuple[str, ...], present: set[str], names: tuple[str, ...]
) -> None:
    assert label_errors._names(on, otherwise, present) == names


def test_training_pictures_are_judged_by_a_model_of_another_split(
    work: Path, make_model: Callable[..., Path], tmp_path: Path
) -> None:
    table = pl.read_parquet(Workspace(work).split)

    def model(*seen: pl.DataFrame) -> Path:
        courses = {
            str(n): {"seconds": 1.0, "pictures_sha256": splits.pictures_fingerprint(one)} for n, one in enumerate(seen)
        }
        return make_model(tmp_path / "m.onnx", provenance={"courses": courses})

    for seen in ([table], [table.head(3), table], [table.with_columns(weight=pl.lit(2.0))]):
        with pytest.raises(ConfigError, match="cannot judge training pictures"):
            label_errors.find(work, model=model(*seen), on=["train"])
    found = label_errors.find(work, model=model(table.head(3)), on=["train"], out=tmp_path / "out")
    assert found["pictures"]["judged"] == 12
    assert "taken on trust" in found["notes"][0]


def test_what_cannot_be_judged_says_so(work: Path, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot judge training pictures"):
        label_errors.find(work, model=tiny_model, on=["train"])
    with pytest.raises(ConfigError, match="no split 'dev'"):
        label_errors.find(work, on=["dev"])
    with pytest.raises(ConfigError, match="99 folds cannot be made of 18 people"):
        label_errors.find(work, folds=99)
    with pytest.raises(DataError, match="does not exist"):
        label_errors.find(tmp_path / "nowhere", model=tiny_model)
    table = pl.read_parquet(Workspace(work).split)
    table.filter((pl.col("label") == "male") | (pl.col("split") == "train")).write_parquet(Workspace(work).split)
    with pytest.raises(SplitError, match=r"have the labels \['male'\]"):
        label_errors.find(work, model=tiny_model, out=tmp_path / "out")


def test_the_command_names_the_first_ones(
    work: Path, tiny_model: Path, tmp_path: Path, run: Callable[..., SimpleNamespace]
) -> None:
    answer = run("labels", work, "--model", tiny_model, "--out", tmp_path / "out")
    assert answer.code == 0, answer.err
    assert "2 of 26 labels to look at" in answer.out
    assert "2 near-identical pairs, 2 of which contradict" in answer.out
    assert "test-08.png" in answer.out
    answer = run("labels", work, "--model", tiny_model, "--on", "train")
    assert answer.code == 2
    assert "leave --model out" in answer.err


def test_settings_beside_a_model_are_refused(work: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="a model was given to judge instead"):
        label_errors.find(work, model=tiny_model, settings=["backbone=resnet10t"])
