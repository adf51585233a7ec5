"""How often training sees each picture, so that sources, labels and groups of unequal size count alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived.errors import ConfigError

_NOT_GROUPS = ("id", "path", "partition", "label", "split")
MOST_NAMED = 20
"""Values of a column that a message names."""


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
    return table.with_columns(weight=(shares * pl.len() / counts).cast(pl.Float64))["weight"]


def boosted(table: pl.DataFrame, shares: pl.Series, boost: Mapping[str, float]) -> pl.Series:
    """Return the weights ``shares`` with those of some groups multiplied, and a mean of 1 again.

    ``boost`` gives factors of groups, which are named ``"COLUMN=VALUE"``; see :func:`check_boost`. Without
    any, the weights stay the same to the bit: runs know their split by them.
    """
    if not boost:
        return shares
    found = shares.to_numpy().copy()
    for group, factor in boost.items():
        column, _, value = group.partition("=")
        found[(table[column] == value).fill_null(False).to_numpy()] *= factor
    return pl.Series("weight", found / found.mean())


def check_boost(table: pl.DataFrame, boost: Mapping[str, float]) -> None:
    """Raise :class:`ConfigError` if ``boost`` names a group that ``table`` has not, or a factor that is none."""
    known = ["label", *groups(table)]
    for group, factor in boost.items():
        column, sign, value = group.partition("=")
        if column not in known or not sign:
            raise ConfigError(
                f"There is no group {group!r} to boost.", expected=f"COLUMN=VALUE, with a value of {', '.join(known)}"
            )
        values = table[column].drop_nulls().unique().sort().to_list()
        if value not in values:
            raise ConfigError(
                f"No picture's {column} is {value!r}.", expected=f"one of {', '.join(values[:MOST_NAMED])}"
            )
        if not 0 < factor < math.inf:
            raise ConfigError(f"{group} cannot be shown {factor:g} times as often.", expected="a number above 0")


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


def told_apart(rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Return ``rows``, of 0 to ``count - 1``, with ``count`` added for each time a row came before."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    times_before = np.arange(len(rows)) - np.searchsorted(ordered, ordered)
    found = np.empty_like(rows)
    found[order] = ordered + count * times_before
    return found
