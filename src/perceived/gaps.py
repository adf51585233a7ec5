"""How far apart the best and the worst read groups are, and whether luck could explain it.

Definitions are those of the fairness literature (and of Fairlearn, which agrees with them in a test):
with male as the positive answer, the demographic parity difference is the range of selection rates,
and the equalised odds difference the larger range of recall of either label.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perceived import groups
from perceived.groups import Grouping
from perceived.significance import PERMUTATIONS, Counts, Floats, permutation_p, permuted_counts, wilson
from perceived.spec import LABELS

RECALLS = tuple(f"recall/{label}" for label in LABELS)
TESTED = {
    "accuracy_gap": ("accuracy",),
    "equalized_odds_difference": RECALLS,
    "demographic_parity_difference": ("selection",),
    "abstention_gap": ("abstention",),
    "missed_gap": ("missed",),
}
"""Each gap and the rates whose range it is; the largest range counts."""


ALIKE = 200
"""Draws from which the lowest rate of groups that are read alike is told."""
WORST = {"accuracy": ("accuracy",), "recall": RECALLS, "correct": ("correct",)}
"""What is worst, and the rates whose lowest counts."""


def measure(
    grouping: Grouping,
    counts: Counts,
    *,
    small: int,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    effects: Mapping[str, Floats] = groups.NO_EFFECTS,
) -> dict[str, dict[str, Any]]:
    """Return every gap of a grouping with its p-value, and where it lies.

    A rate of fewer than ``small`` rows takes no part: of three rows, the worst is as likely as not
    100 or 0 %. The p-value is the chance of a gap at least as wide if group and answer had nothing to
    do with each other; for equalised odds, within either label. A gap of fewer than two groups is None,
    and where all rows are answered alike there is nothing to test. ``of`` how many groups a gap is the widest stands
    beside it: of equalised odds, those that have enough rows of that label. ``effects`` are design effects
    ``(groups,)`` by rate, by which tests count fewer rows: see :mod:`perceived.repeats`.
    """
    generator = np.random.default_rng(seed)
    rates = _rates(grouping, counts, small, effects)
    return {name: _gap([rates[part] for part in parts], permutations, generator) for name, parts in TESTED.items()}


def worst(
    grouping: Grouping,
    counts: Counts,
    *,
    small: int,
    seed: int = 0,
    effects: Mapping[str, Floats] = groups.NO_EFFECTS,
) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Return where the lowest ``accuracy``, ``recall`` of a label and share ``correct`` are, of enough rows.

    The lowest of many is low by luck, too: beside its value and interval stand ``of`` how many it is the lowest, and
    how low the lowest would be on average (``if_alike``) if group and answer had nothing to do with each other. The
    second dictionary has the lowest in each of :data:`ALIKE` draws of that.

    ``unanswered`` names groups, and labels in groups, that have enough rows and are hardly ever answered: fewer than
    half of their rows are, and too few to know how often they are right.
    """
    rates = groups.fractions(counts)
    silent = _hardly_ever(grouping, rates["abstention"][1], rates["accuracy"][1], small)
    for i, label in enumerate(LABELS):
        some = _hardly_ever(grouping, counts[:, i].sum(1), rates[f"recall/{label}"][1], small)
        silent += [f"{name} · {label}" for name in some if name not in silent]
    generator = np.random.default_rng([seed, zlib.crc32("*".join(grouping.by).encode())])  # another for each grouping
    enough = _rates(grouping, counts, small, effects)
    lowest, draws = {}, {}
    for name, parts in WORST.items():
        rates_of = [enough[part] for part in parts if enough[part].groups]
        draws[name] = _lowest_if_alike(rates_of, generator)
        lowest[name] = _lowest(rates_of, draws[name]) if rates_of else None
    return {**lowest, "unanswered": silent}, draws


def worst_of_all(found: Sequence[Mapping[str, Any]], draws: Sequence[Mapping[str, Floats]]) -> dict[str, Any]:
    """Return the lowest of what :func:`worst` found of several groupings, and ``by`` which of them."""
    rows: dict[str, Any] = {}
    for kind in WORST:
        known = [(" × ".join(grouping["by"]), grouping["worst"][kind]) for grouping in found]
        known = [(by, row) for by, row in known if row]
        if not known:
            rows[kind] = None
            continue
        by, row = min(known, key=lambda pair: float(pair[1]["value"]))
        varies = any(one["if_alike"] is not None for _, one in known)
        alike = float(np.min([draw[kind] for draw in draws], axis=0).mean()) if varies else None
        rows[kind] = row | {"by": by, "of": sum(one["of"] for _, one in known), "if_alike": alike}
    return rows


