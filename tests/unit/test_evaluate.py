"""Evaluation: what is reported, from what, and that nothing is dropped on the way."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from perceived import evaluate, models, storage
from perceived.data import split as splits
from perceived.errors import SplitError, StorageError
from perceived.workspace import Workspace

LABELS = ("female", "male")
Row = tuple[str, int, int | None]
"""Label, brightness, identity."""


@pytest.fixture
def workspace(tmp_path: Path) -> Callable[[list[Row]], Path]:
    """A function that writes a workspace whose test split holds pictures of one brightness each."""

    def write(rows: list[Row], broken: int = 0, source: str = "celeba") -> Path:
        work = tmp_path / "work"
        work.mkdir()
        paths = [work / f"{i:03}.png" for i in range(len(rows))]
        for i, (path, (_, brightness, _)) in enumerate(zip(paths, rows, strict=True)):
            Image.new("RGB", (12, 18), (brightness,) * 3).save(path)
            if i < broken:
                path.write_bytes(b"")
        columns = {"id": [p.name for p in paths], "path": [str(p) for p in paths], "label": [row[0] for row in rows]}
        table = pl.DataFrame(columns).with_columns(
            identity=pl.Series([row[2] for row in rows], dtype=pl.Int64),
            split=pl.lit("test"),
            source=pl.lit(source),
        )
        table.write_parquet(Workspace(work).split)
        return work

    return write


ROWS: list[Row] = [
    *[("female", 20, 1), ("female", 30, 1), ("female", 90, 2), ("female", 200, 3)],
    *[("male", 230, 4), ("male", 250, 4), ("male", 150, 5), ("male", 60, None), ("male", 120, 5)],
]
"""The tiny model calls what is brighter than 128 male: three mistakes, the surest on 003, then 007, then 008."""


def test_the_report_says_what_is_in_the_split(workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = evaluate.evaluate(tiny_model, workspace(ROWS), out=out, batch_size=2)
    assert found["pictures"] == {"asked": 9, "scored": 9, "unreadable": 0}
    assert found["labels"] == {"female": 4, "male": 5}
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(6 / 9)
    assert {k: v["value"] for k, v in found["metrics"]["recall"].items()} == pytest.approx(
        {"female": 0.75, "male": 0.6}
    )
    cells = found["metrics"]["confusion"]
    assert [[cells[true][said]["value"] for said in LABELS] for true in LABELS] == [[3, 1], [2, 3]]
    assert [row["id"] for row in found["mistakes"]] == ["003.png", "007.png", "008.png"]
    assert found["mistakes"][0]["confidence"] == pytest.approx(1 / (1 + np.exp(-144 / 32)), rel=1e-4)
    assert found["bootstrap"]["unit"] == "person"
    assert found["bootstrap"]["groups"] == 6, "five people, and a picture of somebody unknown"
    assert found["study"] == {"accuracy": 0.962, "f1": 0.9615}
    assert found.pop("report") == str(out)
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(found))
    written = {"report.html", "report.json", "predictions.parquet", "scores.png", "calibration.png"}
    assert {path.name for path in out.iterdir()} == written
    assert pl.read_parquet(out / "predictions.parquet")["perceived_gender"].to_list()[3] == "male"


def test_metrics_agree_with_scikit_learn(workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> None:
    sk = pytest.importorskip("sklearn.metrics")
    found = evaluate.evaluate(tiny_model, workspace(ROWS), out=tmp_path / "out")["metrics"]
    truth = [row[0] for row in ROWS]
    answer = ["male" if row[1] > 128 else "female" for row in ROWS]
    brightness = [row[1] for row in ROWS]
    assert found["roc_auc"]["value"] == pytest.approx(sk.roc_auc_score([t == "male" for t in truth], brightness))
    for label in LABELS:
        assert found["f1"][label]["value"] == pytest.approx(sk.f1_score(truth, answer, pos_label=label))
    assert found["f1"]["macro"]["value"] == pytest.approx(sk.f1_score(truth, answer, average="macro"))


def test_a_score_without_excluded_pictures_stands_beside_that_of_all(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    work, listed = workspace(ROWS), tmp_path / "readings.csv"
    listed.write_text("id,reading\n003.png,wrong\n007.png,right\n008.png,ambiguous\nelsewhere.png,wrong\n")
    raw = evaluate.evaluate(tiny_model, work, out=tmp_path / "raw")
    found = evaluate.evaluate(tiny_model, work, out=tmp_path / "out", exclude=listed)
    assert raw["cleaned"] is None
    assert found["metrics"] == raw["metrics"]
    cleaned = found["cleaned"]
    assert (cleaned["excluded"], cleaned["listed"]) == (2, 3)
    assert cleaned["pictures"]["scored"] == 7
    assert cleaned["metrics"]["accuracy"]["value"] == pytest.approx(6 / 7)
    assert cleaned["labels"] == {"female": 3, "male": 4}
    assert any("upper bound" in note for note in found["notes"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Without 2 pictures" in page
    assert "85.71%" in page
    assert "Without" not in (tmp_path / "raw" / "report.html").read_text()
    listed.write_text("id,label\n003.png,male\n")
    unread = evaluate.evaluate(tiny_model, work, out=tmp_path / "unread", exclude=listed)["notes"]
    assert any("Nobody has read these labels" in note for note in unread)
    assert not any("upper bound" in note for note in unread)


def test_a_list_that_excludes_every_picture_is_refused_before_any_is_scored(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "all.csv"
    listed.write_text("\n".join(["id", *(f"{i:03}.png" for i in range(len(ROWS)))]))
    monkeypatch.setattr(evaluate, "score", None)
    with pytest.raises(SplitError, match="holds all of the split: 9 pictures"):
        evaluate.evaluate(tiny_model, workspace(ROWS), out=tmp_path / "out", exclude=listed)


def test_label_order_belongs_to_the_model(
    workspace: Callable[..., Path], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    """The same file that calls its outputs the other way round is wrong where the other is right."""
    work = workspace(ROWS)
    turned = make_model(tmp_path / "turned.onnx", labels=("male", "female"))
    found = evaluate.evaluate(turned, work, out=tmp_path / "turned")["metrics"]
    assert found["accuracy"]["value"] == pytest.approx(3 / 9)
    straight = evaluate.evaluate(make_model(tmp_path / "straight.onnx"), work, out=tmp_path / "straight")["metrics"]
    assert found["roc_auc"]["value"] == pytest.approx(1 - straight["roc_auc"]["value"])
    assert found["confusion"]["female"]["male"]["value"] == straight["confusion"]["female"]["female"]["value"]


def test_an_unreadable_picture_is_listed_and_outside_every_rate(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    found = evaluate.evaluate(tiny_model, workspace(ROWS, broken=1), out=tmp_path / "out")
    assert found["pictures"] == {"asked": 9, "scored": 8, "unreadable": 1}
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(5 / 8)
    assert found["unreadable"][0]["id"] == "000.png"
    assert "1 of 9 pictures cannot be read" in found["notes"][0]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Pictures that cannot be read" in page
    assert "000.png" in page


def test_nothing_readable_is_an_error_and_leaves_nothing(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(SplitError, match="Of 9 pictures, none"):
        evaluate.evaluate(tiny_model, workspace(ROWS, broken=9), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_split_of_one_label_has_no_ranking_but_a_report(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    found = evaluate.evaluate(tiny_model, workspace([("male", 200, None), ("male", 240, None)]), out=tmp_path / "out")
    assert found["metrics"]["roc_auc"] == {"value": None, "low": None, "high": None}
    assert found["metrics"]["recall"]["female"]["value"] is None
    assert found["metrics"]["accuracy"]["value"] == 1
    assert found["bootstrap"]["unit"] == "picture"
    assert any("rule of three" in note for note in found["notes"])
    assert "None: every answer agrees" in (tmp_path / "out" / "report.html").read_text()


def test_a_label_without_a_mistake_is_no_certainty(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    rows = [("male", 200, None), ("male", 240, None), ("female", 20, None), ("female", 220, None)]
    found = evaluate.evaluate(tiny_model, workspace(rows), out=tmp_path / "out")
    assert {name: rate["value"] for name, rate in found["metrics"]["recall"].items()} == {"male": 1, "female": 0.5}
    told = [note for note in found["notes"] if "rule of three" in note]
    assert len(told) == 1
    assert told[0].startswith("No picture labelled male")


@pytest.mark.parametrize(
    ("side", "held_out", "learnt_on", "says"),
    [
        ("train", "test", ["here"], ["These are training pictures"]),
        ("train", "test", ["elsewhere"], ["is not known"]),
        ("train", "test", ["here", "elsewhere"], ["The model also learnt on another split", "These are training"]),
        ("train", "test", [], ["is not known"]),
        ("val", "val", ["here"], ["was chosen on these pictures"]),
        ("val", "val", ["elsewhere"], ["The model learnt on another split"]),
        ("test", "test", ["here"], []),
        ("test", "test", ["elsewhere"], ["is not known"]),
        ("test", "val", ["elsewhere"], []),
    ],
)
def test_only_of_its_own_split_is_it_said_what_a_model_has_seen(
    workspace: Callable[..., Path],
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    side: str,
    held_out: str,
    learnt_on: list[str],
    says: list[str],
) -> None:
    monkeypatch.setattr(evaluate, "_write", lambda *_: None)
    work = workspace(ROWS)
    table = pl.read_parquet(Workspace(work).split).with_columns(split=pl.lit(side))
    table.write_parquet(Workspace(work).split)
    storage.write_json(Workspace(work).prepare_report, {"sources": [{"held_out": [{"to": held_out}]}]})
    hashes = {"here": splits.pictures_fingerprint(table), "elsewhere": splits.pictures_fingerprint(table.head(3))}
    courses = {name: {"seconds": 1.0, "pictures_sha256": hashes[name]} for name in learnt_on}
    model = make_model(tmp_path / "m.onnx", provenance={"courses": courses})
    notes = evaluate.evaluate(model, work, on=side)["notes"]
    assert [words in note for words, note in zip(says, notes, strict=True)] == [True] * len(says)


def test_the_page_is_whole_in_itself_and_beside_the_study(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    evaluate.evaluate(tiny_model, workspace(ROWS), out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert not re.search(r"@import|url\((?!#)", page)
    assert page.count("data:image/jpeg;base64,") == 3
    assert page.count("<svg") == 2
    assert "96.2%" in page
    assert "96.15%" in page


def test_other_pictures_than_celebas_stand_alone(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    found = evaluate.evaluate(tiny_model, workspace(ROWS, source="fairface"), out=tmp_path / "out")
    assert found["study"] is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "the study" not in page
    assert "96.2%" not in page


def test_a_folder_that_cannot_be_written_is_told_before_any_picture_is_scored(
    workspace: Callable[..., Path], tiny_model: Path, in_the_way: Path
) -> None:
    with pytest.raises(StorageError, match="a file is in the way"):
        evaluate.evaluate(tiny_model, workspace(ROWS), out=in_the_way)


def test_a_mistake_that_has_gone_since_is_grey(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, write = workspace(ROWS), evaluate._write

    def lose(out: Path, found: dict[str, object], scored: pl.DataFrame) -> None:
        (work / "003.png").unlink()
        write(out, found, scored)

    monkeypatch.setattr(evaluate, "_write", lose)
    found = evaluate.evaluate(tiny_model, work, out=tmp_path / "out")
    assert "003.png" in [row["id"] for row in found["mistakes"]]
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg") == len(found["mistakes"])


def test_reports_stand_beside_the_model(workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path) -> None:
    work, model = workspace(ROWS), shutil.copy(tiny_model, tmp_path / "own.onnx")
    evaluate.evaluate(model, work)
    assert (tmp_path / "own-evaluation-test" / "report.html").is_file()
    assert models.report_folder(work, "evaluation-val", work, "report.json") == work / "evaluation-val"


def test_a_report_on_other_pictures_does_not_take_the_place_of_the_first(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    work, model = workspace(ROWS), shutil.copy(tiny_model, tmp_path / "own.onnx")
    evaluate.evaluate(model, work)
    first = tmp_path / "own-evaluation-test" / "report.json"
    before = first.read_bytes()
    (tmp_path / "other").mkdir()
    shutil.copy(Workspace(work).split, tmp_path / "other")
    evaluate.evaluate(model, tmp_path / "other")
    assert first.read_bytes() == before
    assert (tmp_path / "own-evaluation-test-other" / "report.html").is_file()
    third = tmp_path / "elsewhere" / "other"
    third.mkdir(parents=True)
    assert models.report_folder(model, "evaluation-test", third, "report.json").name.startswith(
        "own-evaluation-test-other-"
    )
    first.write_text("{")
    assert models.report_folder(model, "evaluation-test", work, "report.json") == first.parent, "it says nothing"
    evaluate.evaluate(model, work)
    assert json.loads(first.read_text())["workspace"] == str(work.resolve())


def test_the_same_answers_give_the_same_report(
    workspace: Callable[..., Path], tiny_model: Path, tmp_path: Path
) -> None:
    work = workspace(ROWS)
    first, second = (evaluate.evaluate(tiny_model, work, out=tmp_path / name) for name in "ab")
    assert first["seconds"] >= 0
    assert {**first, "seconds": 0, "report": ""} == {**second, "seconds": 0, "report": ""}


def test_intervals_are_wider_when_the_same_people_come_back(workspace: Callable[..., Path]) -> None:
    """A person's pictures share their fate here, so twelve people are no better than twelve pictures."""
    rng = np.random.default_rng(0)
    wrong = np.repeat(rng.random(40) < 0.3, 5)
    labels = np.tile(["female", "male"], 100)
    answers = np.where(wrong, labels[::-1], labels)
    columns = {"id": [str(i) for i in range(200)], "label": labels, "perceived_gender": answers, "error": [None] * 200}
    scored = pl.DataFrame(columns, schema_overrides={"error": pl.String}).with_columns(
        pl.lit(0.9).alias("confidence"), pl.Series("probability_male", np.where(answers == "male", 0.9, 0.1))
    )
    people = evaluate.assess(scored.with_columns(identity=pl.Series(np.repeat(np.arange(40), 5))), LABELS)
    alone = evaluate.assess(scored.with_columns(identity=pl.lit(None, pl.Int64)), LABELS)
    width = [found["metrics"]["accuracy"]["high"] - found["metrics"]["accuracy"]["low"] for found in (people, alone)]
    assert people["bootstrap"] == {"level": 0.95, "resamples": 2000, "seed": 0, "unit": "person", "groups": 40}
    assert width[0] > 1.7 * width[1]


def test_the_interval_of_a_calibration_error_reaches_down_to_none_where_it_is_luck() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 600)
    labels = np.where(rng.random(600) < confidence, "male", "female")
    scored = pl.DataFrame(
        {
            "id": [str(i) for i in range(600)],
            "label": labels,
            "identity": pl.Series([None] * 600, dtype=pl.Int64),
            "perceived_gender": "male",
            "confidence": confidence,
            "probability_male": confidence,
            "error": pl.Series([None] * 600, dtype=pl.String),
        }
    )
    found = evaluate.assess(scored, LABELS)["metrics"]["calibration_error"]
    assert found["low"] == 0 < found["value"] < found["high"]


def test_names_cannot_write_into_the_page(
    workspace: Callable[..., Path], make_model: Callable[..., Path], tmp_path: Path
) -> None:
    model = make_model(tmp_path / "m.onnx", name="<b>bold</b>", provenance={"note": "<i>", "steps": ["<u>"]})
    evaluate.evaluate(model, workspace(ROWS), out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "&lt;b&gt;bold" in page
    assert "<b>bold" not in page
    assert "<i>" not in page
    assert '["<u>"]' not in page
