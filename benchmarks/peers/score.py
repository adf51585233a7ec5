"""What the answers of a model are worth: joined with the labels and audited, a missed face counting as an error."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceived import answers, audit, storage

GROUPS = {"fairface": ("race", "age"), "celeba": ()}
"""Each set and the columns it is grouped by."""
CUTS = {
    "fairface": {
        "worst race accuracy": "race",
        "worst race and gender accuracy": "race*gender",
        "worst age and gender accuracy": "age*gender",
    },
    "celeba": {"worst gender accuracy": "gender"},
}
"""Each set, and the groupings whose worst group is told."""


def sample(work: Path, name: str, split: str, *, count: int | None, out: Path) -> list[tuple[str, str]]:
    """Write labels and groups of the pictures of a split to ``out``; return ids and paths, shuffled.

    The order is always the same, so the first ``count`` are a sample, and so is whatever part of
    them has been answered.
    """
    rows = answers.read_workspace(work, split).sort("id")
    rows = rows[np.random.default_rng(0).permutation(rows.height)[:count]]
    groups = [pl.col(group).cast(pl.String) for group in GROUPS[name]]
    labels = rows.select("id", "label", pl.col("label").alias("gender"), *groups)
    out.parent.mkdir(parents=True, exist_ok=True)
    storage.write_text(out, labels.write_csv())
    return list(zip(rows["id"], rows["path"], strict=True))


def accuracy(predictions: Path, labels: Path) -> float:
    """Return the share of right answers among all pictures that were put to a model."""
    table, _ = audit.audit_files(predictions, labels)
    return float((table["answer"] == table["label"]).to_numpy().mean())


def figures(name: str, predictions: Path, labels: Path, out: Path) -> dict[str, Any]:
    """Audit the answers to a set, keep the audit in ``out``, and return the figures that are compared.

    Every group's accuracy is the share of right answers among all of its pictures; groups too small
    to be compared (``audit.SMALL``) are not called the worst.
    """
    table, reading = audit.audit_files(predictions, labels)
    cuts = CUTS[name]
    found = audit.audit(table, list(cuts.values()), reading=reading)
    storage.write_json(out, found)
    overall = found["overall"]
    worst = {what: _worst(found, cut) for what, cut in cuts.items()}
    return {
        "accuracy": _interval(overall["correct"]),
        **{what: figure for what, figure in worst.items() if figure},
        "share missed": float(overall["missed"]["value"]),
        "n": found["rows"],
    }


def cells(audits: Mapping[str, Mapping[str, Any]], by: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each group of the grouping ``by``, and in it the accuracy of each audited model."""
    rows: dict[str, dict[str, Any]] = {}
    for model, found in audits.items():
        (grouping,) = (grouping for grouping in found["groupings"] if grouping["by"] == list(by))
        for group in grouping["groups"]:
            row = rows.setdefault(group["name"], {" and ".join(by): group["name"], "n": group["n"]})
            row[f"accuracy, {model}"] = _interval(group["correct"])
    return [rows[name] for name in sorted(rows)]


def either(first: Path, second: Path, out: Path) -> None:
    """Write the answers of ``first``, and where those have missed a face, the answers of ``second``."""
    with open(first, newline="", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    with open(second, newline="", encoding="utf-8") as file:
        given = {row["id"]: row for row in csv.DictReader(file)}
    joined = [
        given[name] if row["perceived_gender"] == answers.MISSED else row for name, row in rows.items() if name in given
    ]
    with storage.atomic_path(out) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, joined[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(joined)


def _worst(found: dict[str, Any], cut: str) -> dict[str, Any] | None:
    (grouping,) = (grouping for grouping in found["groupings"] if grouping["by"] == cut.split("*"))
    groups = [group for group in grouping["groups"] if not group["small"]]
    if not groups:
        return None
    group = min(groups, key=lambda group: group["correct"]["value"])
    return _interval(group["correct"]) | {"of": group["name"], "n": group["n"]}


def _interval(rate: dict[str, float]) -> dict[str, float]:
    return {end: rate[end] for end in ("value", "low", "high")}
