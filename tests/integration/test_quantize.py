"""A model that computes in int8: made of a trained one, judged beside it, and turned back where it is to learn on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import polars as pl
import pytest
from PIL import Image

from perceived import compact, export, quantize, recipes, train as training
from perceived.checkpoint import Run
from perceived.classifier import ACTIVATION, OUTPUT, Classifier
from perceived.data import split as splits
from perceived.errors import ConfigError, ModelFileError


@pytest.fixture(scope="module")
def trained(tiny_work: Path, tiny: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose model tells the tiny pictures apart."""
    out = tmp_path_factory.mktemp("runs") / "run"
    training.train(
        tiny_work, recipes.get("fast", [*tiny, "epochs=6", "precision=fp32", "ema_decay=0"]), out, quiet=True
    )
    return out


@pytest.fixture(scope="module")
def model(trained: Path) -> Path:
    return export.export(trained, trained.parent / "model.onnx", store="int8")


@pytest.fixture
def work(tiny_work: Path, model: Path, tmp_path: Path) -> Path:
    """The tiny pictures, called what the model calls them."""
    from perceived.scoring import score

    rows = pl.read_parquet(tiny_work / "split.parquet")
    opened = Classifier(model)
    told = score(rows, opened.probabilities, opened.spec)["perceived_gender"]
    (tmp_path / "work").mkdir()
    rows.with_columns(label=told).write_parquet(tmp_path / "work" / "split.parquet")
    return tmp_path / "work"


def test_the_answers_are_the_same_but_for_rounding(model: Path, trained: Path, work: Path) -> None:
    found = quantize.quantize(model, work, pictures=32, max_loss=0.2)
    before, after = Classifier(model), Classifier(found["file"])
    pixels = np.load(Run(trained).check_pictures, allow_pickle=False)
    difference = np.abs(before.probabilities(pixels) - after.probabilities(pixels)).max()
    assert 0 < difference < 0.1
    assert (after.probabilities(pixels[:1]) == after.probabilities(pixels)[:1]).all(), "alone or among others"
    assert compact.computes_in_int8(onnx.load(found["file"]).graph)
    assert not compact.computes_in_int8(onnx.load(model).graph), "kept as int8, it computes in float32"
    assert Path(found["file"]) == model.with_name("model-int8.onnx")


def test_nothing_is_rounded_between_the_map_and_the_answer(model: Path, work: Path, tmp_path: Path) -> None:
    quantize.quantize(model, work, out=tmp_path / "out.onnx", pictures=32, max_loss=0.2)
    made, kinds = {ACTIVATION}, set()
    for node in onnx.load(tmp_path / "out.onnx").graph.node:
        if made & set(node.input):
            made |= set(node.output)
            kinds.add(node.op_type)
    assert OUTPUT in made
    assert kinds.isdisjoint(("QuantizeLinear", "DequantizeLinear"))


def test_what_was_found_stands_in_the_file(model: Path, work: Path, tmp_path: Path) -> None:
    found = quantize.quantize(model, work, out=tmp_path / "out.onnx", pictures=32, max_loss=0.2)
    spec, rows = Classifier(tmp_path / "out.onnx").spec, pl.read_parquet(work / "split.parquet")
    told = {key: value for key, value in found.items() if key != "file"}
    assert spec.provenance == {**Classifier(model).spec.provenance, "int8": told}
    assert told["accuracy"]["before"] == 1
    assert "note" not in told, "a loss of 20 % would show"
    unsure = quantize.quantize(model, work, out=tmp_path / "unsure.onnx", pictures=32, max_loss=0.001)
    assert unsure["note"].startswith("A loss of 0.10% is less than one of these")
    assert told["scaled_by"] == {"split": "train", "pictures": 32, "seed": 0}
    assert told["compared_on"] == {
        "split": "val",
        "pictures": rows.filter(split="val").height,
        "unreadable": 0,
        "split_sha256": splits.fingerprint(rows),
    }
    assert told["time"] > 0
    wrong = round((1 - told["accuracy"]["after"]) * told["compared_on"]["pictures"])
    assert told["changed_answers"] == wrong, "the labels are the old answers"


