"""For whom does a model fail? Its answers by group and intersection, with intervals, gaps and tests.

It needs answers and labels, nothing else: those of our models and of anybody's are audited by the
same code. Nothing is dropped unseen: every row that takes no part is counted with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perceived import answers, criteria, gaps, groups
from perceived.answers import ANSWERS, MISSED, Reading
from perceived.data.celeba import BBOX, LANDMARKS
from perceived.errors import ConfigError
from perceived.metrics import CALIBRATION_BINS
from perceived.repeats import People, Rows
from perceived.results_file import AUDIT_VERSION
from perceived.selection import check_threshold
from perceived.significance import LEVEL, PERMUTATIONS, Counts, Floats, holm
from perceived.spec import LABELS, UNCERTAIN
from perceived.wording import counted
from perceived.workspace import Workspace

SMALL = 30
"""A group of fewer rows is flagged, and takes no part in gaps."""
MOST_NOTES = 6
"""More groupings than this with small groups are told of in one note."""
MOST_PAIRED = 5
"""Up to so many columns, every pair of them is an intersection that is audited unasked."""
OURS = ("id", "path", "label", "answer", "probability_male")
"""Columns that say what was answered, and group nothing."""
BY_NAME_ONLY = (
    "split", "partition", "identity", "licence", "width", "height", "weight",
    "error", "perceived_gender", "confidence", "probability_female", *BBOX, *LANDMARKS,
)  # fmt: skip
"""Columns that hardly anybody means by all of them: they group where they are named."""


def audit_files(
    predictions: Path,
    labels: Path,
    *,
    words: Mapping[str, str] | None = None,
    id_column: str = "id",
    label_column: str = "label",
) -> tuple[pl.DataFrame, Reading]:
    """Read a file of predictions and a file of labels into one table; see :mod:`perceived.answers`."""
    reading = Reading()
    said = answers.read_predictions(predictions, reading=reading, words=words, id_column=id_column)
    truth = answers.read_labels(labels, reading=reading, words=words, id_column=id_column, label_column=label_column)
    return answers.match(said, truth, reading), reading


def audit_workspace(
    source: Path,
    work: Path,
    *,
    on: str = "test",
    always_answer: bool = False,
    words: Mapping[str, str] | None = None,
    by: Sequence[str] = (),
    id_column: str = "id",
) -> tuple[pl.DataFrame, Reading]:
    """Return the answers of a model (RUN or ONNX) or a file of predictions beside one split of a workspace.

    Raises:
        SplitError: the model can answer for none of the pictures.
        ConfigError: there is no such column as one of the groupings ``by``; told before a model scores pictures.
    """
    source, work = Path(source), Path(work)
    reading, rows = Reading(), answers.read_workspace(work, on)
    if source.exists() and not answers.is_model(source):
        said = answers.read_predictions(source, reading=reading, words=words, id_column=id_column)
        return answers.match(said, rows, reading), reading
    from perceived import lineage, progress, scoring

    if by:
        groups.choose(by, dict.fromkeys([name for name in rows.columns if name not in OURS] + ["error"], 2))
    model = scoring.load_model(source)
    with progress.counter(f"scoring {model.spec.name}") as tick:
        scored = scoring.score(rows, model.probabilities, model.spec, tick=tick)
    lost = scored.height - scoring.readable(scored).height
    if lost:
        some = ", ".join(scored.filter(pl.col("error").is_not_null())["id"][:3]) + (", …" if lost > 3 else "")
        reading.notes.append(f"{counted(lost, 'picture')} cannot be read or show no face, and count as missed: {some}.")
    threshold = 0.0 if always_answer else check_threshold(model.spec.threshold)
    answer = (
        pl.when(pl.col("error").is_not_null()).then(pl.lit(MISSED))
        .when(pl.col("confidence").cast(pl.Float64) < threshold).then(pl.lit(UNCERTAIN))
        .otherwise("perceived_gender")
    )  # fmt: skip
    reading.model = {"sha256": scoring.weights_sha256(source), **model.spec.to_dict(), "always_answer": always_answer}
    reading.notes += lineage.notes(model.spec, Workspace(work), on)
    scored = scored.with_columns(answer=answer, probability_male=pl.col("probability_male").cast(pl.Float64))
    return scored.drop("perceived_gender", "confidence", "probability_female"), reading


def audit(
    table: pl.DataFrame,
    by: Sequence[str],
    *,
    reading: Reading | None = None,
    small: int = SMALL,
    permutations: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the audit of a table of answers, as ``audit.json`` holds it.

    Args:
        table: ``label``, ``answer``, ``probability_male`` (null where unknown) and columns to group by.
        by: groupings: ``race``, ``race*age``, or ``all`` columns; up to five columns are also paired.
        reading: what was left out before, and notes.
        small: groups of fewer rows are flagged and take no part in gaps.
        permutations: of each test; without it, enough for p-values to survive the correction.

    Raises:
        ConfigError: there is no such column, nothing to group by, or a number below 1.
    """
    reading = Reading() if reading is None else Reading(dict(reading.excluded), list(reading.notes), reading.model)
    people = People.of(table)
    table, chosen = _groupable(table, by, reading)
    named = {groups.columns_of(words) for words in by if words != groups.ALL}
    if permutations is None:
        permutations = max(PERMUTATIONS, 100 * len(gaps.TESTED) * len(chosen) - 1)
    if small < 1 or permutations < 1:
        raise ConfigError("The smallest group and the number of permutations are 1 or more.")
    rows = _Rows.of(table, people)
    _note_oddities(rows, table, reading)
    everyone = groups.Grouping(("all",), (("all rows",),), np.zeros(table.height, np.int32))
    columns = {name: groups.encode(table, name) for name in dict.fromkeys(chain.from_iterable(chosen))}
    crossed = [groups.cross([columns[name] for name in names]) for names in chosen]
    found, draws = [], []
    for grouping in crossed:
        audited, drawn = _audit_grouping(grouping, rows, small=small, permutations=permutations, seed=seed)
        found.append(audited)
        draws.append(drawn)
    _correct(found)
    for audited in found:
        audited["named"] = tuple(audited["by"]) in named
    return {
        "audit_version": AUDIT_VERSION,
        "model": reading.model,
        "rows": table.height,
        "excluded": dict(reading.excluded),
        "overall": _describe(everyone, rows, rows.counts(everyone), rows.effects(everyone), small, seed)[0],
        "groupings": found,
        "worst": gaps.worst_of_all(found, draws),
        "method": _method(small, permutations, seed, found),
        "notes": [*reading.notes, *_notes(found, small), *_note_people(people, crossed, small)],
    }


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is counted: codes of labels and answers, and the rows whose probability is known."""

    label: groups.Codes
    answer: groups.Codes
    known: groups.Confidences
    people: People
    alike: Mapping[str, tuple[Rows, float]]
    """As :func:`groups.correlations` tells; ``calibration`` is of confidence less being right."""

    @classmethod
    def of(cls, table: pl.DataFrame, people: People) -> _Rows:
        label, answer = (
            table[column].replace_strict({word: i for i, word in enumerate(words)}, return_dtype=pl.Int32).to_numpy()
            for column, words in (("label", LABELS), ("answer", ANSWERS))
        )
        probability = table["probability_male"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = groups.Confidences.of(probability, label)
        alike = groups.correlations(people, label, answer)
        if people.come_back:
            gap = known.confidence - known.right
            alike["calibration"] = (known.rows, people.correlation(gap, known.rows))
        return cls(label, answer, known, people, alike)

    def counts(self, grouping: groups.Grouping) -> Counts:
        """Return the number of rows ``(groups, labels, answers)``."""
        return groups.tabulate(grouping, self.label, self.answer)

    def effects(self, grouping: groups.Grouping) -> dict[str, Floats]:
        """Return the design effect ``(groups,)`` of each rate; nothing where nobody comes back."""
        return groups.effects(self.people, grouping, self.alike)


def _describe(
    grouping: groups.Grouping, rows: _Rows, counts: Counts, effects: Mapping[str, Floats], small: int, seed: int
) -> list[dict[str, Any]]:
    described = groups.describe(grouping, counts, small=small, effects=effects)
    calibrated = groups.calibrations(grouping, rows.known, seed=seed, effects=effects.get("calibration"))
    return [row | extra for row, extra in zip(described, calibrated, strict=True)]


def _audit_grouping(
    grouping: groups.Grouping, rows: _Rows, *, small: int, permutations: int, seed: int
) -> tuple[dict[str, Any], dict[str, Floats]]:
    counts, effects = rows.counts(grouping), rows.effects(grouping)
    worst, draws = gaps.worst(grouping, counts, small=small, seed=seed, effects=effects)
    audited = {
        "by": list(grouping.by),
        "groups": _describe(grouping, rows, counts, effects, small, seed),
        "gaps": gaps.measure(grouping, counts, small=small, permutations=permutations, seed=seed, effects=effects),
        "worst": worst,
    }
    return audited, draws


def _groupable(table: pl.DataFrame, by: Sequence[str], reading: Reading) -> tuple[pl.DataFrame, list[tuple[str, ...]]]:
    """Return the table with tidy columns to group by, and the groupings: those asked for, and pairs of them."""
    table, banded = groups.band_years(table)
    chosen = _chosen(table, by, reading)
    if banded and any("age" in names for names in chosen):
        reading.notes.append(banded)
    intersections = groups.pairs(chosen, most=MOST_PAIRED)
    if not intersections and len(chosen) > MOST_PAIRED:
        reading.notes.append(
            f"With more than {MOST_PAIRED} columns, intersections are audited only where asked for, as in race*age."
        )
    for name in sorted({name for names in chosen for name in names}):
        tidied, note = groups.tidy(table[name])
        table = table.with_columns(tidied)
        reading.notes += [note] if note else []
    asked = {frozenset(names) for names in chosen}
    return table, chosen + [names for names in intersections if frozenset(names) not in asked]


def _chosen(table: pl.DataFrame, by: Sequence[str], reading: Reading) -> list[tuple[str, ...]]:
    """Return the groupings asked for; of ``all`` columns those that group, and note the others."""
    columns = {name: table[name].n_unique() for name in table.columns if name not in OURS}
    chosen = groups.choose(by, columns, by_name_only=BY_NAME_ONLY)
    if groups.ALL in by:
        same = [
            names for names in chosen
            if len(names) == 1 and groups.repeats_the_label(table, names[0])
        ]  # fmt: skip
        if same and table["label"].n_unique() > 1:
            reading.notes.append(f"{', '.join(n[0] for n in same)} says what the label says, and is no grouping.")
            chosen = [names for names in chosen if names not in same]
        others = [
            f"{name} ({count:,})" for name, count in columns.items()
            if (name,) not in (*chosen, *same) and name not in BY_NAME_ONLY
        ]  # fmt: skip
        if others:
            reading.notes.append(f"Columns with one value, or too many, are no groupings: {', '.join(others)}.")
    return chosen


def _correct(found: Sequence[dict[str, Any]]) -> None:
    """Write Holm's correction for all tests of the audit beside their p-values."""
    tests = [gap for grouping in found for gap in grouping["gaps"].values() if gap["p"] is not None]
    for gap, corrected in zip(tests, holm([gap["p"] for gap in tests]), strict=True):
        gap["p_holm"] = corrected


