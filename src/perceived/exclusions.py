"""Lists of pictures that a score leaves out: those whose labels were found to be wrong or to have two readings."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from perceived import columns
from perceived.errors import DataError

READINGS = ("wrong", "ambiguous", "right")
"""What a person finds of a label: it is wrong, the picture has two readings, or the label is right after all."""
KEPT = "right"


@dataclass(frozen=True, slots=True)
class Exclusions:
    """The ids that a list leaves out, and whether its labels were read: it has a column ``reading``."""

    ids: list[str]
    were_read: bool


def read(path: Path) -> Exclusions:
    """Return what a CSV file leaves out: its column ``id``, or of a list that was read, what is not ``right``.

    Raises:
        DataError: there is no such file, it has no column ``id``, or a reading is none of :data:`READINGS`.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            separator = columns.separator(file.readline(columns.LONGEST_HEAD))
            file.seek(0)
            table = csv.DictReader(file, delimiter=separator)
            rows, heads = list(table), table.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read: {error}.", expected="a CSV file with the column id", mend="check the path"
        ) from error
    if "id" not in heads:
        raise DataError(
            f"{path} has the columns {', '.join(heads) or 'of an empty file'}.",
            expected="a column id, and perhaps one of readings",
            mend="take labels.csv of 'perceived labels', or the readings saved from its page",
        )
    if "reading" not in heads:
        return Exclusions([row["id"] for row in rows], were_read=False)
    for line, row in enumerate(rows, 2):
        if row["reading"] not in READINGS:
            raise DataError(
                f"Line {line} of {path} reads {row['id']} as {row['reading']!r}.",
                expected=f"one of {', '.join(READINGS)}",
                mend="correct it, or take the line out",
            )
    return Exclusions([row["id"] for row in rows if row["reading"] != KEPT], were_read=True)
