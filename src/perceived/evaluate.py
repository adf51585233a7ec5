"""How good a model is on a split: every metric with its interval, its mistakes, and a page to read.

The answer that counts is the likeliest of the model's own labels, whatever its threshold. A picture
that cannot be read, or shows no face, is listed and counted, and stands outside every rate but
``accuracy_of_all``, which counts it as a wrong answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceived import exclusions, lineage, metrics, progress, scoring, storage
from perceived.data import celeba, split as splits
from perceived.errors import SplitError
from perceived.exclusions import Exclusions
from perceived.models import report_folder
from perceived.pages import charts, report
from perceived.scoring import load_model, read_split, score, weights_sha256
from perceived.significance import LEVEL
from perceived.spec import LABELS
from perceived.wording import counted
from perceived.workspace import Workspace

POSITIVE = "male"
"""The label whose probability the ROC curve ranks; every other rate is given for either label."""
MISTAKES = 24
"""Most confident mistakes that are listed and shown."""


def evaluate(
    model: Path,
    work: Path,
    *,
    on: str = "test",
    out: Path | None = None,
    exclude: Path | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Score a model and write ``report.json``, ``report.html``, ``predictions.parquet`` and charts.

    ``out`` is by default ``evaluation-{on}`` inside a run, or ``NAME-evaluation-{on}`` beside an
    ONNX file; the workspace's name is added where a report on another one stands there.
    ``exclude`` is a list for :func:`perceived.exclusions.read`: metrics without its pictures
    stand beside those of all. Returns what ``report.json`` holds, and its folder as ``report``.

    Raises:
        ModelFileError: the model cannot be opened, or tells other labels apart than the split.
        SplitError: the split is empty, none of its pictures can be read, or all are to be excluded.
        DataError: the workspace was never split, or the list of pictures to exclude is none.
    """
    model, workspace = Path(model), Workspace(Path(work))
    folder = report_folder(model, f"evaluation-{on}", work, "report.json") if out is None else Path(out)
    rows = read_split(workspace, on)
    excluded = exclusions.read(Path(exclude)) if exclude else None
    if excluded is not None:
        _without(rows, excluded.ids)
    opened = load_model(model)
    storage.check_folder(folder)
    started = time.perf_counter()
    with progress.counter(f"scoring {opened.spec.name}") as tick:
        scored = score(rows, opened.probabilities, opened.spec, batch_size=batch_size, tick=tick)
    seconds = time.perf_counter() - started
    found = {
        "model": {"sha256": weights_sha256(model), **opened.spec.to_dict()},
        "workspace": str(workspace.root.resolve()),
        "split": on,
        "sources": sorted(set(rows["source"])) if "source" in rows.columns else [],
        "seconds": round(seconds, 2),
        **assess(scored, opened.spec.labels),
        "cleaned": None if excluded is None else clean(scored, opened.spec.labels, excluded),
        "study": report.STUDY if _is_celeba(rows) else None,
    }
    found["notes"] = _notes(found, workspace, lineage.notes(opened.spec, workspace, on))
    _write(folder, found, scored)
    return {**found, "report": str(folder)}


