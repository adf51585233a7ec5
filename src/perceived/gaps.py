"""How far apart the best and the worst read groups are, and whether luck could explain it.

Definitions are those of the fairness literature (and of Fairlearn, which agrees with them in a test):
with male as the positive answer, the demographic parity difference is the range of selection rates,
and the equalised odds difference the larger range of recall of either label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any

import numpy as np

from perceived import groups
from perceived.groups import Grouping
from perceived.significance import PERMUTATIONS, Counts, Floats, permutation_p, permuted_counts
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


def measure(
    grouping: Grouping, counts: Counts, *, small: int, permutations: int = PERMUTATIONS, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Return every gap of a grouping with its p-value, and where it lies.

    A rate of fewer than ``small`` rows takes no part: of three rows, the worst is as likely as not
    100 or 0 %. The p-value is the chance of a gap at least as wide if group and answer had nothing to
    do with each other; for equalised odds, within either label. A gap of fewer than two groups is None,
    and where all rows are answered alike there is nothing to test.
    """
    rates = groups.fractions(counts)
    generator = np.random.default_rng(seed)
    return {name: _gap(grouping, rates, parts, small, permutations, generator) for name, parts in TESTED.items()}


def worst(grouping: Grouping, counts: Counts, *, small: int) -> dict[str, Any]:
    """Return the group with the lowest accuracy, and the lowest recall of a label in a group, of enough rows.

    ``unanswered`` names groups, and labels in groups, that have enough rows and are hardly ever answered: fewer than
    half of their rows are, and too few to know how often they are right.
    """
    rates = groups.fractions(counts)
    silent = _hardly_ever(grouping, rates["abstention"][1], rates["accuracy"][1], small)
    for i, label in enumerate(LABELS):
        some = _hardly_ever(grouping, counts[:, i].sum(1), rates[f"recall/{label}"][1], small)
        silent += [f"{name} · {label}" for name in some if name not in silent]
    whole = list(_rows(grouping, *rates["accuracy"], small))
    cells = [row | {"label": label} for label in LABELS for row in _rows(grouping, *rates[f"recall/{label}"], small)]
    return {
        "accuracy": min(whole, key=itemgetter("value"), default=None),
        "recall": min(cells, key=itemgetter("value"), default=None),
        "unanswered": silent,
    }


def _hardly_ever(grouping: Grouping, asked: Counts, answered: Counts, small: int) -> list[str]:
    """Return the groups of enough rows that lack a figure because fewer than half of them are answered.

    Where more are answered and still not enough, the group is merely small.
    """
    enough = max(1, small)
    silent = (asked >= enough) & (answered < enough) & (2 * answered < asked)
    return [name for name, is_silent in zip(grouping.names, silent, strict=True) if is_silent]


def _rows(grouping: Grouping, k: Counts, n: Counts, small: int) -> Iterator[dict[str, Any]]:
    for g, name in enumerate(grouping.names):
        if n[g] >= max(1, small):
            yield {"group": name, "value": float(k[g] / n[g]), "n": int(n[g])}


def _gap(
    grouping: Grouping,
    rates: Mapping[str, tuple[Counts, Counts]],
    parts: tuple[str, ...],
    small: int,
    permutations: int,
    generator: np.random.Generator,
) -> dict[str, Any]:
    found: dict[str, Any] = {"value": None, "p": None, "p_holm": None}
    varied: list[tuple[Counts, int]] = []
    for part in parts:
        k, n = rates[part]
        enough = n >= max(1, small)
        if enough.sum() < 2:
            continue
        k, n = k[enough], n[enough]
        names = [name for name, is_in in zip(grouping.names, enough, strict=True) if is_in]
        rate = k / n
        if found["value"] is None or np.ptp(rate) > found["value"]:
            found |= {
                "value": float(np.ptp(rate)),
                "rate": part,
                "lowest": names[int(rate.argmin())],
                "highest": names[int(rate.argmax())],
            }
        if 0 < k.sum() < n.sum():
            varied.append((n, int(k.sum())))

    def draw(count: int) -> Floats:
        spreads = [np.ptp(permuted_counts(n, successes, count, generator) / n, axis=1) for n, successes in varied]
        widest: Floats = np.max(spreads, axis=0)
        return widest

    if varied:
        found["p"] = permutation_p(found["value"], draw, permutations)
    return found