def _note_oddities(rows: _Rows, table: pl.DataFrame, reading: Reading) -> None:
    present, unknown = {LABELS[i] for i in np.unique(rows.label)}, table.height - len(rows.known.rows)
    if len(present) == 1:
        reading.notes.append(
            f"Every label is {present.pop()}: recall of the other label and whatever needs it cannot be computed."
        )
    if unknown:
        reading.notes.append(
            f"Without a probability, and so without a part in calibration: {unknown:,} of "
            f"{counted(table.height, 'row')}."
        )
    if not (rows.answer == ANSWERS.index(UNCERTAIN)).any():
        reading.notes.append("No answer is uncertain: rates are of every face, the doubtful ones too.")
    male = table["probability_male"].cast(pl.Float64).fill_null(0.5).to_numpy()
    against = ((rows.answer == LABELS.index("female")) & (male > 0.5)) | (
        (rows.answer == LABELS.index("male")) & (male < 0.5)
    )
    if against.any():
        reading.notes.append(
            f"Not the likelier label by their own probability: {counted(int(against.sum()), 'answer')}. "
            "Rates count the answers, calibration the probabilities."
        )


def _note_people(people: People, groupings: Sequence[groups.Grouping], small: int) -> list[str]:
    if not people.come_back:
        return []
    alike = "Those of one person are read alike: intervals and tests count them as fewer (design effects)."
    notes = [f"{people.shown}. {alike}"]
    few = [
        f"{' × '.join(grouping.by)}: {name} ({counted(int(there), 'person', 'people')})"
        for grouping in groupings
        for name, rows, there in zip(
            grouping.names, np.bincount(grouping.codes), people.among(grouping.codes, len(grouping.values)), strict=True
        )
        if there < small <= rows
    ]
    if few:
        named = "; ".join(few[:6]) + ("; …" if len(few) > 6 else "")
        notes.append(
            f"Of fewer than {small} people, though of more rows, are {named}. How alike their pictures are read "
            "cannot be known well there: intervals are too narrow, and gaps less sure than their p-values say."
        )
    return notes


