"""How good answers are: rates, ranking, calibration, and how far each figure can be trusted.

Classes are integers that index the model's own labels. Every statistic takes ``weights`` of shape
``(..., n)``, how often each of the ``n`` rows counts, and answers with the leading shape: the same
code gives the figure itself and all of its bootstrap resamples in one pass. A statistic that the
rows cannot support (the recall of a class without rows) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from perceived.significance import LEVEL, gap_interval

if TYPE_CHECKING:
    import polars

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]
Booleans = npt.NDArray[np.bool_]

CALIBRATION_BINS = 15
RESAMPLES = 2000
SEED = 0
_CHUNK_CELLS = 2**20
"""Weights held at once while resampling: bounds memory at a few tens of megabytes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its bootstrap interval; ``None`` where the rows cannot support it."""

    value: float | None
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


def confusion(truth: Integers, answer: Integers, *, classes: int, weights: Floats | None = None) -> Floats:
    """Return ``(..., classes, classes)`` weights of rows by ``[truth, answer]``."""
    cell = truth * classes + answer
    one_hot = (cell[:, None] == np.arange(classes * classes)).astype(np.float64)
    counts: Floats = _weights(weights, len(truth)) @ one_hot
    return counts.reshape(*counts.shape[:-1], classes, classes)


def accuracy(matrix: Floats) -> Floats:
    """Return the share of right answers, ``(...)``, from :func:`confusion`."""
    return _ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def recall(matrix: Floats) -> Floats:
    """Return each class's share of rows that were recognised, ``(..., classes)``."""
    return _ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def f1(matrix: Floats) -> Floats:
    """Return each class's F1, the harmonic mean of precision and recall, ``(..., classes)``."""
    return _ratio(2 * np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1) + matrix.sum(axis=-2))


def roc_auc(positive: Booleans, score: Floats, *, weights: Floats | None = None) -> Floats:
    """Return the chance that a positive row scores above a negative one, equal scores counting half.

    This is the Mann-Whitney form of the area under the ROC curve (Hanley and McNeil 1982,
    doi:10.1148/radiology.143.1.7063747).
    """
    order, starts = _tied_runs(score)
    sorted_weights, sorted_positive = _weights(weights, len(score))[..., order], positive[order]
    positives = np.add.reduceat(sorted_weights * sorted_positive, starts, axis=-1)
    negatives = np.add.reduceat(sorted_weights * ~sorted_positive, starts, axis=-1)
    negatives_below = np.cumsum(negatives, axis=-1) - negatives / 2
    return _ratio((positives * negatives_below).sum(axis=-1), positives.sum(axis=-1) * negatives.sum(axis=-1))


def equal_mass_bins(
    confidence: Floats, correct: Booleans | Floats, *, weights: Floats | None = None, bins: int = CALIBRATION_BINS
) -> tuple[Floats, Floats]:
    """Return mean confidence and accuracy, both ``(..., bins)``, in bins of equal weight by confidence.

    A row astride an edge is shared between its bins, and rows of equal confidence are spread
    evenly over theirs, so the answer depends neither on the order of rows nor on ``n % bins``.
    """
    order, starts = _tied_runs(confidence)
    sorted_weights = _weights(weights, len(confidence))[..., order]
    mass = _cumulative(sorted_weights, starts)
    edges = mass[..., -1:] * np.linspace(0, 1, bins + 1)
    means = []
    for values in (confidence[order], correct[order]):
        total = _cumulative(sorted_weights * values, starts)
        means.append(_ratio(np.diff(_interpolate(edges, mass, total), axis=-1), np.diff(edges, axis=-1)))
    return means[0], means[1]


def calibration_error(
    confidence: Floats, correct: Booleans, *, weights: Floats | None = None, bins: int = CALIBRATION_BINS
) -> Floats:
    """Return the mean absolute gap between confidence and accuracy over bins of equal mass.

    ``confidence`` is the probability of the answer that was given. Equal-mass bins follow Nguyen
    and O'Connor 2015 (arXiv:1508.05154): with equal-width bins nearly all rows share the last one.
    """
    mean_confidence, mean_correct = equal_mass_bins(confidence, correct, weights=weights, bins=bins)
    gaps: Floats = np.abs(mean_confidence - mean_correct)
    return np.asarray(gaps.mean(axis=-1))


