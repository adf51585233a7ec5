"""The page that tells a study, put together from what its stages left on disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from perceived import evaluate, images, recipes, storage
from perceived.checkpoint import Run
from perceived.classifier import Classifier
from perceived.data.split import SPLITS
from perceived.pages import charts, curves, report
from perceived.spec import LABELS
from perceived.workspace import Workspace

ATTRIBUTES = 8
"""Attributes shown: those most correlated with the label."""
_PREVIEW_SIDE = 1200


@dataclass(frozen=True, slots=True)
class Files:
    """Names of what a study leaves behind, each below its folder."""

    root: Path

    @property
    def record(self) -> Path:
        return self.root / "study.json"

    @property
    def data(self) -> Path:
        return self.root / "celeba"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def explored(self) -> Path:
        return Workspace(self.work).explore

    @property
    def preview(self) -> Path:
        return self.root / "augmented.png"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def evaluation(self) -> Path:
        return self.run / "evaluation-test"

    @property
    def model(self) -> Path:
        return self.root / "model.onnx"

    @property
    def answers(self) -> Path:
        return self.root / "answers.json"

    @property
    def photographs(self) -> Path:
        return self.root / "photographs"

    @property
    def page(self) -> Path:
        return self.root / "report.html"


def write(files: Files) -> None:
    """Write the page: pictures, charts and styles are inside it; the stages' own reports are linked."""
    report.write(files.page, "study.html", context(files))


def context(files: Files) -> dict[str, Any]:
    """Return what the template ``study`` tells, read from the files of every stage before it."""
    explored = storage.read_json(files.explored / "explore.json")
    history, config = Run(files.run).history(), storage.read_json(Run(files.run).config)
    examples = Workspace(files.work).read_examples()
    paths = dict(examples.select("id", "path").iter_rows())
    scored = storage.read_json(files.evaluation / "report.json")
    seconds = {name: stage["seconds"] for name, stage in storage.read_json(files.record).items()}
    return {
        "explored": explored,
        "attributes": explored["attributes"][:ATTRIBUTES],
        "faces": report.gallery([{"id": id_} for id_ in explored["contact_sheet"]["ids"]], paths),
        "male": dict(examples.select("id", pl.col("label") == "male").iter_rows()),
        "split": storage.read_json(Workspace(files.work).split_report),
        "splits": SPLITS,
        "labels": LABELS,
        "preview": report.picture_uri(images.load(str(files.preview)), side=_PREVIEW_SIDE),
        "config": config,
        "history": history,
        "best": max(history, key=recipes.from_dict(config["recipe"]).worth),
        "found": scored,
        "mistakes": report.gallery(scored["mistakes"], paths),
        "exported": _exported(files.model),
        "answers": report.gallery(storage.read_json(files.answers), paths),
        "photographs": _photographs(files.photographs),
        "charts": _charts(explored, history, files),
        "seconds": seconds,
        "total": sum(seconds.values()),
        "processors": os.cpu_count(),
        "rule_of_three": evaluate.rule_of_three,
        "links": {
            "explored": _beside(files, files.explored / "report.html"),
            "evaluation": _beside(files, files.evaluation / "report.html"),
        },
    }


def _photographs(folder: Path) -> list[dict[str, Any]]:
    """Return the answers for real photographs, each with the picture on which they are drawn."""
    rows: list[dict[str, Any]] = storage.read_json(folder / "answers.json")
    drawn = [row["drawn"] and images.load(str(folder / row["drawn"])) for row in rows]
    return [
        {**row, "uri": None if pixels is None else report.picture_uri(pixels, side=_PREVIEW_SIDE)}
        for row, pixels in zip(rows, drawn, strict=True)
    ]


def _exported(model: Path) -> dict[str, Any]:
    """Return what is said about the exported file: its size, its hash and how it compares with torch."""
    spec = Classifier(model).spec
    return {
        "name": model.name,
        "bytes": model.stat().st_size,
        "sha256": storage.sha256_file(model),
        "width": spec.preprocessing.width,
        "height": spec.preprocessing.height,
        **spec.provenance["export"],
    }


def _charts(explored: Mapping[str, Any], history: curves.History, files: Files) -> dict[str, Any]:
    drawings = {
        "labels": (charts.label_counts(explored["labels"]), "Pictures by label"),
        "partitions": (charts.partition_counts(explored["partitions"]), "Label by partition"),
        "loss": (curves.panel(history, "loss"), "Loss"),
        "accuracy": (curves.panel(history, "accuracy"), "Accuracy"),
        **evaluate.drawings(pl.read_parquet(files.evaluation / "predictions.parquet", glob=False)),
    }
    return {name: report.figure_svg(charts.chart(draw), title=title) for name, (draw, title) in drawings.items()}


def _beside(files: Files, path: Path) -> str:
    return path.relative_to(files.root).as_posix()
