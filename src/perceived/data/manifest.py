"""A csv that names pictures and their labels: ``path,label``, and whatever groups its owner knows of."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from perceived import columns
from perceived.archive import SEPARATOR, read_location, split_location
from perceived.data.listing import Listing, pictures
from perceived.data.source import (
    AGE,
    AGES,
    PARTITION_WORDS,
    Problems,
    Source,
    about,
    age_band,
    first_rows,
    no_problems,
    read_csv,
    read_partitions,
    relative,
)
from perceived.errors import DataError

PATHS = ("path", "file", "filename", "file_name", "image", "image_path", "picture")
LABELS = ("label", "perceived_gender", "gender", "class")
PARTITIONS = ("partition", "split")
IDENTITIES = ("identity", "person", "subject")
"""Names a column may have, in lower case; the first that is there counts."""

RESERVED = (
    *("id", "path", "partition", "split", "label", "identity", "source", "licence", "width", "height", "weight"),
    *("answer", "perceived_gender", "confidence", "probability_female", "probability_male", "error"),
)
"""Columns of tables of examples and of answers: a csv's own of these names say nothing new, and are not taken
over. Nor are those without a name, and those that begin with ``_``, as columns do that are taken away again."""
LOWERED = ("race", "age")
"""Groups that are known by these names, however a csv writes them."""


def recognises(listing: Listing) -> bool:
    """Say whether there is a csv with a column of pictures and one of labels."""
    return bool(_tables(listing))


def read(root: Path, listing: Listing) -> Source:
    """Read the csv; every column beside the known ones is a group.

    Paths are taken from the csv's folder. Of several csv the shallowest counts, then the first by name.

    Raises:
        DataError: the csv has no rows that name a picture.
    """
    location, problems = _tables(listing)[0], no_problems()
    raw = read_csv(location)
    known = {name.lower(): name for name in reversed(raw.columns)}
    path, label = _first(known, PATHS), _first(known, LABELS)
    partition, identity = _first(known, PARTITIONS), _first(known, IDENTITIES)
    base = location[: max(location.rfind("/"), location.rfind(SEPARATOR)) + 1]
    groups = _groups(raw.columns, taken=(path, label, partition, identity), location=location)
    kept = [name for name in (path, label, partition, identity, *groups) if name]
    rows = raw.select(kept).rename({path: "id"}).drop_nulls("id")
    rows = rows.with_columns(pl.col("id").map_elements(posixpath.normpath, return_dtype=pl.String))
    if rows.is_empty():
        raise DataError(f"{location} names no picture.", expected=f"paths in its column {path}")
    here = set(pictures(listing))
    places = {name: _place(base, name, here) for name in rows["id"].unique()}
    rows = first_rows(rows, problems, label=label)
    paths = [places[name] for name in rows["id"]]
    rows = rows.select(
        "id",
        pl.Series("path", paths, dtype=pl.String),
        (pl.col(partition) if partition else pl.lit(None, pl.String)).alias("partition"),
        pl.col(label).alias("label"),
        (_identity(identity) if identity else pl.lit(None, pl.Int64)).alias("identity"),
        *(pl.col(name).alias(written) for name, written in groups.items()),
    )
    rows = read_partitions(_with_bands(rows, problems), PARTITION_WORDS, problems, table=location)
    problems["pictures_without_row"] += [relative(root, name) for name in sorted(here.difference(places.values()))]
    if identity:
        problems["unknown_identities"] += rows.filter(pl.col("identity").is_null())["id"].to_list()
    about_it = about(root, listing)
    return Source(
        root=root,
        name=about_it.name,
        layout=f"A csv ({location.removeprefix(base)})",
        licence=about_it.licence,
        rows=rows,
        total=raw.height,
        pictures=base,
        tables={"csv": location},
        problems=problems,
    )


def _tables(listing: Listing) -> list[str]:
    """Return the csv files that have the columns, the shallowest first."""
    found = sorted(
        (folder.count("/"), folder + name)
        for folder, names in listing.items()
        for name in names
        if name.lower().endswith(".csv")
    )
    return [location for _, location in found if _has_columns(location)]


def _has_columns(location: str) -> bool:
    try:
        line = _first_line(location)
    except (OSError, DataError):
        return False
    head = line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    names = {name.strip('" \r\n').lower() for name in head.split(columns.separator(head))}
    return not (names.isdisjoint(PATHS) or names.isdisjoint(LABELS))


def _first_line(location: str) -> bytes:
    if split_location(location):
        return read_location(location).partition(b"\n")[0]
    with open(location, "rb") as file:
        return file.readline(columns.LONGEST_HEAD)


def _first(known: dict[str, str], names: Sequence[str]) -> str:
    return next((known[name] for name in names if name in known), "")


def _groups(names: Sequence[str], *, taken: Sequence[str], location: str) -> dict[str, str]:
    """Return the columns that are groups, and what the table of examples calls them."""
    own = [name for name in names if name not in taken and name.lower() not in RESERVED and name[:1] not in ("", "_")]
    groups = {name: name.lower() if name.lower() in LOWERED else name for name in own}
    twins = [name for name, written in groups.items() if list(groups.values()).count(written) > 1]
    if twins:
        raise DataError(
            f"{location} has the columns {' and '.join(twins)}, which are one to us.", mend="take one of them away"
        )
    return groups


def _place(base: str, name: str, here: set[str]) -> str | None:
    """Return where a named picture is, or ``None`` if it is nowhere."""
    location = name if name.startswith("/") else base + name
    if location in here:
        return location
    return str(Path(location)) if SEPARATOR not in base and Path(location).is_file() else None


def _identity(column: str) -> pl.Expr:
    """Return whole numbers for people: their own where they have numbers, otherwise places in the order of names."""
    numbers = pl.col(column).cast(pl.Int64, strict=False)
    whole = (numbers.is_null() & pl.col(column).is_not_null()).any().not_()
    return pl.when(whole).then(numbers).otherwise(pl.col(column).rank("dense").cast(pl.Int64))


def _band(text: str | None) -> str | None:
    """Return the band that a cell tells of; years may have a decimal point, as pandas writes a column with gaps."""
    if text is None:
        return None
    text = columns.band(text) or text
    if text in AGES:
        return text
    try:
        return age_band(float(text))
    except ValueError:  # words
        return None


def _with_bands(rows: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Turn a column of ages, in years or in FairFace's bands as they are or as spreadsheets mangle them, into bands."""
    if "age" not in rows.columns:
        return rows
    banded = rows.with_columns(pl.Series("age", [_band(text) for text in rows["age"]], dtype=AGE))
    lost = banded["age"].is_null() & rows["age"].is_not_null()
    problems["unknown_groups"] += rows.filter(lost)["id"].to_list()
    return banded
