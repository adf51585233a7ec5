"""Which labels of a dataset are probably wrong, and which pictures are there twice and contradict each other.

Labels are judged by answers that are out of sample: those of a trained model for pictures it has not
learnt from, or those of K-fold cross-validation on a frozen backbone's features. The list says where
to look. Whether a label is wrong is for people to say: the page is made for looking through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceived import confident, duplicates, lineage, progress, recipes, scoring, storage
from perceived.data import cache, split as splits
from perceived.data.split import SPLITS
from perceived.errors import ConfigError, SplitError
from perceived.pages import label_errors as label_errors_page
from perceived.spec import LABELS
from perceived.workspace import Workspace

FOLDS = 5
RECIPE = "last-layer"
"""The recipe whose frozen backbone tells the pictures where no model is given."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Pictures with ``probability_{label}`` and ``error``, and a record of who answered."""

    table: pl.DataFrame
    source: dict[str, Any]
    notes: list[str]


def find(
    work: Path,
    *,
    model: Path | None = None,
    on: Sequence[str] = (),
    folds: int | None = None,
    settings: Sequence[str] = (),
    out: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Judge the labels of a split and write lists and a page into ``out``; return what the JSON holds.

    With a ``model``, a RUN or an ONNX file, the pictures judged are those of ``on`` (by default val and
    test, or the one of them that has pictures); without one they are all, by cross-validation in
    ``folds`` (:data:`FOLDS`), and ``settings`` change the recipe of their features as ``train --set`` does.
    Near-duplicates are looked for in the whole split.
    ``out`` is by default ``WORK/labels``.

    Raises:
        ConfigError: no such split, too many folds, folds or settings beside a model, or training pictures for a model
            that was trained on this split or does not say on which.
        DataError, SplitError, ModelFileError: as :func:`perceived.evaluate.evaluate`; DataError also where somebody
            has written readings into the list that would be replaced.
    """
    if model is not None and (settings or folds is not None):
        raise ConfigError(
            "Folds and settings are of the cross-validation, and a model was given to judge instead.",
            mend="leave out --folds and --set, or --model",
        )
    workspace = Workspace(Path(work))
    folder = Path(out) if out is not None else workspace.labels
    table = workspace.read_split()
    storage.check_folder(folder)
    label_errors_page.refuse_to_replace_readings(folder)
    names = _names(on, (SPLITS if model is None else SPLITS[1:]), set(table["split"]))
    rows = pl.concat([scoring.read_split(workspace, name) for name in names])
    if model is None:
        answered = _cross_validated(
            rows, workspace, recipes.get(RECIPE, settings), folds=FOLDS if folds is None else folds, seed=seed
        )
    else:
        answered = _answered(rows, Path(model), folder, table)
    found = {
        "on": list(names),
        "source": answered.source,
        "notes": answered.notes,
        **judge(answered.table),
        "duplicates": contradictions(table, workspace.cache),
    }
    label_errors_page.write(folder, found, dict(table.select("id", "path").iter_rows()))
    return found


def judge(answered: pl.DataFrame) -> dict[str, Any]:
    """Return the candidates among answered pictures, the least probable label first, and how many to expect.

    Raises:
        SplitError: no picture could be read, or all that could have one label.
    """
    readable = scoring.readable(answered)
    given = readable["label"].unique().sort().to_list()
    if given != sorted(LABELS):
        raise SplitError(
            f"The {readable.height:,} readable pictures have the labels {given}.",
            expected=f"pictures of both {' and '.join(LABELS)}",
            mend="judge a split that holds both",
        )
    labels = splits.label_indices(readable["label"])
    probabilities = readable.select(f"probability_{label}" for label in LABELS).to_numpy().astype(np.float64)
    judged = confident.judge(labels, probabilities)
    candidates = [
        {
            "id": row["id"],
            "split": row["split"],
            "label": row["label"],
            "suggested": LABELS[suggested],
            "self_confidence": round(float(row[f"probability_{row['label']}"]), 6),
        }
        for row, suggested in zip(readable[judged.suspects].iter_rows(named=True), judged.suggested, strict=True)
    ]
    by_label = {label: i for i, label in enumerate(LABELS)}
    return {
        "pictures": {
            "asked": answered.height, "judged": readable.height, "unreadable": answered.height - readable.height,
        },
        "labels": {label: int((labels == i).sum()) for label, i in by_label.items()},
        "agreement": float((probabilities.argmax(axis=1) == labels).mean()),
        "thresholds": {label: float(judged.thresholds[i]) for label, i in by_label.items()},
        "confident_joint": {
            label: {other: int(judged.counts[i, j]) for other, j in by_label.items()} for label, i in by_label.items()
        },
        "noise": {label: float(judged.noise()[i]) for label, i in by_label.items()},
        "candidates": candidates,
        "unreadable": answered.filter(pl.col("error").is_not_null()).select("id", "error").to_dicts(),
    }  # fmt: skip


def contradictions(table: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Return the near-duplicates of a split whose labels differ or that stand in two of its parts.

    ``without_hash`` counts the pictures that could not be compared: unreadable, blank or out of reach.
    """
    paths = table["path"].to_list()
    with progress.counter("hashing pictures") as tick:
        hashes = duplicates.hash_files(paths, folder, progress=tick)
    rows = table.select("id", "label", "split").to_dicts()
    pairs = []
    same, unread = duplicates.find(paths, hashes)
    for first, second, bits, correlation in same:
        one, other = rows[first], rows[second]
        why = [
            words
            for words, key in (("labels differ", "label"), ("in two parts of the split", "split"))
            if one[key] != other[key]
        ]
        pairs.append({"pictures": [one, other], "bits": bits, "correlation": round(correlation, 4), "why": why})
    found = [pair for pair in pairs if pair["why"]]
    return {
        "pictures": table.height,
        "without_hash": int((hashes == duplicates.NOTHING).sum()) + len(unread),
        "pairs": len(pairs),
        "contradictions": sorted(found, key=lambda pair: (-len(pair["why"]), pair["why"], -pair["correlation"])),
    }


def _names(on: Sequence[str], otherwise: Sequence[str], present: set[str]) -> tuple[str, ...]:
    """Return which parts of the split are judged, in their order: those asked for, or ``otherwise`` what is there."""
    unknown = [name for name in on if name not in SPLITS]
    if unknown:
        raise ConfigError(f"There is no split {unknown[0]!r}.", expected=f"some of {', '.join(SPLITS)}")
    asked = on or [name for name in otherwise if name in present] or otherwise
    return tuple(name for name in SPLITS if name in asked)


def _answered(rows: pl.DataFrame, model: Path, folder: Path, split: pl.DataFrame) -> Answered:
    """Return a model's answers; they are kept in ``folder`` under a name that changes with model and pictures."""
    opened, sha256 = scoring.load_model(model), scoring.weights_sha256(model)
    learnt = lineage.learnt_on(opened.spec, split)
    if "train" in rows["split"] and learnt != {"elsewhere"}:
        raise ConfigError(
            f"{model} cannot judge training pictures: a model believes the labels it has learnt, and it was trained on "
            "this split or does not say on which.",
            expected="pictures that it has not learnt from: --on val,test",
            mend="leave --model out, and the pictures are judged by cross-validation",
        )
    paths = rows["path"].to_list()
    key = storage.sha256_json([sha256, paths, cache.bytes_of(paths, gaps=True)])[:16]
    kept = folder / f"answers-{key}.parquet"
    answers = scoring.kept(rows, kept, lambda: opened, title=f"scoring {opened.spec.name}")
    notes = []
    shared = sorted(lineage.licences(opened.spec).keys() & set(rows["source"] if "source" in rows.columns else ()))
    if learnt != {"here"} and shared:
        notes.append(
            f"The model has learnt from pictures of {', '.join(shared)}, and so are these: some may be the same."
        )
    if learnt != {"here"}:
        notes.append(
            "The model was trained on another split than this one, or does not say on which. That it has not learnt "
            "from the pictures judged here is taken on trust."
        )
    source = {"kind": "model", "name": opened.spec.name, "sha256": sha256, "learnt": sorted(learnt)}
    return Answered(answers, source, notes)


def _cross_validated(
    rows: pl.DataFrame, workspace: Workspace, recipe: recipes.Recipe, *, folds: int, seed: int
) -> Answered:
    from perceived import crossfit

    found = crossfit.probabilities(rows, recipe, workspace.cache, folds=folds, seed=seed)
    columns = {f"probability_{label}": found[:, i] for i, label in enumerate(LABELS)}
    table = rows.with_columns(error=pl.lit(None, pl.String), **{k: pl.Series(k, v) for k, v in columns.items()})
    source = {"kind": "cross-validation", "folds": folds, "seed": seed, "recipe": recipe.to_dict()}
    return Answered(table, source, [])
