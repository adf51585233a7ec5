"""A model's calibration and its threshold of doubt, fitted to labelled pictures and written into a new file.

Calibration never changes which label is likelier: it changes how sure the model says it is, and
below which confidence it would rather say ``uncertain``. A second look at doubtful faces, their mirror
images, can be asked for here too; it makes a few answers others, and better ones on average.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from perceived import lineage, metrics, progress, redescribe, storage
from perceived.classifier import Classifier, Probabilities, calibrated, look, raised, softmax
from perceived.data import sampling, split as splits
from perceived.errors import ConfigError
from perceived.metrics import Booleans, Floats, Integers
from perceived.models import beside, find_model, model_file
from perceived.pages import charts
from perceived.preprocess import Pixels
from perceived.repeats import People
from perceived.scoring import read_split, readable, score
from perceived.spec import ModelSpec
from perceived.threshold import choose_threshold, points, risk_coverage
from perceived.workspace import Workspace

TARGET_ERROR = 0.03
CERTAINTY = 0.95
TEMPERATURES = (0.05, 20.0)
"""Bounds of a temperature; a fit that ends at one of them has met no optimum."""
POWERS = (0.5, 3.0)
"""Bounds of a power."""
LEAST_WRONG = 100
"""Wrong answers from which on a power is fitted too: fewer say too little about the shape of confidence."""
MOST_GROUPS = 30
"""A column of more values than this tells pictures apart, not groups."""

_BISECTIONS = 60
_MILD = np.float32(TEMPERATURES[1])
"""Temperature at which answers are scored: at 1, a model much too sure gives probabilities of zero, and from
those no logit comes back."""


def fit_temperature(logits: Floats, truth: Integers) -> float:
    """Return the temperature that makes ``truth`` likeliest given ``logits``, ``(n, labels)``.

    The negative log-likelihood is convex in the inverse temperature, so its slope (the expected less
    the true logit, averaged) is zero once at most, and is found by halving. Guo et al. 2017, "On
    Calibration of Modern Neural Networks", arXiv:1706.04599.
    """
    centred = np.asarray(logits, np.float64) - np.max(logits, axis=1, keepdims=True)
    true = centred[np.arange(len(truth)), truth]

    def slope(inverse: float) -> float:
        weights = np.exp(inverse * centred)
        return float(((weights * centred).sum(axis=1) / weights.sum(axis=1) - true).mean())

    low, high = np.log(1 / TEMPERATURES[1]), np.log(1 / TEMPERATURES[0])
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(np.exp(middle)) > 0 else (middle, high)
    return float(np.exp(-(low + high) / 2))


def fit_power(logits: Floats, truth: Integers) -> tuple[float, float]:
    """Return the temperature and the power of :func:`perceived.classifier.calibrated` that make ``truth`` likeliest."""
    from scipy.optimize import minimize_scalar

    def loss(log_power: float) -> float:
        powered = raised(logits, np.exp(log_power))
        scaled = powered / fit_temperature(powered, truth)
        return float((np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(truth)), truth]).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(POWERS)), method="bounded", options={"xatol": 1e-3})
    power = float(np.exp(found.x))
    return fit_temperature(raised(logits, power), truth), power


def abstention(scored: pl.DataFrame, confidence: Floats, correct: Booleans, threshold: float) -> dict[str, Any]:
    """Return for each group of pictures how many there are, which share is not answered, and the error of the rest.

    Groups are the true labels and the columns of words of :func:`perceived.data.sampling.groups`.
    """
    table = scored.with_columns(
        pl.Series("_answered", confidence >= threshold), pl.Series("_wrong", ~correct & (confidence >= threshold))
    )
    found: dict[str, Any] = {}
    for column in ("label", *sampling.groups(scored)):
        if column in ("licence", "error", "perceived_gender") or table[column].n_unique() > MOST_GROUPS:
            continue
        known = table.drop_nulls(column).group_by(column)
        rows = known.agg(pl.len().alias("_pictures"), pl.col("_answered", "_wrong").sum()).sort(column)
        found[column] = {
            str(name): {
                "pictures": count,
                "abstention": 1 - answered / count,
                "error": wrong / answered if answered else None,
            }
            for name, count, answered, wrong in rows.iter_rows()
        }
    return found


def calibrate(
    model: str | Path,
    work: Path,
    *,
    on: str = "val",
    target_error: float = TARGET_ERROR,
    certainty: float = CERTAINTY,
    mirror_below: float | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Fit a model file to a split, write it anew as ``out``, and return what the report holds.

    At most ``target_error`` of the answers above the threshold are wrong, with a ``certainty`` on other
    pictures drawn as these were, all taken together; 0: on these alone. ``mirror_below`` is from which
    difference of logits on the model is sure enough not to look at the mirror image too (see
    :class:`perceived.spec.ModelSpec`); without it, the model's own.

    The report, ``calibration.json`` and ``risk-coverage.png``, stands in a folder ``NAME-calibration``
    beside ``out``, by default ``NAME-calibrated.onnx`` beside the model, or in the working folder for
    a model that ships with the package.

    Raises:
        ModelFileError: the model cannot be opened or is a run's folder.
        SplitError: none of the pictures can be read, or no threshold reaches ``target_error``.
        ConfigError: ``target_error`` or ``certainty`` is no rate, ``mirror_below`` is negative, or ``out`` is no
            name for a new model.
    """
    if not 0 <= target_error < 1:
        raise ConfigError(f"A target error of {target_error} is no rate.", expected="a number from 0 to below 1")
    if not 0 <= certainty < 1:
        raise ConfigError(f"A certainty of {certainty} is no rate.", expected="a number from 0 to below 1")
    path, workspace = find_model(model), Workspace(Path(work))
    target = model_file(beside(model, "calibrated") if out is None else out, made_of=path)
    storage.check_folder(target.parent)
    opened = Classifier(path)
    spec = opened.spec if mirror_below is None else dataclasses.replace(opened.spec, mirror_below=mirror_below)
    looks = 0

    def network(pixels: Pixels) -> Probabilities:
        nonlocal looks
        looks += len(pixels)
        return opened.first_look(pixels)

    with progress.counter(f"scoring {spec.name}") as tick:
        scored = score(
            read_split(workspace, on),
            lambda pixels: softmax(look(network, pixels, spec.mirror_below) / _MILD),
            spec,
            tick=tick,
        )
    answered = readable(scored)
    mirrored = looks / answered.height - 1
    spec, found, curve = fit(answered, spec, target_error, certainty)
    found = {"model": spec.name, "split": on, "unreadable": scored.height - answered.height, **found}
    found["mirrored"] = {"below": spec.mirror_below, "share": mirrored}
    table = workspace.read_split()
    found |= {"split_sha256": splits.fingerprint(table), "pictures_sha256": splits.pictures_fingerprint(table)}
    if on != "val" or lineage.learnt_on(spec, table) != {"here"}:
        found["notes"] += lineage.notes(spec, workspace, on)  # its own validation pictures are what it is fitted to
    spec = dataclasses.replace(spec, provenance={**spec.provenance, "calibration": found})
    redescribe.write(path, spec, target)
    folder = target.with_name(f"{target.stem}-calibration")
    storage.write_json(folder / "calibration.json", found)
    drawing = charts.risk_coverage(*curve, target=target_error, chosen=found["threshold"]["coverage"])
    charts.save_png(charts.chart(drawing), folder / "risk-coverage.png", title="Error among the pictures answered")
    return {**found, "file": str(target), "report": str(folder)}


