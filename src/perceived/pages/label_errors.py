"""Probable label errors written down: JSON, lists of ids as CSV, and a page to look through and note one's reading."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perceived import columns, storage
from perceived.errors import DataError
from perceived.exclusions import READINGS
from perceived.pages import report

SHOWN = 400
"""Candidates on the page, and as many contradictions; the lists hold them all."""
SIDE = 200
"""Pictures of the page fit a square of this many pixels."""
CANDIDATE = ("id", "split", "label", "suggested", "self_confidence")
DUPLICATE = ("first", "second", "first_label", "second_label", "first_split", "second_split", "bits", "correlation")


def refuse_to_replace_readings(out: Path) -> None:
    """Raise :class:`DataError` where ``labels.csv`` has columns that somebody has added to it, such as readings."""
    path = out / "labels.csv"
    if not path.is_file():
        return
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        head = file.readline(columns.LONGEST_HEAD).rstrip("\n")
    added = [name for name in next(csv.reader([head], delimiter=columns.separator(head)), []) if name not in CANDIDATE]
    if added:
        raise DataError(
            f"{path} would be replaced, and has columns that are not ours: {', '.join(added)}.",
            mend="move it to another place or name, or choose another --out",
        )


def write(out: Path, found: Mapping[str, Any], paths: Mapping[str, str]) -> None:
    """Write ``labels.json``, ``labels.csv``, ``duplicates.csv`` and ``labels.html``; ``paths`` are the pictures'."""
    contradictions = found["duplicates"]["contradictions"]
    storage.write_json(out / "labels.json", dict(found))
    _write_csv(out / "labels.csv", CANDIDATE, ([row[key] for key in CANDIDATE] for row in found["candidates"]))
    _write_csv(out / "duplicates.csv", DUPLICATE, map(_cells, contradictions))
    context = {
        "found": found,
        "candidates": report.gallery(found["candidates"][:SHOWN], paths, side=SIDE),
        "pairs": [
            {**pair, "pictures": report.gallery(pair["pictures"], paths, side=SIDE)} for pair in contradictions[:SHOWN]
        ],
        "readings": READINGS,
        "key": storage.sha256_json([row["id"] for row in found["candidates"]])[:16],
    }
    report.write(out / "labels.html", "labels.html", context)


def _cells(pair: Mapping[str, Any]) -> list[Any]:
    rows = pair["pictures"]
    return [*(row[key] for key in ("id", "label", "split") for row in rows), pair["bits"], pair["correlation"]]


def _write_csv(path: Path, heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with storage.atomic_path(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(heads)
        writer.writerows(rows)
