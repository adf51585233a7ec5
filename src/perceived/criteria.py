"""What an audit must show to pass, in the words of ``--fail-if``: ``worst_group_accuracy<0.9``."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from perceived import answers, gaps, groups
from perceived.errors import ConfigError
from perceived.wording import counted

OPERATORS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
_WORST = {"worst_group_accuracy": "accuracy", "worst_group_recall": "recall", "worst_group_correct": "correct"}
_OF_ANSWERED = (
    "worst_group_accuracy",
    "worst_group_recall",
    "accuracy_gap",
    "equalized_odds_difference",
    "demographic_parity_difference",
)
"""Figures that say nothing of a group which is hardly ever answered."""
_UNPREDICTED = "without_prediction"
_OVERALL = ("accuracy", "correct", "abstention", "missed", "calibration_error", _UNPREDICTED)
FIGURES = (*_OVERALL, *_WORST, *gaps.TESTED)
_FORM = re.compile(r"(?:(?P<by>[^:<>]+):\s*)?(?P<name>\w+)\s*(?P<sign><=|>=|<|>)\s*(?P<limit>[\d.eE+-]+)")


def check(criteria: Sequence[str], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Judge an audit by criteria, each the condition under which it fails.

    ``race:worst_group_accuracy<0.9`` looks at the grouping ``race`` alone, otherwise the worst of all
    groupings counts. A figure that the rows cannot support fails: it cannot be vouched for, and neither can the
    worst group or a gap of answers where a group of enough rows, or a label in it, is hardly ever answered
    (:func:`perceived.gaps.worst`), or where fewer than half of the groups have enough rows for it. Groupings that
    nobody named, here or for the audit (pairs, and those of ``all``), are passed over where the rows do not support
    their figure. Where a figure that is known meets the condition, it is the one reported.

    Raises:
        ConfigError: a criterion is not of this form, or names an unknown figure or grouping.
    """
    return [_judge(text, found) for text in criteria]


def parse(text: str) -> tuple[str | None, str, str, float]:
    """Return grouping (or None), figure, sign and limit of a criterion."""
    form = _FORM.fullmatch(text.strip())
    try:
        limit = float(form["limit"]) if form else 0.0
    except ValueError:
        form = None
    if form is None or form["name"] not in FIGURES:
        raise ConfigError(
            f"--fail-if {text!r} is no criterion.",
            expected="FIGURE<NUMBER or FIGURE>NUMBER, NUMBER from 0 to 1 with a decimal point, FIGURE being one of "
            + ", ".join(FIGURES),
            mend="for example --fail-if 'worst_group_accuracy<0.9' (quoted, for the shell's sake)",
        )
    if not 0 <= limit <= 1:
        raise ConfigError(
            f"--fail-if {text!r} has a limit of {limit:g}: rates and gaps lie between 0 and 1.",
            expected="such as 0.05 for 5 %, or 5 points",
        )
    if form["by"] and form["name"] in _OVERALL:
        raise ConfigError(
            f"--fail-if {text!r} asks groups for {form['name']}, which is of all rows.",
            expected=f"{form['name']} alone, or one of {', '.join([*_WORST, *gaps.TESTED])} of a grouping",
        )
    return form["by"], form["name"], form["sign"], limit


def _judge(text: str, found: Mapping[str, Any]) -> dict[str, Any]:
    by, name, sign, limit = parse(text)
    groupings = [g for g in found["groupings"] if by is None or {*g["by"]} == {*groups.columns_of(by)}]
    if by is not None and not groupings:
        raise ConfigError(
            f"--fail-if {text!r} names a grouping that this audit does not have.",
            expected=f"one of {', '.join('*'.join(g['by']) for g in found['groupings'])}",
        )
    values = list(_values(name, groupings, found))
    known = [(value, where) for value, where in values if value is not None]
    pick = min if sign.startswith("<") else max
    value, where = pick(known, key=lambda pair: pair[0], default=(None, "the rows do not support this figure"))
    if value is not None and OPERATORS[sign](value, limit):
        return {"criterion": text, "failed": True, "value": value, "where": where}
    missing = _missing(name, values, groupings, named=by is not None)
    if missing:
        return {"criterion": text, "failed": True, "value": None, "where": missing}
    if few := sum(_few(name, grouping) for grouping in groupings):
        where += f"; not counting {counted(few, 'rate')} of few rows"
    return {"criterion": text, "failed": value is None, "value": value, "where": where}


def _rates(name: str, grouping: Mapping[str, Any]) -> list[list[Mapping[str, Any]]]:
    """Return the rates of the groups that have a part in a figure if they are of enough rows, by kind of rate."""
    parts = ({figure: gaps.WORST[kind] for figure, kind in _WORST.items()} | gaps.TESTED).get(name, ())
    return [
        [
            group["recall"][part.partition("/")[2]] if part in gaps.RECALLS else group[part]
            for group in grouping["groups"]
        ]
        for part in parts
    ]


def _few(name: str, grouping: Mapping[str, Any]) -> int:
    """Return how many rates are of too few rows to have a part in a figure."""
    return sum(rate["few"] for rates in _rates(name, grouping) for rate in rates)


def _mostly_few(name: str, grouping: Mapping[str, Any]) -> str | None:
    """Say of how many groups a figure is, where those are fewer than half of the ones that have any rows for it."""
    for rates in _rates(name, grouping):
        some = [rate for rate in rates if rate["n"]]
        enough = sum(not rate["few"] for rate in some)
        if 2 * enough < len(some):
            return f"{enough} of {counted(len(some), 'group')} have enough rows for this figure"
    return None


def _missing(
    name: str, values: Sequence[tuple[float | None, str]], groupings: Sequence[Mapping[str, Any]], *, named: bool
) -> str | None:
    """Return what is not known and would have to be, for a figure that otherwise does not meet its condition."""
    if name in _OVERALL:
        return None
    for grouping in groupings:
        if name in _OF_ANSWERED and grouping["worst"]["unanswered"]:
            return f"{' × '.join(grouping['by'])}: {grouping['worst']['unanswered'][0]} is hardly ever answered"
    for (value, _), grouping in zip(values, groupings, strict=True):
        if named or grouping["named"]:
            by = " × ".join(grouping["by"])
            if value is None:
                return f"{by}: the rows do not support this figure"
            if few := _mostly_few(name, grouping):
                return f"{by}: only {few}"
    return None


def _values(
    name: str, groupings: Sequence[Mapping[str, Any]], found: Mapping[str, Any]
) -> Iterator[tuple[float | None, str]]:
    if name == _UNPREDICTED:
        without = found["excluded"].get(answers.WITHOUT_PREDICTION, 0)
        yield without / (without + found["rows"]), "all labels"
        return
    if name in _OVERALL:
        yield found["overall"][name]["value"], "all rows"
        return
    for grouping in groupings:
        by = " × ".join(grouping["by"])
        if name in _WORST:
            row = grouping["worst"][_WORST[name]]
            yield (row["value"], f"{by}: {gaps.told(row)}") if row else (None, by)
        else:
            yield grouping["gaps"][name]["value"], by
