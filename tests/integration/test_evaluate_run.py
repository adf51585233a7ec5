"""One evaluator: a run and the ONNX file exported from it get the same report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceived import evaluate, export
from perceived.checkpoint import Run


def test_a_run_and_its_onnx_file_get_the_same_report(tiny_run: Path, tiny_work: Path, tmp_path: Path) -> None:
    file = export.export(tiny_run, tmp_path / "model.onnx")
    found: list[dict[str, Any]] = [evaluate.evaluate(model, tiny_work, on="val") for model in (tiny_run, file)]
    folders = (tiny_run / "evaluation-val", tmp_path / "model-evaluation-val")
    tables = [pl.read_parquet(folder / "predictions.parquet") for folder in folders]
    one, other = (table["probability_male"].to_numpy() for table in tables)
    assert np.abs(one - other).max() <= 1e-3
    assert found[0]["metrics"]["accuracy"] == found[1]["metrics"]["accuracy"]
    assert found[0]["model"]["labels"] == found[1]["model"]["labels"]
    assert found[0]["model"]["sha256"] != found[1]["model"]["sha256"], "each names the file it has scored"
    assert found[0]["pictures"]["scored"] == 20
    assert all((folder / "report.html").is_file() for folder in folders)
    assert Run(tiny_run).best.is_dir(), "evaluating leaves the run as it was"
