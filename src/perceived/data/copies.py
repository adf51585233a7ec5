"""Pictures that are one file, byte for byte, though one is to learn from and the other to try a model on."""

from __future__ import annotations

import hashlib
import os

import polars as pl

from perceived import archive, prefetch
from perceived.errors import DataError
from perceived.progress import Tick


def across_partitions(examples: pl.DataFrame, *, progress: Tick | None = None) -> pl.DataFrame:
    """Return the rows of ``examples`` whose picture is that of an earlier row, ``copy_of``, of another partition.

    Of several earlier ones, ``copy_of`` is the first's id. Only pictures with the size, in pixels and in bytes, of
    one of another partition are read. One that cannot be read any more is like no other.
    """
    rows = examples.drop_nulls("path")
    sizes = prefetch.each(_size, rows["path"].to_list())
    rows = _shared(rows.with_columns(_bytes=pl.Series(sizes, dtype=pl.Int64)), "width", "height", "_bytes")
    hashes = prefetch.each(_hash, rows["path"].to_list(), progress=progress)
    rows = _shared(rows.with_columns(_hash=pl.Series(hashes, dtype=pl.Binary)), "_hash")
    first = pl.col("id", "partition").first().over("_hash")
    rows = rows.with_columns(first.name.prefix("_first_"))
    rows = rows.filter(pl.col("partition") != pl.col("_first_partition"))
    return rows.select(*examples.columns, copy_of="_first_id")


def _shared(rows: pl.DataFrame, *like: str) -> pl.DataFrame:
    """Keep the rows that are ``like`` one of another partition."""
    return rows.drop_nulls(like).filter(pl.col("partition").n_unique().over(like) > 1)


def _size(path: str) -> int | None:
    try:
        inside = archive.find(path)
        return os.stat(path).st_size if inside is None else inside[0].size(inside[1])  # noqa: PTH116 -- twice as quick
    except (OSError, DataError):
        return None


def _hash(path: str) -> bytes | None:
    try:
        return hashlib.sha256(archive.read_location(path)).digest()
    except (OSError, DataError):
        return None
