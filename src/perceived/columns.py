"""Columns of tables that people hand in."""

from __future__ import annotations

import re

import polars as pl

from perceived.errors import DataError

_RENAMED = re.compile(r"(.+)_duplicated_\d+")
_DATE = re.compile(r"(\d{1,2})-([A-Z][a-z]{2})|([A-Z][a-z]{2})-(\d{1,2})")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

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


def band(text: str) -> str | None:
    """Return the band of numbers that a spreadsheet took for this date, ``3-9`` for ``9-Mar``; None if it is none."""
    found = _DATE.fullmatch(text)
    month = found and (found[2] or found[3])
    if not found or month not in _MONTHS:
        return None
    low, high = sorted((int(found[1] or found[4]), _MONTHS.index(month) + 1))
    return f"{low}-{high}"


def mangled(column: pl.Series) -> dict[str, str]:
    """Return the values of a column of text that are dates, with the :func:`band` that each was."""
    return {text: was for text in column.drop_nulls().unique() if (was := band(text))}