def told(row: Mapping[str, Any]) -> str:
    """Say whose rate a row of :func:`worst` is, of how many rows, and within which interval."""
    who = f"{row['group']} {row.get('label', '')}".strip()
    return f"{who} (n = {row['n']:,}, {row['low']:.1%} to {row['high']:.1%})"


@dataclass(frozen=True, slots=True)
class _Rate:
    """One rate of the groups that have enough rows: ``k`` of ``n`` each, and as many independent rows of them."""

    name: str
    groups: list[str]
    k: Counts
    n: Counts
    effect: Floats

    @property
    def independent(self) -> tuple[Counts, int]:
        """How many rows count in each group, and how many of all those are successes: at least one, and not all."""
        n = np.maximum(1, np.rint(self.n / self.effect)).astype(np.int64)
        return n, int(np.clip(np.rint((self.k / self.effect).sum()), 1, max(1, n.sum() - 1)))

    @property
    def shares(self) -> Floats:
        return np.asarray(self.k / self.n, np.float64)

    @property
    def varies(self) -> bool:
        return bool(0 < self.k.sum() < self.n.sum())

    def permuted(self, count: int, generator: np.random.Generator) -> Floats:
        """Return ``(count, groups)`` rates, were groups shuffled among the rows."""
        n, successes = self.independent
        return np.asarray(permuted_counts(n, successes, count, generator) / n, np.float64)


def _rates(grouping: Grouping, counts: Counts, small: int, effects: Mapping[str, Floats]) -> dict[str, _Rate]:
    rates = {}
    for name, (k, n) in groups.fractions(counts).items():
        enough = n >= max(1, small)
        large = [group for group, is_in in zip(grouping.names, enough, strict=True) if is_in]
        effect = effects.get(name, np.ones(len(n)))
        rates[name] = _Rate(name, large, k[enough], n[enough], effect[enough])
    return rates


def _lowest_if_alike(rates: Sequence[_Rate], generator: np.random.Generator) -> Floats:
    """Return the lowest of some rates' groups in :data:`ALIKE` draws in which groups are shuffled among the rows."""
    lowest = [rate.permuted(ALIKE, generator).min(axis=1) for rate in rates if rate.varies]
    return np.asarray(np.min(lowest, axis=0), np.float64) if lowest else np.ones(ALIKE)


def _lowest(rates: Sequence[_Rate], if_alike: Floats) -> dict[str, Any]:
    """Return the lowest of some rates' groups, of which there are some."""
    rate = min(rates, key=lambda rate: float(rate.shares.min()))
    g = int(rate.shares.argmin())
    low, high = wilson(rate.k[g], rate.n[g], effect=rate.effect[g])
    label = {"label": rate.name.partition("/")[2]} if rate.name in RECALLS else {}
    return {
        "group": rate.groups[g],
        **label,
        "value": float(rate.shares[g]),
        "low": float(low),
        "high": float(high),
        "n": int(rate.n[g]),
        "of": sum(len(rate.groups) for rate in rates),
        "if_alike": float(if_alike.mean()) if any(rate.varies for rate in rates) else None,
    }


def _hardly_ever(grouping: Grouping, asked: Counts, answered: Counts, small: int) -> list[str]:
    """Return the groups of enough rows that lack a figure because fewer than half of them are answered.

    Where more are answered and still not enough, the group is merely small.
    """
    enough = max(1, small)
    silent = (asked >= enough) & (answered < enough) & (2 * answered < asked)
    return [name for name, is_silent in zip(grouping.names, silent, strict=True) if is_silent]


def _gap(rates: Sequence[_Rate], permutations: int, generator: np.random.Generator) -> dict[str, Any]:
    found: dict[str, Any] = {"value": None, "p": None, "p_holm": None}
    rates = [rate for rate in rates if len(rate.groups) > 1]
    for rate in rates:
        shares = rate.shares
        if found["value"] is None or np.ptp(shares) > found["value"]:
            found |= {
                "value": float(np.ptp(shares)),
                "rate": rate.name,
                "lowest": rate.groups[int(shares.argmin())],
                "highest": rate.groups[int(shares.argmax())],
                "of": len(rate.groups),
            }
    varied = [rate for rate in rates if rate.varies]

    def draw(count: int) -> Floats:
        widest: Floats = np.max([np.ptp(rate.permuted(count, generator), axis=1) for rate in varied], axis=0)
        return widest

    if varied:
        found["p"] = permutation_p(found["value"], draw, permutations)
    return found