def assess(scored: pl.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """Return every metric of a table that :func:`score` made, with its interval, mistakes and failures.

    Intervals resample people where ``identity`` is known, because errors repeat by person, and
    pictures where it is not.

    Raises:
        SplitError: no picture could be read.
    """
    readable = scoring.readable(scored)
    failed = scored.filter(pl.col("error").is_not_null())
    groups = metrics.people(readable["identity"])
    estimates = metrics.bootstrap(_statistics(readable, labels), groups, gaps=("calibration_error",))
    wrong = readable.filter(pl.col("perceived_gender") != pl.col("label")).sort(
        "confidence", "id", descending=[True, False]
    )
    return {
        "pictures": {"asked": scored.height, "scored": readable.height, "unreadable": failed.height},
        "labels": {label: readable.filter(label=label).height for label in labels},
        "positive": POSITIVE,
        "accuracy_of_all": (readable.height - wrong.height) / scored.height,
        "metrics": _nest({name: estimate.to_dict() for name, estimate in estimates.items()}),
        "bootstrap": {
            "level": LEVEL,
            "resamples": metrics.RESAMPLES,
            "seed": metrics.SEED,
            "unit": "picture" if readable["identity"].null_count() == readable.height else "person",
            "groups": int(groups.max()) + 1,
        },
        "mistakes": wrong.select("id", "label", "perceived_gender", "confidence").head(MISTAKES).to_dicts(),
        "unreadable": failed.select("id", "error").to_dicts(),
    }


def clean(scored: pl.DataFrame, labels: Sequence[str], excluded: Exclusions) -> dict[str, Any]:
    """Return the metrics of a table that :func:`score` made without some of its pictures, and how many those were.

    Raises:
        SplitError: no picture is left, or none that could be read.
    """
    kept = _without(scored, excluded.ids)
    found = assess(kept, labels)
    return {
        "excluded": scored.height - kept.height,
        "listed": len(set(excluded.ids)),
        "labels_were_read": excluded.were_read,
        **{key: found[key] for key in ("pictures", "labels", "accuracy_of_all", "metrics")},
    }


def _without(rows: pl.DataFrame, excluded: Sequence[str]) -> pl.DataFrame:
    """Return the rows whose ``id`` is not excluded, or raise :class:`SplitError` where there are none."""
    kept = rows.filter(~pl.col("id").is_in(list(excluded)))
    if kept.is_empty():
        raise SplitError(
            f"The list of pictures to exclude holds all of the split: {counted(rows.height, 'picture')}.",
            expected="a list that leaves some to score",
            mend="leave --exclude out, or take pictures out of the list",
        )
    return kept


def _statistics(readable: pl.DataFrame, labels: Sequence[str]) -> Callable[[metrics.Floats], dict[str, metrics.Floats]]:
    """Return what is resampled: every metric, named ``metric/label``, as a function of the rows' weights."""
    code = {label: i for i, label in enumerate(labels)}
    truth, answer = (splits.label_indices(readable[column], labels) for column in ("label", "perceived_gender"))
    score = readable[f"probability_{POSITIVE}"].to_numpy().astype(np.float64)
    confidence = readable["confidence"].to_numpy().astype(np.float64)

    def statistics(weights: metrics.Floats) -> dict[str, metrics.Floats]:
        matrix = metrics.confusion(truth, answer, classes=len(labels), weights=weights)
        f1, recall = metrics.f1(matrix), metrics.recall(matrix)
        return {
            "accuracy": metrics.accuracy(matrix),
            **{f"f1/{label}": f1[..., i] for label, i in code.items()},
            "f1/macro": f1.mean(axis=-1),
            "roc_auc": metrics.roc_auc(truth == code[POSITIVE], score, weights=weights),
            **{f"recall/{label}": recall[..., i] for label, i in code.items()},
            "calibration_error": metrics.calibration_error(confidence, truth == answer, weights=weights),
            **{f"confusion/{true}/{said}": matrix[..., i, j] for true, i in code.items() for said, j in code.items()},
        }

    return statistics


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``{"f1/male": x}`` into ``{"f1": {"male": x}}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *outer, last = name.split("/")
        place = nested
        for key in outer:
            place = place.setdefault(key, {})
        place[last] = value
    return nested


def _notes(found: Mapping[str, Any], workspace: Workspace, seen: list[str]) -> list[str]:
    """Return what a reader must know before the figures; ``seen`` says whether the model has seen the pictures."""
    notes = []
    count, unreadable = found["pictures"]["scored"], found["pictures"]["unreadable"]
    if unreadable:
        notes.append(
            f"{unreadable:,} of {count + unreadable:,} pictures cannot be read or show no face. No rate includes them;"
            f" with them as errors, {found['accuracy_of_all']:.2%} of the answers are right."
        )
    if _is_demo(workspace):
        notes.append("These are demo faces of nobody: the figures show that the software works, and nothing else.")
    notes += seen
    if cleaned := found["cleaned"]:
        notes.append(
            f"{cleaned['excluded']:,} of the pictures are among the {cleaned['listed']:,} to exclude; without them, "
            f"{cleaned['metrics']['accuracy']['value']:.2%} of the answers are right. "
            + (
                "Where only pictures on which a model contradicts the label were looked at, that figure is an upper "
                "bound: wrong labels that the model repeats are still in it."
                if cleaned["labels_were_read"]
                else "Nobody has read these labels, as the list has no column reading: where a model contradicts them, "
                "it may be the model that is wrong, and that figure says nothing of how good it is."
            )
        )
    if not found["mistakes"]:
        notes.append(
            "No answer is wrong, so intervals have no width. By the rule of three, "
            f"an error rate of up to {rule_of_three(found['bootstrap']['groups']):.1%} would still often show none."
        )
    else:
        notes += [
            f"No picture labelled {label} is answered wrongly, so the interval of its recall has no width. By the rule "
            f"of three, an error rate of up to {rule_of_three(count):.1%} would still often show none, or a higher one "
            "where pictures show the same people."
            for label, count in found["labels"].items()
            if found["metrics"]["recall"][label]["value"] == 1
        ]
    return notes


def rule_of_three(count: int) -> float:
    """Return the error rate that ``count`` answers without an error exclude, with a certainty of 95 %."""
    return min(3 / count, 1)


def _is_celeba(rows: pl.DataFrame) -> bool:
    """Return whether these are pictures of CelebA alone, as the study's were."""
    return "source" in rows.columns and set(rows["source"]) == {celeba.NAME}


def _is_demo(workspace: Workspace) -> bool:
    examples = workspace.read_examples() if workspace.examples.is_file() else pl.DataFrame()
    return "source" in examples.columns and "demo" in examples["source"]


def drawings(scored: pl.DataFrame) -> dict[str, tuple[charts.Draw, str]]:
    """Return the charts of a table of answers, each with its title."""
    readable = scoring.readable(scored)
    confidence = readable["confidence"].to_numpy().astype(np.float64)
    right = (readable["perceived_gender"] == readable["label"]).to_numpy()
    scores = {name: readable.filter(label=name)[f"probability_{POSITIVE}"].to_numpy() for name in LABELS}
    return {
        "scores": (charts.score_histogram(scores, positive=POSITIVE), "Answers by true label"),
        "calibration": (charts.reliability(*metrics.equal_mass_bins(confidence, right)), "Calibration"),
    }


def _write(out: Path, found: dict[str, Any], scored: pl.DataFrame) -> None:
    """Write the table of answers, the charts, the JSON and the page; each file is whole or absent."""
    storage.write_table(out / "predictions.parquet", scored)
    figures = {name: (charts.chart(draw), title) for name, (draw, title) in drawings(scored).items()}
    svgs = report.save_charts(out, figures)
    storage.write_json(out / "report.json", found)
    paths = dict(scored.select("id", "path").iter_rows())
    start = _scale_start(found["metrics"], found["study"])
    context = {
        "found": found,
        "start": start,
        "place": report.place_from(start),
        "charts": svgs,
        "gallery": report.gallery(found["mistakes"], paths),
    }
    report.write(out / "report.html", "evaluate.html", context)


def _scale_start(found: Mapping[str, Any], beside: Mapping[str, float] | None) -> float:
    """Return where a scale for all rates should start to tell them apart: a multiple of 5 % below them all."""
    rates = [found["accuracy"], found["roc_auc"], *found["f1"].values(), *found["recall"].values()]
    lowest = min((rate["low"] for rate in rates if rate["low"] is not None), default=0.0)
    beside_them = beside["accuracy"] - 0.02 if beside else 1.0
    return charts.scale_start(min(lowest, beside_them, 0.99))
