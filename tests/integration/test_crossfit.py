"""Cross-validation on frozen features: nobody is judged by a model that has seen them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

from perceived import crossfit, label_errors, recipes, scoring
from perceived.workspace import Workspace


@pytest.fixture(scope="module")
def recipe(tiny: tuple[str, ...]) -> recipes.Recipe:
    return recipes.get("last-layer", [*tiny, "precision=fp32"])


def test_every_picture_is_judged_without_its_own_person(
    tiny_work: Path, recipe: recipes.Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = scoring.read_split(Workspace(tiny_work), "train")
    sizes: list[int] = []
    fit = LogisticRegression.fit

    def spy(self: Any, seen: Any, labels: Any, *rest: Any) -> Any:
        sizes.append(len(labels))
        return fit(self, seen, labels, *rest)

    monkeypatch.setattr(LogisticRegression, "fit", spy)
    one_person = rows.with_columns(identity=pl.when(pl.col("identity") < 8).then(1).otherwise(pl.col("identity")))
    found = crossfit.probabilities(one_person, recipe, tmp_path, folds=4)
    assert found.shape == (48, 2)
    assert np.allclose(found.sum(axis=1), 1)
    assert sum(48 - size for size in sizes) == 48, "every picture is held out once"
    assert max(48 - size for size in sizes) >= 16, "the person of 16 pictures is held out as one"
    again = crossfit.probabilities(one_person, recipe, tmp_path, folds=4)
    assert (again == found).all()


def test_labels_are_judged_without_any_model(
    tiny_work: Path, tiny: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With features that tell the tiny pictures' halves apart, two planted errors are found, and nothing else."""
    table = pl.read_parquet(Workspace(tiny_work).split)
    planted = ["train-010.png", "train-021.png"]
    other = pl.when(pl.col("label") == "male").then(pl.lit("female")).otherwise(pl.lit("male"))
    wrong = table.with_columns(label=pl.when(pl.col("id").is_in(planted)).then(other).otherwise(pl.col("label")))
    work = Workspace(tmp_path / "work")
    work.root.mkdir()
    wrong.with_columns(identity=pl.lit(None, pl.Int64)).write_parquet(work.split)

    def halves(rows: pl.DataFrame, pixels: Any, *_: Any, **__: Any) -> Any:
        return np.stack([pixels[:, :16].mean((1, 2, 3)), pixels[:, 16:].mean((1, 2, 3))], axis=1)

    monkeypatch.setattr(crossfit, "features", halves)
    found = label_errors.find(work.root, folds=4, settings=[*tiny, "precision=fp32"])
    assert found["on"] == ["train", "val", "test"]
    assert {row["id"] for row in found["candidates"]} == set(planted)
    assert found["source"]["kind"] == "cross-validation"
    assert found["notes"] == []
    assert (work.root / "labels" / "labels.html").is_file()
