"""A folder for each class, as people keep pictures of their own: ``female/1.jpg``, ``train/men/2.png``."""

from __future__ import annotations

from pathlib import Path, PurePath

import polars as pl

from perceived.data.listing import Listing, describe, pictures
from perceived.data.source import PARTITION_WORDS, WORDS, Source, about, no_problems, relative
from perceived.errors import DataError


def recognises(listing: Listing) -> bool:
    """Say whether there are pictures: a dataset of no other kind is taken for one of this."""
    return bool(pictures(listing))


def read(root: Path, listing: Listing) -> Source:
    """Read labels, and partitions where there are any, from the names of folders.

    The class is the first folder that is no partition, below what all pictures have in common.

    Raises:
        DataError: no picture lies in a class's folder.
    """
    locations = pictures(listing)
    names = [relative(root, location) for location in locations]
    start = _common(names)
    rows, problems = [], no_problems()
    for name, location in zip(names, locations, strict=True):
        folders = PurePath(name).parts[start:-1]
        partition = next((PARTITION_WORDS[word.lower()] for word in folders if word.lower() in PARTITION_WORDS), None)
        classes = [word for word in folders if word.lower() not in PARTITION_WORDS]
        if classes:
            rows.append((name, location, partition, classes[0], None))
        else:
            problems["pictures_without_row"].append(name)
    if not rows:
        raise DataError(
            f"{root} holds pictures, but nothing that says what they show: {describe(listing)}.",
            expected="folders female and male, a csv with the columns path and label, CelebA, FairFace or UTKFace",
            mend="sort the pictures into folders, or write a csv",
        )
    schema = dict.fromkeys(("id", "path", "partition", "label"), pl.String) | {"identity": pl.Int64}
    known = about(root, listing)
    return Source(
        root=root,
        name=known.name,
        layout="A folder for each class",
        licence=known.licence,
        rows=pl.DataFrame(rows, schema=schema, orient="row"),
        total=len(rows),
        pictures=str(root),
        tables={},
        problems=problems,
    )


def _common(names: list[str]) -> int:
    """Return how many outer folders all pictures share that are neither a partition nor a label."""
    count = 0
    for parts in zip(*(PurePath(name).parts[:-1] for name in names), strict=False):
        if len(set(parts)) > 1 or parts[0].lower() in PARTITION_WORDS.keys() | WORDS.keys():
            break
        count += 1
    return count
