"""CelebA as people have it: Kaggle's folder or zip, the original release, torchvision's layout.

Liu et al. 2015, "Deep Learning Face Attributes in the Wild". The layouts differ in where files
stand and how tables are written (csv or padded text), not in what they say; so this module looks
for the files by name, wherever they are, and reads either writing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from perceived.archive import read_location
from perceived.data.known import DATASETS
from perceived.data.listing import Listing, describe, is_picture, list_data, open_archives
from perceived.data.source import (
    ABOUT,
    PARTITION_WORDS,
    About,
    Problems,
    Source,
    first_rows,
    no_problems,
    place_of,
    read_about,
    read_partitions,
)
from perceived.errors import DataError
from perceived.wording import first_line

ATTRIBUTES = (
    *("5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald"),
    *("Bangs", "Big_Lips", "Big_Nose", "Black_Hair", "Blond_Hair"),
    *("Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby", "Double_Chin"),
    *("Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones"),
    *("Male", "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard"),
    *("Oval_Face", "Pale_Skin", "Pointy_Nose", "Receding_Hairline", "Rosy_Cheeks"),
    *("Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair", "Wearing_Earrings"),
    *("Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young"),
)
"""The 40 attributes, in CelebA's order."""
LABEL = "Male"
"""The attribute that is the label."""
BBOX = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")
"""The face's box in the original picture (not in the aligned one), in pixels."""
LANDMARKS = tuple(
    f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"
)
"""Five points of the aligned picture, in pixels; left and right as the viewer sees them."""
PARTITIONS = {"0": "train", "1": "val", "2": "test"}
"""CelebA's own words for its partitions."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "attributes": ATTRIBUTES,
    "partition": ("partition",),
    "identity": ("identity",),
    "bbox": BBOX,
    "landmarks": LANDMARKS,
}
"""What each kind of table tells of a picture. The first two kinds are required."""
STEMS = {
    "list_attr_celeba": "attributes",
    "list_eval_partition": "partition",
    "identity_celeba": "identity",
    "list_bbox_celeba": "bbox",
    "list_landmarks_align_celeba": "landmarks",
}
"""File name, in lower case and without its ending, to kind of table."""
ALIGNED = "img_align_celeba"
FEW = 20
"""So many pictures in a folder of another name may be there by chance, and the archives beside them are opened."""
REQUIRED = ("list_attr_celeba", "list_eval_partition")
NAME = "celeba"

_GET_IT = "point at CelebA as it was downloaded, or get it with: perceived download celeba"


@dataclass(frozen=True, slots=True, kw_only=True)
class CelebaSource:
    """Where a copy of CelebA keeps its tables and pictures.

    ``tables`` maps kinds of :data:`COLUMNS` to locations. ``pictures`` is the folder, on disk or in
    a zip, that holds the files ``names``; both are empty where there are no pictures. ``name`` and
    ``licence`` are CelebA's unless the set says otherwise of itself.
    """

    root: Path
    name: str
    licence: str
    layout: str
    tables: dict[str, str]
    pictures: str
    names: list[str]


def find(data: Path) -> CelebaSource:
    """Find CelebA's tables and pictures in a folder or zip, whichever layout it has.

    Raises:
        DataError: ``data`` is missing, is a damaged zip, or holds no CelebA tables.
    """
    root = Path(data).resolve()
    if not root.exists():
        raise DataError(f"{data} does not exist.", expected="a folder or zip with CelebA", mend=_GET_IT)
    return locate(root, list_data(root))


def recognises(listing: Listing) -> bool:
    """Say whether a listing has one of the tables that only CelebA has."""
    return any(STEMS[stem] in _find_tables(listing) for stem in REQUIRED)


def locate(root: Path, listing: Listing) -> CelebaSource:
    """Find CelebA's tables and pictures in what ``root`` holds; see :func:`find`."""
    tables = _find_tables(listing)
    listing = open_archives(listing, _is_whole)
    tables, pictures = _find_tables(listing) | tables, _find_pictures(listing)
    missing = [f"{stem}.csv or .txt" for stem in REQUIRED if STEMS[stem] not in tables]
    if missing:
        raise DataError(
            f"{root} does not hold {' and '.join(missing)}.",
            expected=f"CelebA; found instead: {describe(listing)}",
            mend=_GET_IT,
        )
    known = _about(tables["attributes"], listing)
    return CelebaSource(
        root=root,
        name=known.name,
        licence=known.licence,
        layout=_layout(tables["attributes"], pictures),
        tables=tables,
        pictures=pictures,
        names=sorted(name for name in listing.get(pictures, []) if is_picture(name)),
    )


