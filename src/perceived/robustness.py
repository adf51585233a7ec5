"""How a model bears what spoils photographs: accuracy and abstention by corruption, severity and group.

Corruptions are applied to framed faces, the pixels that the network sees: what a detector would have
made of the spoilt photograph is not part of the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived import answers, corruptions, groups, lineage, progress, results_file, scoring, storage
from perceived.audit import BY_NAME_ONLY, OURS
from perceived.corruptions import KINDS, SEVERITIES
from perceived.data import split as splits
from perceived.errors import ConfigError
from perceived.models import report_folder
from perceived.pages import robustness as robustness_page
from perceived.preprocess import Pixels
from perceived.repeats import ALL as ALL_ROWS, People, Rows
from perceived.significance import wilson
from perceived.spec import LABELS
from perceived.wording import counted
from perceived.workspace import Workspace

LIMIT = 1000
"""Pictures of the split that are tried, at most, unless told otherwise."""
CLEAN = "clean"

Condition = tuple[str, int]
"""A corruption and its severity; ``(CLEAN, 0)`` is the picture as it is."""
Probabilities = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
OfRows = Mapping[str, tuple[Mask, Rows]]
"""By rate, what is so of an answer, and of which rows the rate is."""
Marks = tuple[OfRows, Mapping[str, tuple[Rows, float]]]
"""What the answers under a condition are, and what :func:`groups.how_alike` says of them."""


class Trial:
    """Answers for pictures and for all their spoilt versions: it stands in for a model's ``predict``.

    ``answers`` holds, by condition, ``(n, labels)`` probabilities of the pictures seen so far;
    ``example`` is the first of them.
    """

    def __init__(self, model: scoring.Model, kinds: Sequence[str], *, seed: int = 0) -> None:
        self._model, self._seed, self._seen = model, seed, 0
        self.conditions: list[Condition] = [
            (CLEAN, 0),
            *((kind, severity) for kind in kinds for severity in SEVERITIES),
        ]
        self._parts: dict[Condition, list[Probabilities]] = {condition: [] for condition in self.conditions}
        self.example: Pixels | None = None

    def __call__(self, pixels: Pixels) -> Probabilities:
        """Answer for framed pictures ``(n, h, w, 3)`` as they are, and remember the answers to all versions."""
        if self.example is None:
            self.example = pixels[0]
        for kind, severity in self.conditions:
            seen = pixels if kind == CLEAN else self._spoil(pixels, kind, severity)
            self._parts[kind, severity].append(self._model.probabilities(seen))
        self._seen += len(pixels)
        return self._parts[CLEAN, 0][-1]

    def _spoil(self, pixels: Pixels, kind: str, severity: int) -> Pixels:
        return np.stack(
            [
                corruptions.corrupt(picture, kind, severity, seed=self._seed, index=self._seen + i)
                for i, picture in enumerate(pixels)
            ]
        )

    @property
    def answers(self) -> dict[Condition, Probabilities]:
        return {condition: np.concatenate(parts) for condition, parts in self._parts.items()}


def robustness(
    model: Path,
    work: Path,
    *,
    on: str = "test",
    kinds: Sequence[str] = tuple(KINDS),
    by: Sequence[str] = (),
    limit: int = LIMIT,
    reference: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Try a model (RUN or ONNX) on spoilt pictures; write ``robustness.json``, the page and the curves.

    ``by`` names columns of the workspace to group by. ``reference`` is the ``robustness.json`` of another
    model, to whose errors the mean corruption error is relative. ``out`` is by default a folder in the
    RUN, or beside the file. Returns what ``robustness.json`` holds, and its folder as ``report``.

    Raises:
        ConfigError: there is no such corruption, or the reference tried other ones.
        SplitError: the split is empty, or none of its pictures can be read.
    """
    kinds = tuple(dict.fromkeys(kinds))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds or limit < 2:
        raise ConfigError(
            f"There is no corruption {unknown[0]!r}." if unknown else "There is nothing to try.",
            expected=f"some of {', '.join(KINDS)}, on 2 pictures or more",
        )
    folder = report_folder(model, f"robustness-{on}", work, "robustness.json") if out is None else Path(out)
    rows = sample(answers.read_workspace(work, on), limit, seed=seed)
    chosen = _groupings(rows, by)
    tried: dict[str, Any] = {"split": on, "seed": seed}
    before = None if reference is None else _read_reference(reference, kinds)
    if before is not None:
        _require_same(before, tried, reference)
    opened = scoring.load_model(model)
    storage.check_folder(folder)
    trial = Trial(opened, kinds, seed=seed)
    with progress.counter(f"{counted(len(trial.conditions), 'version')} of each picture") as tick:
        scored = scoring.score(rows, trial, opened.spec, batch_size=16, tick=tick)
    readable = scoring.readable(scored)
    tried["pictures"] = {
        "scored": readable.height,
        "unreadable": scored.height - readable.height,
        "ids_sha256": storage.sha256_json(readable["id"].to_list()),
    }
    if before is not None:
        _require_same(before, tried, reference)
    found = {
        "model": {"sha256": scoring.weights_sha256(model), **opened.spec.to_dict()},
        "workspace": str(Path(work).resolve()),
        **tried,
        **assess(trial.answers, readable, opened.spec.labels, opened.spec.threshold, chosen),
    }
    found["notes"] = [*lineage.notes(opened.spec, Workspace(Path(work)), on), *found["notes"]]
    if unreadable := found["pictures"]["unreadable"]:
        found["notes"].append(f"{counted(unreadable, 'picture')} cannot be read. No rate includes them.")
    found["mean_corruption_error"] = None if before is None else relative_error(found, before)
    found["reference"] = None if before is None else before["model"]["name"]
    robustness_page.write(folder, found, reference=before, example=trial.example, kinds=kinds)
    return {**found, "report": str(folder)}


