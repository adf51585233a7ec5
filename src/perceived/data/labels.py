"""The words datasets have for female and male, mapped where they leave no doubt and refused where they do."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from perceived.data.source import WORDS, Source
from perceived.errors import DataError
from perceived.spec import LABELS
from perceived.wording import counted

LEFT_OUT = "none"
"""What a word is mapped to whose pictures are to be left out."""
MEANINGS = (*LABELS, LEFT_OUT)


def translate(source: Source, words: Mapping[str, str]) -> pl.DataFrame:
    """Return a source's rows with labels for its own words; those without one are listed and left out.

    ``words`` adds to :data:`perceived.data.source.WORDS` and overrides them.

    Raises:
        DataError: a word means nothing; all such are named.
    """
    known = WORDS | dict(words)
    rows = source.rows.with_columns(_word=pl.col("label").str.strip_chars().str.to_lowercase())
    unknown = rows.filter(pl.col("_word").is_not_null() & ~pl.col("_word").is_in(list(known)))["label"]
    if not unknown.is_empty():
        raise _unknown_words(source, unknown)
    source.problems["unreadable_rows"] += rows.filter(pl.col("_word").is_null())["id"].to_list()
    label = pl.col("_word").replace_strict(known, default=None, return_dtype=pl.String)
    rows = rows.with_columns(label=label).filter(pl.col("label").is_in(LABELS))
    return rows.drop("_word")


def _unknown_words(source: Source, unknown: pl.Series) -> DataError:
    found = unknown.value_counts().sort("count", "label", descending=[True, False]).head(5)
    shown = ", ".join(f"{word!r} ({counted(count, 'picture')})" for word, count in found.iter_rows())
    numbers = unknown.str.contains(r"^\d+$").any()
    return DataError(
        f"{source.root} has labels that say neither female nor male: {shown}.",
        expected=f"one of {', '.join(WORDS)}"
        + ("; numbers mean different things in different datasets" if numbers else ""),
        mend=f"say what each means, such as: --label {found['label'][0]}=female, or ={LEFT_OUT} to leave it out",
    )