def read(root: Path, listing: Listing) -> Source:
    """Read CelebA's tables: a row for each picture the attribute table names.

    Raises:
        DataError: a table is missing or is not what it is named after.
    """
    found = locate(root, listing)
    problems = no_problems()
    raw = _read_attributes(found.tables["attributes"])
    rows = _as_booleans(first_rows(raw, problems), found.tables["attributes"], problems)
    for kind, columns in COLUMNS.items():
        if kind != "attributes" and kind in found.tables:
            table = first_rows(_read_numbers(found.tables[kind], columns), problems)
            rows = rows.join(table, on="id", how="left", maintain_order="left")
    rows = read_partitions(rows, PARTITIONS | PARTITION_WORDS, problems, table=found.tables["partition"])
    _require_partitions(rows, found)
    rows = _finish(rows, found)
    names = pl.Series("id", found.names, dtype=pl.String)
    problems["pictures_without_row"] += names.filter(~names.is_in(raw["id"].implode())).to_list()
    if "identity" in found.tables:
        problems["unknown_identities"] += rows.filter(pl.col("identity").is_null())["id"].to_list()
    return Source(
        root=root,
        name=found.name,
        layout=found.layout,
        licence=found.licence,
        rows=rows,
        total=raw.height,
        pictures=found.pictures,
        tables=found.tables,
        problems=problems,
    )


def _read_attributes(location: str) -> pl.DataFrame:
    """Return ``id`` and the 40 attributes, still strings."""
    rows = read_table(location, ATTRIBUTES)
    missing = [name for name in ATTRIBUTES if name not in rows.columns]
    if missing:
        raise DataError(
            f"{location} has no column {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}.",
            expected=f"CelebA's 40 attributes; its columns are {', '.join(rows.columns[:4])} …",
            mend="use list_attr_celeba as CelebA publishes it",
        )
    return rows.select("id", *ATTRIBUTES)


def _as_booleans(rows: pl.DataFrame, location: str, problems: Problems) -> pl.DataFrame:
    """Return the rows whose attributes are all readable, with booleans."""
    flags = pl.col(ATTRIBUTES)
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


def _require_partitions(rows: pl.DataFrame, found: CelebaSource) -> None:
    """Refuse a partition table that tells of none of the pictures: nothing may stand in for the official partition."""
    if rows["partition"].null_count() == rows.height:
        raise DataError(
            f"{found.tables['partition']} names none of the pictures of {found.tables['attributes']}.",
            expected=f"rows of pictures such as {rows['id'][0]}",
            mend="use both tables as CelebA publishes them",
        )