def fit(
    scored: pl.DataFrame, spec: ModelSpec, target_error: float, certainty: float = CERTAINTY
) -> tuple[ModelSpec, dict[str, Any], tuple[Floats, Floats]]:
    """Return the calibrated specification, what is to be told of it, and its curve of coverage and risk.

    ``scored`` is a table of :func:`perceived.scoring.score` whose pictures could all be read, with
    probabilities at the temperature ``_MILD``.
    """
    columns = [f"probability_{label}" for label in spec.labels]
    logits = to_logits(scored.select(columns).to_numpy().astype(np.float64), _MILD)
    before = calibrated(logits.astype(np.float32), spec.temperature, spec.power).astype(np.float64)
    truth = splits.label_indices(scored["label"], spec.labels)
    correct = before.argmax(axis=1) == truth
    temperature, power = spec.temperature, spec.power
    if (~correct).sum() >= LEAST_WRONG:
        temperature, power = fit_power(logits, truth)
    elif not correct.all():
        temperature, power = fit_temperature(logits, truth), 1.0
    confidence = calibrated(logits.astype(np.float32), temperature, power).max(axis=1).astype(np.float64)
    curve = risk_coverage(confidence, correct)
    people = People.of(scored)
    come_back = people.codes if people.come_back else None
    threshold = choose_threshold(
        confidence, correct, target_error, certainty=certainty, classes=len(spec.labels), people=come_back
    )
    found = {
        "pictures": scored.height,
        "accuracy": float(correct.mean()),
        "target_error": target_error,
        "certainty": certainty,
        "temperature": {"before": spec.temperature, "after": temperature},
        "power": {"before": spec.power, "after": power},
        "calibration_error": {
            "bins": metrics.CALIBRATION_BINS,
            "before": float(metrics.calibration_error(before.max(axis=1), correct)),
            "after": float(metrics.calibration_error(confidence, correct)),
        },
        "threshold": {"before": spec.threshold, "after": threshold.value}
        | {"coverage": threshold.coverage, "error": threshold.error},
        "risk_coverage": points(curve),
        "groups": abstention(scored, confidence, correct, threshold.value),
        "notes": _notes(correct, temperature, people),
    }
    fitted = dataclasses.replace(spec, temperature=temperature, power=power, threshold=threshold.value)
    return fitted, found, curve[1:]


def to_logits(probabilities: Floats, temperature: float | np.float32) -> Floats:
    """Return logits, but for a constant in each row, of which a softmax at ``temperature`` gave the probabilities."""
    smallest = float(np.finfo(np.float32).smallest_subnormal)
    logits: npt.NDArray[np.float64] = temperature * np.log(np.maximum(probabilities, smallest))
    return logits


def _notes(correct: Booleans, temperature: float, people: People) -> list[str]:
    """Return what a reader must know before the figures."""
    notes = ["Fitted and measured on the same pictures: the figures flatter it a little. Evaluate it on others."]
    if correct.all():
        notes.append("No answer is wrong, so nothing tells how sure the model may be: its temperature is kept.")
    elif not TEMPERATURES[0] * 1.01 < temperature < TEMPERATURES[1] / 1.01:
        notes.append("The temperature ended at its bound: these answers say too little of how sure the model may be.")
    if people.come_back:
        notes.append(f"{people.shown}: the threshold reckons that all of a person's may be wrong together.")
    if (wrong := int((~correct).sum())) < 30:
        notes.append(f"Only {wrong} answers are wrong: with so few, temperature and threshold are rough.")
    return notes
