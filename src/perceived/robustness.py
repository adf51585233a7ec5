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

from perceived import (
    answers,
    corruptions,
    groups,
    lineage,
    progress,
    results_file,
    robustness_page,
    scoring,
    storage,
)
from perceived.audit import BY_NAME_ONLY, OURS
from perceived.corruptions import KINDS, SEVERITIES
from perceived.data import split as splits
from perceived.errors import ConfigError
from perceived.models import report_folder
from perceived.preprocess import Pixels
from perceived.repeats import People
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
    model, to whose errors the mean corruption error is relative. ``out`` is by default a folder beside
    the model. Returns what ``robustness.json`` holds.

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
    rows = sample(answers.read_workspace(work, on), limit, seed=seed)
    chosen = _groupings(rows, by)
    tried: dict[str, Any] = {"split": on, "seed": seed}
    before = None if reference is None else _read_reference(reference, kinds)
    if before is not None:
        _require_same(before, tried, reference)
    opened = scoring.load_model(model)
    folder = report_folder(model, f"robustness-{on}") if out is None else Path(out)
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
        **tried,
        **assess(trial.answers, readable, opened.spec.labels, opened.spec.threshold, chosen),
    }
    seen = lineage.notes(opened.spec, Workspace(Path(work)), on)
    people = People.of(readable)
    if people.come_back:
        seen.append(f"{people.shown}. Intervals and tests take pictures for independent, so they are too sure.")
    found["notes"] = [*seen, *found["notes"]]
    found["mean_corruption_error"] = None if before is None else relative_error(found, before)
    found["reference"] = None if before is None else before["model"]["name"]
    robustness_page.write(folder, found, reference=before, example=trial.example, kinds=kinds)
    return found


def sample(rows: pl.DataFrame, limit: int, *, seed: int) -> pl.DataFrame:
    """Return at most ``limit`` rows, as many of either label where there are enough, in the table's order."""
    if rows.height <= limit:
        return rows
    numbered = rows.with_row_index("row")
    halves = [numbered.filter(label=label) for label in LABELS]
    drawn = [half.sample(min(limit // 2, half.height), seed=seed) for half in halves]
    return pl.concat(drawn).sort("row").drop("row")


def assess(
    found: Mapping[Condition, Probabilities],
    rows: pl.DataFrame,
    labels: Sequence[str],
    threshold: float,
    groupings: Sequence[tuple[str, ...]] = (),
) -> dict[str, Any]:
    """Return the figures of all conditions, of all rows and by group.

    ``accuracy`` is of the likelier label, whatever the threshold; ``abstention`` is the share of answers
    below it, ``answered`` the accuracy of the others. ``notes`` say what was mended in the groups' names.
    """
    truth = splits.label_indices(rows["label"], labels)
    everyone = np.ones(rows.height, bool)
    notes = []
    for name in dict.fromkeys(name for names in groupings for name in names):
        tidied, note = groups.tidy(rows[name])
        rows = rows.with_columns(tidied)
        notes += [note] if note else []
    grouped = {
        " × ".join(names): {
            name: _by_kind(found, truth, grouping.codes == i, threshold) for i, name in enumerate(grouping.names)
        }
        for names in groupings
        for grouping in [groups.cross([groups.encode(rows, name) for name in names])]
    }
    curves = _by_kind(found, truth, everyone, threshold)
    return {**curves, "groups": grouped, "notes": notes}


def _groupings(rows: pl.DataFrame, by: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the groupings asked for: the label may be one of them, and what repeats it is not among ``all``."""
    if not by:
        return []
    columns = {name: rows[name].n_unique() for name in rows.columns if name not in OURS or name == "label"}
    others = [name for name in columns if name != "label"] if groups.ALL in by else []
    repeated = [name for name in others if groups.repeats_the_label(rows, name)]
    return groups.choose(by, columns, by_name_only=(*BY_NAME_ONLY, *repeated))


def _by_kind(
    found: Mapping[Condition, Probabilities],
    truth: npt.NDArray[np.int64],
    chosen: npt.NDArray[np.bool_],
    threshold: float,
) -> dict[str, Any]:
    kinds = dict.fromkeys(kind for kind, _ in found if kind != CLEAN)
    curves = {
        kind: [_figures(found[kind, severity][chosen], truth[chosen], threshold) for severity in SEVERITIES]
        for kind in kinds
    }
    clean = _figures(found[CLEAN, 0][chosen], truth[chosen], threshold)
    errors = [1 - point["accuracy"]["value"] for curve in curves.values() for point in curve]
    by_severity = [
        float(np.mean([curve[i]["accuracy"]["value"] for curve in curves.values()])) for i in range(len(SEVERITIES))
    ]
    return {
        "n": int(chosen.sum()),
        CLEAN: clean,
        "corruptions": curves,
        "mean_error": float(np.mean(errors)),
        "mean_accuracy_by_severity": by_severity,
    }


def _figures(probabilities: Probabilities, truth: npt.NDArray[np.int64], threshold: float) -> dict[str, Any]:
    right = probabilities.argmax(axis=1) == truth
    sure = probabilities.max(axis=1) >= threshold
    return {
        "accuracy": _rate(right.sum(), len(right)),
        "answered": _rate((right & sure).sum(), sure.sum()),
        "abstention": _rate((~sure).sum(), len(right)),
    }


def _rate(successes: np.integer, trials: np.integer | int) -> dict[str, float | None]:
    if not trials:
        return {"value": None, "low": None, "high": None}
    low, high = wilson(successes, trials)
    return {"value": float(successes / trials), "low": float(low), "high": float(high)}


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
