"""What lies in a folder or zip: folders and file names, before anybody knows which dataset they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path, PurePath, PurePosixPath

from perceived.archive import SEPARATOR, open_archive
from perceived.errors import DataError
from perceived.rows import printable
from perceived.sources import ENDINGS, walk

_MAX_DEPTH = 8
_MAX_FOLDERS = 5000

Listing = dict[str, list[str]]
"""Folder (a path ending in ``/``, or ``ARCHIVE.zip!FOLDER/``) to the names of its files."""


def list_data(root: Path) -> Listing:
    """List a folder and those below it, a zip, or a csv that stands alone; archives inside a folder stay closed.

    Raises:
        DataError: a folder cannot be listed, there are too many, or a file is no zip, damaged, or named otherwise.
    """
    require_unicode(root)
    if root.is_dir():
        return _list_folder(root)
    if root.suffix.lower() == ".csv":
        return {f"{root.parent}/": [root.name]}
    if root.suffix.lower() != ".zip":
        raise DataError(
            f"{root} is no folder, and is not named as a zip or a csv is.",
            expected="a folder, a .zip or a .csv",
            mend=f"if it is a zip, rename it: {root.name}.zip",
        )
    return _list_zip(str(root))


def open_archives(listing: Listing, enough: Callable[[Listing], object]) -> Listing:
    """Add what the zips of a listed folder hold, one after the other, until there is ``enough``.

    Those whose name speaks of aligned pictures come first, then the shallowest.
    """
    for archive in _archives(listing):
        if enough(listing):
            break
        listing = listing | _list_zip(archive)
    return listing


def is_picture(name: str) -> bool:
    """Say whether a file is named as pictures are."""
    return PurePath(name).suffix.lower() in ENDINGS


def pictures(listing: Listing) -> list[str]:
    """Return the locations of all pictures, in order."""
    return sorted(folder + name for folder, names in listing.items() for name in names if is_picture(name))


def describe(listing: Listing) -> str:
    """Say in a line what a folder holds."""
    names = [name for found in listing.values() for name in found]
    if not names:
        return "no files at all"
    endings = Counter(PurePath(name).suffix.lower() or "nameless ending" for name in names).most_common(3)
    return f"{', '.join(f'{count:,} {ending}' for ending, count in endings)} (such as {names[0]})"


def _list_folder(root: Path) -> Listing:
    """List a folder and the folders below it, at most eight deep; hidden ones are left out."""
    listing: Listing = {}
    for inside, folders, files in walk(root, _unlisted):
        is_deep = len(PurePath(inside).relative_to(root).parts) >= _MAX_DEPTH
        folders[:] = [] if is_deep else [name for name in folders if not _is_hidden(name)]
        _require_unicode(inside, [*folders, *files])
        listing[inside.rstrip("/") + "/"] = files
        if len(listing) > _MAX_FOLDERS:
            raise DataError(
                f"{root} holds more than {_MAX_FOLDERS:,} folders.", mend="point at the dataset's folder itself"
            )
    return listing


def require_unicode(path: Path) -> None:
    """Refuse a path that no table can hold, nor be written to.

    Raises:
        DataError: a name in it is not UTF-8.
    """
    _require_unicode(str(path.parent), path.parts)


def _unlisted(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be listed: {error.strerror}.", mend="check its permissions") from error


def _require_unicode(folder: str, names: Iterable[str]) -> None:
    """Refuse names that no table can hold."""
    for name in names:
        if printable(name) != name:
            raise DataError(
                f"{printable(folder)} holds a name that is not UTF-8: {printable(name)}.",
                mend="rename it, or move it elsewhere",
            )


def _list_zip(path: str) -> Listing:
    listing: Listing = {}
    for member in open_archive(path).names():
        folder, slash, name = member.rpartition("/")
        if not any(map(_is_hidden, PurePosixPath(member).parts)):
            listing.setdefault(f"{path}{SEPARATOR}{folder}{slash}", []).append(name)
    return listing


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _archives(listing: Listing) -> list[str]:
    archives = [folder + name for folder, names in listing.items() for name in names if name.lower().endswith(".zip")]
    outer = [archive for archive in archives if SEPARATOR not in archive]
    return sorted(outer, key=lambda archive: ("align" not in PurePath(archive).name, archive.count("/"), archive))
