"""How often training sees each picture, so that sources, labels and groups of unequal size count alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived.errors import ConfigError

_NOT_GROUPS = ("id", "path", "partition", "label", "split")


def groups(table: pl.DataFrame) -> list[str]:
    """Return the columns that tell groups of pictures apart: those of words, but for ids, paths, labels and splits."""
    words = [name for name, kind in table.schema.items() if kind in (pl.String, pl.Enum)]
    return [name for name in words if name not in _NOT_GROUPS]


def weights(table: pl.DataFrame, by: Sequence[str]) -> pl.Series:
    """Return each row's ``weight``, of mean 1, that makes groups count alike, level by level.

    The values of the first column of ``by`` get equal shares of the whole; within each, the values of
    the second get equal shares of that, and so on. So a source that knows no race takes its share
    undivided beside one that knows seven, and an absent value is a group like any other.

    Raises:
        ConfigError: ``by`` names a column that is no group.
    """
    known = ["label", *groups(table)]
    for name in by:
        if name not in known:
            raise ConfigError(f"There is no group {name!r} to weigh by.", expected=f"some of {', '.join(known)}")
    shares = pl.lit(1.0)
    for level, name in enumerate(by):
        kinds = pl.col(name).n_unique()
        shares = shares / (kinds.over(by[:level]) if level else kinds)
    counts = pl.len().over(by) if by else pl.len()
    return table.select(weight=(shares * pl.len() / counts).cast(pl.Float64))["weight"]


def draw(shares: npt.NDArray[np.float64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return an epoch's rows, as many as there are weights ``shares``, in an order of their own.

    A row of weight ``w``, relative to the mean, comes ``floor(w)`` or ``ceil(w)`` times, ``w`` times on
    average (systematic resampling in a fresh order each epoch): equal weights give a permutation.
    """
    count = len(shares)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(count)
    ends = np.cumsum(shares[order])
    places = np.searchsorted(ends * (count / ends[-1]), np.arange(count) + random.uniform(0.001, 0.999), side="right")
    rows: npt.NDArray[np.int64] = order[np.minimum(places, count - 1)]
    return random.permutation(rows)
