"""Whether a model may have learnt from the pictures that it is tried on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from perceived import lineage, storage
from perceived.classifier import Classifier
from perceived.data import split
from perceived.workspace import Workspace


@pytest.mark.parametrize(
    ("learnt", "shown", "told"),
    [
        (["fairface"], ["utkface"], False),
        (["fairface", "celeba"], ["utkface"], False),
        (["fairface"], ["fairface"], True),
        (["fairface"], ["fairface", "utkface"], True),
        (["fairface"], ["street"], True),  # pictures of one's own may be anybody's
        ([], ["utkface"], True),
    ],
)
def test_a_test_set_of_all_pictures_may_have_been_learnt_from(
    make_model: Callable[..., Path], tmp_path: Path, learnt: list[str], shown: list[str], told: bool
) -> None:
    courses = {"a": {"seconds": 1.0, "pictures_sha256": "0" * 64, "sources": learnt}}
    spec = Classifier(make_model(tmp_path / "m.onnx", provenance={"courses": courses})).spec
    workspace = Workspace(tmp_path)
    rows = {"id": shown, "path": shown, "label": "male", "split": "test", "source": shown}
    pl.DataFrame(rows).write_parquet(workspace.split)
    storage.write_json(workspace.prepare_report, {"sources": [], "partition": "test"})
    assert any("whether it has seen" in note for note in lineage.notes(spec, workspace, "test")) == told
    storage.write_json(workspace.prepare_report, {"sources": [], "partition": None})
    assert lineage.notes(spec, workspace, "test") == [], "its authors have drawn it"


def test_a_training_that_does_not_say_on_which_pictures_may_have_been_anywhere(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    workspace = Workspace(tmp_path)
    table = pl.DataFrame({"id": ["a.png"], "path": ["a.png"], "label": ["male"], "split": ["val"]})
    table.write_parquet(workspace.split)
    silent = {"seconds": 1.0, "sources": []}
    here = {**silent, "pictures_sha256": split.pictures_fingerprint(table)}
    for courses, learnt in (({"a": silent}, {"unknown"}), ({"a": silent, "b": here}, {"unknown", "here"})):
        spec = Classifier(make_model(tmp_path / "m.onnx", provenance={"courses": courses})).spec
        assert lineage.learnt_on(spec, table) == learnt
        assert "learnt on another split than this one, or does not say" in lineage.notes(spec, workspace, "val")[0]
