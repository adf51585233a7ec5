"""From datasets on disk to one table of examples, with a report of everything that does not fit.

Each dataset's module says whether a folder is its own and reads it into a :class:`Source`; from
there on all are treated alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import polars as pl

from perceived.archive import read_location
from perceived.data import celeba, check, copies, fairface, folder, labels, manifest, sampling, split, utkface
from perceived.data.check import Check
from perceived.data.holdout import TEST_SHARE, VAL_SHARE, hold_out
from perceived.data.listing import Listing, describe, list_data, open_archives, require_unicode
from perceived.data.prepare_report import HeldOut, PrepareReport, SourceReport
from perceived.data.source import PROBLEMS, Source
from perceived.errors import ConfigError, DataError
from perceived.progress import Tick
from perceived.spec import LABELS
from perceived.storage import sha256_file, write_json, write_table
from perceived.workspace import Workspace


class Reader(Protocol):
    """A dataset's module."""

    def recognises(self, listing: Listing) -> bool: ...

    def read(self, root: Path, listing: Listing) -> Source: ...


PUBLISHED: Mapping[str, Reader] = {"CelebA": celeba, "FairFace": fairface, "UTKFace": utkface}
READERS: tuple[Reader, ...] = (fairface, celeba, manifest, utkface)
"""Datasets in the order in which they are looked for; what is none of these may have a folder for each class."""


def prepare(
    data: Path | Sequence[Path],
    out: Path,
    *,
    strict: bool = False,
    check: Check = "size",
    annotations_only: bool = False,
    words: Mapping[str, str] | None = None,
    partition: str | None = None,
    seed: int = 0,
    progress: Tick | None = None,
) -> PrepareReport:
    """Read the datasets ``data`` and write the workspace's ``examples.parquet`` and ``prepare.json``.

    What does not fit is left out of the table and listed in the report. ``check`` says how each
    picture is tried. ``annotations_only`` looks for no pictures and keeps every row, with a
    ``path`` of ``null``: enough to explore. ``words`` says which label a dataset's own words mean, beside
    those of :data:`perceived.data.source.WORDS`. ``partition`` is where every picture goes, whatever the datasets
    say: ``test``, to try a model on all of a set that it has never seen. Otherwise ``seed`` chooses what is held
    out of a dataset whose authors set no validation pictures aside.

    Raises:
        ConfigError: there is no such partition.
        DataError: there is no usable dataset at ``data``, or ``strict`` and something does not fit.
    """
    if partition is not None and partition not in split.SPLITS:
        raise ConfigError(f"There is no partition {partition!r}.", expected=f"one of {', '.join(split.SPLITS)}")
    require_unicode(Path(out).absolute())
    paths = [data] if isinstance(data, str | Path) else list(data)
    sources = [read(Path(path), words or {}) for path in paths]
    _refuse_same_names(sources)
    tables, held_out = [], []
    for source in sources:
        rows = _without_pictures(source) if annotations_only else _with_pictures(source, check, progress)
        if partition is None:
            rows, parts = _partitioned(rows, source, seed)
        else:
            rows, parts = rows.with_columns(partition=pl.lit(partition)), []
        _note_shared_identities(rows, source)
        tables.append(_arranged(rows, source))
        held_out.append(parts)
    examples = _joined(tables)
    _note_copies(examples, sources, progress)
    if examples["label"].n_unique() < len(LABELS):
        raise _one_class_error(examples, sources)
    if strict and any(found for source in sources for found in source.problems.values()):
        raise _strict_error(sources)
    workspace = Workspace(Path(out))
    write_table(workspace.examples, examples)
    report = PrepareReport(
        sources=[_report(*one) for one in zip(sources, (table.height for table in tables), held_out, strict=True)],
        counts=split.count(examples, "partition"),
        examples_sha256=sha256_file(workspace.examples),
        partition=partition,
    )
    write_json(workspace.prepare_report, report.to_dict())
    return report


