"""What every dataset's module hands to the table writer, and the words they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from perceived import columns
from perceived.archive import SEPARATOR, read_location
from perceived.data.known import DATASETS
from perceived.data.listing import Listing
from perceived.errors import DataError
from perceived.wording import first_line

PROBLEMS = {
    "rows_without_picture": "rows without a picture",
    "pictures_without_row": "pictures without a row",
    "unreadable_pictures": "unreadable pictures",
    "duplicate_rows": "pictures with several rows (the first counts)",
    "contradicting_rows": "pictures whose rows have different labels (left out)",
    "unreadable_rows": "rows with a label or attribute that means nothing",
    "unknown_partitions": "rows without a known partition, though others have one",
    "unknown_identities": "rows without an identity, though others have one",
    "unknown_groups": "rows with a race or age that means nothing (kept without it)",
    "identities_in_two_partitions": "identities found in two partitions",
    "copies_in_two_partitions": "pictures that are a copy of one of another partition (kept)",
}
"""What may be wrong with a dataset, in the words of the report."""

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70")
"""FairFace's bands of perceived age, youngest first."""
AGE = pl.Enum(AGES)
"""Type of the column ``age``: its order is that of :data:`AGES`."""

PARTITION_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Words for partitions, in lower case."""
ABOUT = "dataset.json"
"""A set of one's own names itself in this file, as ``{"source": "NAME", "licence": "CC BY 4.0"}``."""
NOT_STATED = "not stated"

WORDS = dict.fromkeys(("female", "females", "f", "w", "woman", "women", "girl", "girls"), "female") | dict.fromkeys(
    ("male", "males", "m", "man", "men", "boy", "boys"), "male"
)
"""Words for labels, in lower case, that are understood without being told. Numbers are not among them: 1 is male in
CelebA and female in UTKFace."""

Problems = dict[str, list[str]]
"""Kind of problem, a key of :data:`PROBLEMS`, to the pictures or identities concerned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One dataset, read: where it came from, and a row for each picture it tells of.

    ``label`` is the dataset's own word; :func:`perceived.data.labels.translate` turns words into labels.
    ``rows`` has the columns ``id``, ``path`` (null where there is no such picture), ``partition``
    (``train``, ``val``, ``test`` or null), ``label``, ``identity`` (or null) and after that whatever
    else the dataset knows; the order is that of the table of examples. ``pictures`` says where
    pictures were found, and is empty where none were. ``tables`` maps kinds of tables to their
    locations, ``total`` counts what the main one names, and ``mended`` says which values were put
    right, as ``"9-Mar → 3-9"``, and how often.
    """

    root: Path
    name: str
    layout: str
    licence: str
    rows: pl.DataFrame
    total: int
    pictures: str
    tables: Mapping[str, str]
    problems: Problems
    mended: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class About:
    """What a set says of itself."""

    name: str
    licence: str


def about(root: Path, listing: Listing) -> About:
    """Return the name and licence in the shallowest :data:`ABOUT` file; a set without one is named as its folder.

    A folder's name makes no known dataset of it, whose licence would be taken for its own.

    Raises:
        DataError: the file is not readable.
    """
    files = [folder + ABOUT for folder, names in listing.items() if ABOUT in names]
    if not files:
        place = root.parent if root.suffix.lower() == ".csv" else root
        name = place.stem.lower()
        return About(f"own-{name}" if name in DATASETS else name, NOT_STATED)
    return read_about(min(files, key=lambda location: (location.count("/"), location)))


