"""How much less the pictures tell where people come back: design effects.

Pictures of one person are read alike. If answers to two pictures of a person have the correlation ``r``, and a
picture's person has ``m`` pictures on average, ``n`` pictures tell as much as ``n / (1 + (m - 1) r)`` of ``n``
people (Kish 1965, "Survey Sampling", 5.4). Counts divided by that effect serve intervals and tests that take rows
for independent (Rao and Scott 1992, doi:10.2307/2532311).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived import metrics
from perceived.significance import Floats
from perceived.wording import counted

Codes = npt.NDArray[np.integer]
Rows = npt.NDArray[np.bool_] | Codes | slice
"""Which rows count: a mask, places or all of them."""
ALL = slice(None)
MOST_CELLS = 4_000_000
"""Groups times people that are counted in a table of their own, which is quicker than to sort them."""


@dataclass(frozen=True, slots=True)
class People:
    """Who is on each row: ``codes`` ``(n,)``, the same for rows of one person."""

    codes: Codes

    @classmethod
    def of(cls, table: pl.DataFrame) -> People:
        """Return the people of a table; without a column ``identity``, each row is of another person."""
        known = "identity" in table.columns
        return cls(metrics.people(table["identity"]) if known else np.arange(table.height))

    @property
    def count(self) -> int:
        return int(self.codes.max(initial=-1)) + 1

    @property
    def come_back(self) -> bool:
        """Whether anybody has several rows."""
        return self.count < len(self.codes)

    @property
    def shown(self) -> str:
        """How many rows there are, of how many people, in words."""
        return f"{len(self.codes):,} pictures show about {counted(self.count, 'person', 'people')}"

    def correlation(self, values: Floats, rows: Rows = ALL) -> float:
        """Return the intraclass correlation, 0 to 1, of the ``values`` of some rows; 1 where it cannot be told.

        ``values`` has one for each of those rows. The estimate is that of moments: how far products of two rows
        of a person lie above those of chance.
        """
        away, codes = values - values.mean() if len(values) else values, self.codes[rows]
        sizes = np.bincount(codes).astype(np.float64)
        pairs, total = float((sizes * sizes).sum() - len(codes)), float((away * away).sum())
        if not pairs:
            return 0.0
        if not total:
            return 1.0
        sums = np.bincount(codes, away)
        alike = float((sums * sums).sum() - total) / pairs
        return float(np.clip(alike / (total / len(codes)), 0, 1))

    def others(self, groups: Codes, count: int, rows: Rows = ALL) -> Floats:
        """Return how many more rows a row's person has in its group, on average over each of ``count`` groups.

        ``groups`` are the groups' codes ``(n,)``, and only some ``rows`` count.
        """
        cells = groups[rows].astype(np.int64) * self.count + self.codes[rows]
        if count * self.count <= MOST_CELLS:
            sizes = np.bincount(cells, minlength=count * self.count).reshape(count, self.count).astype(np.float64)
            total, pairs = sizes.sum(axis=1), (sizes * (sizes - 1)).sum(axis=1)
        else:
            cells, found = np.unique(cells, return_counts=True)
            total, pairs = (
                np.bincount(cells // self.count, w, minlength=count) for w in (found, found * (found - 1.0))
            )
        return np.asarray(np.divide(pairs, total, out=np.zeros(count), where=total > 0), np.float64)

    def among(self, groups: Codes, count: int) -> npt.NDArray[np.int64]:
        """Return how many people are in each of ``count`` groups, whose codes ``groups`` are, ``(n,)``."""
        cells = np.unique(groups.astype(np.int64) * self.count + self.codes)
        return np.bincount(cells // self.count, minlength=count)


def design_effect(others: Floats, correlation: float) -> Floats:
    """Return the design effect of groups, from :meth:`People.others` and :meth:`People.correlation` of their rows."""
    return 1 + others * correlation
