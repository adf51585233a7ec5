"""Scoring: a row for every picture, the label order of the model, and reading that overlaps with answering."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from perceived import scoring
from perceived.errors import ConfigError, ModelFileError, SplitError
from perceived.preprocess import Preprocessing, frame
from perceived.spec import ModelSpec
from perceived.types import Box, Face
from perceived.workspace import Workspace

SPEC = ModelSpec(
    name="stand-in",
    backbone="none",
    labels=("female", "male"),
    preprocessing=Preprocessing(height=6, width=4, mean=(0, 0, 0), std=(1, 1, 1)),
)
Picture = Callable[..., Path]


def brightness(pixels: np.ndarray) -> np.ndarray:
    """Answer by brightness: white is surely male."""
    male = pixels.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - male, male], axis=1).astype(np.float32)


def rows(paths: list[Path]) -> pl.DataFrame:
    return pl.DataFrame({"id": [p.name for p in paths], "path": [str(p) for p in paths]})


def test_every_row_keeps_its_place_whatever_the_batch_size(picture: Picture) -> None:
    shades = [0, 255, 51, 204, 102]
    table = rows([picture(f"{i}.png", shade) for i, shade in enumerate(shades)])
    for batch_size in (1, 2, 5, 64):
        scored = scoring.score(table, brightness, SPEC, batch_size=batch_size)
        assert scored["id"].to_list() == table["id"].to_list()
        np.testing.assert_allclose(scored["probability_male"], np.array(shades) / 255, atol=1e-6)
    assert scored["perceived_gender"].to_list() == ["female", "male", "female", "male", "female"]
    np.testing.assert_allclose(scored["confidence"], [1, 1, 0.8, 0.8, 0.6], atol=1e-6)


def test_a_model_that_aligns_faces_is_given_the_largest_face_of_each_picture(
    picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    face = Face(box=Box(x0=4, y0=4, x1=24, y1=34))
    seen = []

    class Finder:
        def detect(self, image: np.ndarray) -> list[Face]:
            return [Face(box=Box(x0=0, y0=0, x1=3, y1=3)), face] if image[0, 0, 0] else []

    def look(pixels: np.ndarray) -> np.ndarray:
        seen.extend(pixels)
        return brightness(pixels)

    monkeypatch.setattr(scoring, "YuNet", Finder)
    aligning = dataclasses.replace(SPEC, preprocessing=dataclasses.replace(SPEC.preprocessing, alignment="five-point"))
    paths = [picture("a.png", 200), picture("no-face.png", 0)]
    scored = scoring.score(rows(paths), look, aligning)
    assert scored["perceived_gender"].to_list() == ["male", None]
    assert "No face is found" in scored["error"][1]
    np.testing.assert_array_equal(seen, [frame(np.full((40, 30, 3), 200, np.uint8), aligning.preprocessing, face)])


def test_an_unreadable_picture_keeps_its_row_and_the_reason(picture: Picture, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    paths = [picture("a.png", 0), text, tmp_path / "gone.jpg", picture("b.png", 255)]
    for batch_size in (1, 2, 4):
        scored = scoring.score(rows(paths), brightness, SPEC, batch_size=batch_size)
        assert scored["perceived_gender"].to_list() == ["female", None, None, "male"]
        assert scored["confidence"].null_count() == scored["probability_male"].null_count() == 2
        assert scored["error"][0] is None
        assert "not a picture" in scored["error"][1]
        assert "gone.jpg" in scored["error"][2]


class ByBrightness:
    """A model that answers by brightness and remembers how many pictures it was asked about."""

    spec = SPEC

    def __init__(self) -> None:
        self.asked = 0

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        self.asked += len(pixels)
        return brightness(pixels)


def test_kept_answers_are_not_asked_for_again_and_pictures_that_come_back_are(picture: Picture, tmp_path: Path) -> None:
    model, kept = ByBrightness(), tmp_path / "answers.parquet"
    table = rows([picture("a.png", 0), tmp_path / "away.png", picture("b.png", 255)])
    first = scoring.kept(table, kept, lambda: model, title="scoring")
    assert first["perceived_gender"].to_list() == ["female", None, "male"]
    picture("away.png", 255)
    table = table.with_columns(weight=pl.lit(1.0))
    second = scoring.kept(table, kept, lambda: model, title="scoring")
    assert second["perceived_gender"].to_list() == ["female", "male", "male"]
    assert second["error"].null_count() == 3
    assert second.columns == [*table.columns, *first.columns[2:]]
    assert model.asked == 3
    assert scoring.kept(table, kept, None, title="scoring").equals(second)


@pytest.mark.parametrize("damage", [b"", b"PAR1 and no more", None])
def test_kept_answers_that_are_damaged_are_asked_for_again(
    damage: bytes | None, picture: Picture, tmp_path: Path
) -> None:
    table, kept = rows([picture("a.png", 0)]), tmp_path / "answers.parquet"
    if damage is None:
        table.write_parquet(kept)  # of another version: its columns are others
    else:
        kept.write_bytes(damage)
    assert scoring.kept(table, kept, ByBrightness, title="scoring")["perceived_gender"].to_list() == ["female"]
    assert scoring.kept(table, kept, None, title="scoring")["perceived_gender"].to_list() == ["female"]


def test_answers_of_which_none_could_be_read_are_not_kept(picture: Picture, tmp_path: Path) -> None:
    kept, table = tmp_path / "answers.parquet", rows([tmp_path / "away.png"])
    with pytest.raises(SplitError, match=r"Of 1 picture, none can be read: .*away\.png"):
        scoring.kept(table, kept, ByBrightness, title="scoring")
    assert not kept.exists()
    scoring.score(table, brightness, SPEC).write_parquet(kept)  # as earlier versions did
    picture("away.png", 0)
    assert scoring.kept(table, kept, ByBrightness, title="scoring")["perceived_gender"].to_list() == ["female"]


def test_labels_are_those_of_the_model_in_its_order(picture: Picture) -> None:
    turned = ModelSpec(
        name="turned", backbone="none", labels=("male", "female"), preprocessing=SPEC.preprocessing, threshold=0.9
    )
    scored = scoring.score(rows([picture("a.png", 255)]), lambda x: brightness(x)[:, ::-1], turned)
    assert scored["perceived_gender"].to_list() == ["male"]
    assert scored["probability_male"].to_list() == [1.0]


def test_a_model_of_other_labels_is_refused(picture: Picture) -> None:
    other = ModelSpec(name="pets", backbone="none", labels=("cat", "dog"), preprocessing=SPEC.preprocessing)
    with pytest.raises(ModelFileError, match="cat, dog"):
        scoring.score(rows([picture("a.png", 0)]), brightness, other)


@pytest.mark.parametrize("answer", [np.full((1, 2), np.nan, np.float32), np.zeros((1, 3), np.float32)])
def test_answers_that_are_no_probabilities_are_refused(picture: Picture, answer: np.ndarray) -> None:
    with pytest.raises(ModelFileError, match="stand-in answers 1 pictures"):
        scoring.score(rows([picture("a.png", 0)]), lambda _: answer, SPEC)


def test_progress_counts_every_picture(picture: Picture, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    paths = [picture("a.png", 0), tmp_path / "gone.jpg", picture("b.png", 0)]
    scoring.score(rows(paths), brightness, SPEC, batch_size=2, tick=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]


def test_pictures_are_read_while_the_model_answers(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the model holds the first batch, the second must be read by others, or this would wait in vain."""
    path = picture("a.png", 0)
    later = threading.Event()
    original, reads = scoring.images.load, []

    def load(name: str) -> np.ndarray:
        reads.append(name)
        if len(reads) > 1:
            later.set()
        return original(name)

    monkeypatch.setattr(scoring.images, "load", load)
    waits: list[bool] = []

    def predict(pixels: np.ndarray) -> np.ndarray:
        waits.append(later.wait(timeout=30))
        return brightness(pixels)

    scoring.score(rows([path, path]), predict, SPEC, batch_size=1)
    assert waits == [True, True]