def read_about(location: str) -> About:
    """Read an :data:`ABOUT` file, or raise :class:`DataError`."""
    try:
        found = json.loads(read_location(location))
        return About(str(found["source"]), str(found.get("licence", NOT_STATED)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{location} is not readable: {error!r}.",
            expected='JSON such as {"source": "street", "licence": "CC0"}',
            mend="remove it",
        ) from error


def relative(root: Path, location: str) -> str:
    """Return a location below ``root``, a folder or zip, without it: the id of a picture that has no other."""
    return location.removeprefix(str(root)).lstrip("/" + SEPARATOR)


def age_band(years: float) -> str | None:
    """Return the band of :data:`AGES` an age lies in; nobody is older than 120."""
    ends = (3, 10, 20, 30, 40, 50, 60, 70, 121)
    return next((band for band, end in zip(AGES, ends, strict=True) if 0 <= years < end), None)


def place_of(pictures: str) -> str:
    """Say in a word where pictures were found; see :class:`Source`."""
    return "zip" if SEPARATOR in pictures else "folder" if pictures else "no pictures"


def no_problems() -> Problems:
    return {kind: [] for kind in PROBLEMS}


def first_rows(rows: pl.DataFrame, problems: Problems, *, label: str = "") -> pl.DataFrame:
    """Keep the first row of each picture, the first that has a ``label``, and list the pictures that have more.

    Where rows of a picture have words in the column ``label`` that mean different things, none is kept.
    """
    repeated = rows.filter(pl.col("id").is_duplicated())["id"].unique(maintain_order=True)
    if label:
        meaning = pl.col(label).str.to_lowercase().replace(WORDS)
        contradict = meaning.drop_nulls().n_unique().over("id") > 1
        problems["contradicting_rows"] += rows.filter(contradict)["id"].unique(maintain_order=True).to_list()
        silent = pl.col(label).is_null() & pl.col(label).is_not_null().any().over("id")
        rows = rows.filter(~contradict & ~silent)
    repeated = repeated.filter(repeated.is_in(rows["id"].unique().implode()))
    known = set(problems["duplicate_rows"])
    problems["duplicate_rows"] += [name for name in repeated if name not in known]
    return rows.unique("id", keep="first", maintain_order=True)


def read_partitions(rows: pl.DataFrame, words: Mapping[str, str], problems: Problems, *, table: str) -> pl.DataFrame:
    """Turn the column ``partition`` of a ``table`` from its words, in any case, to train, val and test.

    Rows of other words are listed; a column without a single word leaves every partition open.

    Raises:
        DataError: there are words, and none of them is known.
    """
    known = pl.col("partition").str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.String)
    found = rows.with_columns(known)
    given = rows["partition"].drop_nulls().unique(maintain_order=True)
    if given.is_empty():
        return found
    if found["partition"].null_count() == found.height:
        raise DataError(
            f"{table} says of no picture whether it is for training, validation or test: its words are "
            f"{', '.join(map(repr, given[:3]))}.",
            expected=f"one of {', '.join(words)}",
            mend="put one of these words in each row, or take the column or table away: pictures are then held out",
        )
    strange = rows.filter(found["partition"].is_null()).select(pl.col("id"), pl.col("partition"))
    problems["unknown_partitions"] += [f"{name}: {word}" if word else name for name, word in strange.iter_rows()]
    return found


def read_csv(location: str) -> pl.DataFrame:
    """Read a csv with a header as strings without blanks around them; an empty field is null.

    Raises:
        DataError: it is missing, empty or no csv, or two of its columns have one name.
    """
    try:
        raw = read_location(location).removeprefix(b"\xef\xbb\xbf")
        separator = columns.separator(raw.partition(b"\n")[0].decode("utf-8", "replace"))
        rows = pl.read_csv(raw, infer_schema=False, truncate_ragged_lines=True, separator=separator)
    except OSError as error:
        raise DataError(f"{location} cannot be read: {error.strerror}.", mend="check its permissions") from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{location} is not a table: {first_line(error)}.",
            expected="comma-separated values under a line of column names",
            mend="copy or download it again",
        ) from error
    columns.require_distinct(rows, location)
    if rows.is_empty():
        raise DataError(f"{location} has no rows.", mend="copy or download it again")
    rows = rows.rename({name: name.strip() for name in rows.columns})
    return rows.with_columns(pl.all().str.strip_chars().replace("", None))
