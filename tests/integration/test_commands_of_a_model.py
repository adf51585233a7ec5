"""What is done with a trained model from the command line, one command after the other, and what each leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from perceived import storage
from perceived.checkpoint import TrainedModel
from perceived.pages import markdown

Run = Callable[..., SimpleNamespace]


@pytest.fixture
def work(tiny_work: Path, tmp_path: Path) -> Path:
    """The tiny pictures, with a group of which either label has both."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("examples", "split"):
        table = pl.read_parquet(tiny_work / f"{name}.parquet")
        hair = pl.when(pl.int_range(pl.len()) % 4 < 2).then(pl.lit("dark")).otherwise(pl.lit("fair"))
        table.with_columns(hair=hair).write_parquet(folder / f"{name}.parquet")
    return folder


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = storage.read_json(path)
    return found


def test_a_mean_is_written_from_the_command_line(run: Run, tiny_run: Path, tmp_path: Path) -> None:
    answer = run("average", tiny_run, tiny_run, "--out", tmp_path / "mean")
    assert answer.code == 0, answer.err
    assert str(tmp_path / "mean") in answer.out
    assert len(TrainedModel.load(tmp_path / "mean").spec.provenance["weights"]["mean_of_sha256"]) == 2


def test_from_a_run_to_the_card_of_its_file(
    run: Run, tiny_run: Path, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "model.onnx"

    def done(*arguments: object) -> str:
        answer = run(*arguments)
        assert answer.code == 0, answer.err
        return str(answer.out)

    done("export", tiny_run, model)
    done("evaluate", model, work, "--out", tmp_path / "evaluation")
    report = read(tmp_path / "evaluation" / "report.json")

    for wrong in (["--groups", "hear"], ["--groups", "hair", "--fail-if", "hear:worst_group_accuracy<0.1"]):
        with monkeypatch.context() as patch:
            patch.setattr("perceived.scoring.score", lambda *_, **__: pytest.fail("pictures were scored"))
            refused = run("audit", model, work, *wrong, "--out", tmp_path / "audit")
        assert (refused.code, "no column 'hear'" in refused.err) == (2, True)
    done("audit", model, work, "--groups", "hair", "--always-answer", "--small", 2, "--out", tmp_path / "audit")
    audit = read(tmp_path / "audit" / "audit.json")
    (grouping,) = audit["groupings"]
    assert [(row["name"], row["n"]) for row in grouping["groups"]] == [("dark", 10), ("fair", 10)]
    assert audit["overall"]["abstention"]["value"] == 0
    assert (tmp_path / "audit" / "audit.html").is_file()

    spoilt = ("robustness", model, work, "--corruptions", "noise,bright", "--limit", 12)
    done(*spoilt, "--groups", "hair", "--out", tmp_path / "first")
    first = read(tmp_path / "first" / "robustness.json")
    assert {*first["corruptions"]} == {"noise", "bright"}
    done(*spoilt, "--reference", tmp_path / "first" / "robustness.json", "--out", tmp_path / "again")
    again = read(tmp_path / "again" / "robustness.json")
    assert again["mean_corruption_error"] == pytest.approx(1), "of a model relative to itself"

    results = [tmp_path / "evaluation", tmp_path / "audit" / "audit.json", tmp_path / "first"]
    card = ("card", model, *results, "--datasets", "demo", "--out", tmp_path / "CARD.md")
    refused = run(*card, "--grams-per-kwh", 0)
    assert refused.code == 2
    assert "--watts" in refused.err
    for watts in ("nan", "-5"):
        assert run(*card, "--watts", watts).code == 2
    done(*card, "--license", "mit", "--watts", 100, "--grams-per-kwh", 0)
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert 'license: "mit"' in text
    assert '"emissions": 0.0' in text, "electricity without carbon dioxide"
    assert "Probabilities are not calibrated" in text
    assert 'perceived.Predictor("model.onnx")' in text
    assert report["notes"], "it says something that a reader of the card has to know"
    assert all(markdown.plain(note) in text for note in report["notes"])
    done("card", tiny_run, "--datasets", "demo", "--out", tmp_path / "RUN.md")
    assert f"perceived export {tiny_run.name} {tiny_run.name}.onnx" in (tmp_path / "RUN.md").read_text(encoding="utf-8")
    told = round(report["metrics"]["accuracy"]["value"], 5)
    assert f'"name": "Accuracy", "value": {told}' in text


def test_networks_are_compared_from_the_command_line(
    run: Run, tiny_work: Path, settings: list[str], as_flags: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perceived.compare.MOST_VALIDATING", 1e6)
    flags = as_flags(one for one in settings if one.partition("=")[0] not in ("backbone", "epochs"))
    arguments = ("--backbones", "test_resnet,resnet10t", "--budget", 0.01, "--seeds", 1, *flags, "--on", "val")
    answer = run("compare", tiny_work, *arguments, "--out", tmp_path / "comparison")
    assert answer.code == 0, answer.err
    board = read(tmp_path / "comparison" / "leaderboard.json")
    assert {row["backbone"] for row in board["leaderboard"]} == {"test_resnet", "resnet10t"}