def people(identity: polars.Series) -> Integers:
    """Return codes ``(n,)`` of the people on pictures.

    One whose ``identity`` is null, blank or no number among numbers is of its own person.
    """
    if identity.dtype.is_numeric():
        identity = identity.fill_nan(None)
    else:
        identity = identity.cast(str).str.strip_chars().replace("", None)
    known = identity.is_not_null().to_numpy()
    ranks = identity.rank("dense").fill_null(0).cast(int).to_numpy()
    codes = np.where(known, ranks, ranks.max(initial=0) + 1 + np.arange(len(ranks)))
    return np.unique(codes, return_inverse=True)[1]


def resample(groups: Integers, resamples: int, generator: np.random.Generator) -> Floats:
    """Return ``(resamples, n)`` weights of whole groups drawn with replacement (a cluster bootstrap)."""
    count = int(groups.max(initial=-1)) + 1
    draws = generator.integers(0, count, size=(resamples, count)) + np.arange(resamples)[:, None] * count
    weights = np.bincount(draws.ravel(), minlength=resamples * count).reshape(resamples, count)
    return weights.astype(np.float64)[:, groups]


def bootstrap(
    statistics: Callable[[Floats], Mapping[str, Floats]],
    groups: Integers,
    *,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    gaps: tuple[str, ...] = (),
) -> dict[str, Estimate]:
    """Return each statistic with its interval at :data:`LEVEL`, resampling whole groups of rows.

    ``statistics`` maps ``(r, n)`` weights to named ``(r,)`` values. Intervals are of percentiles, but
    for those of ``gaps``, means of absolute gaps: see :func:`perceived.significance.gap_interval`.
    """
    generator = np.random.default_rng(seed)
    rows = max(1, _CHUNK_CELLS // max(1, len(groups)))
    values = statistics(np.ones((1, len(groups))))
    chunks = [
        statistics(resample(groups, min(rows, resamples - start), generator)) for start in range(0, resamples, rows)
    ]
    return {
        name: _estimate(value.item(), np.concatenate([chunk[name] for chunk in chunks]), name in gaps)
        for name, value in values.items()
    }


def _estimate(value: float, samples: Floats, is_gap: bool) -> Estimate:
    samples = samples[np.isfinite(samples)]
    if not np.isfinite(value) or not len(samples):
        return Estimate(None, None, None)
    if is_gap:
        low, high = gap_interval(value, samples.astype(np.float64))
        return Estimate(value, *((low, high) if np.isfinite(low) else (None, None)))
    low, high = (float(q) for q in np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Estimate(value, low, high)


def _weights(weights: Floats | None, rows: int) -> Floats:
    return np.ones(rows) if weights is None else weights


def _ratio(above: Floats, below: Floats) -> Floats:
    """Divide; nothing by nothing is NaN."""
    undefined = np.full(np.shape(above), np.nan)
    return np.asarray(np.divide(above, below, out=undefined, where=np.asarray(below) > 0))


def _tied_runs(values: Floats) -> tuple[Integers, Integers]:
    """Return the order that sorts ``values`` and where each run of equal ones starts in it."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    return order, np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _cumulative(values: Floats, starts: Integers) -> Floats:
    """Return running totals ``(..., runs + 1)`` over runs of values, starting at zero."""
    totals = np.cumsum(np.add.reduceat(values, starts, axis=-1), axis=-1)
    return np.concatenate([np.zeros((*totals.shape[:-1], 1)), totals], axis=-1)


def _interpolate(at: Floats, x: Floats, y: Floats) -> Floats:
    """Return piecewise linear ``y(x)`` at ``at``, row by row over the leading axes."""
    rows = zip(at.reshape(-1, at.shape[-1]), x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]), strict=True)
    return np.stack([np.interp(*row) for row in rows]).reshape(at.shape)
