"""From CelebA on disk to the table of examples, with a report of everything that does not fit."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from perceived.archive import read_location
from perceived.data import celeba
from perceived.data.check import Check, Progress, pictures
from perceived.errors import DataError
from perceived.storage import atomic_path, sha256_file, write_json
from perceived.workspace import Workspace

PROBLEMS = {
    "rows_without_picture": "rows without a picture",
    "pictures_without_row": "pictures without a row",
    "unreadable_pictures": "unreadable pictures",
    "duplicate_rows": "pictures with several rows (the first counts)",
    "unreadable_rows": "rows with an attribute other than -1, 0, 1",
    "unknown_partitions": "rows without a partition of 0, 1 or 2",
    "unknown_identities": "rows without an identity, though others have one",
    "identities_in_two_partitions": "identities found in two partitions",
}
"""What may be wrong with a copy of CelebA, in the words of the report."""

Problems = dict[str, list[str]]
"""Kind of problem to the pictures or identities concerned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareReport:
    """What :func:`prepare` found.

    ``rows`` counts the rows of the attribute table, ``examples`` those that were kept, ``counts``
    the examples per partition and label. ``tables_sha256`` holds the hash of each CelebA table.
    """

    source: str
    layout: str
    rows: int
    examples: int
    counts: Mapping[str, Mapping[str, int]]
    problems: Mapping[str, list[str]]
    examples_sha256: str
    tables_sha256: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "layout": self.layout,
            "rows": self.rows,
            "examples": self.examples,
            "counts": {name: dict(counts) for name, counts in self.counts.items()},
            "problem_counts": {kind: len(found) for kind, found in self.problems.items()},
            "problems": {kind: list(found) for kind, found in self.problems.items()},
            "examples_sha256": self.examples_sha256,
            "tables_sha256": dict(self.tables_sha256),
        }

    def table(self) -> Table:
        """Return the report as a table for the terminal."""
        table = Table("", "count", "such as", title=f"{self.layout}: {self.rows:,} rows, {self.examples:,} examples")
        for partition, counts in self.counts.items():
            table.add_row(partition, f"{sum(counts.values()):,}", ", ".join(f"{n:,} {k}" for k, n in counts.items()))
        table.add_section()
        for kind, found in self.problems.items():
            table.add_row(PROBLEMS[kind], f"{len(found):,}", "\n".join(found[:3]))
        return table

    def __str__(self) -> str:
        text = io.StringIO()
        Console(file=text, width=120).print(self.table())
        return text.getvalue().rstrip("\n")


def prepare(
    data: Path,
    out: Path,
    *,
    strict: bool = False,
    check: Check = "size",
    annotations_only: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Read CelebA from ``data`` and write the workspace's ``examples.parquet`` and ``prepare.json``.

    What does not fit is left out of the table and listed in the report. ``check`` says how each
    picture is tried. ``annotations_only`` looks for no pictures and keeps every row, with a
    ``path`` of ``null``: enough to explore.

    Raises:
        DataError: there is no usable CelebA at ``data``, or ``strict`` and something does not fit.
    """
    source = celeba.find(data)
    problems: Problems = {kind: [] for kind in PROBLEMS}
    rows = _read_rows(source, problems)
    total = rows.height
    if annotations_only:
        rows = rows.with_columns(path=pl.lit(None, pl.String), width=None, height=None)
    else:
        rows = _join_pictures(rows, source, problems, check, progress)
    examples = _finish(rows, source, problems)
    if strict and any(problems.values()):
        raise _strict_error(source, problems)
    workspace = Workspace(Path(out))
    with atomic_path(workspace.examples) as partial:
        examples.write_parquet(partial)
    report = PrepareReport(
        source=str(source.root),
        layout=source.layout,
        rows=total,
        examples=examples.height,
        counts=_counts(examples),
        problems=problems,
        examples_sha256=sha256_file(workspace.examples),
        tables_sha256={
            kind: hashlib.sha256(read_location(location)).hexdigest() for kind, location in source.tables.items()
        },
    )
    write_json(workspace.prepare_report, report.to_dict())
    return report


def _read_rows(source: celeba.CelebaSource, problems: Problems) -> pl.DataFrame:
    """Return a row for each picture the attribute table names, with what the other tables say of it."""
    rows = _read_attributes(source.tables["attributes"], problems)
    for kind, columns in celeba.COLUMNS.items():
        if kind == "attributes" or kind not in source.tables:
            continue
        table = celeba.read_table(source.tables[kind], columns)
        if table.width != len(columns) + 1:
            raise DataError(
                f"{source.tables[kind]} has {table.width} columns.",
                expected=f"{len(columns) + 1}: the picture's name and {', '.join(columns)}",
                mend="download it again, or remove it if it is optional",
            )
        table = table.rename(dict(zip(table.columns[1:], columns, strict=True)))
        rows = rows.join(_first_rows(table, problems), on="id", how="left", maintain_order="left")
    return rows


def _read_attributes(location: str, problems: Problems) -> pl.DataFrame:
    """Return ``id`` and the 40 attributes as booleans."""
    rows = celeba.read_table(location, celeba.ATTRIBUTES)
    missing = [name for name in celeba.ATTRIBUTES if name not in rows.columns]
    if missing:
        raise DataError(
            f"{location} has no column {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}.",
            expected=f"CelebA's 40 attributes; its columns are {', '.join(rows.columns[:4])} …",
            mend="use list_attr_celeba as CelebA publishes it",
        )
    rows = _first_rows(rows.select("id", *celeba.ATTRIBUTES), problems)
    flags = pl.col(celeba.ATTRIBUTES)
    rows = rows.with_columns(
        flags.replace_strict({"1": True, "0": False, "-1": False}, default=None, return_dtype=pl.Boolean)
    )
    broken = pl.any_horizontal(flags.is_null())
    problems["unreadable_rows"] += rows.filter(broken)["id"].to_list()
    rows = rows.filter(~broken)
    if rows.is_empty():
        raise DataError(
            f"No row of {location} is readable.",
            expected="40 attributes of -1 and 1, or of 0 and 1",
            mend="use list_attr_celeba as CelebA publishes it",
        )
    return rows


def _first_rows(rows: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Keep the first row of each picture, and list the pictures that have more."""
    repeated = rows.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True)
    problems["duplicate_rows"] += [name for name in repeated if name not in problems["duplicate_rows"]]
    return rows.unique("id", keep="first", maintain_order=True)


