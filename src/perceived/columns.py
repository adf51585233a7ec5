"""Columns of tables that people hand in."""

from __future__ import annotations

import re

import polars as pl

from perceived.errors import DataError

_RENAMED = re.compile(r"(.+)_duplicated_\d+")


LONGEST_HEAD = 2**16
"""Bytes of a file that are looked at for its first line."""


def separator(head: str) -> str:
    """Return what stands between the columns of a CSV whose first line is ``head``.

    Spreadsheets write semicolons where the comma is the decimal sign.
    """
    return max(",;\t", key=head.count)


def require_distinct(table: pl.DataFrame, location: object) -> None:
    """Refuse a CSV with two columns of one name but for blanks, of which :func:`polars.read_csv` may rename one.

    Raises:
        DataError: it has; ``location`` is what the message calls it.
    """
    names = [name.strip() for name in table.columns]
    twice = [found[1] for name in names if (found := _RENAMED.fullmatch(name)) and found[1] in names]
    twice += [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(
            f"{location} has several columns named {twice[0]!r}.",
            expected="one of each name",
            mend="rename those that are not meant, or take them away",
        )