def _notes(found: Sequence[Mapping[str, Any]], small: int) -> list[str]:
    notes = []
    with_few = [grouping for grouping in found if any(group["small"] for group in grouping["groups"])]
    if len(with_few) > MOST_NOTES:
        notes.append(
            f"In {len(with_few)} of {counted(len(found), 'grouping')}, some groups have fewer than "
            f"{counted(small, 'row')}: they stand in the tables, marked, and outside gaps."
        )
        with_few = []
    for grouping in with_few:
        few = [group["name"] for group in grouping["groups"] if group["small"]]
        named = ", ".join(few[:6]) + (" …" if len(few) > 6 else "")
        notes.append(
            f"By {' × '.join(grouping['by'])}, fewer than {counted(small, 'row')} are in {len(few)} of "
            f"{counted(len(grouping['groups']), 'group')} ({named}): they stand in the tables, and outside gaps."
        )
    rates = [f"{' × '.join(grouping['by'])}: {rate}" for grouping in found for rate in rates_of_few(grouping)]
    if rates:
        named = "; ".join(rates[:6]) + ("; …" if len(rates) > 6 else "")
        notes.append(
            f"In groups that are large enough, these rates are of fewer than {counted(small, 'row')}, as only some of "
            f"theirs have that label or are answered: {named}. They stand in the tables, marked, and outside gaps and "
            "what is worst."
        )
    return notes