def _join_pictures(
    rows: pl.DataFrame, source: celeba.CelebaSource, problems: Problems, check: Check, progress: Progress | None
) -> pl.DataFrame:
    """Keep the rows that have a readable picture, with its path and size."""
    if not source.names:
        raise DataError(
            f"{source.root} holds CelebA's tables but no pictures.",
            expected="a folder or zip named img_align_celeba with .jpg files",
            mend="add the pictures; or, to explore the annotations alone, add --annotations-only",
        )
    names = pl.DataFrame({"id": source.names})
    problems["rows_without_picture"] += rows.join(names, on="id", how="anti", maintain_order="left")["id"].to_list()
    problems["pictures_without_row"] += names.join(rows, on="id", how="anti", maintain_order="left")["id"].to_list()
    rows = rows.join(names, on="id", how="semi", maintain_order="left")
    if rows.is_empty():
        raise DataError(
            f"No row of {source.tables['attributes']} has a picture in {source.pictures}.",
            expected=f"pictures named as in the table; found {source.names[0]} and others",
            mend="check that tables and pictures belong together",
        )
    rows = rows.with_columns(path=pl.lit(source.pictures) + pl.col("id"))
    rows = rows.hstack(pictures(rows["path"].to_list(), check, progress=progress))
    problems["unreadable_pictures"] += rows["failure"].drop_nulls().to_list()
    return rows.filter(pl.col("failure").is_null()).drop("failure")


def _finish(rows: pl.DataFrame, source: celeba.CelebaSource, problems: Problems) -> pl.DataFrame:
    """Give the columns their final types and order; keep what has a partition."""
    numbers = [name for name in (*celeba.BBOX, *celeba.LANDMARKS) if name in rows.columns]
    if "identity" not in rows.columns:
        rows = rows.with_columns(identity=None)
    rows = rows.with_columns(
        pl.col("partition").replace_strict(celeba.PARTITIONS, default=None, return_dtype=pl.String),
        pl.col("identity", *numbers).cast(pl.Int64, strict=False),
        pl.col("width", "height").cast(pl.Int32),
        label=pl.when("Male").then(pl.lit("male")).otherwise(pl.lit("female")),
        source=pl.lit(source.name),
    )
    problems["unknown_partitions"] += rows.filter(pl.col("partition").is_null())["id"].to_list()
    rows = rows.filter(pl.col("partition").is_not_null())
    if "identity" in source.tables:
        problems["unknown_identities"] += rows.filter(pl.col("identity").is_null())["id"].to_list()
    people = rows.drop_nulls("identity").group_by("identity").agg(pl.col("partition").n_unique())
    shared = people.filter(pl.col("partition") > 1).sort("identity")
    problems["identities_in_two_partitions"] += [str(identity) for identity in shared["identity"]]
    if rows["label"].n_unique() < 2:
        raise _one_class_error(rows, source)
    first = ("id", "path", "partition", "label", *celeba.ATTRIBUTES, "identity", "source", "width", "height")
    return rows.select(*first, *numbers)


def _counts(examples: pl.DataFrame) -> dict[str, dict[str, int]]:
    found = {(part, label): n for part, label, n in examples.group_by("partition", "label").len().iter_rows()}
    return {
        part: {label: found.get((part, label), 0) for label in ("female", "male")}
        for part in celeba.PARTITIONS.values()
    }


def _one_class_error(rows: pl.DataFrame, source: celeba.CelebaSource) -> DataError:
    if rows.is_empty():
        return DataError(
            f"Nothing usable is left of {source.root}: every row lacks a readable picture or a partition.",
            mend="check that tables and pictures belong together and are whole",
        )
    return DataError(
        f"Every picture of {source.root} is labelled {rows['label'][0]}: there is nothing to tell apart.",
        expected="a column Male with both values",
        mend="use list_attr_celeba as CelebA publishes it, with pictures of both labels",
    )


def _strict_error(source: celeba.CelebaSource, problems: Problems) -> DataError:
    found = [f"{len(ids):,} {PROBLEMS[kind]} ({', '.join(ids[:3])})" for kind, ids in problems.items() if ids]
    return DataError(
        f"{source.root} does not fit together: {'; '.join(found)}.",
        expected="with --strict: nothing to report",
        mend="run without --strict: these are left out and each is listed in prepare.json",
    )
