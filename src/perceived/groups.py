"""Who is in which group, and how well each group is read: every rate with its interval.

All rates come from one table of counts, ``(groups, labels, answers)``, so that intervals, gaps and
tests of a million rows cost what those of a thousand do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived import columns
from perceived.answers import ANSWERS, MISSED
from perceived.data.source import AGE, AGES, age_band
from perceived.errors import ConfigError
from perceived.metrics import CALIBRATION_BINS, equal_mass_bins
from perceived.repeats import ALL as ALL_ROWS, People, Rows, design_effect
from perceived.significance import Counts, Floats, gap_interval, wilson
from perceived.spec import LABELS, UNCERTAIN

Codes = npt.NDArray[np.int32]
Figure = Mapping[str, float | None]
"""``value``, ``low`` and ``high`` of a rate; None where the rows cannot support it."""

UNKNOWN = "not known"
"""The group of rows whose cell is empty: a group like any other."""
MOST_VALUES = 50
"""A column of more different values is no grouping, unless it is asked for by name."""
ALL = "all"
SIGNS = (",", "*", ":")
"""What divides the names of columns where they are asked for."""

_MALE = LABELS.index("male")
_UNCERTAIN, _MISSED = ANSWERS.index(UNCERTAIN), ANSWERS.index(MISSED)
_FLAG_OF_PANDAS = r"^(-?[01])\.0$"
"""How pandas writes a flag in a column that has gaps."""
_FLAGS = ({"-1", "1"}, {"0", "1"}, {"true", "false"}, {"yes", "no"})
_RESAMPLES = 500
NO_EFFECTS: Mapping[str, Floats] = MappingProxyType({})
"""Design effects where nobody comes back: none."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """One way to divide the rows: ``codes`` index ``values``, whose rows give a value for each of ``by``."""

    by: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    codes: Codes

    @property
    def names(self) -> list[str]:
        return [" · ".join(value) for value in self.values]


def choose(
    asked: Sequence[str], columns: Mapping[str, int], *, by_name_only: Collection[str] = ()
) -> list[tuple[str, ...]]:
    """Return the groupings asked for: ``race``, ``race*age``, or ``all`` columns that have a name and 2 to 50 values.

    ``columns`` gives each column's number of different values; those ``by_name_only`` are not among ``all``.

    Raises:
        ConfigError: there is no such column.
    """
    chosen: dict[frozenset[str], tuple[str, ...]] = {}
    for words in asked:
        if words == ALL:
            usable = (name for name, count in columns.items() if name and 2 <= count <= MOST_VALUES)
            chosen |= {frozenset([name]): (name,) for name in usable if name not in by_name_only}
            continue
        by = columns_of(words)
        for name in by:
            if name not in columns:
                unsayable = [column for column in columns if {*SIGNS} & {*column}]
                raise ConfigError(
                    f"There is no column {name!r} to group by.",
                    expected=f"some of {', '.join(list(columns)[:12])}; {ALL} for every one; race*age for both at once",
                    mend=f"rename {unsayable[0]!r} if it is meant: {' '.join(SIGNS)} divide names" if unsayable else "",
                )
        if len({*by}) < len(by):
            raise ConfigError(f"{words!r} names a column twice.", expected="columns that differ, as in race*age")
        chosen.setdefault(frozenset(by), by)
    if not chosen:
        raise ConfigError("There is nothing to group by.", expected="--groups with columns of the labels, or all")
    return list(chosen.values())


def repeats_the_label(table: pl.DataFrame, name: str) -> bool:
    """Say whether a column says what the label says: all rows of one value have one label.

    A value of one row says nothing: most rows have to share theirs.
    """
    values = table.select(value=name, label="label").group_by("value").agg(rows=pl.len(), labels=pl.n_unique("label"))
    shared = values.filter(pl.col("rows") > 1)
    return values["labels"].max() == 1 and 2 * shared["rows"].sum() > table.height


def columns_of(words: str) -> tuple[str, ...]:
    """Return the columns of a grouping as it is asked for: ``race*age``."""
    return tuple(name.strip() for name in words.split("*"))


def pairs(singles: Sequence[tuple[str, ...]], *, most: int) -> list[tuple[str, ...]]:
    """Return every pair of single columns; none if there are more than ``most`` of those."""
    names = [by[0] for by in singles if len(by) == 1]
    return [] if len(names) > most else [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]


def band_years(table: pl.DataFrame) -> tuple[pl.DataFrame, str | None]:
    """Return the table with ``age`` in FairFace's bands if it is in years, and a note that says so.

    Numbers that are no more various than the bands are left: they may number bands. What is no age becomes null.
    """
    if "age" not in table.columns:
        return table, None
    cells = table["age"].cast(pl.String).str.strip_chars()
    present = cells.filter(cells != "").unique()
    years = present.cast(pl.Float64, strict=False)
    if years.null_count() or present.len() <= len(AGES):
        return table, None
    bands = {cell: age_band(year) for cell, year in zip(present, years, strict=True)}
    banded = table.with_columns(age=cells.replace_strict(bands, default=None, return_dtype=AGE))
    none = sorted(cell for cell, band in bands.items() if band is None)
    return banded, (
        f"Ages are in years: they were put into the bands {', '.join(AGES)}"
        + (f", and into none where they are {', '.join(none[:6])}." if none else ".")
    )


def tidy(column: pl.Series) -> tuple[pl.Series, str | None]:
    """Return a column as names of groups, with a note where its values had to be mended.

    Flags become yes and no. A spreadsheet that takes the band 3-9 for the ninth of March writes
    ``9-Mar``; a column with such values gets its bands back.
    """
    cells = column.cast(pl.String)
    values = cells.unique()
    names = values.str.strip_chars()
    names = names.set(names == "", None)
    flags = names.str.to_lowercase().str.replace(_FLAG_OF_PANDAS, "$1")
    present = set(flags.drop_nulls())
    note = None
    if len(present) > 1 and any(present <= known for known in _FLAGS):
        is_set = flags.is_in(["1", "true", "yes"])
        names = pl.select(
            pl.when(names.is_not_null()).then(pl.when(is_set).then(pl.lit("yes")).otherwise(pl.lit("no")))
        ).to_series()
    elif dates := columns.mangled(names):
        examples = ", ".join(f"{name} is {band}" for name, band in sorted(dates.items()))
        note = f"A spreadsheet has turned bands of {column.name} into dates. They were turned back: {examples}."
        names = names.replace(dates)
    folded = pl.DataFrame({"name": names.drop_nulls().unique()}).with_columns(key=pl.col("name").str.to_lowercase())
    alike = folded.filter(pl.col("key").is_duplicated()).sort("key", "name")["name"].to_list()
    if alike and note is None:
        note = f"Values of {column.name} differ by capitals alone, and are groups of their own: {', '.join(alike[:6])}."
    tidied = cells.replace_strict(values, names.fill_null(UNKNOWN), return_dtype=pl.String)
    return tidied.alias(column.name), note


def encode(table: pl.DataFrame, name: str) -> Grouping:
    """Return the grouping of one tidy column: groups in natural order (3-9 before 10-19), the unknown last."""
    present = sorted(table[name].unique(), key=_natural)
    place = {value: i for i, value in enumerate(present)}
    codes = table[name].replace_strict(place, return_dtype=pl.Int32).to_numpy()
    return Grouping((name,), tuple((value,) for value in present), codes)


def cross(groupings: Sequence[Grouping]) -> Grouping:
    """Return the groups that several groupings make together, those without rows left out; the first one is slowest."""
    shape = [len(grouping.values) for grouping in groupings]
    cells = np.ravel_multi_index([grouping.codes for grouping in groupings], shape)
    used = np.unique(cells)
    places = zip(*np.unravel_index(used, shape), strict=True)
    return Grouping(
        by=tuple(name for grouping in groupings for name in grouping.by),
        values=tuple(
            tuple(word for grouping, place in zip(groupings, one, strict=True) for word in grouping.values[place])
            for one in places
        ),
        codes=np.searchsorted(used, cells).astype(np.int32),
    )


def tabulate(grouping: Grouping, label: Codes, answer: Codes) -> Counts:
    """Return the number of rows ``(groups, labels, answers)``."""
    shape = (len(grouping.values), len(LABELS), len(ANSWERS))
    cell = (grouping.codes * len(LABELS) + label) * len(ANSWERS) + answer
    return np.bincount(cell, minlength=math.prod(shape)).reshape(shape)


def fractions(counts: Counts) -> dict[str, tuple[Counts, Counts]]:
    """Return numerator and denominator ``(groups,)`` of every rate, from counts ``(groups, labels, answers)``.

    ``accuracy`` and recall are of the rows that are answered ``female`` or ``male``; ``correct`` is of
    all rows, so that an abstention or a missed face counts as an error.
    """
    total, answered = counts.sum(axis=(1, 2)), counts[:, :, : len(LABELS)].sum(axis=(1, 2))
    right = sum(counts[:, i, i] for i in range(len(LABELS)))
    assert not isinstance(right, int)
    return {
        "accuracy": (right, answered),
        **{
            f"recall/{label}": (counts[:, i, i], counts[:, i, : len(LABELS)].sum(axis=1))
            for i, label in enumerate(LABELS)
        },
        "correct": (right, total),
        "selection": (counts[:, :, _MALE].sum(axis=1), answered),
        "abstention": (counts[:, :, _UNCERTAIN].sum(axis=1), total),
        "missed": (counts[:, :, _MISSED].sum(axis=1), total),
    }


def correlations(people: People, label: Codes, answer: Codes) -> dict[str, tuple[Rows, float]]:
    """Return of every rate of :func:`fractions` what :func:`how_alike` says."""
    answered, right = answer < len(LABELS), answer == label
    of_rows: dict[str, tuple[npt.NDArray[np.bool_], Rows]] = {
        "accuracy": (right, answered),
        **{f"recall/{name}": (right, answered & (label == i)) for i, name in enumerate(LABELS)},
        "correct": (right, ALL_ROWS),
        "selection": (answer == _MALE, answered),
        "abstention": (answer == _UNCERTAIN, ALL_ROWS),
        "missed": (answer == _MISSED, ALL_ROWS),
    }
    return how_alike(people, of_rows)


def how_alike(
    people: People, of_rows: Mapping[str, tuple[npt.NDArray[np.bool_], Rows]]
) -> dict[str, tuple[Rows, float]]:
    """Return which rows each rate is of, and how alike those of one person are in it, from what is so of which rows.

    There is nothing to return where nobody comes back.
    """
    if not people.come_back:
        return {}
    return {
        name: (rows, people.correlation(is_so[rows].astype(np.float64), rows))
        for name, (is_so, rows) in of_rows.items()
    }


def effects(people: People, grouping: Grouping, alike: Mapping[str, tuple[Rows, float]]) -> dict[str, Floats]:
    """Return the design effect ``(groups,)`` of every rate, from :func:`how_alike`."""
    others: list[tuple[Rows, Floats]] = []  # of the same rows once: it is they that cost time
    found = {}
    for name, (rows, correlation) in alike.items():
        known = next((one for seen, one in others if seen is rows), None)
        if known is None:
            known = people.others(grouping.codes, len(grouping.values), rows)
            others.append((rows, known))
        found[name] = design_effect(known, correlation)
    return found


def describe(
    grouping: Grouping, counts: Counts, *, small: int, effects: Mapping[str, Floats] = NO_EFFECTS
) -> list[dict[str, Any]]:
    """Return one record for each group: its size, whether that is small, and its rates with intervals.

    ``effects`` are design effects ``(groups,)`` by rate, see :mod:`perceived.repeats`.
    A rate has its own ``n``, and is of ``few`` rows where those are less than ``small``: a large group may have few
    rows of a label, or few that are answered.
    """
    rates = {name: (*pair, *wilson(*pair, effect=effects.get(name, 1.0))) for name, pair in fractions(counts).items()}
    rows = []
    for g, name in enumerate(grouping.names):
        figures = {
            rate: {
                **figure(k[g] / n[g] if n[g] else math.nan, low[g], high[g]),
                "n": int(n[g]),
                "few": bool(0 < n[g] < small),
            }
            for rate, (k, n, low, high) in rates.items()
        }
        size = int(counts[g].sum())
        rows.append(
            {
                "name": name,
                "values": dict(zip(grouping.by, grouping.values[g], strict=True)),
                "n": size,
                "labels": {label: int(counts[g, i].sum()) for i, label in enumerate(LABELS)},
                "small": size < small,
                **{rate: figure for rate, figure in figures.items() if "/" not in rate},
                "recall": {label: figures[f"recall/{label}"] for label in LABELS},
            }
        )
    return rows


@dataclass(frozen=True, slots=True)
class Confidences:
    """The rows whose probability is known, sorted by ``confidence``: that of the likelier label.

    ``rows`` are their places in the table, ``right`` says whether the likelier label is the true one; where neither
    is likelier, it is half right.
    """

    rows: npt.NDArray[np.int64]
    confidence: Floats
    right: Floats

    @classmethod
    def of(cls, probability_male: Floats, label: Codes) -> Confidences:
        rows = np.flatnonzero(np.isfinite(probability_male))
        male = probability_male[rows]
        confidence = np.maximum(male, 1 - male)
        order = np.argsort(confidence, kind="stable")
        rows = rows[order]
        right = (male[order] > 0.5) == (label[rows] == _MALE)
        return cls(rows, confidence[order], np.where(male[order] == 0.5, 0.5, right))


def calibrations(
    grouping: Grouping, known: Confidences, *, seed: int = 0, effects: Floats | None = None
) -> list[dict[str, Figure]]:
    """Return each group's ``calibration_error`` and ``overconfidence``, with intervals.

    ``overconfidence`` is mean confidence less accuracy, its interval that of the accuracy; both are of all rows
    with a probability, answered or not. ``calibration_error`` is that of
    :func:`perceived.metrics.calibration_error`. Its interval redraws the right answers of every bin, see
    :func:`perceived.significance.gap_interval`; there is none of fewer rows than bins, nor where every bin
    is all right or all wrong. ``effects`` are design effects ``(groups,)``, see :mod:`perceived.repeats`.
    """
    count = len(grouping.values)
    codes = grouping.codes[known.rows]
    order = np.argsort(codes.astype(np.int16) if count < 2**15 else codes, kind="stable")
    codes, confidence, right = codes[order], known.confidence[order], known.right[order]
    ends = np.cumsum(np.bincount(codes, minlength=count))
    generator = np.random.default_rng(seed)
    found = []
    for g, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        effect = 1.0 if effects is None else float(effects[g])
        rows = confidence[start:end], right[start:end]
        found.append(
            {
                "calibration_error": _calibration_error(*rows, effect, generator),
                "overconfidence": _overconfidence(*rows, effect),
            }
        )
    return found


def _overconfidence(confidence: Floats, right: Floats, effect: float) -> Figure:
    if not len(right):
        return figure(math.nan, math.nan, math.nan)
    low, high = wilson(right.sum(), len(right), effect=effect)
    mean = confidence.mean()
    return figure(mean - right.mean(), float(mean - high), float(mean - low))


def _calibration_error(confidence: Floats, right: Floats, effect: float, generator: np.random.Generator) -> Figure:
    if not len(right):
        return figure(math.nan, math.nan, math.nan)
    expected, accuracy = equal_mass_bins(confidence, right)
    value = float(np.abs(expected - accuracy).mean())
    trials = round(len(right) / effect / CALIBRATION_BINS)
    if len(right) < CALIBRATION_BINS * effect:
        return figure(value, math.nan, math.nan)
    redrawn = generator.binomial(trials, np.clip(accuracy, 0, 1), (_RESAMPLES, CALIBRATION_BINS)) / trials
    return figure(value, *gap_interval(value, np.abs(expected - redrawn).mean(axis=1)))


def figure(value: float, low: float, high: float) -> Figure:
    """Return a rate and its interval; numbers that are none are None."""
    numbers = {"value": value, "low": low, "high": high}
    return {name: float(number) if math.isfinite(number) else None for name, number in numbers.items()}


def _natural(value: str) -> tuple[Any, ...]:
    number = re.search(r"\d+", value)
    return (value == UNKNOWN, number is None, int(number[0]) if number else 0, value)