def test_turned_back_it_computes_in_float32(model: Path, trained: Path, work: Path, tmp_path: Path) -> None:
    quantize.quantize(model, work, out=tmp_path / "out.onnx", pictures=32, max_loss=0.2)
    pixels = np.load(Run(trained).check_pictures, allow_pickle=False)
    with compact.in_float32(tmp_path / "out.onnx") as plain:
        assert not compact.computes_in_int8(onnx.load(plain).graph)
        floating = Classifier(plain).probabilities(pixels)
    assert not plain.exists()
    np.testing.assert_allclose(floating, Classifier(tmp_path / "out.onnx").probabilities(pixels), atol=0.1)
    np.testing.assert_allclose(floating, Classifier(model).probabilities(pixels), atol=0.1)
    with compact.in_float32(model) as plain:
        assert plain == model, "a file that computes in float32 is taken as it is"


def test_what_costs_accuracy_is_refused_and_leaves_no_file(model: Path, work: Path, tmp_path: Path) -> None:
    black = tmp_path / "black.png"
    Image.new("RGB", (32, 32)).save(black)
    rows = pl.read_parquet(work / "split.parquet")
    dark = pl.when(split="train").then(pl.lit(str(black))).otherwise(pl.col("path"))
    rows.with_columns(path=dark).write_parquet(work / "split.parquet")
    with pytest.raises(ModelFileError, match=r"right about \d\d?\.\d\d%[\s\S]*at most 1\.00%[\s\S]*--max-loss"):
        quantize.quantize(model, work, out=tmp_path / "out.onnx", pictures=1, max_loss=0.01)
    assert not list(tmp_path.glob("*.onnx"))


@pytest.mark.parametrize(("after", "allowed"), [(3696, True), (3695, False)])
def test_a_loss_is_allowed_to_the_picture(
    model: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int, allowed: bool
) -> None:
    """0.925 - 0.924 is more than 0.001 to a computer."""
    monkeypatch.setattr(quantize, "_rounded", lambda *_: model)
    found = {"accuracy": {"before": 3700 / 4000, "after": after / 4000}}
    monkeypatch.setattr(quantize, "_compare", lambda *_: (4000, found))
    if allowed:
        assert quantize.quantize(model, work, out=tmp_path / "out.onnx")["accuracy"] == found["accuracy"]
    else:
        with pytest.raises(ModelFileError, match=r"a loss of at most 0\.10%"):
            quantize.quantize(model, work, out=tmp_path / "out.onnx")


def test_pictures_that_cannot_be_read_are_counted_as_evaluation_counts_them(
    model: Path, work: Path, tmp_path: Path
) -> None:
    rows = pl.read_parquet(work / "split.parquet")
    first = rows.filter(split="val")["id"][0]
    gone = pl.when(id=first).then(pl.lit(str(tmp_path / "gone.png"))).otherwise(pl.col("path"))
    rows.with_columns(path=gone).write_parquet(work / "split.parquet")
    told = quantize.quantize(model, work, out=tmp_path / "out.onnx", pictures=32, max_loss=0.2)["compared_on"]
    assert (told["pictures"], told["unreadable"]) == (rows.filter(split="val").height - 1, 1)


def test_misuse_is_told(model: Path, work: Path, tmp_path: Path, run: Callable[..., SimpleNamespace]) -> None:
    with pytest.raises(ConfigError, match="0 pictures"):
        quantize.quantize(model, work, pictures=0)
    with pytest.raises(ConfigError, match=r"loss of accuracy of 1\.5"):
        quantize.quantize(model, work, max_loss=1.5)
    with pytest.raises(ConfigError, match="is a folder"):
        quantize.quantize(model, work, out=tmp_path)
    copy = tmp_path / "copy.onnx"
    shutil.copyfile(model, copy)
    done = run("quantize", copy, work, "--pictures", 20, "--max-loss", 0.2)
    assert done.code == 0, done.err
    assert "accuracy" in done.out
    assert "Collecting" not in done.out
    assert "copy-int8.onnx" in done.out
    again = run("quantize", tmp_path / "copy-int8.onnx", work)
    assert again.code == 2
    assert "computes in int8 already" in again.err