def read(data: Path, words: Mapping[str, str]) -> Source:
    """Read the dataset at ``data``, whichever it is, with labels for its own words.

    Raises:
        DataError: there is nothing, or nothing that is known here.
    """
    root = data.resolve()
    if not root.exists():
        raise DataError(f"{data} does not exist.", expected="a folder or zip with a dataset", mend="check the path")
    listing = open_archives(list_data(root), _reader)
    several = [name for name, reader in PUBLISHED.items() if reader.recognises(listing)]
    if len(several) > 1:
        raise DataError(
            f"{data} holds several datasets: {', '.join(several)}.",
            expected="the folder or zip of each",
            mend="give them one after another: perceived prepare FOLDER FOLDER --out WORK",
        )
    reader = _reader(listing) or (folder if folder.recognises(listing) else None)
    if reader is None:
        raise DataError(
            f"{data} holds no dataset that is known here.",
            expected="CelebA (list_attr_celeba), FairFace (fairface_label_train.csv), UTKFace, folders female and "
            f"male, or a csv with the columns path and label; found instead: {describe(listing)}",
            mend="point at the dataset as it was downloaded",
        )
    source = reader.read(root, listing)
    return replace(source, rows=labels.translate(source, words))


def _reader(listing: Listing) -> Reader | None:
    return next((reader for reader in READERS if reader.recognises(listing)), None)


def _refuse_same_names(sources: Sequence[Source]) -> None:
    names = [source.name for source in sources]
    for source in sources:
        if names.count(source.name) > 1:
            raise DataError(
                f"{source.root} is one of several datasets that are called {source.name!r}.",
                expected="datasets of different names in one table",
                mend='give each once; a folder of your own is named by a file dataset.json: {"source": "NAME"}',
            )


def _without_pictures(source: Source) -> pl.DataFrame:
    none = pl.lit(None, pl.Int32)
    return source.rows.with_columns(path=pl.lit(None, pl.String), width=none, height=none)


def _with_pictures(source: Source, how: Check, progress: Tick | None) -> pl.DataFrame:
    """Keep the rows that have a readable picture, with its size."""
    if not source.pictures:
        raise DataError(
            f"{source.root} holds {source.name}'s tables but no pictures.",
            expected="the pictures that the tables name, unpacked or as a zip",
            mend="add the pictures; or, to explore the annotations alone, add --annotations-only",
        )
    missing = pl.col("path").is_null()
    source.problems["rows_without_picture"] += source.rows.filter(missing)["id"].to_list()
    rows = source.rows.filter(~missing)
    if rows.is_empty():
        raise DataError(
            f"No row of {source.root} has a picture in {source.pictures}.",
            expected=f"pictures named as in the table, such as {source.rows['id'][0]}",
            mend="check that tables and pictures belong together",
        )
    rows = rows.hstack(check.pictures(rows["path"].to_list(), how, progress=progress))
    source.problems["unreadable_pictures"] += rows["_failure"].drop_nulls().to_list()
    return rows.filter(pl.col("_failure").is_null()).drop("_failure")


def _partitioned(rows: pl.DataFrame, source: Source, seed: int) -> tuple[pl.DataFrame, list[HeldOut]]:
    """Give every row a partition; hold out what the dataset's authors did not."""
    by = ("label", *sampling.groups(rows))
    known = source.rows["partition"].drop_nulls().unique()
    wanted: list[tuple[str | None, str, float]] = []
    if known.is_empty():
        wanted = [(None, "test", TEST_SHARE), (None, "val", VAL_SHARE / (1 - TEST_SHARE))]
    elif "train" in known and "val" not in known:
        wanted = [("train", "val", VAL_SHARE)]
    held_out = []
    for of, to, share in wanted:
        rows = hold_out(rows, of=of, to=to, share=share, by=by, seed=seed)
        pictures = rows.filter(partition=to).height
        held_out.append(HeldOut(of=of, to=to, share=share, by=by, seed=seed, pictures=pictures))
    if known.is_empty():
        return rows.with_columns(pl.col("partition").fill_null("train")), held_out
    return rows.filter(pl.col("partition").is_not_null()), held_out


