"""CelebA as people have it: Kaggle's folder or zip, the original release, torchvision's layout.

Liu et al. 2015, "Deep Learning Face Attributes in the Wild". The layouts differ in where files
stand and how tables are written (csv or padded text), not in what they say; so this module looks
for the files by name, wherever they are, and reads either writing.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath

import polars as pl

from perceived.archive import SEPARATOR, open_archive, read_location
from perceived.errors import DataError

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
BBOX = ("bbox_x", "bbox_y", "bbox_width", "bbox_height")
"""The face's box in the original picture (not in the aligned one), in pixels."""
LANDMARKS = tuple(
    f"{point}_{axis}" for point in ("lefteye", "righteye", "nose", "leftmouth", "rightmouth") for axis in "xy"
)
"""Five points of the aligned picture, in pixels; left and right as the viewer sees them."""
PARTITIONS = {"0": "train", "1": "val", "2": "test"}

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
REQUIRED = ("list_attr_celeba", "list_eval_partition")
ABOUT = "dataset.json"
"""A set in CelebA's shape that is not CelebA names itself here, as ``{"source": "demo"}``."""
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")

_MAX_DEPTH = 8
_MAX_FOLDERS = 5000
_GET_IT = "point at CelebA as it was downloaded, or get it with: perceived download celeba"

Listing = dict[str, list[str]]
"""Folder (a path ending in ``/``, or ``ARCHIVE.zip!FOLDER/``) to the names of its files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CelebaSource:
    """Where a copy of CelebA keeps its tables and pictures.

    ``tables`` maps kinds of :data:`COLUMNS` to locations. ``pictures`` is the folder, on disk or in
    a zip, that holds the files ``names``; both are empty where there are no pictures. ``name`` is
    ``"celeba"`` unless the set calls itself otherwise.
    """

    root: Path
    name: str
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
    listing = _list_folder(root) if root.is_dir() else _list_zip(str(root))
    tables, pictures = _find_tables(listing), _find_pictures(listing)
    for archive in _archives(listing):
        if pictures and all(STEMS[stem] in tables for stem in REQUIRED):
            break
        listing |= _list_zip(archive)
        tables, pictures = _find_tables(listing) | tables, pictures or _find_pictures(listing)
    missing = [f"{stem}.csv or .txt" for stem in REQUIRED if STEMS[stem] not in tables]
    if missing:
        raise DataError(
            f"{data} does not hold {' and '.join(missing)}.",
            expected=f"CelebA; found instead: {_describe(listing)}",
            mend=_GET_IT,
        )
    return CelebaSource(
        root=root,
        name=_source_name(tables["attributes"], listing),
        layout=_layout(tables["attributes"], pictures),
        tables=tables,
        pictures=pictures,
        names=sorted(name for name in listing.get(pictures, []) if _is_picture(name)),
    )


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
    if names[0].lower().endswith(PICTURE_ENDINGS):
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
            f"{location} is not a table: {str(error).splitlines()[0]}.",
            expected="CelebA's csv or text form",
            mend="copy or download it again",
        ) from error


def _squeeze(raw: bytes) -> bytes:
    """Turn a table padded with blanks into one with single blanks between fields."""
    raw = raw.replace(b"\t", b" ")
    while b"  " in raw:
        raw = raw.replace(b"  ", b" ")
    return raw.replace(b" \n", b"\n").replace(b"\n ", b"\n").strip(b" ")


def _list_folder(root: Path) -> Listing:
    """List a folder and the folders below it, at most eight deep; hidden ones are left out."""
    listing: Listing = {}
    waiting = [(str(root), 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            entries = [entry for entry in os.scandir(folder) if not _is_hidden(entry.name)]
        except OSError as error:
            raise DataError(f"{folder} cannot be listed: {error.strerror}.", mend="check its permissions") from error
        listing[folder.rstrip("/") + "/"] = [entry.name for entry in entries if not entry.is_dir()]
        if depth < _MAX_DEPTH:
            waiting += [(entry.path, depth + 1) for entry in entries if entry.is_dir()]
        if len(listing) > _MAX_FOLDERS:
            raise DataError(
                f"{root} holds more than {_MAX_FOLDERS:,} folders.", mend="point at the CelebA folder itself"
            )
    return listing


def _list_zip(path: str) -> Listing:
    listing: Listing = {}
    for member in open_archive(path).names():
        folder, slash, name = member.rpartition("/")
        if not _is_hidden(name) and not _is_hidden(member):
            listing.setdefault(f"{path}{SEPARATOR}{folder}{slash}", []).append(name)
    return listing


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_ENDINGS)


def _archives(listing: Listing) -> list[str]:
    """Return the zips in a listed folder: first those of the aligned pictures, then the shallowest."""
    archives = [folder + name for folder, names in listing.items() for name in names if name.lower().endswith(".zip")]
    outer = [archive for archive in archives if SEPARATOR not in archive]
    return sorted(outer, key=lambda archive: ("align" not in PurePath(archive).name, archive.count("/"), archive))


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


def _find_pictures(listing: Listing) -> str:
    """Return the folder of the aligned pictures: one named so if any is, and of those the fullest."""
    counts = {folder: sum(map(_is_picture, names)) for folder, names in listing.items()}
    full = [folder for folder, count in counts.items() if count]
    named = [folder for folder in full if "img_align_celeba" in folder]
    return max(named or full, key=lambda folder: (counts[folder], -folder.count("/"), folder), default="")


def _source_name(attributes: str, listing: Listing) -> str:
    """Return what a set calls itself in a :data:`ABOUT` file beside its tables, or ``"celeba"``."""
    folder = max((folder for folder in listing if attributes.startswith(folder)), key=len)
    if ABOUT not in listing[folder]:
        return "celeba"
    try:
        about = json.loads(read_location(folder + ABOUT))
        return str(about["source"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{folder}{ABOUT} is not readable: {error!r}.", expected='JSON such as {"source": "demo"}', mend="remove it"
        ) from error


def _layout(attributes: str, pictures: str) -> str:
    """Name a layout, for the report."""
    place = "zip" if SEPARATOR in pictures else ("folder" if pictures else "no pictures")
    if attributes.lower().endswith(".csv"):
        return f"Kaggle's layout ({place})"
    return f"{'Original release' if '/Anno/' in attributes else 'Text tables'} ({place})"


def _describe(listing: Listing) -> str:
    """Say in a line what a folder that is not CelebA holds."""
    names = [name for found in listing.values() for name in found]
    if not names:
        return "no files at all"
    endings = Counter(PurePath(name).suffix.lower() or "nameless ending" for name in names).most_common(3)
    return f"{', '.join(f'{count:,} {ending}' for ending, count in endings)} (such as {names[0]})"