def rates_of_few(grouping: Mapping[str, Any]) -> list[str]:
    """Return the rates of few rows in a grouping's groups that are not small themselves, with their values."""
    large = [group for group in grouping["groups"] if not group["small"]]
    rates = [(group["name"], "accuracy", group["accuracy"]) for group in large]
    rates += [(group["name"], f"recall of {label}", group["recall"][label]) for group in large for label in LABELS]
    return [f"{name}, {what} {rate['value']:.1%} (n = {rate['n']:,})" for name, what, rate in rates if rate["few"]]


def _method(small: int, permutations: int, seed: int, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    tests = sum(gap["p"] is not None for grouping in found for gap in grouping["gaps"].values())
    return {
        "level": LEVEL,
        "intervals": "Wilson; calibration error: bootstrap within bins, of its square; overconfidence: of accuracy",
        "calibration_bins": CALIBRATION_BINS,
        "permutations": permutations,
        "tests": tests,
        "correction": "Holm, over all tests of the audit",
        "small": small,
        "seed": seed,
    }


def judge(found: dict[str, Any], fail_if: Sequence[str]) -> bool:
    """Write under ``criteria`` how an audit stands to conditions of failure; return whether it passes."""
    found["criteria"] = criteria.check(fail_if, found)
    return not any(row["failed"] for row in found["criteria"])