def _read_numbers(location: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """Return ``id`` and ``columns``, still strings, of one of the other tables."""
    table = read_table(location, columns)
    if table.width != len(columns) + 1:
        raise DataError(
            f"{location} has {table.width} columns.",
            expected=f"{len(columns) + 1}: the picture's name and {', '.join(columns)}",
            mend="download it again, or remove it if it is optional",
        )
    return table.rename(dict(zip(table.columns[1:], columns, strict=True)))


def _finish(rows: pl.DataFrame, found: CelebaSource) -> pl.DataFrame:
    """Give the columns their final types and order, and each row its picture."""
    numbers = [name for name in (*BBOX, *LANDMARKS) if name in rows.columns]
    if "identity" not in rows.columns:
        rows = rows.with_columns(identity=None)
    has_picture = pl.col("id").is_in(found.names)
    rows = rows.with_columns(
        pl.col("identity", *numbers).cast(pl.Int64, strict=False),
        path=pl.when(has_picture).then(pl.lit(found.pictures) + pl.col("id")),
        label=pl.when(LABEL).then(pl.lit("male")).otherwise(pl.lit("female")),
    )
    return rows.select("id", "path", "partition", "label", *ATTRIBUTES, "identity", *numbers)


def read_table(location: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """Read one CelebA table, csv or padded text, as strings: ``id`` and its other columns.

    ``columns`` names the columns of a table that has no header. An original release's first line,
    the number of rows, is skipped.

    Raises:
        DataError: the table is missing, empty or not a table.
    """
    try:
        raw = read_location(location)
    except OSError as error:
        raise DataError(f"{location} cannot be read: {error.strerror}.") from error
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").lstrip()
    first, _, rest = raw.partition(b"\n")
    if first.strip().isdigit():
        raw = rest
        first, _, rest = raw.partition(b"\n")
    separator = "," if b"," in first else " "
    if separator == " ":
        raw = _squeeze(raw)
        first, _, rest = raw.partition(b"\n")
    names = [field.strip('" ') for field in first.decode("utf-8", "replace").split(separator)]
    if names[0].lower().endswith((".jpg", ".jpeg", ".png")):
        return _parse(raw, ["id", *columns], separator, location)
    if rest.partition(b"\n")[0].count(separator.encode()) == len(names):
        return _parse(rest, ["id", *names], separator, location)
    return _parse(rest, ["id", *names[1:]], separator, location)


def _parse(body: bytes, names: list[str], separator: str, location: str) -> pl.DataFrame:
    if not body.strip():
        raise DataError(f"{location} has no rows.", mend="copy or download it again")
    try:
        return pl.read_csv(
            body,
            has_header=False,
            new_columns=names,
            separator=separator,
            infer_schema=False,
            truncate_ragged_lines=True,
        ).with_columns(pl.all().str.strip_chars())
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{location} is not a table: {first_line(error)}.",
            expected="CelebA's csv or text form",
            mend="copy or download it again",
        ) from error


def _squeeze(raw: bytes) -> bytes:
    """Turn a table padded with blanks into one with single blanks between fields."""
    raw = raw.replace(b"\t", b" ")
    while b"  " in raw:
        raw = raw.replace(b"  ", b" ")
    return raw.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")


def _find_tables(listing: Listing) -> dict[str, str]:
    """Return the location of each kind of table; the shallowest wins, then csv before txt."""
    found: dict[str, tuple[int, str, str]] = {}
    for folder, names in listing.items():
        for name in names:
            stem, _, ending = name.lower().rpartition(".")
            if stem in STEMS and ending in ("csv", "txt"):
                candidate = (folder.count("/"), ending, folder + name)
                found[STEMS[stem]] = min(candidate, found.get(STEMS[stem], candidate))
    return {kind: location for kind, (_, _, location) in found.items()}


def _is_whole(listing: Listing) -> bool:
    """Say whether the tables are there, and pictures that they may well be of: one picture may be anybody's."""
    tables, folder = _find_tables(listing), _find_pictures(listing)
    count = sum(map(is_picture, listing.get(folder, [])))
    return all(STEMS[stem] in tables for stem in REQUIRED) and ((ALIGNED in folder and count > 0) or count > FEW)


def _find_pictures(listing: Listing) -> str:
    """Return the folder of the aligned pictures: one named so if any is, and of those the fullest."""
    counts = {folder: sum(map(is_picture, names)) for folder, names in listing.items()}
    full = [folder for folder, count in counts.items() if count]
    named = [folder for folder in full if ALIGNED in folder]
    return max(named or full, key=lambda folder: (counts[folder], -folder.count("/"), folder), default="")


def _about(attributes: str, listing: Listing) -> About:
    """Return what a set says of itself in an :data:`ABOUT` file beside its tables; CelebA has none."""
    folder = max((folder for folder in listing if attributes.startswith(folder)), key=len)
    return read_about(folder + ABOUT) if ABOUT in listing[folder] else About(NAME, DATASETS[NAME].license)


def _layout(attributes: str, pictures: str) -> str:
    """Name a layout, for the report."""
    place = place_of(pictures)
    if attributes.lower().endswith(".csv"):
        return f"Kaggle's layout ({place})"
    return f"{'Original release' if '/Anno/' in attributes else 'Text tables'} ({place})"