def _note_shared_identities(rows: pl.DataFrame, source: Source) -> None:
    people = rows.drop_nulls("identity").group_by("identity").agg(pl.col("partition").n_unique())
    shared = people.filter(pl.col("partition") > 1).sort("identity")
    source.problems["identities_in_two_partitions"] += [str(identity) for identity in shared["identity"]]


def _note_copies(examples: pl.DataFrame, sources: Sequence[Source], progress: Tick | None) -> None:
    found = copies.across_partitions(examples, progress=progress)
    for source in sources:
        same = found.filter(source=source.name).select(pl.format("{} = {}", "id", "copy_of")).to_series()
        source.problems["copies_in_two_partitions"] += same.to_list()


def _arranged(rows: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Return the columns in order: the dataset's own up to ``identity``, what is noted here, the rest."""
    rows = rows.with_columns(
        pl.col("width", "height").cast(pl.Int32), source=pl.lit(source.name), licence=pl.lit(source.licence)
    )
    own = source.rows.columns
    start = own.index("identity") + 1
    return rows.select(*own[:start], "source", "licence", "width", "height", *own[start:])


def _joined(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return one table, in which ids and people are unique.

    Where a dataset's ids meet those of an earlier one, its name stands before each; where its
    identities do, they are counted on from there.
    """
    _refuse_two_types(tables)
    joined = tables[0]
    for table in tables[1:]:
        if not table.join(joined, on="id", how="semi").is_empty():
            table = table.with_columns(id=pl.concat_str("source", pl.lit("/"), "id"))
        if not table.join(joined, on="identity", how="semi").is_empty():
            after = joined.select(pl.col("identity").max() + 1).item()
            table = table.with_columns(pl.col("identity") - pl.col("identity").min() + after)
        joined = pl.concat([joined, table], how="diagonal")
    return joined


def _refuse_two_types(tables: Sequence[pl.DataFrame]) -> None:
    """Refuse a column that holds words in one dataset and something else in another."""
    first: dict[str, pl.DataFrame] = {}
    for table in tables:
        for name, kind in table.schema.items():
            other = first.setdefault(name, table)
            if kind != other.schema[name]:
                held, here = _kind(other.schema[name]), _kind(kind)
                raise DataError(
                    f"The column {name} holds {held} in {other['source'][0]}, and {here} in {table['source'][0]}.",
                    expected="one kind of values in a column of the same name",
                    mend="rename it in your own csv",
                )


def _kind(kind: pl.DataType) -> str:
    return {"Boolean": "true and false", "String": "words"}.get(str(kind), "numbers")


def _report(source: Source, examples: int, held_out: Sequence[HeldOut]) -> SourceReport:
    hashes = {name: hashlib.sha256(read_location(location)).hexdigest() for name, location in source.tables.items()}
    return SourceReport(
        source=str(source.root),
        name=source.name,
        layout=source.layout,
        licence=source.licence,
        rows=source.total,
        examples=examples,
        problems=source.problems,
        mended=source.mended,
        held_out=held_out,
        tables_sha256=hashes,
    )


def _one_class_error(examples: pl.DataFrame, sources: Sequence[Source]) -> DataError:
    roots = " and ".join(str(source.root) for source in sources)
    if examples.is_empty():
        return DataError(
            f"Nothing usable is left of {roots}: every row lacks a readable picture or a partition.",
            mend="check that tables and pictures belong together and are whole",
        )
    return DataError(
        f"Every picture of {roots} is labelled {examples['label'][0]}: there is nothing to tell apart.",
        expected="pictures of both labels",
        mend="use the tables as their authors publish them, with pictures of both labels",
    )


def _strict_error(sources: Sequence[Source]) -> DataError:
    found = []
    for source in sources:
        amiss = [
            f"{PROBLEMS[kind]}: {len(ids):,} ({', '.join(ids[:3])})" for kind, ids in source.problems.items() if ids
        ]
        if amiss:
            found.append(f"{source.root} does not fit together. " + "; ".join(amiss))
    return DataError(
        f"{'. '.join(found)}.",
        expected="with --strict: nothing to report",
        mend="run without --strict: what cannot be used is left out, and all is listed in prepare.json",
    )
