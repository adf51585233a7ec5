"""FairFace as its authors hand it out: label files beside the folders train and val.

Kärkkäinen and Joo 2021, "FairFace: Face Attribute Dataset for Balanced Race, Gender, and Age".
Copies that went through a spreadsheet have dates where age bands were; they are mended.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from perceived import columns
from perceived.archive import SEPARATOR
from perceived.data.known import DATASETS
from perceived.data.listing import Listing, is_picture, open_archives
from perceived.data.source import AGE, AGES, Problems, Source, first_rows, no_problems, place_of, read_csv
from perceived.errors import DataError

NAME = "fairface"

STEM = "fairface_label_"
TABLES = {f"{STEM}train.csv": "train", f"{STEM}val.csv": "test"}
"""Label file to partition. FairFace has no labelled test files: its val files are the test set here, and
validation pictures are held out of its train files."""
LABELS = {"Female": "female", "Male": "male"}
RACES = ("Black", "East Asian", "Indian", "Latino_Hispanic", "Middle Eastern", "Southeast Asian", "White")

_COLUMNS = ("file", "age", "gender", "race")


def recognises(listing: Listing) -> bool:
    """Say whether a listing has one of FairFace's label files."""
    return bool(_find_tables(listing))


def read(root: Path, listing: Listing) -> Source:
    """Read FairFace's label files: a row for each picture they name, with its race and age.

    Raises:
        DataError: a label file lacks a column, or no row of it has a known label.
    """
    listing = open_archives(listing, _is_whole)
    tables, problems = _find_tables(listing), no_problems()
    raw = pl.concat([_read_labels(location, TABLES[name]) for name, location in sorted(tables.items())])
    base = _base(listing)
    pictures = _pictures(listing, base)
    rows = _finish(first_rows(raw, problems, label="gender"), problems).with_columns(
        path=pl.when(pl.col("id").is_in(pictures)).then(pl.lit(base) + pl.col("id"))
    )
    named = set(rows["id"])
    problems["pictures_without_row"] += [name for name in pictures if name not in named]
    if rows.is_empty():
        raise DataError(
            f"No row of {', '.join(sorted(tables.values()))} has a known gender.",
            expected=f"{' or '.join(LABELS)}; found {', '.join(map(repr, raw['gender'].unique().sort().head(3)))}",
            mend="use the label files as FairFace publishes them",
        )
    return Source(
        root=root,
        name=NAME,
        layout=f"FairFace ({place_of(base)})",
        licence=DATASETS[NAME].license,
        rows=rows.select("id", "path", "partition", "label", "identity", "race", "age"),
        total=raw["id"].n_unique(),
        pictures=base,
        tables={TABLES[name]: location for name, location in tables.items()},
        problems=problems,
        mended=_count_mended(raw),
    )


def mend_ages(ages: pl.Series) -> pl.Series:
    """Read the column of FairFace's age bands; what means nothing becomes null."""
    return ages.replace(columns.mangled(ages)).cast(AGE, strict=False)


def _find_tables(listing: Listing) -> dict[str, str]:
    """Return the location of each label file; the shallowest wins."""
    found: dict[str, tuple[int, str]] = {}
    for folder, names in listing.items():
        for name in TABLES.keys() & set(names):
            candidate = (folder.count("/"), folder + name)
            found[name] = min(candidate, found.get(name, candidate))
    return {name: location for name, (_, location) in found.items()}


def _is_whole(listing: Listing) -> bool:
    """Say whether there are pictures of every label file, in one place."""
    base = _base(listing)
    return bool(base) and all(
        any(map(is_picture, listing.get(base + name.removeprefix(STEM).removesuffix(".csv") + "/", [])))
        for name in _find_tables(listing)
    )


def _base(listing: Listing) -> str:
    """Return the folder that holds the folders train and val, or ``""``; of several the fullest, then the first.

    The authors hand pictures out with a margin of 0.25 and of 1.25 of the face; beside each other,
    the narrow ones come first.
    """
    counts: dict[str, int] = {}
    for folder, names in listing.items():
        for side in ("train/", "val/"):
            if folder.endswith(("/" + side, SEPARATOR + side)):
                base = folder.removesuffix(side)
                counts[base] = counts.get(base, 0) + sum(map(is_picture, names))
    full = sorted((-count, base.count("/"), base) for base, count in counts.items() if count)
    return full[0][2] if full else ""


def _pictures(listing: Listing, base: str) -> list[str]:
    """Return the pictures below ``base`` as label files name them: ``train/1.jpg``."""
    sides = ("train/", "val/") if base else ()
    return sorted(side + name for side in sides for name in listing.get(base + side, []) if is_picture(name))


def _read_labels(location: str, partition: str) -> pl.DataFrame:
    rows = read_csv(location)
    missing = [name for name in _COLUMNS if name not in rows.columns]
    if missing:
        raise DataError(
            f"{location} has no column {', '.join(missing)}.",
            expected=f"FairFace's columns {', '.join(_COLUMNS)}; its own are {', '.join(rows.columns)}",
            mend="use the label files as FairFace publishes them",
        )
    rows = rows.drop_nulls("file").with_columns(partition=pl.lit(partition))
    return rows.select(pl.col("file").alias("id"), "age", "gender", "race", "partition")


def _finish(raw: pl.DataFrame, problems: Problems) -> pl.DataFrame:
    """Give labels, races and ages their words; list the rows in which they mean nothing."""
    rows = raw.with_columns(
        mend_ages(raw["age"]),
        label=pl.col("gender").replace_strict(LABELS, default=None, return_dtype=pl.String),
        race=pl.when(pl.col("race").is_in(RACES)).then("race"),
        identity=pl.lit(None, pl.Int64),
    )
    problems["unreadable_rows"] += rows.filter(pl.col("label").is_null())["id"].to_list()
    rows = rows.filter(pl.col("label").is_not_null())
    problems["unknown_groups"] += rows.filter(pl.col("race").is_null() | pl.col("age").is_null())["id"].to_list()
    return rows


def _count_mended(raw: pl.DataFrame) -> dict[str, int]:
    mangled = {age: band for age, band in columns.mangled(raw["age"]).items() if band in AGES}
    return {f"{age} → {band}": int((raw["age"] == age).sum()) for age, band in sorted(mangled.items())}
