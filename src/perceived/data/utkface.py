"""UTKFace, and sets named like it: ``age_gender_race_date.jpg`` says what is known of each picture.

Zhang, Song and Qi 2017, "Age Progression/Regression by Conditional Adversarial Autoencoder".
"""

from __future__ import annotations

import re
from pathlib import Path, PurePath
from typing import Any

import polars as pl

from perceived.data.known import DATASETS
from perceived.data.listing import Listing, pictures
from perceived.data.source import AGE, Source, age_band, no_problems, relative

NAME = "utkface"

GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "Others")
"""UTKFace's own words, in the order of their numbers; they are coarser than FairFace's."""

_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_\d{8,18}(\.jpe?g|\.png)?(\.chip)?(\.jpe?g|\.png)", re.IGNORECASE)
_ALIKE = re.compile(r"\d{1,3}_\d+_(\d+_)?\d*(\.\w+)*", re.IGNORECASE)
"""Names in which something is missing: a few of the published ones lack the race."""


def recognises(listing: Listing) -> bool:
    """Say whether most pictures are named as UTKFace names them."""
    names = [PurePath(location).name for location in pictures(listing)]
    return sum(_NAME.fullmatch(name) is not None for name in names) > len(names) / 2


def read(root: Path, listing: Listing) -> Source:
    """Read what the names of pictures say; names that say too little are listed."""
    problems, rows = no_problems(), []
    locations = pictures(listing)
    for location in locations:
        name, found = relative(root, location), _NAME.fullmatch(PurePath(location).name)
        if found:
            age, gender, race = (int(number) for number in found.groups()[:3])
            rows.append((name, location, GENDERS[gender], RACES[race], age_band(age)))
        else:
            kind = "unreadable_rows" if _ALIKE.fullmatch(PurePath(location).name) else "pictures_without_row"
            problems[kind].append(name)
    schema: dict[str, Any] = {"id": pl.String, "path": pl.String, "label": pl.String, "race": pl.String, "age": AGE}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    table = table.with_columns(partition=pl.lit(None, pl.String), identity=pl.lit(None, pl.Int64))
    return Source(
        root=root,
        name=NAME,
        layout="UTKFace's names",
        licence=DATASETS[NAME].license,
        rows=table.select("id", "path", "partition", "label", "identity", "race", "age"),
        total=len(rows) + len(problems["unreadable_rows"]),
        pictures=str(root),
        tables={},
        problems=problems,
    )