def test_what_is_read_ahead_is_bounded(picture: Picture, monkeypatch: pytest.MonkeyPatch) -> None:
    path, reads, most = picture("a.png", 0), [], []
    original = scoring.images.load
    monkeypatch.setattr(scoring.images, "load", lambda name: (reads.append(name), original(name))[1])

    def predict(pixels: np.ndarray) -> np.ndarray:
        most.append(len(reads))
        return brightness(pixels)

    scoring.score(rows([path] * 20), predict, SPEC, batch_size=1)
    assert all(read <= done + 1 + scoring._AHEAD for done, read in enumerate(most))


def test_an_onnx_file_is_opened_by_path_or_name(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert scoring.load_model(tiny_model).spec.name == "tiny"
    monkeypatch.setattr("perceived.models.SHIPPED", tiny_model.parent)
    assert scoring.load_model(Path("tiny")).spec.name == "tiny"


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no model"):
        scoring.load_model(tmp_path / "nothing.onnx")


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(ModelFileError, match="holds no trained model"):
        scoring.load_model(tmp_path)


def test_a_workspace_whose_name_has_brackets_is_that_one_and_no_other(tmp_path: Path) -> None:
    for name in ("w[1]", "w1"):
        (tmp_path / name).mkdir()
        table = pl.DataFrame({"id": [name], "path": [""], "label": ["male"], "partition": ["test"]})
        table.write_parquet(tmp_path / name / "examples.parquet")
    assert Workspace(tmp_path / "w[1]").read_examples()["id"].to_list() == ["w[1]"]


def test_only_splits_that_exist_are_read(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    row = {"id": ["a"], "path": ["a.jpg"], "label": ["male"], "split": ["val"]}
    pl.DataFrame(row).write_parquet(workspace.split)
    assert scoring.read_split(workspace, "val")["id"].to_list() == ["a"]
    with pytest.raises(SplitError, match="The test split has no pictures"):
        scoring.read_split(workspace, "test")
    with pytest.raises(ConfigError, match="no split 'tset'"):
        scoring.read_split(workspace, "tset")