def sample(rows: pl.DataFrame, limit: int, *, seed: int) -> pl.DataFrame:
    """Return at most ``limit`` rows, as many of either label where there are enough, in the table's order."""
    if rows.height <= limit:
        return rows
    numbered = rows.with_row_index("_row")
    halves = [numbered.filter(label=label) for label in LABELS]
    drawn = [half.sample(min(limit // 2, half.height), seed=seed) for half in halves]
    return pl.concat(drawn).sort("_row").drop("_row")


def assess(
    found: Mapping[Condition, Probabilities],
    rows: pl.DataFrame,
    labels: Sequence[str],
    threshold: float,
    groupings: Sequence[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Return the figures of all conditions, of all rows and by group.

    ``accuracy`` is of the likelier label, whatever the threshold; ``abstention`` is the share of answers
    below it, ``answered`` the accuracy of the others. ``notes`` say what was mended in the groups' names, and
    that pictures of one person count as fewer.
    """
    truth = splits.label_indices(rows["label"], labels)
    people, notes = People.of(rows), []
    for name in dict.fromkeys(name for names in groupings for name in names):
        tidied, note = groups.tidy(rows[name])
        rows = rows.with_columns(tidied)
        notes += [note] if note else []
    if people.come_back:
        notes.append(f"{people.shown}, and count as fewer in intervals: by the design effect of each figure.")
    marks: dict[Condition, Marks] = {}
    for condition, probabilities in found.items():
        of_rows = _of_rows(probabilities.argmax(axis=1) == truth, probabilities.max(axis=1).astype(float) >= threshold)
        marks[condition] = of_rows, groups.how_alike(people, of_rows)
    everyone = groups.Grouping((), ((),), np.zeros(rows.height, np.int32))
    grouped = {
        " × ".join(names): dict(zip(grouping.names, _by_kind(marks, grouping, people), strict=True))
        for names in groupings
        for grouping in [groups.cross([groups.encode(rows, name) for name in names])]
    }
    return {**_by_kind(marks, everyone, people)[0], "groups": grouped, "notes": notes}


def _groupings(rows: pl.DataFrame, by: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the groupings asked for: the label may be one of them, and what repeats it is not among ``all``."""
    if not by:
        return []
    columns = {name: rows[name].n_unique() for name in rows.columns if name not in OURS or name == "label"}
    others = [name for name in columns if name != "label"] if groups.ALL in by else []
    repeated = [name for name in others if groups.repeats_the_label(rows, name)]
    return groups.choose(by, columns, by_name_only=(*BY_NAME_ONLY, *repeated))


def _by_kind(marks: Mapping[Condition, Marks], grouping: groups.Grouping, people: People) -> list[dict[str, Any]]:
    """Return of each group its figures under every condition, and what they come to."""
    kinds = dict.fromkeys(kind for kind, _ in marks if kind != CLEAN)
    figures = {condition: _figures(*mark, grouping, people) for condition, mark in marks.items()}
    rows = []
    for g, n in enumerate(np.bincount(grouping.codes, minlength=len(grouping.values))):
        curves = {kind: [figures[kind, severity][g] for severity in SEVERITIES] for kind in kinds}
        accuracy = np.array([[point["accuracy"]["value"] for point in curve] for curve in curves.values()])
        rows.append(
            {
                "n": int(n),
                CLEAN: figures[CLEAN, 0][g],
                "corruptions": curves,
                "mean_error": float((1 - accuracy).mean()),
                "mean_accuracy_by_severity": accuracy.mean(axis=0).tolist(),
            }
        )
    return rows


def _of_rows(right: Mask, sure: Mask) -> OfRows:
    return {"accuracy": (right, ALL_ROWS), "answered": (right, sure), "abstention": (~sure, ALL_ROWS)}


def _figures(
    of_rows: OfRows, alike: Mapping[str, tuple[Rows, float]], grouping: groups.Grouping, people: People
) -> list[dict[str, groups.Figure]]:
    """Return of each group its rates with their intervals under one condition."""
    count = len(grouping.values)
    found: list[dict[str, groups.Figure]] = [{} for _ in range(count)]
    effects = groups.effects(people, grouping, alike)
    for name, (is_so, rows) in of_rows.items():
        codes = grouping.codes[rows]
        k, n = np.bincount(codes, is_so[rows], minlength=count), np.bincount(codes, minlength=count)
        rate = np.divide(k, n, out=np.full(count, np.nan), where=n > 0)
        for figures, *numbers in zip(found, rate, *wilson(k, n, effect=effects.get(name, 1.0)), strict=True):
            figures[name] = groups.figure(*numbers)
    return found


def relative_error(found: Mapping[str, Any], reference: Mapping[str, Any]) -> float:
    """Return the mean corruption error: by kind, the errors of all severities over the reference's, averaged.

    Below 1 the model bears corruption better than the reference (Hendrycks and Dietterich 2019,
    arXiv:1903.12261, who multiply it by 100). A kind in which the reference makes no error counts half an
    error of one picture for it, so that the ratio exists.
    """
    ratios = []
    for kind, curve in found["corruptions"].items():
        own, other = (
            sum(1 - point["accuracy"]["value"] for point in c) for c in (curve, reference["corruptions"][kind])
        )
        ratios.append(own / max(other, 0.5 / reference["n"]))
    return float(np.mean(ratios))


def _require_same(reference: Mapping[str, Any], tried: Mapping[str, Any], path: Path | None) -> None:
    """Raise :class:`ConfigError` if a reference was tried on something else than what is ``tried``."""
    for name, value in tried.items():
        if reference.get(name) != value:
            raise ConfigError(
                f"The reference {path} has {name} {reference.get(name)!r}, and this trial {value!r}.",
                expected="errors on the same pictures, spoilt alike",
                mend="give both the same WORK, --on, --limit and --seed",
            )


def _read_reference(path: Path, kinds: Sequence[str]) -> dict[str, Any]:
    kind, found = results_file.read(path)
    if kind != "robustness":
        raise ConfigError(f"The reference {path} is no trial but an {kind}.", expected="a robustness.json")
    missing = [kind for kind in kinds if kind not in found["corruptions"]]
    if missing:
        raise ConfigError(
            f"The reference {path} has no figures for {', '.join(missing)}.",
            expected="a robustness.json of the same corruptions",
            mend="run 'perceived robustness' on the reference again, or name --corruptions that it has",
        )
    return found
