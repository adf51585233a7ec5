"""Part of a dataset held out of its training pictures, where its authors set none aside.

Units are people where identities are known and pictures where they are not. They are held out
stratum by stratum, so that the part has the make-up of the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

VAL_SHARE = 0.1
TEST_SHARE = 0.1


def hold_out(
    rows: pl.DataFrame, *, of: str | None, to: str, share: float, by: Sequence[str], seed: int
) -> pl.DataFrame:
    """Move a ``share`` of the rows whose partition is ``of`` (or null) to the partition ``to``.

    Strata are the combinations of the columns ``by``, in order. How many units each gives is drawn by
    systematic sampling from one seeded start, so that every unit is as likely, and each stratum, each
    value of the first columns of ``by``, and the whole are less than one unit off their share. Within a
    stratum the units of the lowest hashes of seed and id are taken, so that a choice depends neither on
    the order of rows nor on the machine, and changes little when pictures come or go.
    """
    unit = pl.coalesce(pl.col("identity").cast(pl.String), pl.col("id"))
    concerned = pl.col("partition").eq_missing(pl.lit(of))
    units = rows.filter(concerned).sort("id").group_by(unit.alias("_unit")).first()
    keys = pl.Series("_key", [_key(f"{seed}:{to}:{name}") for name in units["_unit"]], dtype=pl.Binary)
    units = units.with_columns(keys).sort(*by, "_key", "_unit")
    units = units.with_columns(_rank=pl.int_range(pl.len()).over(*by))
    start = int.from_bytes(_key(f"{seed}:{to}")) / 2**64
    end = pl.col("_size").cum_sum()
    quota = (end * share + start).floor() - ((end - pl.col("_size")) * share + start).floor()
    strata = units.group_by(*by, maintain_order=True).len("_size").with_columns(_quota=quota)
    taken = units.join(strata, on=list(by), nulls_equal=True).filter(pl.col("_rank") < pl.col("_quota"))
    moved = concerned & unit.is_in(taken["_unit"].implode())
    return rows.with_columns(partition=pl.when(moved).then(pl.lit(to)).otherwise("partition"))


def _key(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
